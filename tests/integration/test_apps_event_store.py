"""Where events are kept: seen in the order of their positions, each once, and gone by the week."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from services.apps.connectors.kafka_topics import KafkaTopics
from services.apps.consumers import EventsConsumer
from services.apps.core.event_types import Reader
from services.apps.core.events import Happened, Origin, PublicEvent, Version, public_events
from services.apps.fan_out import FanOut
from services.apps.fan_out import stop as stop_fan_out
from services.apps.jobs import KeepEventsJob
from services.apps.store import events as store
from services.apps.store import partitions, plugin_topics
from services.apps.store.events import EventFilter
from shared.clock import utc_now
from shared.contracts.access import Grant
from shared.envelope import Envelope
from shared.faults import Transient
from shared.ids import new_id
from shared.postgres import Connection, Pool, transaction
from shared.topics import ORDERS_EVENTS, plugin_topic
from tests.apps import let_in, run, version_of
from tests.stack import Stack, eventually, headers_of

pytestmark = pytest.mark.servers

READER = Reader({"orders.read"})
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.fixture
async def pool(stack: Stack) -> AsyncIterator[Pool]:
    made = Pool(stack.settings.database_url.get_secret_value(), "apps", 10)
    await made.open()
    await partitions.ensure(made, [partitions.week_of(NOW)])
    yield made
    await made.close()


@dataclass(frozen=True)
class Kept:
    """A record as a consumer gets it."""

    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]
    topic: str = ORDERS_EVENTS
    partition: int = 0
    offset: int = 0


def record_of(envelope: Envelope) -> Kept:
    headers = [(name, value.encode()) for name, value in envelope.headers().items()]
    return Kept((envelope.key or "").encode(), envelope.data, headers)


def grant_for(tenant: tuple[str, str]) -> Grant:
    grant_id = new_id("grt")
    return Grant(
        grant_id=grant_id,
        credential_hash=grant_id,
        kind="installation",
        merchant_id=tenant[0],
        environment="test",
        scopes=("orders.read",),
    )


def event(merchant_id: str, order_id: str, version: int = 1, at: datetime = NOW) -> PublicEvent:
    told = Version(
        order_id=order_id,
        version=version,
        merchant_id=merchant_id,
        environment="test",
        recorded_at=at,
        currency="EUR",
        actor=Origin("key", "key_1"),
        cause=None,
        happened=(Happened("orders.order_created.v1", {}),),
        order=b'{"order_id":"%b"}' % order_id.encode(),
    )
    return public_events(told)[0]


async def keep(pool: Pool, *events: PublicEvent) -> None:
    async with transaction(pool) as connection:
        await store.append(connection, await store.unknown(connection, events))


async def test_an_event_is_kept_whole_and_once(pool: Pool) -> None:
    tenant = (new_id("mer"), "test")
    one, two = (event(tenant[0], new_id("ord")) for _ in range(2))
    await keep(pool, one, one)
    await keep(pool, one, two, two)
    kept, _ = await store.page(pool, EventFilter(tenant, READER), None, 10)
    assert [placed.event for placed in kept] == [two, one]
    assert (await store.read(pool, tenant, one.event_id)) == kept[1]
    assert kept[1].event.body() == one.body()


async def test_nothing_becomes_visible_below_what_was_seen(pool: Pool) -> None:
    """A transaction that wrote first and commits last is not overtaken: who comes later waits for it."""
    tenant = (new_id("mer"), "test")
    first, second = event(tenant[0], new_id("ord")), event(tenant[0], new_id("ord"))
    seen: list[list[str]] = []

    async def look() -> None:
        found = await store.following(pool, EventFilter(tenant, READER), 0, 10)
        seen.append([placed.event.event_id for placed in found])

    async with transaction(pool) as slow:
        await store.append(slow, [first])
        quick = asyncio.create_task(keep(pool, second))
        await asyncio.sleep(0.3)
        assert not quick.done()
        await look()
    await quick
    await look()
    assert seen == [[], [first.event_id, second.event_id]]


async def test_two_processes_with_the_same_events_keep_them_once(pool: Pool) -> None:
    """Both think that the event is new; what the second did for it is undone, and it finds the event known."""
    tenant = (new_id("mer"), "test")
    same = event(tenant[0], new_id("ord"))
    async with transaction(pool) as ahead:
        await store.append(ahead, await store.unknown(ahead, [same]))

        async def behind() -> None:
            async with transaction(pool) as connection:
                assert await store.unknown(connection, [same]) == [same]
                await plugin_topics.begin(connection, [tenant[0]], 0, NOW)
                await store.append(connection, [same])

        late = asyncio.create_task(behind())
        await asyncio.sleep(0.3)
    with pytest.raises(Transient):
        await late
    assert await plugin_topics.read(pool, tenant[0]) is None
    async with transaction(pool) as connection:
        assert await store.unknown(connection, [same]) == []


async def test_a_follower_that_fails_undoes_the_batch(pool: Pool) -> None:
    merchant_id, order_id = new_id("mer"), new_id("ord")
    told: list[str] = []
    failing = True

    async def follower(connection: Connection, events: object) -> None:
        told.append("again" if told else "first")
        if failing:
            raise Transient("not now")

    consumer = EventsConsumer(pool, lambda: datetime.now(UTC), lambda: None, [follower], timedelta(days=90))
    record = record_of(version_of((merchant_id, "test"), order_id, 1))
    with pytest.raises(Transient):
        await consumer([record])
    assert await store.page(pool, EventFilter((merchant_id, "test"), READER), None, 10) == ([], False)
    failing = False
    assert await consumer([record, record]) == [None, None]
    assert await consumer([record]) == [None]
    assert told == ["first", "again"]
    assert len((await store.page(pool, EventFilter((merchant_id, "test"), READER), None, 10))[0]) == 1


async def test_weeks_come_ahead_of_time_and_go_when_they_are_over(stack: Stack, pool: Pool) -> None:
    """Long ago, so that no other test's events go."""

    async def weeks() -> set[date]:
        rows = await run(
            stack,
            "SELECT relname FROM pg_inherits JOIN pg_class ON oid = inhrelid WHERE inhparent = 'events'::regclass",
        )
        return {date.fromisoformat(row["relname"].removeprefix("events_w")) for row in rows}

    now = datetime(2001, 6, 15, 12, tzinfo=UTC)
    before = await weeks()
    merchant_id, order_id = new_id("mer"), new_id("ord")
    old = event(merchant_id, order_id, 1, at=now - timedelta(days=98))
    young = event(merchant_id, order_id, 2, at=now - timedelta(days=90))
    with pytest.raises(asyncpg.CheckViolationError):
        await keep(pool, old)
    await partitions.ensure(pool, {partitions.week_of(old.created_at), partitions.week_of(young.created_at)})
    await keep(pool, old, young)

    await KeepEventsJob(pool, lambda: now, timedelta(days=90))()
    assert await weeks() - before == {
        partitions.week_of(young.created_at),
        *(partitions.week_of(now + timedelta(days=7 * ahead)) for ahead in range(3)),
    }
    kept, _ = await store.page(pool, EventFilter((merchant_id, "test"), READER), None, 10)
    assert [placed.event for placed in kept] == [young]
    # What has gone is neither kept nor followed again.
    told: list[object] = []

    async def follower(_: Connection, events: object) -> None:
        told.append(events)

    late = version_of((merchant_id, "test"), order_id, 1)
    consumer = EventsConsumer(
        pool, lambda: datetime.now(UTC) + timedelta(days=91), lambda: None, [follower], timedelta(days=90)
    )
    assert await consumer([record_of(late)]) == [None]
    assert told == []
    await partitions.drop_before(pool, now + timedelta(days=30))
    assert await weeks() == before


