"""Follows the grants' topic, in every process on its own: a consumer without a group, so that each sees every record.

Order of work for each batch: drop what changed from the cache, save, drop again, go on. While the database refuses to
save a change, requests with that credential are told to try later: a revocation that was seen holds.

A tail without a group commits no offsets and shares no dead-letter topic: a record that is no grant and no signing key
is counted, logged and skipped. The dead letters of the topic are the publisher's.
"""

import asyncio
from collections.abc import Iterable

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import ConsumerStoppedError, KafkaError
from prometheus_client import Counter, Gauge
from pydantic import ValidationError

from shared.auth import table
from shared.auth.cache import GrantCache, KeyCache
from shared.auth.table import GrantRecord, KeyRecord
from shared.clock import monotonic
from shared.contracts.access import SIGNING_KEY_V1, Grant, SigningKey
from shared.faults import Transient
from shared.kafka.clients import REAL_CLIENTS, Clients
from shared.kafka_options import client_options
from shared.postgres import Pool
from shared.settings import KafkaSettings

_POLL_MS = 500
_BATCH = 1_000
_CHECK_EVERY_S = 5.0
"""How often an idle tail asks the broker for the end of the topic, to notice a consumer that fetches no more."""
_STUCK_CHECKS = 3
_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 5.0
_STALLED_AFTER_S = 60.0

_SKIPPED = Counter("throughline_grants_skipped_total", "Records of the grants topic that mean nothing.", ["service"])
_LAG = Gauge("throughline_grants_lag", "Records of the grants topic not yet in this process.", ["service"])

_log = structlog.get_logger(__name__)


class _StuckConsumerError(Exception):
    """The topic has records that the consumer does not deliver."""


class _MadeAnewError(Exception):
    """The topic has gone, or its offsets begin again: somebody deletes it, or makes it anew, under our eyes."""


_INTERRUPTIONS = (
    KafkaError,
    ConsumerStoppedError,
    Transient,
    OSError,
    TimeoutError,
    _StuckConsumerError,
    _MadeAnewError,
)


