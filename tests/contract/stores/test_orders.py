"""The order service's store."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import asyncpg
import pytest

from services.orders import jobs
from services.orders.core.state import Lease
from services.orders.store.history import new_versions, page_of_history, read_history, version_by
from services.orders.store.numbers import take_numbers
from services.orders.store.orders import OrderCache, changed_orders, expired_leases, lock_orders, new_orders
from services.orders.store.search import new_words, read_order
from shared import inbox
from shared.clock import utc_now
from shared.contracts.order_parts import Holder
from shared.postgres import transaction
from shared.writes import write
from tests.contract.stores.samples import NOW, SECOND, history, order
from tests.contract.stores.store import Store, rolled_back, waits


async def test_an_order_is_read_as_it_was_saved_by_its_tenant(orders: Store) -> None:
    made = order(metadata={"name": "Žofie \u2603", "quote": '"'})
    async with transaction(orders.pool) as connection:
        await write(connection, new_orders([made]))
    assert await read_order(orders.pool, "ord_1", "mer_1", "test") == made
    assert await read_order(orders.pool, "ord_1", "mer_2", "test") is None
    assert await read_order(orders.pool, "ord_1", "mer_1", "live") is None
    assert await read_order(orders.pool, "ord_2", "mer_1", "test") is None


async def test_locked_orders_come_with_their_states_those_of_the_cache_without_reading(orders: Store) -> None:
    made = [order("ord_2"), order("ord_1", number="1002")]
    cache = OrderCache()
    cache.put([made[0]])
    async with transaction(orders.pool) as connection:
        await write(connection, new_orders(made))
        found = await lock_orders(connection, ["ord_3", "ord_2", "ord_1"], cache)
    assert found == {"ord_1": made[1], "ord_2": made[0]}
    assert found["ord_2"] is made[0]


async def test_an_update_changes_what_can_change(orders: Store) -> None:
    before = order()
    lease = Lease("ls_1", Holder(type="checkout_session", id="cs_1"), 100, 2, NOW + 9 * SECOND)
    context = before.context.model_copy(update={"customer_id": "cus_1", "external_reference": "web-1"})
    after = replace(before, version=2, updated_at=NOW + SECOND, status="closed", leases=(lease,), context=context)
    async with transaction(orders.pool) as connection:
        await write(connection, new_orders([before]))
        await write(connection, changed_orders([]))
        await write(connection, changed_orders([(after, 1)]))
    [row] = await orders.rows("orders")
    assert await read_order(orders.pool, "ord_1", "mer_1", "test") == after
    names = "version status customer_id external_reference location_id next_lease_expiry created_at updated_at number"
    assert [row[name] for name in names.split()] == [
        2,
        "closed",
        "cus_1",
        "web-1",
        None,
        NOW + 9 * SECOND,
        NOW,
        NOW + SECOND,
        "1001",
    ]


async def test_leases_that_ran_out_are_found_oldest_first(orders: Store) -> None:
    def leased(name: str, seconds: int) -> Lease:
        return Lease(name, Holder(type="checkout_session", id="cs_1"), 100, 2, NOW + seconds * SECOND)

    made = [
        order("ord_1", leases=(leased("a", 9), leased("b", 5))),
        order("ord_2", leases=(leased("c", 3),)),
        order("ord_3", leases=(leased("d", 6),)),
        order("ord_4"),
    ]
    async with transaction(orders.pool) as connection:
        await write(connection, new_orders(made))
    due = [("ord_2", "mer_1", "test"), ("ord_1", "mer_1", "test"), ("ord_3", "mer_1", "test")]
    assert await expired_leases(orders.pool, NOW + 5 * SECOND, 10) == due[:2], "due at the very moment"
    assert await expired_leases(orders.pool, NOW + 9 * SECOND, 2) == due[:2]
    assert await expired_leases(orders.pool, NOW + 9 * SECOND, 10) == due
    async with transaction(orders.pool) as connection:
        await write(connection, changed_orders([(replace(made[1], version=2, leases=()), 1)]))
    assert await expired_leases(orders.pool, NOW + 5 * SECOND, 10) == due[1:2]


async def test_words_are_replaced(orders: Store) -> None:
    async with transaction(orders.pool) as connection:
        await write(connection, new_words([]))
        await write(connection, new_words([order("ord_1", number="1"), order("ord_2", number="2")]))
        await write(connection, new_words([order("ord_2", number="3"), order("ord_3", number="4")]))
    words = {row["order_id"]: str(row["words"]) for row in await orders.rows("order_search")}
    assert [(":1'" in words["ord_1"]), (":2'" in words["ord_2"]), (":3'" in words["ord_2"])] == [True, False, True]
    assert set(words) == {"ord_1", "ord_2", "ord_3"}


async def test_numbers_are_given_once_and_start_at_1001(orders: Store) -> None:
    async def take(merchant: str, count: int) -> int:
        async with transaction(orders.pool) as connection:
            return await take_numbers(connection, merchant, "test", count)

    assert [await take("mer_1", 3), await take("mer_1", 1), await take("mer_2", 2)] == [1001, 1004, 1001]
    async with transaction(orders.pool) as first:
        assert await take_numbers(first, "mer_1", "test", 5) == 1005
        second = asyncio.create_task(take("mer_1", 1))
        assert await waits(second)
        assert await take("mer_2", 1) == 1003
    assert await second == 1010


async def test_two_first_numbers_of_a_tenant(orders: Store) -> None:
    async def take(count: int) -> int:
        async with transaction(orders.pool) as connection:
            return await take_numbers(connection, "mer_1", "test", count)

    async with rolled_back(orders) as first:
        assert await take_numbers(first, "mer_1", "test", 5) == 1001
        second = asyncio.create_task(take(2))
        assert await waits(second)
    assert await second == 1001, "a rollback gives them back"
    assert sorted(await asyncio.gather(*(take(1) for _ in range(5)))) == [1003, 1004, 1005, 1006, 1007]


async def test_history_is_read_in_parts_up_to_a_version_or_a_moment(orders: Store) -> None:
    rows = history("ord_1", 1, 2, 3, 4)
    early = replace(rows[3], recorded_at=rows[1].recorded_at)
    async with transaction(orders.pool) as connection:
        await write(connection, new_versions([early, *rows[:3], *history("ord_2", 1)]))

    async def versions(first: int, last: int) -> list[int]:
        return [row.version for row in await read_history(orders.pool, "ord_1", first, last)]

    async def by(seconds: float) -> int | None:
        return await version_by(orders.pool, "ord_1", NOW + seconds * SECOND)

    assert [await versions(1, 4), await versions(2, 3), await versions(4, 9)] == [[1, 2, 3, 4], [2, 3], [4]]
    assert [await by(0.5), await by(1), await by(1.9)] == [None, 1, 1]
    assert await by(2) == 4, "version 4 was recorded by then, so the third counts too"
    assert await version_by(orders.pool, "ord_3", NOW + 9 * SECOND) is None
    assert await read_history(orders.pool, "ord_3", 1, 9) == []
    [first] = await read_history(orders.pool, "ord_2", 1, 9)
    assert (first.order_id, first.type, first.payload, first.recorded_at) == (
        "ord_2",
        "orders.order_edited.v1",
        b'{"events": []}',
        NOW + SECOND,
    )


async def test_pages_of_history_go_back(orders: Store) -> None:
    async with transaction(orders.pool) as connection:
        await write(connection, new_versions(history("ord_1", 2, 1, 3, 4)))

    async def page(below: int | None, limit: int) -> list[int]:
        return [row.version for row in await page_of_history(orders.pool, "ord_1", below, limit)]

    assert [await page(None, 2), await page(3, 9), await page(3, 1), await page(1, 9)] == [[4, 3], [2, 1], [2], []]


async def test_a_version_is_in_the_history_once(orders: Store) -> None:
    async with orders.pool.acquire() as connection:
        await write(connection, new_versions(history("ord_1", 1)))
        with pytest.raises(asyncpg.UniqueViolationError):
            await write(connection, new_versions(history("ord_1", 2, 1)))
    assert [row.version for row in await read_history(orders.pool, "ord_1", 1, 9)] == [1]


async def broken(orders: Store) -> list[int]:
    return [await orders.pool.fetchval(query) for query in jobs.INVARIANTS.values()]


async def test_what_contradicts_is_counted(orders: Store) -> None:
    now = utc_now()
    async with transaction(orders.pool) as connection:
        same = [order("ord_1", at=now, version=2), order("ord_5", at=now, merchant_id="mer_2")]
        await write(connection, new_orders(same))
        await write(connection, new_versions([*history("ord_1", 1, 2, at=now), *history("ord_5", 1, at=now)]))
    assert await broken(orders) == [0, 0, 0]
    async with transaction(orders.pool) as connection:
        numbers = {"ord_2": "1001", "ord_3": "1001", "ord_4": "1002"}
        await write(connection, new_orders([order(name, at=now, number=number) for name, number in numbers.items()]))
        await write(connection, new_versions([*history("ord_2", 2, at=now), *history("ord_3", 1, 2, at=now)]))
    assert await broken(orders) == [1, 2, 1], "ord_2 and ord_3 end at 2; ord_3 has too many"
    async with transaction(orders.pool) as connection:
        await write(connection, inbox.rows_of([(("ord_4", "cmd_1"), "{}")], now))
    assert await broken(orders) == [1, 2, 2], "of ord_4, which has no history, a command tells"


async def test_what_changed_long_ago_is_not_looked_at(orders: Store) -> None:
    now = utc_now()

    async def saved(names: Sequence[str], ago: timedelta, number: str) -> None:
        async with transaction(orders.pool) as connection:
            await write(connection, new_orders([order(name, at=now - ago, number=number) for name in names]))
            await write(connection, new_versions([row for name in names for row in history(name, 2, at=now - ago)]))

    await saved(("ord_1", "ord_2"), timedelta(minutes=11), "1001")
    assert await broken(orders) == [1, 0, 0]
    await saved("ab", timedelta(hours=2), "7")
    assert await broken(orders) == [1, 0, 0]
