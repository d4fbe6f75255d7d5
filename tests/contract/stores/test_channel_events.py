"""Channel events and the payments that they are about."""

import asyncio
from collections.abc import Iterable
from dataclasses import replace

import asyncpg
import pytest

from services.payments.core.state import KeptEvent, KnownOrder, Leg
from services.payments.store import events
from services.payments.store.orders import Place, find_orders, read_at, read_orders, read_own, save_orders
from shared.postgres import transaction
from shared.writes import write
from tests.contract.stores.samples import NOW, SECOND, arrival, kept, known, sent
from tests.contract.stores.store import Store, rolled_back, waits


def names(found: Iterable[KeptEvent]) -> list[str]:
    return [each.channel_event_id for each in found]


async def insert(payments: Store, *made: KeptEvent, seconds: int = 0) -> None:
    async with transaction(payments.pool) as connection:
        await write(connection, events.new_events(made, NOW + seconds * SECOND))


async def change(payments: Store, *changed: KeptEvent) -> None:
    async with transaction(payments.pool) as connection:
        await write(connection, events.changed_events(changed, NOW + SECOND))


async def legs_of(payments: Store, *references: str) -> dict[str, Leg]:
    """Locked, in a transaction of their own."""
    async with transaction(payments.pool) as connection:
        found = await events.lock_legs(connection, [arrival(reference) for reference in references])
    return {leg.payment_reference: leg for leg in found.values()}


async def test_payments_come_into_being_when_they_are_locked(payments: Store) -> None:
    first, again = arrival("a"), arrival("a", capture_reference="c2")
    async with transaction(payments.pool) as connection:
        found = await events.lock_legs(connection, [first, arrival("b"), again])
        assert found == {
            each.payment_id: Leg(each.payment_id, "chn_web", each.event.payment_reference)
            for each in (first, arrival("b"))
        }
        assert await events.read_legs(connection, [first.payment_id, "pay_none"]) == {
            first.payment_id: found[first.payment_id]
        }
    assert set(await legs_of(payments, "a", "c")) == {"a", "c"}
    assert len(await payments.rows("channel_payments")) == 3


async def test_events_of_one_payment_wait_for_each_other(payments: Store) -> None:
    payment_id = arrival("a").payment_id
    async with transaction(payments.pool) as first:
        await events.lock_legs(first, [arrival("a")])
        second = asyncio.create_task(legs_of(payments, "a", "b"))
        assert await waits(second)
        assert set(await legs_of(payments, "c")) == {"c"}
        await write(first, events.changed_legs([Leg(payment_id, "chn_web", "a", "ord_1", "EUR")]))
    assert (await second)["a"] == Leg(payment_id, "chn_web", "a", "ord_1", "EUR")


async def test_a_payment_whose_first_transaction_was_rolled_back_comes_into_being_again(payments: Store) -> None:
    async with rolled_back(payments) as first:
        await events.lock_legs(first, [arrival("a")])
        second = asyncio.create_task(legs_of(payments, "a"))
        assert await waits(second)
    assert set(await second) == {"a"}


async def test_a_known_payment_is_locked_by_one_at_a_time(payments: Store) -> None:
    """The insert passes a row that is only locked; the lock then waits."""
    await legs_of(payments, "a", "b")
    async with transaction(payments.pool) as first:
        await events.lock_legs(first, [arrival("a")])
        second = asyncio.create_task(legs_of(payments, "a"))
        assert await waits(second)
    assert set(await second) == {"a"}


async def test_workers_that_lock_the_same_payments_at_once_do_not_deadlock(payments: Store) -> None:
    references = [f"psp-{number}" for number in range(12)]
    turned = (references[turn:] + references[:turn] for turn in range(0, 12, 3))
    found = await asyncio.gather(*(legs_of(payments, *each) for each in turned))
    assert [set(each) for each in found] == [set(references)] * 4


async def test_what_is_known_about_a_payment_stays(payments: Store) -> None:
    legs = await legs_of(payments, "a", "b")

    async def save(*changed: Leg) -> list[tuple[str | None, str | None]]:
        async with transaction(payments.pool) as connection:
            await write(connection, events.changed_legs(changed))
        after = await legs_of(payments, "a", "b")
        return [(after[name].order_id, after[name].currency) for name in ("a", "b")]

    assert await save() == [(None, None), (None, None)]
    assert await save(replace(legs["a"], currency="EUR")) == [(None, "EUR"), (None, None)]
    assert await save(replace(legs["a"], order_id="ord_1"), replace(legs["b"], order_id="ord_2", currency="USD")) == [
        ("ord_1", "EUR"),
        ("ord_2", "USD"),
    ]
    unknown = Leg("pay_none", "chn_web", "none", "ord_9", "USD")
    assert await save(replace(legs["a"], order_id="ord_9", currency="USD"), unknown) == [
        ("ord_1", "EUR"),
        ("ord_2", "USD"),
    ]