class GrantsTail:
    """Keeps the table and the cache up with the topic, through outages of either side."""

    def __init__(
        self,
        kafka: KafkaSettings,
        service: str,
        topic: str,
        cache: GrantCache,
        clients: Clients = REAL_CLIENTS,
        *,
        keys: KeyCache | None = None,
    ) -> None:
        self._kafka, self._clients = kafka, clients
        self._topic = topic
        self._cache = cache
        self._keys = keys or KeyCache()
        self._lag = _LAG.labels(service)
        self._skipped = _SKIPPED.labels(service)
        self._beat = monotonic()
        self._pause_s = _SHORTEST_PAUSE_S
        self._next: dict[TopicPartition, int] = {}
        """The offset after everything that was taken, by partition."""
        self.caught_up = asyncio.Event()

    def stalled(self) -> str | None:
        """None, or for how long nothing has moved: neither a poll nor another try to connect."""
        still_s = monotonic() - self._beat
        return f"the grants tail has stood still for {still_s:.0f} s" if still_s > _STALLED_AFTER_S else None

    async def run(self, pool: Pool) -> None:
        """Follows until cancelled; after an outage it goes on where the table is."""
        while True:
            try:
                await self._follow(pool)
            except _INTERRUPTIONS as error:
                _log.warning("grants tail interrupted", error=type(error).__name__, pause_s=self._pause_s)
            await asyncio.sleep(self._pause_s)
            self._beat = monotonic()
            self._pause_s = min(self._pause_s * 2, _LONGEST_PAUSE_S)

    async def _follow(self, pool: Pool) -> None:
        consumer = self._clients.consumer(
            self._topic,
            **client_options(self._kafka),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=_POLL_MS,
        )
        try:
            await consumer.start()
            ends = await self._seek(consumer, pool)
            await self._poll(consumer, ends, pool)
        finally:
            await consumer.stop()

    async def _seek(self, consumer: AIOKafkaConsumer, pool: Pool) -> dict[TopicPartition, int]:
        """Goes to where the table is, and returns the ends that must be reached before the copy is ready."""
        partitions = consumer.assignment()
        ends: dict[TopicPartition, int] = await consumer.end_offsets(partitions)
        saved = await table.load_offsets(pool)
        for partition, end in ends.items():
            start = saved.get(partition.partition, 0)
            if start > end:
                _log.warning("grants topic was made anew", partition=partition.partition, saved=start, end=end)
                await table.forget_offsets(pool, partition.partition)
                start = 0
            consumer.seek(partition, start)
            self._next[partition] = start
        # What this process cached while it was away may have changed without its seeing.
        self._cache.clear()
        self._keys.drop()
        return ends

    async def _poll(self, consumer: AIOKafkaConsumer, ends: dict[TopicPartition, int], pool: Pool) -> None:
        stuck, checked, moved = 0, monotonic(), False
        while True:
            if not self.caught_up.is_set() and await _lag(consumer, ends) == 0:
                self.caught_up.set()
            batches = await consumer.getmany(timeout_ms=_POLL_MS, max_records=_BATCH)
            if batches:
                await self._take(batches, pool)
                moved = True
            self._beat, self._pause_s = monotonic(), _SHORTEST_PAUSE_S
            if self._beat - checked >= _CHECK_EVERY_S:
                checked = self._beat
                # What came since the last poll is not stuck: only a consumer that gave nothing since the last check is.
                stuck = stuck + 1 if await self._measured_lag(consumer) and not moved else 0
                moved = False
                if stuck >= _STUCK_CHECKS:
                    raise _StuckConsumerError

    async def _measured_lag(self, consumer: AIOKafkaConsumer) -> int:
        partitions = consumer.assignment()
        ends = await consumer.end_offsets(partitions)
        # Without partitions, the client would look for them again only minutes later.
        if not partitions or any(end < self._next[partition] for partition, end in ends.items()):
            raise _MadeAnewError
        lag = await _lag(consumer, ends)
        self._lag.set(lag)
        return lag

    async def _take(self, batches: dict[TopicPartition, list[ConsumerRecord]], pool: Pool) -> None:
        if any(batch[0].offset < self._next[partition] for partition, batch in batches.items() if batch):
            raise _MadeAnewError
        messages = [message for batch in batches.values() for message in batch]
        decoded = list(self._decoded(messages))
        records = [record for record in decoded if isinstance(record, GrantRecord)]
        keys = [record for record in decoded if isinstance(record, KeyRecord)]
        changed = {record.credential_hash for record in records}
        next_offsets = {partition.partition: batch[-1].offset + 1 for partition, batch in batches.items() if batch}
        self._drop(changed, keys)
        try:
            await table.save_records(pool, records, next_offsets, keys)
        except BaseException:
            self._cache.mark_unsaved(changed)
            self._keys.unsaved |= bool(keys)
            raise
        self._next |= {partition: batch[-1].offset + 1 for partition, batch in batches.items() if batch}
        self._cache.mark_saved(changed)
        self._keys.unsaved &= not keys
        self._drop(set(), keys)

    def _drop(self, changed: set[str], keys: list[KeyRecord]) -> None:
        self._cache.drop(changed)
        if keys:
            self._keys.drop()

    def _decoded(self, messages: Iterable[ConsumerRecord]) -> Iterable[GrantRecord | KeyRecord]:
        for message in messages:
            read = decode_key if _type_of(message) == SIGNING_KEY_V1 else decode
            record = read(message.key, message.value, message.partition, message.offset)
            if record is None:
                self._skipped.inc()
                _log.warning("no grant in this record", partition=message.partition, offset=message.offset)
            else:
                yield record


def decode(key: bytes | None, value: bytes | None, partition: int, offset: int) -> GrantRecord | None:
    """The record's meaning; None when it has none, or when its key is not the credential that it speaks of."""
    try:
        credential_hash = (key or b"").decode()
        grant = None if value is None else Grant.model_validate_json(value)
    except (UnicodeDecodeError, ValidationError):
        return None
    matches = bool(credential_hash) and (grant is None or grant.credential_hash == credential_hash)
    storable = "\0" not in credential_hash
    return GrantRecord(credential_hash, grant, partition, offset) if matches and storable else None


def decode_key(key: bytes | None, value: bytes | None, partition: int, offset: int) -> KeyRecord | None:
    """The signing key in the record; None when there is none. Keys are never tombstoned, they retire."""
    try:
        signing_key = SigningKey.model_validate_json(value or b"")
    except ValidationError:
        return None
    return KeyRecord(signing_key, partition, offset) if key == signing_key.kid.encode() else None


def _type_of(message: ConsumerRecord) -> str:
    return next((value.decode("latin-1") for name, value in message.headers or () if name == "ce_type"), "")


async def _lag(consumer: AIOKafkaConsumer, ends: dict[TopicPartition, int]) -> int:
    behind = [max(0, end - await consumer.position(partition)) for partition, end in ends.items()]
    return sum(behind)
