"""aiokafka's idempotent producer on the logs in memory."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    ProducerClosed,
)
from aiokafka.structs import RecordMetadata

from tests.simulation.kafka.cluster import Cluster
from tests.simulation.kafka.log import Draft, Header, Partition
from tests.simulation.network import Link

_REQUEST_TIMEOUT_S = 20.0
_RETRY_S = 0.1


class Batch:
    """A record batch on its way."""

    def __init__(self, largest: int) -> None:
        self.drafts: list[Draft] = []
        self._free, self._closed = largest, False

    def append(
        self, *, timestamp: int | None, key: bytes | None, value: bytes | None, headers: Sequence[Header]
    ) -> object | None:
        size = 20 + len(key or b"") + len(value or b"") + sum(map(len, chain.from_iterable(headers)))
        self._closed = self._closed or (size > self._free and bool(self.drafts))
        if self._closed:
            return None
        self._free -= size
        self.drafts.append((key, value, headers))
        return self


@dataclass(eq=False)
class _Sending:
    partition: Partition
    drafts: Sequence[Draft]
    acknowledged: "asyncio.Future[RecordMetadata]"

    def told(self, offset: int) -> None:
        """Its first record is there."""
        if not self.acknowledged.done():
            place = self.partition.place
            self.acknowledged.set_result(RecordMetadata(place.topic, place.partition, place, offset, -1, 0, 0))

    def failed(self, error: KafkaError) -> None:
        """Whether it is there is not known."""
        if not self.acknowledged.done():
            self.acknowledged.set_exception(error)


class Producer:
    """aiokafka's idempotent producer: one request at a time, with what waits for any partition."""

    def __init__(self, cluster: Cluster, link: Link, *, max_batch_size: int = 1024 * 1024, **_: Any) -> None:
        self.cluster, self.link, self._largest = cluster, link, max_batch_size
        self._waiting: list[_Sending] = []
        self._sender: asyncio.Task[None] | None = None
        self._closed = self._abandoned = False

    async def start(self) -> None:
        await self.link.travel(KafkaConnectionError)
        if self.cluster.down:
            raise KafkaConnectionError

    async def stop(self) -> None:
        """What is on its way is sent to its end, however late: others may have written in the meantime."""
        self._closed = True
        if self._sender is not None:
            await asyncio.wait([self._sender])

    async def abandon(self) -> None:
        """What waits is not sent, nor sent again; what was sent may be there."""
        self._abandoned = True
        await self.stop()

    async def __aenter__(self) -> "Producer":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def client(self) -> "Producer":
        """What knows of topics."""
        return self

    def set_topics(self, topics: object) -> "asyncio.Future[bool]":
        """All of them are known at any time."""
        known = asyncio.get_running_loop().create_future()
        known.set_result(True)
        return known

    async def partitions_for(self, topic: str) -> set[int]:
        return self.cluster.partitions_for_topic(topic) or set()

    def create_batch(self) -> Batch:
        return Batch(self._largest)

    async def send_batch(self, batch: Batch, topic: str, *, partition: int) -> "asyncio.Future[RecordMetadata]":
        return self._send(self.cluster.topics[topic][partition], batch.drafts)

    async def send(
        self,
        topic: str,
        value: bytes | None = None,
        key: bytes | None = None,
        headers: Sequence[Header] = (),
        partition: int | None = None,
    ) -> "asyncio.Future[RecordMetadata]":
        assert value is not None or key is not None, "Need at least one: key or value"
        number = self.cluster.partition_of(topic, key) if partition is None else partition
        return self._send(self.cluster.topics[topic][number], [(key, value, headers)])

    async def send_and_wait(self, topic: str, **message: Any) -> RecordMetadata:
        return await (await self.send(topic, **message))

    def _send(self, partition: Partition, drafts: Sequence[Draft]) -> "asyncio.Future[RecordMetadata]":
        if self._closed:
            raise ProducerClosed
        loop = asyncio.get_running_loop()
        sending = _Sending(partition, drafts, loop.create_future())
        self._waiting.append(sending)
        if self._sender is None or self._sender.done():
            self._sender = loop.create_task(self._deliver())
        return sending.acknowledged

    async def _deliver(self) -> None:
        while self._waiting and not self._abandoned:
            batch, self._waiting = self._waiting, []
            if len(batch) > 1 and self.cluster.random.random() < 0.2:
                # The leaders of partitions are different brokers: one may answer long before another.
                middle = self.cluster.random.randrange(1, len(batch))
                batch, self._waiting = batch[:middle], batch[middle:]
            await self._request(batch)
        for sending in self._waiting:
            sending.failed(ProducerClosed())

    async def _request(self, batch: Sequence[_Sending]) -> None:
        loop = asyncio.get_running_loop()
        until, offsets = loop.time() + _REQUEST_TIMEOUT_S, None
        while not self._abandoned:
            try:
                await self.link.travel(KafkaConnectionError)
                if self.cluster.down:
                    raise KafkaConnectionError
                if offsets is None:
                    offsets = [sending.partition.append(sending.drafts) for sending in batch]
                await self.link.travel(KafkaConnectionError)
            except KafkaConnectionError:
                if loop.time() < until and not self.link.over:
                    await asyncio.sleep(_RETRY_S)
                    continue
                for sending in batch:
                    sending.failed(KafkaTimeoutError())
                return
            for sending, offset in zip(batch, offsets, strict=True):
                sending.told(offset)
            return
        for sending in batch:
            sending.failed(ProducerClosed())
