"""Unmatched money, what the payment service measures, and what must hold in it."""

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from services.payments import jobs
from services.payments.core.state import Item
from services.payments.store import events, unmatched
from services.payments.store.unmatched import Due, End, ItemFilter
from shared.clock import utc_now
from shared.contracts.payments import UnmatchedStatus
from shared.postgres import transaction
from shared.writes import write
from tests.contract.stores.samples import NOW, SECOND, item, kept, sent
from tests.contract.stores.store import Store, rolled_back, waits


async def opened(payments: Store, *items: Item) -> list[str]:
    async with transaction(payments.pool) as connection:
        return [each.money.unmatched_money_id for each in await unmatched.open_items(connection, items)]


async def ended(payments: Store, *ends: End) -> list[Item]:
    async with transaction(payments.pool) as connection:
        return await unmatched.end_items(connection, ends, NOW + SECOND)


async def read(payments: Store, name: str = "um_1", merchant_id: str = "mer_1", environment: str = "test") -> Any:
    found = await unmatched.read_item(payments.pool, name, merchant_id, environment)
    return None if found is None else found.money


async def test_an_item_is_opened_once(payments: Store) -> None:
    assert await opened(payments) == []
    assert sorted(await opened(payments, item(), item("um_2"), item())) == ["um_1", "um_2"]
    assert await opened(payments, item(detail="Again."), item("um_3", amount_money=None)) == ["um_3"]
    assert await read(payments) == item().money
    assert await read(payments, "um_3") == item("um_3", amount_money=None).money
    assert [await read(payments, "um_9"), await read(payments, merchant_id="mer_2")] == [None, None]
    assert await read(payments, environment="live") is None


async def test_what_came_back_is_opened_with_its_reason_and_its_old_item_names_it(payments: Store) -> None:
    again = item("um_2", split_from="um_1", refusal="refund_failed")
    await opened(payments, item(), again)
    assert await read(payments, "um_2") == again.money
    old = item(status="returned", replaced_by="um_2", version=2)
    async with transaction(payments.pool) as connection:
        await unmatched.change_items(connection, [old])
    assert await read(payments) == old.money


async def test_who_opens_an_item_that_is_being_opened_waits(payments: Store) -> None:
    async with transaction(payments.pool) as first:
        await unmatched.open_items(first, [item()])
        second = asyncio.create_task(opened(payments, item("um_2"), item()))
        assert await waits(second)
    assert await second == ["um_2"]
    async with rolled_back(payments) as first:
        await unmatched.open_items(first, [item("um_3")])
        third = asyncio.create_task(opened(payments, item("um_3")))
        assert await waits(third)
    assert await third == ["um_3"]


async def test_an_open_item_ends_once(payments: Store) -> None:
    await opened(payments, item("um_1", order_id="ord_1"), item("um_2", order_id="ord_2"), item("um_3"))
    assert await ended(payments) == []
    found = await ended(
        payments, End("um_1", "attached", "ord_9"), End("um_2", "replaced", None, "um_3"), End("um_9", "attached", None)
    )
    later = NOW + SECOND
    assert sorted(found, key=lambda each: each.money.unmatched_money_id) == [
        item("um_1", status="attached", order_id="ord_9", resolved_at=later, version=2),
        item("um_2", status="replaced", order_id="ord_2", replaced_by="um_3", resolved_at=later, version=2),
    ]
    assert await ended(payments, End("um_1", "replaced", None), End("um_2", "attached", None)) == []
    assert await read(payments) == found[[each.money.unmatched_money_id for each in found].index("um_1")].money


async def test_of_two_that_end_an_item_one_does(payments: Store) -> None:
    await opened(payments, item())
    async with transaction(payments.pool) as first:
        assert len(await unmatched.end_items(first, [End("um_1", "attached", "ord_1")], NOW)) == 1
        second = asyncio.create_task(ended(payments, End("um_1", "replaced", "ord_2")))
        assert await waits(second)
    assert await second == []
    assert (await read(payments)).status == "attached"


