"""The payment service's transactions and jobs on a real database: two workers at once, races, what a crash leaves."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from importlib import import_module
from typing import Any

import pytest
from prometheus_client import REGISTRY

from services.payments.answers import settle_all
from services.payments.channels import ChannelLife
from services.payments.core.state import Arrival, Channel, KnownOrder
from services.payments.ingestion import take_in
from services.payments.jobs import INVARIANTS, MatchWaitingJob, MeasureJob
from services.payments.store import channels, events, orders, unmatched
from services.payments.store.channels import ChannelRow
from services.payments.store.unmatched import ItemFilter
from shared.clock import utc_now
from shared.contracts.channels import CHANNEL_EVENTS
from shared.contracts.orders import CommandAccepted, CommandRefused
from shared.ids import new_id
from shared.invariants import CheckInvariantsJob
from shared.outbox import OUTBOX_TABLE
from shared.postgres import Pool, transaction
from shared.settings import KafkaSettings
from tests.schemas import schema_with
from tests.servers import Servers

pytestmark = pytest.mark.servers

CHANNEL = Channel("chn_web", "mer_1", "test", "active", "checkout")
NOW = utc_now()
ORDER = KnownOrder("ord_1", "mer_1", "test", "web-1", "EUR", "open", 9000, 1)


@pytest.fixture
async def pool(servers: Servers) -> AsyncIterator[Pool]:
    made = import_module("services.payments.migrations.versions.0001_channels")
    tables = (made.CHANNELS, made.CHANNEL_PAYMENTS, made.CHANNEL_EVENTS, made.KNOWN_ORDERS, made.UNMATCHED_MONEY)
    later = import_module("services.payments.migrations.versions.0004_ends_of_unmatched_money")
    intents = import_module("services.payments.migrations.versions.0005_payment_intents")
    tables = (*tables, later.UNMATCHED_MONEY, later.KNOWN_ORDERS, intents.PAYMENT_INTENTS, intents.PAYMENT_ATTEMPTS)
    async with schema_with(servers.database_url, ";".join([*tables, OUTBOX_TABLE])) as pool:
        yield pool


def captured(reference: str, **more: Any) -> Arrival:
    body = {"order_id": "ord_1", "payment_reference": reference, "amount_money": {"amount": 9000, "currency": "EUR"}}
    event = CHANNEL_EVENTS["channel.payment.captured.v1"].model_validate(body | more)
    return Arrival(CHANNEL, new_id("evt"), event)


async def take(pool: Pool, *arrivals: Arrival) -> list[str]:
    async with transaction(pool) as connection:
        return [taken.outcome for taken in await take_in(connection, arrivals, NOW)]


async def settle(pool: Pool, *replies: CommandAccepted | CommandRefused) -> int:
    async with transaction(pool) as connection:
        return await settle_all(connection, replies, NOW)


async def commands(pool: Pool) -> list[str]:
    rows = await pool.fetch("SELECT id FROM outbox WHERE aggregatetype = 'orders.commands' ORDER BY seq")
    return [row["id"] for row in rows]


async def statuses(pool: Pool) -> list[str]:
    rows = await pool.fetch("SELECT status FROM channel_events ORDER BY channel_event_id")
    return [row["status"] for row in rows]


def metric(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(f"throughline_payments_{name}", labels)


def broken(invariant: str) -> float | None:
    return REGISTRY.get_sample_value("throughline_broken_invariants", {"service": "payments", "invariant": invariant})


async def test_workers_that_take_the_same_events_at_once_send_each_command_once(pool: Pool) -> None:
    told = [captured(f"psp-{number}") for number in range(30)]
    known = [captured(arrival.event.payment_reference, capture_reference="c0") for arrival in told]
    await take(pool, *known)
    batches = [told, told[::-1], told[10:] + told[:10], told[::2] + told[1::2]]
    outcomes = await asyncio.gather(*(take(pool, *batch) for batch in batches))
    counted = [outcome for batch in outcomes for outcome in batch]
    assert (counted.count("accepted"), counted.count("duplicate")) == (30, 90)
    assert sorted(await commands(pool)) == sorted(arrival.channel_event_id for arrival in [*known, *told])


async def test_a_payment_that_one_order_took_is_not_one_of_another(pool: Pool) -> None:
    first = captured("psp-1")
    await take(pool, first)
    accepted = CommandAccepted(command_id=first.channel_event_id, order_id="ord_1", order_version=2)
    assert await settle(pool, accepted) == 1
    assert await settle(pool, accepted) == 0
    assert await take(pool, captured("psp-1", order_id="ord_2", capture_reference="c2")) == ["conflict"]
    assert await take(pool, captured("psp-1", order_id="ord_2", capture_reference="c2")) == ["conflict"]
    [item] = await unmatched.list_items(pool, ItemFilter("mer_1", "test"), None, 10)
    assert (item.kind, item.order_id) == ("conflict", "ord_2")
    assert await commands(pool) == [first.channel_event_id]


async def test_outcomes_are_told_in_the_order_of_the_replies(pool: Pool) -> None:
    told = sorted((captured(f"psp-{number}") for number in range(5)), key=lambda one: one.channel_event_id)
    await take(pool, *told)
    ids = [arrival.channel_event_id for arrival in (told[2], told[4], told[0], told[3], told[1])]
    accepted = [
        CommandAccepted(command_id=command_id, order_id="ord_1", order_version=version)
        for version, command_id in enumerate(ids, 2)
    ]
    assert await settle(pool, *accepted) == 5
    rows = await pool.fetch("SELECT id FROM outbox WHERE aggregatetype = 'payments.events' ORDER BY seq")
    assert [row["id"] for row in rows] == [f"{command_id}.applied" for command_id in ids]


async def test_an_order_that_appears_while_its_event_begins_to_wait_is_found_by_the_job(pool: Pool) -> None:
    told = captured("psp-1")
    await take(pool, told)
    refused = CommandRefused(command_id=told.channel_event_id, order_id="ord_1", order_version=0, code="NOT_FOUND")
    assert await settle(pool, refused) == 1
    assert await statuses(pool) == ["waiting"]
    woken: list[bool] = []
    job = MatchWaitingJob(pool, utc_now, lambda: woken.append(True))
    await job()
    assert (await statuses(pool), woken) == (["waiting"], [])
    async with transaction(pool) as connection:
        await orders.save_orders(connection, [ORDER])
    await job()
    assert (await statuses(pool), woken) == (["sent"], [True])
    second = f"{told.channel_event_id}.2"
    assert await commands(pool) == [told.channel_event_id, second]
    assert await settle(pool, refused) == 0
    assert await settle(pool, CommandAccepted(command_id=second, order_id="ord_1", order_version=2)) == 1
    [item] = await unmatched.list_items(pool, ItemFilter("mer_1", "test"), None, 10)
    assert (item.kind, item.status, item.order_id) == ("unknown_order", "attached", "ord_1")


async def test_an_item_is_replaced_when_its_order_refuses_the_money(pool: Pool) -> None:
    told = captured("psp-1", order_id=None, external_reference="web-1")
    assert await take(pool, told) == ["unmatched"]
    async with transaction(pool) as connection:
        await orders.save_orders(connection, [ORDER])
    await MatchWaitingJob(pool, utc_now, lambda: None)()
    refusal = {"order_id": "ord_1", "order_version": 1, "code": "CURRENCY_MISMATCH", "detail": "Another currency."}
    assert await settle(pool, CommandRefused.model_validate(refusal | {"command_id": told.channel_event_id})) == 1
    wanted = ItemFilter("mer_1", "test")
    found = {item.status: item for item in await unmatched.list_items(pool, wanted, None, 10)}
    assert (found["open"].kind, found["open"].detail) == ("currency", "Another currency.")
    assert (found["replaced"].kind, found["replaced"].replaced_by) == (
        "unknown_order",
        found["open"].unmatched_money_id,
    )


async def test_an_event_is_not_sent_for_ever(pool: Pool) -> None:
    await take(pool, captured("psp-1"))
    async with transaction(pool) as connection:
        await orders.save_orders(connection, [ORDER])
    await pool.execute("UPDATE channel_events SET status = 'waiting', attempt = $1", events.MOST_ATTEMPTS)
    await MatchWaitingJob(pool, utc_now, lambda: None)()
    assert await statuses(pool) == ["waiting"]


async def test_an_older_version_of_an_order_changes_nothing(pool: Pool) -> None:
    newer = KnownOrder("ord_1", "mer_1", "test", "web-1", "EUR", "closed", 0, 3)
    for each in (ORDER, newer, ORDER):
        async with transaction(pool) as connection:
            await orders.save_orders(connection, [each])
    async with transaction(pool) as connection:
        assert await orders.read_orders(connection, ["ord_1"]) == {"ord_1": newer}


async def test_what_waits_is_measured_and_what_contradicts_is_counted(pool: Pool) -> None:
    await take(pool, captured("psp-1"), captured("psp-2", order_id="none"))
    later = NOW + timedelta(minutes=2)
    await MeasureJob(pool, lambda: later)()
    assert metric("unmatched_open", kind="unknown_order") == 1
    assert metric("unmatched_oldest_seconds") == 120
    assert metric("commands_unanswered") == 1
    await CheckInvariantsJob(pool, "payments", INVARIANTS)()
    assert [
        REGISTRY.get_sample_value("throughline_broken_invariants", {"service": "payments", "invariant": name})
        for name in INVARIANTS
    ] == [0] * len(INVARIANTS)
    await pool.execute(
        "UPDATE channel_events SET status = 'applied', order_version = NULL, changed_at = now() WHERE status = 'sent'"
    )
    await pool.execute("DELETE FROM unmatched_money")
    await CheckInvariantsJob(pool, "payments", INVARIANTS)()
    assert [
        REGISTRY.get_sample_value("throughline_broken_invariants", {"service": "payments", "invariant": name})
        for name in INVARIANTS
    ] == [0, 1, 0, 1]


async def test_what_a_crash_left_of_a_channel_is_finished(pool: Pool, servers: Servers) -> None:
    made, ended, young = new_id("chn"), new_id("chn"), new_id("chn")
    long_ago = NOW - timedelta(minutes=5)
    async with transaction(pool) as connection:
        for channel_id, status, at in (
            (made, "provisioning", long_ago),
            (ended, "disabling", long_ago),
            (young, "provisioning", utc_now()),
        ):
            row = ChannelRow(channel_id, "mer_1", "test", "Web", None, status, at, at)  # type: ignore[arg-type]
            assert await channels.insert(connection, row)
            assert not await channels.insert(connection, row)
    life = ChannelLife(pool, KafkaSettings(bootstrap_servers=servers.kafka_bootstrap_servers), utc_now)
    await life.finish()
    await life.finish()
    known = await channels.channels_by_id(pool, [made, ended, young])
    assert {key: channel.status for key, channel in known.items()} == {
        made: "active",
        ended: "disabled",
        young: "provisioning",
    }