async def test_events_are_read_as_they_were_kept(payments: Store) -> None:
    made = [
        kept("a", named=None, called="web-1", correlation_id="cor", traceparent="00-1"),
        sent("b", order_version=3, refusal="NO"),
    ]
    await insert(payments)
    await insert(payments, *made)
    async with transaction(payments.pool) as connection:
        assert await events.read_events(connection, ["cev_a", "cev_b", "cev_c"]) == {
            "cev_a": made[0],
            "cev_b": made[1],
        }
    rows = {row["channel_event_id"]: row for row in await payments.rows("channel_events")}
    assert (rows["cev_a"]["named_order_id"], rows["cev_a"]["external_reference"]) == (None, "web-1")
    assert (rows["cev_b"]["command_id"], rows["cev_a"]["command_id"]) == ("cev_b", None)
    assert (rows["cev_a"]["received_at"], rows["cev_a"]["changed_at"]) == (NOW, NOW)


async def test_an_event_is_kept_once(payments: Store) -> None:
    async with transaction(payments.pool) as first:
        await write(first, events.new_events([kept("a")], NOW))
        second = asyncio.create_task(insert(payments, kept("b"), kept("a")))
        assert await waits(second)
    with pytest.raises(asyncpg.UniqueViolationError):
        await second
    assert [row["channel_event_id"] for row in await payments.rows("channel_events")] == ["cev_a"]


def claiming(reference: str, command_of: str) -> KeptEvent:
    """An event whose command has another event's id: what must never be."""

    class Claiming(KeptEvent):
        command_id = f"cev_{command_of}"

    plain = sent(reference)
    return Claiming(**{name: getattr(plain, name) for name in KeptEvent.__dataclass_fields__})


async def test_a_command_has_one_event(payments: Store) -> None:
    await insert(payments, sent("a"), kept("b"), kept("c"))
    with pytest.raises(asyncpg.UniqueViolationError):
        await insert(payments, claiming("d", command_of="a"))
    with pytest.raises(asyncpg.UniqueViolationError):
        await change(payments, claiming("b", command_of="a"))
    await change(payments, claiming("b", command_of="z"))
    async with rolled_back(payments) as first:
        await write(first, events.new_events([claiming("e", command_of="x")], NOW))
        second = asyncio.create_task(change(payments, claiming("c", command_of="x")))
        assert await waits(second)
    await second
    async with transaction(payments.pool) as first:
        await write(first, events.changed_events([kept("c")], NOW))
        third = asyncio.create_task(insert(payments, claiming("f", command_of="x")))
        assert await waits(third)
    await third
    found = {row["channel_event_id"]: row["command_id"] for row in await payments.rows("channel_events")}
    assert found == {"cev_a": "cev_a", "cev_b": "cev_z", "cev_c": None, "cev_f": "cev_x"}


async def test_a_change_is_of_what_can_change(payments: Store) -> None:
    await insert(payments, kept("a"), kept("b"))
    after = sent("a", order_version=4, refusal="NO", attempt=2)
    await change(payments)
    await change(payments, after, sent("none"))
    rows = {row["channel_event_id"]: row for row in await payments.rows("channel_events")}
    assert set(rows) == {"cev_a", "cev_b"}
    assert [rows["cev_a"][name] for name in ("status", "order_id", "currency", "order_version", "refusal")] == [
        "sent",
        "ord_1",
        "EUR",
        4,
        "NO",
    ]
    assert (rows["cev_a"]["attempt"], rows["cev_a"]["command_id"]) == (2, "cev_a.2")
    assert (rows["cev_a"]["received_at"], rows["cev_a"]["changed_at"]) == (NOW, NOW + SECOND)
    assert rows["cev_b"]["status"] == "waiting"


async def answered(payments: Store, *command_ids: str) -> dict[str, str]:
    async with transaction(payments.pool) as connection:
        found = await events.lock_answered(connection, command_ids)
    return {command: event.channel_event_id for command, event in found.items()}


async def test_only_the_newest_command_of_an_event_is_answered_and_once(payments: Store) -> None:
    await insert(payments, sent("b", attempt=2), sent("a"), sent("c", status="applied"), kept("d"))
    assert await answered(payments, "cev_b", "cev_b.2", "cev_a", "cev_c", "cev_d", "none") == {
        "cev_b.2": "cev_b",
        "cev_a": "cev_a",
    }
    assert list(await answered(payments, "cev_b.2", "cev_a")) == ["cev_a", "cev_b.2"], "by the event's id"