async def test_lists_are_filtered_and_go_back_in_time(payments: Store) -> None:
    await opened(
        payments,
        item("um_1", at=NOW),
        item("um_2", at=NOW + 2 * SECOND, order_id="ord_1", kind="surplus"),
        item("um_3", at=NOW + 2 * SECOND, channel_id="chn_2"),
        item("um_4", at=NOW + SECOND, order_id="ord_1"),
        Item("mer_2", "test", "cev_1", item("um_5").money),
        Item("mer_1", "live", "cev_1", item("um_6").money),
    )
    await ended(payments, End("um_4", "attached", None))

    async def listed(
        after: tuple[datetime, str] | None = None, limit: int = 9, equal: dict[str, str] | None = None, **bounds: Any
    ) -> list[str]:
        wanted = ItemFilter("mer_1", "test", equal or {}, **bounds)
        return [each.unmatched_money_id for each in await unmatched.list_items(payments.pool, wanted, after, limit)]

    assert await listed() == ["um_3", "um_2", "um_4", "um_1"]
    assert await listed(limit=2) == ["um_3", "um_2"]
    assert await listed((NOW + 2 * SECOND, "um_3")) == ["um_2", "um_4", "um_1"]
    assert await listed((NOW + SECOND, "um_4"), limit=1) == ["um_1"]
    assert await listed(equal={"status": "open"}) == ["um_3", "um_2", "um_1"]
    assert await listed(equal={"order_id": "ord_1", "kind": "surplus"}) == ["um_2"]
    assert await listed(equal={"channel_id": "chn_web", "status": "open"}, created_from=NOW + SECOND) == ["um_2"]
    assert await listed(created_from=NOW + SECOND, created_before=NOW + 2 * SECOND) == ["um_4"]
    assert await listed((NOW + 2 * SECOND, "um_2"), equal={"status": "open"}, created_before=NOW + SECOND) == ["um_1"]


async def test_open_items_are_measured_by_kind(payments: Store) -> None:
    await opened(
        payments,
        item("um_1", at=NOW + SECOND),
        item("um_2", at=NOW),
        item("um_3", kind="surplus"),
        item("um_4", at=NOW - SECOND),
    )
    await ended(payments, End("um_4", "attached", None))
    await overdue(payments, NOW + SECOND)
    for days, ages in ((1, (1, 0, 0)), (7, (2, 1, 0)), (30, (2, 2, 1))):
        rows = await payments.pool.fetch(jobs._OPEN_ITEMS, NOW + timedelta(days=days) + SECOND)
        names = ("items", "oldest", "overdue", "day", "week", "month")
        assert {row["kind"]: tuple(row[name] for name in names) for row in rows} == {
            "unknown_order": (2, NOW, 1, *ages),
            "surplus": (1, NOW, 1, 1, int(days > 1), int(days > 7)),
        }


async def overdue(payments: Store, before: datetime, status: UnmatchedStatus = "open") -> int:
    async with transaction(payments.pool) as connection:
        return await unmatched.mark_overdue(connection, before, status, NOW)


async def test_what_is_overdue_is_marked_once(payments: Store) -> None:
    await opened(
        payments,
        item("um_1", at=NOW),
        item("um_2", at=NOW + SECOND),
        item("um_3", kind="conflict"),
        item("um_4", event_type="channel.payment.refunded.v1"),
        item("um_5", event_type="channel.payment.authorized.v1", kind="currency"),
        item("um_6"),
    )
    await ended(payments, End("um_6", "attached", None))
    assert await overdue(payments, NOW + SECOND, "return_due") == 4
    found = [await read(payments, f"um_{number}") for number in range(1, 7)]
    assert [(each.status, each.version) for each in found] == [
        ("return_due", 2),
        ("open", 1),
        ("open", 2),
        ("open", 2),
        ("return_due", 2),
        ("attached", 2),
    ]
    assert [each.overdue_at for each in found] == [NOW, None, NOW, NOW, NOW, None]
    assert await overdue(payments, NOW + SECOND, "return_due") == 0
    [end] = await ended(payments, End("um_1", "attached", "ord_1"))
    assert (end.money.status, end.money.version) == ("attached", 3)


