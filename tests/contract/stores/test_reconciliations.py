"""How far the books have been compared, and which orders differ."""

from services.payments.store import reconciliations
from services.payments.store.reconciliations import Marks
from tests.contract.stores.samples import NOW, SECOND
from tests.contract.stores.store import Store

TENANT, OTHER, LIVE = ("mer_1", "test"), ("mer_2", "test"), ("mer_1", "live")


async def test_marks_go_forward_only_each_by_itself(payments: Store) -> None:
    assert await reconciliations.marks(payments.pool, TENANT) == Marks()
    await reconciliations.advance(payments.pool, TENANT, Marks(NOW, NOW))
    await reconciliations.advance(payments.pool, TENANT, Marks(NOW + SECOND, NOW - SECOND))
    assert await reconciliations.marks(payments.pool, TENANT) == Marks(NOW + SECOND, NOW)
    assert await reconciliations.marks(payments.pool, OTHER) == Marks()
    assert await reconciliations.marks(payments.pool, LIVE) == Marks()


async def test_orders_that_differ_are_found_until_they_agree(payments: Store) -> None:
    async def differing(after: str = "", limit: int = 10) -> list[str]:
        return await reconciliations.differing(payments.pool, TENANT, after, limit)

    await reconciliations.differ(payments.pool, TENANT, ["ord_2", "ord_1"], NOW)
    await reconciliations.differ(payments.pool, TENANT, ["ord_3", "ord_1"], NOW + SECOND)
    await reconciliations.differ(payments.pool, OTHER, ["ord_1", "ord_9"], NOW)
    assert await differing() == ["ord_1", "ord_2", "ord_3"]
    assert (await differing("ord_1"), await differing(limit=1)) == (["ord_2", "ord_3"], ["ord_1"])
    # Somebody has looked at the first one since.
    await reconciliations.agree(payments.pool, TENANT, ["ord_1", "ord_2", "ord_8"], NOW)
    assert await differing() == ["ord_1", "ord_3"]
    await reconciliations.agree(payments.pool, TENANT, ["ord_1"], NOW + SECOND)
    assert await differing() == ["ord_3"]
    assert await reconciliations.differing(payments.pool, OTHER, "", 10) == ["ord_1", "ord_9"]
