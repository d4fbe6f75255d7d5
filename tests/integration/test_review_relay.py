"""What the relay reads and whom it shares with, on a real database."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer
from pydantic import SecretStr

from shared.envelope import Envelope
from shared.kafka import client_options
from shared.kafka_admin import KafkaAdmin
from shared.outbox import OUTBOX_TABLE, SHARDS, OutboxMessage, drop, put, topics_together
from shared.outbox_floor import _AGE_S, Floor, running
from shared.postgres import Pool, connect, transaction
from shared.relay import (
    _BYTES_PER_FLUSH,
    _MEMBERS_LOCK,
    Relay,
    Wake,
    _number,
    announce,
    notification_of,
)
from shared.settings import KafkaSettings, Settings
from shared.topics import TopicSpec
from tests.schemas import schema_with
from tests.servers import Servers
from tests.stack import eventually

pytestmark = pytest.mark.servers

MESSAGE = OutboxMessage("t", Envelope("evt_1", "t.v1", "/tests", b"{}", key="ord_1"))


@pytest.fixture
async def pool(servers: Servers) -> AsyncIterator[Pool]:
    async with schema_with(servers.database_url, OUTBOX_TABLE) as pool:
        yield pool


async def test_a_relay_is_woken_by_others_and_not_by_its_own_process(servers: Servers, pool: Pool) -> None:
    """It was woken when its own process committed; the notification would only make it read once more."""
    service = await pool.fetchval("SELECT current_schema()")
    settings = Settings(database_url=SecretStr(servers.database_url))
    mine, other = Wake(), Wake()
    listener = await connect(servers.database_url, service)
    arrived: asyncio.Queue[None] = asyncio.Queue()

    def notified(*told: object) -> None:
        mine.notified(str(told[-1]))
        arrived.put_nowait(None)

    await listener.add_listener(notification_of(service), notified)
    announcing = [asyncio.create_task(announce(settings, service, wake)) for wake in (mine, other)]
    try:
        async with asyncio.timeout(20):
            mine.remote.set()
            await arrived.get()
            assert not mine.local.is_set()
            other.remote.set()
            await arrived.get()
            assert mine.local.is_set()
    finally:
        for task in announcing:
            task.cancel()
        await asyncio.gather(*announcing, return_exceptions=True)
        await listener.close()


async def test_the_relays_of_another_database_on_the_server_take_no_share(servers: Servers, pool: Pool) -> None:
    service = await pool.fetchval("SELECT current_schema()")
    other = f"other_{uuid.uuid4().hex[:8]}"
    owner = await asyncpg.connect(servers.database_url)
    await owner.execute(f"CREATE DATABASE {other}")
    stranger = await asyncpg.connect(servers.database_url, database=other)
    settings = Settings(database_url=SecretStr(servers.database_url))
    mine = await connect(servers.database_url, service)
    try:
        for connection in (stranger, mine):
            await connection.execute("SELECT pg_advisory_lock_shared($1, $2)", _MEMBERS_LOCK, _number(service))
        relay = Relay(settings, service, Wake())
        await relay._share(mine)
        assert relay._shards == set(range(SHARDS))
    finally:
        await mine.close()
        await stranger.close()
        await owner.execute(f"DROP DATABASE {other} WITH (FORCE)")
        await owner.close()


async def test_the_floor_does_not_pass_a_transaction_that_still_runs(servers: Servers, pool: Pool) -> None:
    """However long it takes: a commit that waits for a synchronous replica is ended by no timeout."""
    service = await pool.fetchval("SELECT current_schema()")
    relay = Relay(Settings(database_url=SecretStr(servers.database_url)), service, Wake())
    relay._shards = set(range(SHARDS))
    reader = await connect(servers.database_url, service)
    floor, now = Floor(0.0), 0.0
    read: list[int] = []

    async def turn() -> None:
        nonlocal now
        now += _AGE_S
        assert floor.due(now)
        floor.looked(*await running(reader), now)
        rows = await relay._read(reader, floor.value)
        read.extend(row.seq for row in rows)
        floor.reached(rows[-1].seq if rows else floor.newest)

    try:
        async with pool.acquire() as slow:
            waiting = slow.transaction()
            await waiting.start()
            await put(slow, [MESSAGE])
            async with pool.acquire() as quick:
                await put(quick, [MESSAGE])
            for _ in range(4):
                await turn()
            assert 1 not in read
            assert floor.value < 1, "number 1 may still appear"
            await waiting.commit()
        await turn()
        assert 1 in read
        for _ in range(3):
            await turn()
        assert floor.value == 2
    finally:
        await reader.close()


async def test_what_waits_for_a_topic_is_dropped_and_nothing_else(pool: Pool) -> None:
    def message(name: str, *topics: str, merchant: str = "mer_1", environment: str = "test") -> OutboxMessage:
        told = replace(MESSAGE.envelope, id=name, merchant_id=merchant, environment=environment)
        return OutboxMessage(topics_together(topics), told)

    async def waiting() -> dict[str, str]:
        rows = await pool.fetch("SELECT id, aggregatetype FROM outbox ORDER BY id")
        return {row["id"]: row["aggregatetype"] for row in rows}

    async with transaction(pool) as connection:
        messages = [
            message("alone", "a"),
            message("among", "b", "a", "c"),
            message("begins alike", "aa", "a.b"),
            message("live", "a", "b", environment="live"),
            message("other", "b", "a", merchant="mer_2"),
            message("without", "b"),
        ]
        await put(connection, messages)
        await drop(connection, "a", [("mer_1", "test"), ("mer_3", "live")])
    left = {"among": "b c", "begins alike": "aa a.b", "live": "a b", "other": "b a", "without": "b"}
    assert await waiting() == left
    async with transaction(pool) as connection:
        await drop(connection, "a", [])
    assert await waiting() == left, "nobody's"
    async with transaction(pool) as connection:
        await drop(connection, "a")
    assert await waiting() == {"among": "b c", "begins alike": "aa a.b", "live": "b", "other": "b", "without": "b"}


class SlowKafka:
    """A producer whose acknowledgement takes longer than the server lets a session idle."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    @property
    def client(self) -> "SlowKafka":
        return self

    @property
    def cluster(self) -> "SlowKafka":
        return self

    async def set_topics(self, topics: object) -> bool:
        return True

    def partitions_for_topic(self, topic: str) -> set[int]:
        return {0}

    def create_batch(self) -> "SlowKafka":
        return self

    def append(self, **message: object) -> object:
        return message

    async def send_batch(self, batch: object, topic: str, partition: int) -> asyncio.Future[None]:
        acknowledged = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(self.seconds, acknowledged.set_result, None)
        return acknowledged


