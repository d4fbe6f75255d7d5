"""What holds between transactions, whatever the statements: locks, waits, ends."""

import asyncio
from dataclasses import replace

import asyncpg
import pytest

from services.orders.core.state import Order
from services.orders.store.history import new_versions, read_history
from services.orders.store.orders import OrderCache, changed_orders, lock_orders, new_orders
from services.orders.store.search import read_order
from shared.faults import Transient
from shared.postgres import Connection, transaction
from shared.writes import Mismatch, write
from tests.contract.stores.samples import SECOND, history, order
from tests.contract.stores.store import Store, rolled_back, waits


async def lock(connection: Connection, *ids: str) -> dict[str, Order]:
    return await lock_orders(connection, ids, OrderCache())


async def next_version(connection: Connection, before: Order) -> None:
    after = replace(before, version=before.version + 1, updated_at=before.updated_at + SECOND)
    await write(connection, changed_orders([(after, before.version)]))


async def saved(orders: Store, *made: Order) -> None:
    async with transaction(orders.pool) as connection:
        await write(connection, new_orders(made))


async def locked_later(orders: Store, *ids: str) -> dict[str, Order]:
    async with transaction(orders.pool) as connection:
        return await lock(connection, *ids)


async def version(orders: Store, order_id: str = "ord_1") -> int | None:
    found = await read_order(orders.pool, order_id, "mer_1", "test")
    return None if found is None else found.version


async def test_what_was_not_committed_is_seen_by_nobody_else(orders: Store) -> None:
    async with transaction(orders.pool) as connection:
        await write(connection, new_orders([order()]))
        assert await lock(connection, "ord_1") == {"ord_1": order()}, "its own writes are seen"
        assert await version(orders) is None
    assert await version(orders) == 1


async def test_a_rollback_leaves_nothing(orders: Store) -> None:
    await saved(orders, order("ord_1"))
    async with rolled_back(orders) as connection:
        await write(connection, new_orders([order("ord_2")]))
        await next_version(connection, order("ord_1"))
        await write(connection, new_versions(history("ord_1", 1)))
    assert (await version(orders), await version(orders, "ord_2")) == (1, None)
    assert await orders.rows("order_events") == []


async def test_whoever_is_cancelled_while_it_commits_keeps_no_lock(orders: Store) -> None:
    await saved(orders, order())
    locked, go_on = asyncio.Event(), asyncio.Event()

    async def commit() -> None:
        async with transaction(orders.pool) as connection:
            await lock(connection, "ord_1")
            locked.set()
            await go_on.wait()

    committing = asyncio.create_task(commit())
    await locked.wait()
    go_on.set()
    await asyncio.sleep(0)
    committing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await committing
    assert set(await locked_later(orders, "ord_1")) == {"ord_1"}


async def test_a_statement_sees_what_was_committed_before_it(orders: Store) -> None:
    """READ COMMITTED: not only what was there when the transaction began."""
    await saved(orders, order())
    async with transaction(orders.pool) as first:
        await lock(first, "ord_2")
        async with transaction(orders.pool) as second:
            await next_version(second, order())
        assert (await lock(first, "ord_1"))["ord_1"].version == 2


async def test_who_waits_for_a_row_gets_it_as_it_is_then(orders: Store) -> None:
    await saved(orders, order())
    async with transaction(orders.pool) as first:
        await lock(first, "ord_1")
        second = asyncio.create_task(locked_later(orders, "ord_1"))
        assert await waits(second)
        assert await version(orders) == 1, "readers wait for nobody"
        await next_version(first, order())
    assert (await second)["ord_1"].version == 2


async def test_who_waited_for_a_row_that_was_rolled_back_gets_it_as_it_was(orders: Store) -> None:
    await saved(orders, order())
    async with rolled_back(orders) as first:
        await next_version(first, order())
        second = asyncio.create_task(locked_later(orders, "ord_1"))
        assert await waits(second)
    assert (await second)["ord_1"].version == 1


async def test_rows_that_appear_while_a_statement_waits_are_not_in_it(orders: Store) -> None:
    await saved(orders, order("ord_1"))
    async with transaction(orders.pool) as first:
        await lock(first, "ord_1")
        second = asyncio.create_task(locked_later(orders, "ord_1", "ord_2"))
        assert await waits(second)
        await saved(orders, order("ord_2"))
    assert set(await second) == {"ord_1"}
    assert set(await locked_later(orders, "ord_1", "ord_2")) == {"ord_1", "ord_2"}


async def test_a_version_that_was_read_before_is_not_overwritten_by_who_waited(orders: Store) -> None:
    """The version guard is looked at again under the lock."""
    await saved(orders, order())

    async def update_blindly() -> None:
        async with transaction(orders.pool) as connection:
            await next_version(connection, order())

    async with transaction(orders.pool) as first:
        await next_version(first, order())
        second = asyncio.create_task(update_blindly())
        assert await waits(second)
    with pytest.raises(Mismatch):
        await second
    assert await version(orders) == 2


async def test_a_row_that_does_not_match_is_not_waited_for(orders: Store) -> None:
    """What it may become is not asked: a statement begins with what is committed then."""
    await saved(orders, order(version=2))
    async with transaction(orders.pool) as first:
        await lock(first, "ord_1")
        async with asyncio.timeout(2), rolled_back(orders) as second:
            with pytest.raises(Mismatch):
                await next_version(second, order(version=1))


