"""The relay publishes the outbox: per key in order, at least once, whatever number of replicas shares the work.

* A key is in one shard; a shard is read by the one relay that holds its advisory lock. The lock, the reading and the
  removing use one connection: whoever lost it can no longer see rows to publish. A frozen relay's connection is ended
  by the server (`idle_session_timeout`), which frees its shards.
* All messages of one flush for one partition are one record batch, which Kafka appends whole or not at all; what does
  not fit into one waits until the first is acknowledged. Rows are removed after the acknowledgement. So a key's
  messages appear in the order of their rows, and what a crash publishes twice it publishes again in that order.
* Reading starts at a floor, below which no row can appear any more (`shared/outbox_floor.py`).
* A topic that is not there holds up nobody else: what is for it waits, in its order (`shared/relay_topics.py`).
"""

import asyncio
import secrets
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from functools import lru_cache
from typing import Any

import asyncpg
import orjson
import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError
from aiokafka.partitioner import murmur2
from aiokafka.producer.message_accumulator import BatchBuilder
from prometheus_client import Counter, Gauge
from tenacity import AsyncRetrying, retry_if_exception_type, wait_exponential_jitter

from shared.faults import Transient
from shared.immutable import immutable
from shared.kafka import producer
from shared.outbox import SHARDS, remove, topics_in
from shared.outbox_floor import Floor, running
from shared.outside import REAL, Outside
from shared.postgres import connect, transient_errors
from shared.relay_topics import Topics
from shared.settings import Settings

log = structlog.get_logger(__name__)

PUBLISHED = Counter("throughline_relay_published_total", "Messages published from the outbox", ["service"])
IN_FLIGHT = Gauge("throughline_relay_in_flight", "Messages of the flush under way", ["service"])

_ROWS_PER_FLUSH = 2_000
_BYTES_PER_FLUSH = 32 * 1024 * 1024
_BYTES_PER_BATCH = 900 * 1024
_POLL_S = 0.5
_SHARE_EVERY_S = 1.0
_IDLE_SESSION = "3s"
_KEEP_ALIVE_S = 1.0
_REMOVAL = "off"
"""Whether the relay waits until a removal is on the disk. One that a crash of the server undoes is published again."""

_SHARD_LOCKS = 728_401
_MEMBERS_LOCK = 728_402


@lru_cache(maxsize=65_536)
def partition_of(key: bytes, partitions: int) -> int:
    """The partition that Kafka's own clients choose for a key (murmur2)."""
    return int((murmur2(key) & 0x7FFFFFFF) % partitions)


@immutable
class _Row:
    seq: int
    topics: list[str]
    key: bytes
    headers: list[tuple[str, bytes]]
    payload: bytes


class Wake:
    """Rouses the relay of this process at once, and those of other processes by NOTIFY (at most every few ms)."""

    def __init__(self) -> None:
        self.local = asyncio.Event()
        self.remote = asyncio.Event()
        self._others: list[asyncio.Event] = []
        self.sender = secrets.token_hex(4)
        """Tells this process's own notifications apart, which its relay needs no more when they arrive."""

    def __call__(self) -> None:
        self._rouse()
        self.remote.set()

    def notified(self, sender: str) -> None:
        """Somebody has sent a NOTIFY."""
        if sender != self.sender:
            self._rouse()

    def other(self) -> asyncio.Event:
        """A further event that is set whenever the relay is roused, for whoever else waits for commits."""
        self._others.append(asyncio.Event())
        return self._others[-1]

    def _rouse(self) -> None:
        self.local.set()
        for event in self._others:
            event.set()


