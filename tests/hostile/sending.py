"""Sending at volume: whole record batches, so that a position is known for every message at little cost."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from random import Random
from typing import Any, Self

from aiokafka import AIOKafkaProducer
from aiokafka.partitioner import murmur2

from shared.kafka import client_options
from shared.settings import KafkaSettings
from tests.hostile.messages import Message
from tests.hostile.mutations import CODECS
from tests.raw_batches import NotUtf8, raw_batch

_BATCH_BYTES = 512 * 1024
_LARGEST_REQUEST = 64 * 1024 * 1024
_PLAIN = "none"
_IN_TRANSACTION = "transaction"

Position = tuple[str, int, int]
"""Topic, partition, offset."""


@dataclass
class Sent:
    """What lies where."""

    positions: list[Position] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)


class Sender:
    """Sends batches with every compression, and in transactions that are committed or aborted."""

    def __init__(self, kafka: KafkaSettings, random: Random) -> None:
        self._kafka, self._random = kafka, random
        self._producers: dict[str, AIOKafkaProducer] = {}
        self._stack = AsyncExitStack()
        self._partitions: dict[str, int] = {}

    async def __aenter__(self) -> Self:
        options: dict[str, dict[str, Any]] = {codec: {"compression_type": codec} for codec in CODECS}
        options |= {_PLAIN: {}, _IN_TRANSACTION: {"transactional_id": "hostile"}}
        for name, more in options.items():
            # Not idempotent: the library would then insist on its compiled builder.
            made = AIOKafkaProducer(
                **client_options(self._kafka),
                acks="all",
                max_batch_size=_BATCH_BYTES,
                max_request_size=_LARGEST_REQUEST,
                **more,
            )
            self._producers[name] = await self._stack.enter_async_context(made)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def send(self, messages: Sequence[Message]) -> Sent:
        """All of them, in order within each partition."""
        places: dict[tuple[str, int], list[Message]] = {}
        for message in messages:
            place = message.topic, await self._partition(message)
            places.setdefault(place, []).append(message)
        results = await asyncio.gather(*(self._send_to(place, each) for place, each in places.items()))
        sent = Sent()
        for positions, each in zip(results, places.values(), strict=True):
            sent.positions += positions
            sent.messages += each
        return sent

    async def send_in_transaction(self, messages: Sequence[Message], commit: bool) -> Sent:
        """The same, in one transaction; readers that don't ask for committed ones see aborted messages too."""
        transactional = self._producers[_IN_TRANSACTION]
        sent = Sent()
        await transactional.begin_transaction()
        for message in messages:
            topic, partition = message.topic, await self._partition(message)
            batch = self._batch(_IN_TRANSACTION, [message])
            acknowledged = await transactional.send_batch(batch, topic, partition=partition)
            sent.positions.append((topic, partition, (await acknowledged).offset))
            sent.messages.append(message)
        await (transactional.commit_transaction() if commit else transactional.abort_transaction())
        return sent

    async def _partition(self, message: Message) -> int:
        if message.topic not in self._partitions:
            found = await self._producers[_PLAIN].partitions_for(message.topic)
            self._partitions[message.topic] = len(found)
        count = self._partitions[message.topic]
        if message.key is None:
            return self._random.randrange(count)
        return int((murmur2(message.key) & 0x7FFFFFFF) % count)

    async def _send_to(self, place: tuple[str, int], messages: Sequence[Message]) -> list[Position]:
        positions: list[Position] = []
        topic, partition = place
        for codec, packed in self._packed(messages):
            batch = self._batch(codec, packed)
            acknowledged = await self._producers[codec].send_batch(batch, topic, partition=partition)
            first = (await acknowledged).offset
            positions += [(topic, partition, first + number) for number in range(len(packed))]
        return positions

    def _packed(self, messages: Sequence[Message]) -> list[tuple[str, list[Message]]]:
        """Messages in order, as many at once as fit; those that go alone by themselves."""
        found: list[tuple[str, list[Message]]] = []
        room = 0
        for message in messages:
            size = 100 + len(message.key or b"") + len(message.value or b"")
            size += sum(10 + len(name) + len(text or b"") for name, text in message.headers)
            if message.alone is not None:
                found.append((message.alone, [message]))
                room = 0
                continue
            if size > room:
                found.append((self._random.choice((_PLAIN, *CODECS)), []))
                room = _BATCH_BYTES
            found[-1][1].append(message)
            room -= size
        return found

    def _batch(self, codec: str, messages: Sequence[Message]) -> Any:
        raw = any(not _is_text(name) for message in messages for name, _ in message.headers)
        producer = self._producers[codec]
        batch = raw_batch(producer, codec=codec) if raw else producer.create_batch()
        for message in messages:
            headers = [(_name(name), text) for name, text in message.headers]
            added = batch.append(key=message.key, value=message.value, timestamp=message.timestamp, headers=headers)
            assert added is not None, "batches are packed so that everything fits"
        return batch


def _name(name: bytes) -> str:
    return name.decode() if _is_text(name) else NotUtf8("?", name)


def _is_text(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True