async def locked(payments: Store, *place: str) -> Any:
    async with transaction(payments.pool) as connection:
        found = await unmatched.lock_item(connection, *place)
    return found and (found[0].money.unmatched_money_id, *found[1:])


async def test_an_item_is_locked_with_the_event_that_counts_for_it(payments: Store) -> None:
    event = kept("a")
    async with transaction(payments.pool) as connection:
        await write(connection, events.new_events([event], NOW))
    same = item("um_1", event="cev_a")
    said = {"event": event.event.model_dump(mode="json", exclude_none=True)}
    await opened(payments, replace(same, money=same.money.model_copy(update=said)), item("um_2", event="cev_a"))
    await opened(payments, item("um_3", event="cev_none"))
    whose = ("mer_1", "test")
    assert await locked(payments, "um_1", *whose) == ("um_1", event.status, False)
    assert await locked(payments, "um_2", *whose) == ("um_2", event.status, True)
    assert await locked(payments, "um_3", *whose) == ("um_3", None, False)
    for nobody in (("um_1", "mer_2", "test"), ("um_1", "mer_1", "live"), ("um_9", *whose)):
        assert await locked(payments, *nobody) is None
    async with transaction(payments.pool) as first:
        assert await unmatched.lock_item(first, "um_3", *whose) is not None
        task = asyncio.create_task(locked(payments, "um_3", *whose))
        assert await waits(task)
    assert await task == ("um_3", None, False)


async def test_items_are_found_by_what_their_order_was_asked_last(payments: Store) -> None:
    await opened(payments, *(item(f"um_{number}") for number in range(1, 5)))
    asked = [
        replace(item("um_1", status="returning", return_reference="r"), attempt=1, asked_at=NOW),
        replace(item("um_2", status="attaching", attaching_to="ord_1", note="n"), attempt=2, asked_at=NOW),
        replace(item("um_3", status="returned", resolved_at=NOW), attempt=1, asked_at=NOW),
        replace(item("um_4", status="open", refusal="NO"), attempt=1, asked_at=NOW),
    ]
    async with transaction(payments.pool) as connection:
        await unmatched.change_items(connection, asked)
    async with transaction(payments.pool) as connection:
        found = await unmatched.lock_asked(connection, ["um_2.2", "um_1.1", "um_2.1", "um_3.1", "um_4.1", "um_9.1"])
    assert found == {"um_1.1": asked[0], "um_2.2": asked[1]}
    assert [(await read(payments, f"um_{number}")) for number in (3, 4)] == [asked[2].money, asked[3].money]


def due(name: str, method: Any, **fields: Any) -> Item:
    """Surplus of an intent that is due to go back."""
    known = {"status": "return_due", "channel_id": "chn_payment_intents", "kind": "surplus"}
    made = item(name, **known | fields)
    return replace(made, money=made.money.model_copy(update={"event": {"method": method}}))


async def test_what_is_due_to_go_back_is_found_where_its_processor_has_not_refused(payments: Store) -> None:
    card = {"type": "card", "last4": None}
    await opened(
        payments,
        due("um_1", card, created_at=NOW + SECOND),
        due("um_2", {"type": "wallet"}),
        due("um_3", card, status="open"),
        due("um_4", card, channel_id="chn_web"),
        due("um_5", {"type": "cash"}),
        due("um_6", None),
        due("um_7", card),
    )
    async with transaction(payments.pool) as connection:
        await unmatched.change_items(connection, [due("um_7", card, refusal="refund_failed", version=2)])
    found = await unmatched.to_give_back(payments.pool, 10)
    assert found == [Due("um_2", "mer_1", "test", 1), Due("um_1", "mer_1", "test", 1)]
    assert await unmatched.to_give_back(payments.pool, 1) == found[:1]


