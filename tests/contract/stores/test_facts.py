"""What orders say was collected: saved once, found by order and by when it was heard of."""

from dataclasses import replace
from typing import Any

from services.payments.core.reconciling import Fact
from services.payments.store import facts, intents
from shared.postgres import transaction
from shared.writes import write
from tests.contract.stores.samples import NOW, SECOND
from tests.contract.stores.store import Store
from tests.intents import intent

TENANT = ("mer_1", "test")


def fact(order: int = 1, version: int = 2, **fields: Any) -> Fact:
    """A capture of 50.00."""
    made = Fact(f"ord_{order}", version, 0, *TENANT, "captured", "EUR", NOW, f"pay_{order}", f"sbp_{order}", 5000)
    return replace(made, **fields)


async def saved(payments: Store, *told: Fact, at: Any = NOW) -> None:
    async with transaction(payments.pool) as connection:
        await facts.save(connection, told, at)


async def test_a_fact_is_saved_once_and_stays(payments: Store) -> None:
    await saved(payments)
    refund = fact(version=3, kind="refunded", reference=None, refund="ref_1/r", amount_minor=None, payment_id=None)
    await saved(payments, fact(), refund)
    await saved(payments, fact(amount_minor=1), fact(version=2, ordinal=1))
    found = await facts.of_orders(payments.pool, TENANT, ["ord_1", "ord_1", "ord_9"])
    assert sorted(found, key=lambda each: (each.version, each.ordinal)) == [fact(), fact(ordinal=1), refund]


async def test_nobody_reads_the_facts_of_others(payments: Store) -> None:
    await saved(payments, fact(1), fact(2, merchant_id="mer_2"), fact(3, environment="live"))
    every = ["ord_1", "ord_2", "ord_3"]
    assert await facts.of_orders(payments.pool, TENANT, every) == [fact(1)]
    assert await facts.seen(payments.pool, TENANT, (NOW, ""), NOW + SECOND, 10) == [(NOW, "ord_1")]


async def test_orders_are_found_by_when_they_were_heard_of(payments: Store) -> None:
    await saved(payments, fact(1), at=NOW - SECOND)
    await saved(payments, fact(3), fact(2), fact(2, 3), fact(4))
    await saved(payments, fact(1, 3), at=NOW + SECOND)

    async def seen(after: Any, order_id: str = "", limit: int = 10, before: Any = NOW + 2 * SECOND) -> list[str]:
        found = await facts.seen(payments.pool, TENANT, (after, order_id), before, limit)
        return [name for _, name in found]

    assert await seen(NOW - SECOND) == ["ord_1", "ord_2", "ord_3", "ord_4", "ord_1"]
    assert await seen(NOW) == ["ord_2", "ord_3", "ord_4", "ord_1"]
    assert await seen(NOW, limit=2) == ["ord_2", "ord_3"]
    assert await seen(NOW, "ord_3") == ["ord_4", "ord_1"]
    assert await seen(NOW, before=NOW + SECOND) == ["ord_2", "ord_3", "ord_4"]
    assert await seen(NOW + 2 * SECOND) == []
    assert await facts.seen(payments.pool, TENANT, (NOW, "ord_4"), NOW + 2 * SECOND, 1) == [(NOW + SECOND, "ord_1")]


async def test_what_was_summed_up_is_not_counted_again_when_it_is_told_again(payments: Store) -> None:
    first, second, third = fact(), fact(version=3, amount_minor=200), fact(2)
    await saved(payments, first, second, third)
    together = replace(first, amount_minor=5200)
    for _ in range(2):
        async with transaction(payments.pool) as connection:
            await facts.sum_up(connection, [together], [second])
        await saved(payments, first, second)
    later = fact(version=4, amount_minor=7)
    await saved(payments, later, fact(version=3, ordinal=1))
    found = await facts.of_orders(payments.pool, TENANT, ["ord_1", "ord_2"])
    assert sorted(found, key=lambda each: (each.order_id, each.version)) == [together, later, third]
    async with transaction(payments.pool) as connection:
        await facts.sum_up(connection, [], [third])
    assert await facts.of_orders(payments.pool, TENANT, ["ord_2"]) == []


async def test_each_merchant_with_intents_is_found_once(payments: Store) -> None:
    assert await facts.merchants(payments.pool) == []
    made = [intent(1), intent(2, merchant_id="mer_3"), intent(3, merchant_id="mer_2"), intent(4)]
    async with transaction(payments.pool) as connection:
        await write(connection, intents.saved(made))
    assert await facts.merchants(payments.pool) == ["mer_1", "mer_2", "mer_3"]