class Relay:
    """Publishes one service's outbox until it is cancelled; outages of the database or the broker only delay it."""

    def __init__(self, settings: Settings, service: str, wake: Wake, outside: Outside = REAL) -> None:
        self._settings, self._service, self._wake, self._outside = settings, service, wake, outside
        self._pace_s = settings.relay_pace_ms / 1000
        self._in_flight, self._published = IN_FLIGHT.labels(service), PUBLISHED.labels(service)
        self._shards: set[int] = set()
        self._topics = Topics(service)
        self._failing: str | None = "not started"

    def ready(self) -> str | None:
        """What keeps messages from going out, if anything does."""
        return self._failing

    async def run(self) -> None:
        """Never returns; reconnects with backoff after every outage."""
        patiently = AsyncRetrying(
            retry=retry_if_exception_type((Transient, KafkaError)),
            wait=wait_exponential_jitter(multiplier=0.1, max=3),
        )
        while True:
            async for attempt in patiently:
                with attempt:
                    await self._session()

    async def _session(self) -> None:
        """One connection's life: share the shards, publish, remove.

        Returns when an outage ended a session that had worked, raises when it never did: the backoff then grows.
        """
        sender = producer(
            self._settings.kafka,
            self._outside.kafka,
            max_batch_size=_BYTES_PER_BATCH,
            max_request_size=8 * 1024 * 1024,
            request_timeout_ms=20_000,
            linger_ms=0,
        )
        self._shards, self._topics = set(), Topics(self._service)
        connection = None
        try:
            connection = await connect(
                self._settings.database_url.get_secret_value(),
                self._service,
                self._outside.postgres,
                idle_session_timeout=_IDLE_SESSION,
                synchronous_commit=_REMOVAL,
            )
            await sender.start()
            async with transient_errors():
                await self._serve(connection, sender)
        except (Transient, KafkaError) as error:
            worked, self._failing = self._failing is None, f"relay: {error!r}"
            log.warning("relay_interrupted", service=self._service, error=repr(error))
            if not worked:
                raise
        finally:
            # What is not acknowledged stays in the outbox, for whoever gets the shards next. Sent from here it could
            # come after what they publish, and it may have been taken out of the outbox since (`outbox.drop`).
            try:
                await sender.abandon()
            finally:
                if connection is not None:
                    connection.terminate()

    async def _serve(self, connection: "asyncpg.Connection[asyncpg.Record]", producer: AIOKafkaProducer) -> None:
        loop = asyncio.get_running_loop()
        await connection.add_listener(notification_of(self._service), lambda *told: self._wake.notified(told[-1]))
        await connection.execute("SELECT pg_advisory_lock_shared($1, $2)", _MEMBERS_LOCK, _number(self._service))
        floor = Floor(loop.time())
        share_at = 0.0
        while True:
            if loop.time() >= share_at:
                if await self._share(connection):
                    floor = Floor(loop.time())
                self._topics.forget(producer)
                share_at = loop.time() + _SHARE_EVERY_S
            if self._topics.let_go():
                floor = Floor(loop.time())
            self._wake.local.clear()
            if floor.due(loop.time()):
                floor.looked(*await running(connection), loop.time())
            rested = loop.time() + self._pace_s
            rows = await self._read(connection, floor.value) if self._shards else []
            self._failing = None
            if rows:
                await self._publish(connection, producer, rows)
                await asyncio.sleep(max(0.0, rested - loop.time()))
            if len(rows) < _ROWS_PER_FLUSH and sum(map(_size, rows)) < _BYTES_PER_FLUSH:
                floor.reached(rows[-1].seq if rows else floor.newest)
                await self._rest()

    async def _rest(self) -> None:
        try:
            async with asyncio.timeout(_POLL_S):
                await self._wake.local.wait()
        except TimeoutError:
            return

    async def _share(self, connection: "asyncpg.Connection[asyncpg.Record]") -> bool:
        """Hold this replica's share of the shards; true when it gained one, whose rows may be old."""
        number = _number(self._service)
        members = await connection.fetchval(
            """
            SELECT count(*) FROM pg_locks
            WHERE locktype = 'advisory' AND classid = $1 AND objid = $2 AND objsubid = 2 AND granted
                AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
            """,
            _MEMBERS_LOCK,
            number,
        )
        fair = -(-SHARDS // max(1, members))
        for shard in sorted(self._shards)[fair:]:
            await connection.execute("SELECT pg_advisory_unlock($1, $2)", _SHARD_LOCKS, number * SHARDS + shard)
            self._shards.discard(shard)
        gained = False
        for shard in sorted(set(range(SHARDS)) - self._shards):
            if len(self._shards) >= fair:
                break
            if await connection.fetchval("SELECT pg_try_advisory_lock($1, $2)", _SHARD_LOCKS, number * SHARDS + shard):
                self._shards.add(shard)
                gained = True
        return gained

    async def _read(self, connection: "asyncpg.Connection[asyncpg.Record]", floor: int) -> list[_Row]:
        """What is next, without rows whose topics are all held."""
        rows = await connection.fetch(
            """
            SELECT seq, aggregatetype, aggregateid, headers, payload FROM (
                SELECT *, sum(size) OVER (ORDER BY seq ROWS UNBOUNDED PRECEDING) - size AS before FROM (
                    SELECT seq, aggregatetype, aggregateid, headers, payload,
                        octet_length(payload) * cardinality(string_to_array(aggregatetype, ' ')) AS size
                    FROM outbox WHERE seq > $1 AND shard = ANY($2::smallint[])
                        AND ($5::text[] = '{}' OR NOT string_to_array(aggregatetype, ' ') <@ $5)
                    ORDER BY seq LIMIT $3
                ) AS next
            ) AS summed WHERE before < $4 ORDER BY seq
            """,
            floor,
            list(self._shards),
            _ROWS_PER_FLUSH,
            _BYTES_PER_FLUSH,
            sorted(self._topics.held()),
        )
        return [_Row(row[0], topics_in(row[1]), row[2].encode(), _headers(row[3]), row[4]) for row in rows]

    async def _publish(
        self, connection: "asyncpg.Connection[asyncpg.Record]", producer: AIOKafkaProducer, rows: Sequence[_Row]
    ) -> None:
        self._in_flight.set(len(rows))
        wanted = {topic for row in rows for topic in row.topics}
        counts = await self._topics.partitions(producer, wanted)
        partitions: dict[tuple[str, int], list[_Row]] = {}
        for row in rows:
            for topic in row.topics:
                if topic in counts:
                    partitions.setdefault((topic, partition_of(row.key, counts[topic])), []).append(row)
        sending = [await _send(producer, topic, partition, batch) for (topic, partition), batch in partitions.items()]
        await _keeping_alive(connection, asyncio.gather(*sending), lambda: self._topics.gone(producer, counts.keys()))
        await remove(connection, [row.seq for row in rows], None if counts.keys() >= wanted else counts)
        self._in_flight.set(0)
        self._published.inc(sum(map(len, partitions.values())))


def _headers(stored: str) -> list[tuple[str, bytes]]:
    return [(name, value.encode()) for name, value in orjson.loads(stored).items()]


def _size(row: _Row) -> int:
    return len(row.payload) * len(row.topics)


async def _keeping_alive(
    connection: "asyncpg.Connection[asyncpg.Record]",
    sent: "asyncio.Future[list[Any]]",
    gone: Callable[[], AbstractSet[str]],
) -> None:
    """Wait for Kafka, however slow it is: the server would end a session that idles, and all would be sent again.

    Not for topics that are gone: the client would go on trying.
    """
    try:
        while not (await asyncio.wait([sent], timeout=_KEEP_ALIVE_S))[0]:
            await connection.execute("SELECT")
            if topics := gone():
                raise UnknownTopicOrPartitionError(f"gone: {', '.join(sorted(topics))}")
        sent.result()
    finally:
        # Somebody must have looked at how it ended, or asyncio reports an error that nobody saw.
        sent.add_done_callback(lambda ended: None if ended.cancelled() else ended.exception())
        sent.cancel()


async def _send(
    producer: AIOKafkaProducer, topic: str, partition: int, rows: Sequence[_Row]
) -> "asyncio.Future[object]":
    """The rows of one partition in as few record batches as they fit in, one after the other; done when Kafka has all.

    No task where one batch is enough: each turn of a busy event loop is a delay.
    """
    first, *others = _packed(producer, rows)
    delivered: asyncio.Future[object] = await producer.send_batch(first, topic, partition=partition)
    if not others:
        return delivered

    async def rest() -> None:
        await delivered
        for batch in others:
            await (await producer.send_batch(batch, topic, partition=partition))

    return asyncio.create_task(rest())


def _packed(producer: AIOKafkaProducer, rows: Sequence[_Row]) -> list[BatchBuilder]:
    batches = [producer.create_batch()]
    for row in rows:
        if _added(batches[-1], row):
            continue
        batches.append(producer.create_batch())
        if not _added(batches[-1], row):
            raise ValueError(f"outbox row {row.seq} exceeds a record batch")
    return batches


def _added(batch: BatchBuilder, row: _Row) -> bool:
    return batch.append(key=row.key, value=row.payload, timestamp=None, headers=row.headers) is not None


async def announce(settings: Settings, service: str, wake: Wake, outside: Outside = REAL) -> None:
    """Tell the relays of other processes about new rows, at most every few milliseconds; runs until cancelled.

    NOTIFY takes a lock of the whole database cluster at commit, so it is not part of the writing transactions.
    """
    while True:
        try:
            connection = await connect(settings.database_url.get_secret_value(), service, outside.postgres)
            try:
                while True:
                    await wake.remote.wait()
                    wake.remote.clear()
                    async with transient_errors():
                        await connection.execute(f"NOTIFY \"{notification_of(service)}\", '{wake.sender}'")
                    await asyncio.sleep(0.005)
            finally:
                connection.terminate()
        except Transient:
            await asyncio.sleep(1)


def notification_of(service: str) -> str:
    """The channel of NOTIFY that says that a service has committed something to publish."""
    return f"throughline_{service}_outbox"


def _number(service: str) -> int:
    """A small number that tells services in one database apart."""
    return sum(ord(letter) * (index + 1) for index, letter in enumerate(service)) % 100_000