async def test_an_update_with_a_wrong_version_changes_nothing(orders: Store) -> None:
    await saved(orders, order("ord_1"), order("ord_2", number="1002"))
    newer = [replace(order(name), version=3) for name in ("ord_1", "ord_2", "ord_3")]
    async with rolled_back(orders) as connection:
        with pytest.raises(Mismatch):
            await write(connection, changed_orders(list(zip(newer, (1, 2, 1), strict=True))))
    assert (await version(orders, "ord_1"), await version(orders, "ord_2")) == (1, 1)


async def insert(orders: Store, order_id: str) -> None:
    async with transaction(orders.pool) as connection:
        await write(connection, new_orders([order(order_id)]))


async def test_a_second_insert_of_a_key_waits_and_fails_after_the_commit_of_the_first(orders: Store) -> None:
    async with transaction(orders.pool) as first:
        await write(first, new_orders([order()]))
        second = asyncio.create_task(insert(orders, "ord_1"))
        assert await waits(second)
        await insert(orders, "ord_2")
    with pytest.raises(asyncpg.UniqueViolationError):
        await second
    assert await version(orders) == 1


async def test_a_second_insert_of_a_key_succeeds_after_the_rollback_of_the_first(orders: Store) -> None:
    async with rolled_back(orders) as first:
        await write(first, new_orders([order()]))
        second = asyncio.create_task(insert(orders, "ord_1"))
        assert await waits(second)
    await second
    assert await version(orders) == 1


async def test_a_statement_that_fails_takes_its_rows_and_its_transaction_with_it(orders: Store) -> None:
    await saved(orders, order("ord_2"))
    async with orders.pool.acquire() as connection:
        with pytest.raises(asyncpg.UniqueViolationError):
            await write(connection, new_orders([order("ord_1"), order("ord_2")]))
        assert await lock(connection, "ord_1") == {}
    async with transaction(orders.pool) as connection:
        await write(connection, new_orders([order("ord_1")]))
        with pytest.raises(asyncpg.UniqueViolationError):
            await write(connection, new_orders([order("ord_2")]))
        with pytest.raises(asyncpg.InFailedSQLTransactionError):
            await lock(connection, "ord_2")
    assert await version(orders) is None


async def test_an_insert_of_a_key_that_is_only_locked_fails_at_once(orders: Store) -> None:
    await saved(orders, order())
    async with transaction(orders.pool) as first:
        await lock(first, "ord_1")
        async with asyncio.timeout(2):
            with pytest.raises(asyncpg.UniqueViolationError):
                await insert(orders, "ord_1")


async def test_an_insert_of_a_key_whose_row_is_being_changed_waits(orders: Store) -> None:
    await saved(orders, order())
    async with transaction(orders.pool) as first:
        await next_version(first, order())
        second = asyncio.create_task(insert(orders, "ord_1"))
        assert await waits(second)
    with pytest.raises(asyncpg.UniqueViolationError):
        await second


async def test_of_two_that_wait_for_each_other_one_goes_on(orders: Store) -> None:
    await saved(orders, order("ord_1"), order("ord_2", number="1002"))
    both = asyncio.Barrier(2)

    async def lock_two(first: str, second: str) -> None:
        async with transaction(orders.pool) as connection:
            held = (await lock(connection, first))[first]
            await both.wait()
            await lock(connection, second)
            await next_version(connection, held)

    outcomes = await asyncio.gather(lock_two("ord_1", "ord_2"), lock_two("ord_2", "ord_1"), return_exceptions=True)
    failed = [outcome for outcome in outcomes if outcome is not None]
    assert [str(error) for error in failed] == ["database: DeadlockDetectedError"]
    assert isinstance(failed[0], Transient)
    assert {await version(orders, "ord_1"), await version(orders, "ord_2")} == {1, 2}


async def test_the_end_of_a_session_is_the_end_of_its_transaction(orders: Store) -> None:
    await saved(orders, order())
    first = await orders.connect()
    opened = first.transaction()
    await opened.__aenter__()
    await next_version(first, order())
    second = asyncio.create_task(locked_later(orders, "ord_1"))
    assert await waits(second)
    first.terminate()
    async with asyncio.timeout(5):
        assert (await second)["ord_1"].version == 1


async def test_a_transaction_keeps_its_locks_until_it_ends(orders: Store) -> None:
    """A second statement of one transaction waits for no lock of the first; others wait for all of them."""
    await saved(orders, order("ord_1"), order("ord_2", number="1002"))
    async with transaction(orders.pool) as first:
        await lock(first, "ord_1")
        await lock(first, "ord_1", "ord_2")
        tasks = [asyncio.create_task(locked_later(orders, name)) for name in ("ord_1", "ord_2")]
        assert [await waits(task) for task in tasks] == [True, True]
        await next_version(first, order("ord_1"))
    found = await asyncio.gather(*tasks)
    assert [each.popitem()[1].version for each in found] == [2, 1]


async def test_those_who_wait_for_one_row_each_see_the_change_before(orders: Store) -> None:
    await saved(orders, order())

    async def one_more() -> None:
        async with transaction(orders.pool) as connection:
            await next_version(connection, (await lock(connection, "ord_1"))["ord_1"])
            await write(connection, new_versions(history("ord_1", (await lock(connection, "ord_1"))["ord_1"].version)))

    await asyncio.gather(*(one_more() for _ in range(8)))
    assert [row.version for row in await read_history(orders.pool, "ord_1", 1, 9)] == [2, 3, 4, 5, 6, 7, 8, 9]