async def test_what_somebody_decides_about_is_not_marked_and_does_not_hold_up_the_rest(payments: Store) -> None:
    await opened(payments, item("um_1"), item("um_2"))
    async with rolled_back(payments) as first:
        await unmatched.end_items(first, [End("um_1", "attached", None)], NOW)
        assert await overdue(payments, NOW + SECOND) == 1
    assert [(await read(payments, name)).overdue_at for name in ("um_1", "um_2")] == [None, NOW]


async def test_commands_without_a_reply_are_counted_after_a_minute(payments: Store) -> None:
    async with transaction(payments.pool) as connection:
        await write(connection, events.new_events([sent("a"), kept("b"), sent("c", status="applied")], NOW))

    async def unanswered(after: timedelta) -> Any:
        return await payments.pool.fetchval(jobs._UNANSWERED, NOW + after)

    minute = timedelta(minutes=1)
    assert [await unanswered(minute), await unanswered(minute + SECOND)] == [0, 1]
    names = ("um_1", "um_2", "um_3")
    await opened(payments, *map(item, names))
    ways: tuple[tuple[UnmatchedStatus, datetime | None], ...] = (
        ("attaching", NOW),
        ("returning", NOW),
        # It waits for its processor.
        ("returning", None),
    )
    async with transaction(payments.pool) as connection:
        asked = [replace(item(name, status=how), asked_at=at) for name, (how, at) in zip(names, ways, strict=True)]
        await unmatched.change_items(connection, asked)
    assert [await unanswered(minute), await unanswered(minute + SECOND)] == [0, 3]


async def test_whose_money_is_set_aside_is_found_by_what_its_order_was_asked(payments: Store) -> None:
    ours: dict[str, Any] = {"channel_id": "chn_ours", "status": "returning"}
    made = [
        item("um_1", event="pi_1.fact.2", **ours),
        item("um_2", event="pi_2.fact.2", **ours, return_reference="sbm_1"),
        item("um_3", event="pi_3.fact.2", **ours | {"status": "open"}),
        item("um_4", event="pi_4.fact.2", **ours | {"channel_id": "chn_web"}),
        item("um_5", event="pi_5.fact.2", **ours),
    ]
    await opened(payments, *made)
    async with transaction(payments.pool) as connection:
        await unmatched.change_items(connection, [replace(each, attempt=1, asked_at=NOW) for each in made])
        asked = [f"um_{number}.1" for number in range(1, 5)]
        assert await unmatched.collected_by(connection, asked, "chn_ours") == ["pi_1.fact.2"]


async def broken(payments: Store) -> list[int]:
    """What `jobs.INVARIANTS` count of channel events."""
    names = ("applied_has_version", "sent_has_command", "money_without_order_is_shown")
    return [await payments.pool.fetchval(jobs.INVARIANTS[name]) for name in names]


async def test_what_contradicts_is_counted(payments: Store) -> None:
    now = utc_now()
    async with transaction(payments.pool) as connection:
        made = [
            sent("a", status="applied", order_version=3),
            sent("b"),
            kept("c"),
            kept("d", status="held"),
            kept("e", status="refused"),
        ]
        await write(connection, events.new_events(made, now))
    await opened(payments, item("um_1", event="cev_c"), item("um_2", event="cev_d"))
    assert await broken(payments) == [0, 0, 0]
    async with transaction(payments.pool) as connection:
        made = [sent("f", status="applied"), sent("g", order_id=None), kept("i"), kept("j", status="held")]
        await write(connection, events.new_events(made, now))
        await write(connection, events.new_events([sent("h", attempt=0)], now))
    await opened(payments, item("um_3", event="cev_j", kind="surplus"))
    assert await broken(payments) == [1, 2, 2]
    async with transaction(payments.pool) as connection:
        long_ago = now - timedelta(minutes=11)
        await write(connection, events.new_events([sent("k", status="applied"), sent("l", order_id=None)], long_ago))
    assert await broken(payments) == [1, 3, 2]