async def test_a_reply_that_waited_for_another_to_be_taken_finds_nothing_to_do(payments: Store) -> None:
    await insert(payments, sent("a"), sent("b"))
    async with transaction(payments.pool) as first:
        await events.lock_answered(first, ["cev_a"])
        second = asyncio.create_task(answered(payments, "cev_a", "cev_b"))
        assert await waits(second)
        await write(first, events.changed_events([sent("a", status="applied")], NOW))
    assert await second == {"cev_b": "cev_b"}
    async with transaction(payments.pool) as first:
        await events.lock_answered(first, ["cev_b"])
        third = asyncio.create_task(answered(payments, "cev_b"))
        assert await waits(third)
        await write(first, events.changed_events([sent("b", attempt=2)], NOW))
    assert await third == {}, "another command by now"


async def waiting_for(payments: Store, *orders: str, called: str | None = None, limit: int = 10) -> list[str]:
    asked = [known(order_id, external_reference=called) for order_id in orders]
    async with transaction(payments.pool) as connection:
        return names(await events.lock_waiting_for(connection, asked, limit))


async def test_events_wait_for_an_order_by_its_id_or_its_reference(payments: Store) -> None:
    tired = events.MOST_ATTEMPTS
    await insert(
        payments,
        kept("e", named="ord_1"),
        kept("a", named=None, called="web-1"),
        kept("b", named="ord_2", called="web-1"),
        kept("c", named="ord_1", attempt=tired - 1),
        kept("d", named="ord_1", attempt=tired),
        kept("f", named=None, called="web-1", merchant_id="mer_2"),
        kept("g", named=None, called="web-1", environment="live"),
        sent("h"),
        kept("i", named="ord_1", called="web-1"),
    )
    assert await waiting_for(payments, "ord_1") == ["cev_c", "cev_e", "cev_i"], "no reference is no reference"
    assert await waiting_for(payments, "ord_3", called="web-1") == ["cev_a", "cev_b", "cev_i"]
    assert await waiting_for(payments, "ord_1", "ord_2", called="web-1") == [
        "cev_a",
        "cev_b",
        "cev_c",
        "cev_e",
        "cev_i",
    ]
    assert await waiting_for(payments, "ord_1", called="web-1", limit=2) == ["cev_a", "cev_b"]
    assert await waiting_for(payments, "ord_9", called="web-9") == []


async def test_whoever_saves_an_order_hears_whether_events_wait_for_it(payments: Store) -> None:
    tired = events.MOST_ATTEMPTS
    await insert(
        payments,
        kept("a", named="ord_1"),
        kept("b", named=None, called="web-1"),
        kept("c", named="ord_3", attempt=tired),
        kept("d", named=None, called="web-2", merchant_id="mer_2"),
        sent("e"),
    )

    async def waited(*asked: KnownOrder) -> bool:
        return await save_orders(payments.pool, asked)

    assert await waited(known("ord_1", external_reference=None))
    assert await waited(known("ord_1", external_reference=None)), "also when it was saved before"
    assert await waited(known("ord_9", external_reference=None), known("ord_2", external_reference="web-1"))
    assert not await waited(known("ord_3", external_reference=None), known("ord_4", external_reference="web-2"))


async def test_what_stopped_waiting_meanwhile_does_not_count(payments: Store) -> None:
    await insert(payments, kept("a"), kept("b"), kept("c"))
    async with transaction(payments.pool) as first:
        await write(first, events.changed_events([sent("a")], NOW))
        second = asyncio.create_task(waiting_for(payments, "ord_1", limit=1))
        assert await waits(second)
    assert await second == ["cev_b"]


async def matchable(payments: Store, limit: int = 10) -> list[str]:
    async with transaction(payments.pool) as connection:
        return names(await events.lock_matchable(connection, limit))


async def test_waiting_events_of_known_orders_are_found_oldest_first(payments: Store) -> None:
    await insert(payments, kept("b", named="ord_1"), seconds=3)
    await insert(payments, kept("c", named=None, called="web-2"), seconds=2)
    await insert(payments, kept("a", named="ord_3"), kept("d", named=None, called="web-3"), seconds=1)
    await insert(
        payments,
        kept("e", named="ord_1", merchant_id="mer_2"),
        kept("f", named=None, called="web-2", environment="live"),
        kept("g", named="ord_1", attempt=events.MOST_ATTEMPTS),
        sent("i"),
    )
    assert await matchable(payments) == []
    async with transaction(payments.pool) as connection:
        await save_orders(connection, [known("ord_1", external_reference=None)])
        await save_orders(connection, [known("ord_2", external_reference="web-2")])
    assert await matchable(payments) == ["cev_c", "cev_b"]
    assert await matchable(payments, limit=1) == ["cev_c"]