async def test_a_topic_is_ready_only_when_nobody_still_thinks_that_it_is_not(stack: Stack, pool: Pool) -> None:
    """And an app's rights are gone only when nobody still thinks that it has them."""
    app_id, tenant = new_id("app"), (new_id("mer"), "test")
    await let_in(stack, [(app_id, grant_for(tenant))])
    await KafkaTopics(stack.settings.kafka).provide(app_id)
    missed, later = (event(tenant[0], new_id("ord")) for _ in range(2))
    fan_out = FanOut(pool, utc_now, lambda: None)

    async def under_way(told: PublicEvent, waiting: Coroutine[Any, Any, Any]) -> None:
        async with transaction(pool) as connection:
            followed = await fan_out.follow(connection, [told])
            waits = asyncio.create_task(waiting)
            await asyncio.sleep(0.5)
            assert not waits.done()
            await store.append(connection, [told], followed)
        await waits

    async def stop() -> None:
        async with transaction(pool) as connection:
            await stop_fan_out(connection, app_id, [tenant])

    async def filled() -> None:
        await eventually(lambda: fan_out.fill(app_id))

    async with transaction(pool) as connection:
        await plugin_topics.begin(connection, [app_id], await store.newest_position(connection), NOW)
    await under_way(missed, filled())
    [read] = await stack.read(plugin_topic(app_id), missed.order_id, 1)
    assert headers_of(read)["ce_id"] == missed.event_id
    await under_way(later, stop())


async def test_a_topic_is_filled_once_whoever_does_it(stack: Stack, pool: Pool) -> None:
    """1,200 events wait for a topic, others come meanwhile, and three processes fill it beside each other."""
    app_id, tenant, order_id = new_id("app"), (new_id("mer"), "test"), new_id("ord")
    await let_in(stack, [(app_id, grant_for(tenant))])
    await KafkaTopics(stack.settings.kafka).provide(app_id)
    clock, wake = utc_now, lambda: None
    consumer = EventsConsumer(pool, clock, wake, [FanOut(pool, clock, wake).follow], timedelta(days=90))

    async def versions(begin: int, end: int) -> None:
        for number in range(begin, end, 100):
            records = [record_of(version_of(tenant, order_id, number + step)) for step in range(100)]
            assert await consumer(records) == [None] * 100

    async def fill() -> None:
        while not await FanOut(pool, clock, wake).fill(app_id):
            pass

    await versions(1, 1_201)
    await asyncio.gather(versions(1_201, 1_801), fill(), fill())
    read = await stack.read(plugin_topic(app_id), order_id, 1_800)
    assert [int(headers_of(record)["ce_orderversion"]) for record in read] == list(range(1, 1_801))
