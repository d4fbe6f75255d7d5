"""Where messages go that can never be processed: the topic beside theirs, unchanged, with the reason."""

import asyncio
from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError
from confluent_kafka import KafkaException

from shared.clock import Clock, utc_now
from shared.faults import Transient
from shared.kafka.clients import REAL_CLIENTS, Clients
from shared.kafka.connection import producer
from shared.kafka.record import Record
from shared.settings import KafkaSettings
from shared.topics import TopicSpec, dead_letters

Headers = Sequence[tuple[str, bytes]]

MAX_RECORD_BYTES = 1024 * 1024 - 1024
"""Fits into the largest message that a topic takes, with room for what Kafka puts around it."""
CUT_RECORD_BYTES = 16 * 1024
"""What is tried once a broker has refused a letter as too large."""
MAX_DETAIL = 500
_BATCH_BYTES = MAX_RECORD_BYTES + 512
_PER_HEADER_BYTES = 10
_OWN_HEADERS_BYTES = 4 * MAX_DETAIL + 1024


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record and why it can never be processed: a stable code, and a short text without payload."""

    record: Record
    reason: str
    detail: str


class DeadLetters:
    """Publishes dead letters. Connects at the first one, so that it needs no broker to start."""

    def __init__(self, settings: KafkaSettings, clock: Clock = utc_now, clients: Clients = REAL_CLIENTS) -> None:
        self._settings, self._clock, self._clients = settings, clock, clients
        self._producer: AIOKafkaProducer | None = None
        self._starting = asyncio.Lock()
        self._topics: set[str] = set()

    async def publish(self, letters: Sequence[DeadLetter]) -> None:
        """Every letter is on all replicas in sync when this returns; `Transient` when the broker cannot take them now.

        A repeat after `Transient` may publish some twice; `tl_topic`, `tl_partition` and `tl_offset` name the record.
        """
        by_topic: dict[str, list[DeadLetter]] = {}
        for letter in letters:
            by_topic.setdefault(dead_letters(letter.record.topic), []).append(letter)
        sender = None
        try:
            await self._ensure_topics(by_topic.keys())
            sender = await self._started()
            await asyncio.gather(*[self._send(sender, topic, each) for topic, each in by_topic.items()])
        except (KafkaError, KafkaException, OSError) as failure:
            # An idempotent producer does not survive every error, and a new one costs little.
            await self._discard(sender)
            raise Transient(f"dead letters not published: {type(failure).__name__}") from failure

    async def stop(self) -> None:
        """Disconnects; a later `publish` connects again."""
        await self._discard(self._producer)

    async def _discard(self, sender: AIOKafkaProducer | None) -> None:
        # Another consumer may have connected anew meanwhile, and its letters are on their way.
        if self._producer is sender:
            self._producer = None
        if sender is not None:
            await sender.stop()

    async def _ensure_topics(self, topics: Set[str]) -> None:
        # Without its topic a dead letter could not be written, and would hold up its partition.
        missing = topics - self._topics
        if missing:
            await self._clients.admin(self._settings).ensure_topics([TopicSpec(topic, 1) for topic in missing])
            self._topics |= missing

    async def _started(self) -> AIOKafkaProducer:
        # Several consumers publish their first letters at the same time, and only one connection would ever be closed.
        async with self._starting:
            if self._producer is None:
                sender = producer(
                    self._settings,
                    self._clients,
                    max_batch_size=_BATCH_BYTES,
                    max_request_size=2 * MAX_RECORD_BYTES,
                )
                try:
                    await sender.start()
                except BaseException:
                    await sender.stop()
                    raise
                self._producer = sender
            return self._producer

    async def _send(self, sender: AIOKafkaProducer, topic: str, letters: Sequence[DeadLetter]) -> None:
        """In as few record batches as they fit in: one after the other, hundreds would each wait for an answer."""
        batch, packed = sender.create_batch(), list[DeadLetter]()
        for letter in letters:
            message = self._message(letter, MAX_RECORD_BYTES)
            if batch.append(timestamp=None, **message) is None:
                await self._flush(sender, topic, batch, packed)
                batch, packed = _batch_of(sender, message), []
            packed.append(letter)
        await self._flush(sender, topic, batch, packed)

    async def _flush(self, sender: AIOKafkaProducer, topic: str, batch: Any, packed: Sequence[DeadLetter]) -> None:
        try:
            await _delivered(sender, topic, batch)
        except MessageSizeTooLargeError:
            # This broker takes less than ours do: then everything goes alone, and cut.
            for letter in packed:
                await _delivered(sender, topic, _batch_of(sender, self._message(letter, CUT_RECORD_BYTES)))

    def _message(self, letter: DeadLetter, limit: int) -> dict[str, Any]:
        record = letter.record
        key, value, headers = fit(record.key, record.value, record.headers, limit - _OWN_HEADERS_BYTES)
        own = {
            "tl_reason": letter.reason,
            "tl_detail": letter.detail[:MAX_DETAIL],
            "tl_topic": record.topic,
            "tl_partition": str(record.partition),
            "tl_offset": str(record.offset),
            "tl_failed_at": self._clock().isoformat().replace("+00:00", "Z"),
        }
        if (key, value, headers) != (record.key, record.value, record.headers):
            own["tl_truncated"] = str(len(record.value or b""))
        marks = [(name, text.encode(errors="replace")) for name, text in own.items()]
        return {"key": key, "value": value, "headers": [*map(_writable, headers), *marks]}


def _batch_of(sender: AIOKafkaProducer, message: dict[str, Any]) -> Any:
    batch = sender.create_batch()
    added = batch.append(timestamp=None, **message)
    assert added is not None, "a letter fits into a batch of its own"
    return batch


async def _delivered(sender: AIOKafkaProducer, topic: str, batch: Any) -> None:
    acknowledged = await sender.send_batch(batch, topic, partition=0)
    await acknowledged


def _writable(header: tuple[str, bytes]) -> tuple[str, bytes]:
    # A name that is not UTF-8 was read with lone surrogates, which the client cannot write.
    name, text = header
    return name.encode(errors="replace").decode(), text


def fit(
    key: bytes | None, value: bytes | None, headers: Headers, limit: int
) -> tuple[bytes | None, bytes | None, Headers]:
    """The same record in at most `limit` bytes: as it is, or with its value cut, or also without headers and key."""
    around = len(key or b"") + sum(
        _PER_HEADER_BYTES + len(name.encode(errors="replace")) + len(text or b"") for name, text in headers
    )
    if around + len(value or b"") <= limit:
        return key, value, headers
    if around <= limit:
        return key, (value or b"")[: limit - around], headers
    return None, (value or b"")[:limit], ()