async def test_what_somebody_else_has_is_passed_over(payments: Store) -> None:
    for number in range(4):
        await insert(payments, kept(str(number)), seconds=number)
    async with transaction(payments.pool) as connection:
        await save_orders(connection, [known()])
    async with transaction(payments.pool) as first:
        assert names(await events.lock_matchable(first, 2)) == ["cev_0", "cev_1"]
        async with asyncio.timeout(2):
            assert await matchable(payments, limit=1) == ["cev_2"], "those of the other do not count"
            assert await matchable(payments) == ["cev_2", "cev_3"]
    assert await matchable(payments) == ["cev_0", "cev_1", "cev_2", "cev_3"]


async def test_the_newest_version_of_an_order_counts(payments: Store) -> None:
    async def save(*orders: object) -> None:
        async with transaction(payments.pool) as connection:
            await save_orders(connection, orders)  # type: ignore[arg-type]

    details = {"credit_minor": 5, "customer_id": "cus_1", "placed_at": NOW}
    newer = known(external_reference="web-2", status="closed", outstanding_minor=0, version=3, **details)
    other = known("ord_2", external_reference=None)
    await save(known(version=2), other)
    for each in (newer, known(version=2), replace(newer, status="open")):
        await save(each)
    async with transaction(payments.pool) as connection:
        assert await read_orders(connection, ["ord_1"]) == {"ord_1": newer}
    await save(replace(newer, version=4, merchant_id="mer_2", currency="USD"))
    async with transaction(payments.pool) as connection:
        assert await read_orders(connection, ["ord_1", "ord_2", "ord_3"]) == {
            "ord_1": replace(newer, version=4),
            "ord_2": other,
        }, "whose it is and its currency do not change"
        with pytest.raises(asyncpg.CardinalityViolationError):
            await save_orders(connection, [known("ord_3"), known("ord_3", version=2)])


async def test_of_two_that_save_an_order_at_once_the_newer_stays(payments: Store) -> None:
    async def save(version: int) -> None:
        async with transaction(payments.pool) as connection:
            await save_orders(connection, [known(version=version)])

    async with transaction(payments.pool) as first:
        await save_orders(first, [known(version=2)])
        others = [asyncio.create_task(save(version)) for version in (1, 3)]
        assert [await waits(each) for each in others] == [True, True]
    await asyncio.gather(*others)
    async with transaction(payments.pool) as connection:
        assert (await read_orders(connection, ["ord_1"]))["ord_1"].version == 3


async def test_orders_are_found_by_id_and_at_most_two_by_reference_open_ones_first(payments: Store) -> None:
    made = [
        known("ord_1", external_reference="twice", status="closed"),
        known("ord_2", external_reference="twice", status="canceled"),
        known("ord_3", external_reference="twice", status="open"),
        known("ord_4", external_reference="once", status="closed"),
        known("ord_5", external_reference="twice", merchant_id="mer_2"),
        known("ord_6", external_reference=None),
    ]
    async with transaction(payments.pool) as connection:
        await save_orders(connection, made)
        asked = [("mer_1", "test", name) for name in ("twice", "once", "never", "twice")]
        found = await find_orders(connection, ["ord_6", "ord_1", "ord_9"], asked)
        assert found.by_id == {"ord_1": made[0], "ord_6": made[5]}
        assert set(found.by_reference) == {("mer_1", "test", "twice"), ("mer_1", "test", "once")}
        twice = found.by_reference["mer_1", "test", "twice"]
        assert twice[0] == made[2]
        assert twice[1] in made[:2]
        assert len(twice) == 2
        assert list(found.by_reference["mer_1", "test", "once"]) == [made[3]]
        nothing = await find_orders(connection, [], [])
        assert (nothing.by_id, nothing.by_reference) == ({}, {})


async def test_an_order_is_known_to_its_tenant_only(payments: Store) -> None:
    async with transaction(payments.pool) as connection:
        await save_orders(connection, [known()])
    assert await read_own(payments.pool, "mer_1", "test", "ord_1") == known()
    assert await read_own(payments.pool, "mer_1", "live", "ord_1") is None
    assert await read_own(payments.pool, "mer_1", "test", "ord_2") is None
    names = [("mer_2", "test", "ord_1"), ("mer_1", "test", "ord_1"), ("mer_1", "test", "ord_2")]
    places = [Place(*name) for name in (*names, names[1])]
    assert await read_at(payments.pool, places) == [None, known(), None, known()]