async def test_what_kafka_takes_slowly_is_published_once(servers: Servers, pool: Pool) -> None:
    service = await pool.fetchval("SELECT current_schema()")
    async with transaction(pool) as connection:
        await put(connection, [MESSAGE])
    relay = Relay(Settings(database_url=SecretStr(servers.database_url)), service, Wake())
    relay._shards = set(range(SHARDS))
    reader = await connect(servers.database_url, service, idle_session_timeout="2500ms")
    try:
        rows = await relay._read(reader, 0)
        await relay._publish(reader, SlowKafka(3.5), rows)
        assert await relay._read(reader, 0) == []
    finally:
        reader.terminate()


async def test_a_flush_of_large_messages_has_a_limit(servers: Servers, pool: Pool) -> None:
    """2,000 orders of hundreds of lines would be more than the process has memory for, at every try again."""
    large = replace(MESSAGE, envelope=replace(MESSAGE.envelope, data=b"x" * 800 * 1024))
    service = await pool.fetchval("SELECT current_schema()")
    async with transaction(pool) as connection:
        await put(connection, [large] * 50)
    relay = Relay(Settings(database_url=SecretStr(servers.database_url)), service, Wake())
    relay._shards = set(range(SHARDS))
    reader = await connect(servers.database_url, service)
    try:
        first = await relay._read(reader, 0)
        second = await relay._read(reader, first[-1].seq)
    finally:
        await reader.close()
    assert [row.seq for row in first + second] == list(range(1, 51))
    assert sum(len(row.payload) for row in first) in range(
        _BYTES_PER_FLUSH, _BYTES_PER_FLUSH + len(large.envelope.data)
    )


async def test_a_topic_that_somebody_deletes_holds_up_no_other(servers: Servers, pool: Pool) -> None:
    """What was for it waits until it is there again."""
    service = await pool.fetchval("SELECT current_schema()")
    kafka = KafkaSettings(bootstrap_servers=servers.kafka_bootstrap_servers)
    admin, (kept, deleted) = KafkaAdmin(kafka), (TopicSpec(f"t{uuid.uuid4().hex[:10]}", 1) for _ in range(2))
    await admin.ensure_topics([kept, deleted])
    relay = Relay(Settings(database_url=SecretStr(servers.database_url), kafka=kafka), service, Wake())
    task = asyncio.create_task(relay.run())

    async def told(number: int) -> None:
        envelope = Envelope(f"evt_{number}", "t.v1", "/tests", b"%d" % number, key="ord_1")
        async with transaction(pool) as connection:
            await put(connection, [OutboxMessage(topic, envelope) for topic in (deleted.name, kept.name)])

    async def left(topics: list[str]) -> None:
        async def found() -> bool:
            return [row[0] for row in await pool.fetch("SELECT aggregatetype FROM outbox ORDER BY seq")] == topics

        await eventually(found, within_s=10)

    try:
        await told(1)
        await left([])
        await admin.delete_topics([deleted.name])
        await told(2)
        await left([deleted.name])
        await told(3)
        await left([deleted.name] * 2)
        await admin.ensure_topics([deleted])
        await left([])
    finally:
        task.cancel()
        await asyncio.wait([task])
    assert await _values(kafka, kept.name) == [b"1", b"2", b"3"]
    assert await _values(kafka, deleted.name) == [b"2", b"3"]


async def _values(kafka: KafkaSettings, topic: str) -> list[bytes]:
    """Each once, in the order of their first coming."""
    found: list[bytes] = []
    async with AIOKafkaConsumer(topic, **client_options(kafka), auto_offset_reset="earliest") as consumer:
        [end] = (await consumer.end_offsets(consumer.assignment())).values()
        while len(found) < end:
            found += [message.value for batch in (await consumer.getmany(timeout_ms=200)).values() for message in batch]
    return list(dict.fromkeys(found))
