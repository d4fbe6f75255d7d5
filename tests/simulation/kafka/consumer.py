"""aiokafka's consumer on the logs in memory."""

import asyncio
import re
from collections.abc import Iterable, Mapping
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import (
    CommitFailedError,
    ConsumerStoppedError,
    IllegalOperation,
    IllegalStateError,
    KafkaConnectionError,
    UnknownTopicOrPartitionError,
)

from tests.simulation.kafka.cluster import SESSION_S, Cluster, Group
from tests.simulation.kafka.log import Record
from tests.simulation.network import Link

_LONGEST_FETCH_S = 5.0
_RETRY_S = 0.1
_LOST_COMMIT_ONE_IN = 30


class Consumer:
    """aiokafka's consumer, as far as the services use it."""

    def __init__(self, cluster: Cluster, link: Link, *topics: str, group_id: str | None = None, **_: Any) -> None:
        self.link = link
        self.muted = False
        """Its heartbeats get lost, and nothing else does."""
        self._cluster, self._topics, self._pattern = cluster, set(topics), None
        self._group = None if group_id is None else cluster.group(group_id)
        self._generation = 0
        self.positions: dict[TopicPartition, int] = {}
        self.revoked = False
        self._closed = False
        self._more, self._assigned = asyncio.Event(), asyncio.Event()

    # Membership

    def wants(self, topic: str) -> bool:
        """Whether its subscription has the topic."""
        return topic in self._topics or (self._pattern is not None and self._pattern.match(topic) is not None)

    @property
    def silent(self) -> bool:
        """Whether the group hears nothing of it."""
        return self._closed or self.muted or self.link.silent

    def revoke(self) -> None:
        """Nothing more is read, but what was assigned is still its own to commit."""
        self.revoked = True

    def assign(self, generation: int, positions: dict[TopicPartition, int]) -> None:
        if not self._closed:
            self._listen(positions)
            self._generation, self.positions, self.revoked = generation, positions, False
            self._more.set()
            self._assigned.set()

    def _listen(self, places: Iterable[TopicPartition]) -> None:
        for place in self.positions:
            self._cluster.partition(place).waiting.remove(self._more)
        for place in places:
            self._cluster.partition(place).waiting.append(self._more)

    # aiokafka's methods

    def subscribe(self, topics: Iterable[str] = (), pattern: str | None = None, listener: Any = None) -> None:
        self._topics = set(topics)
        self._pattern = None if pattern is None else re.compile(pattern)

    async def start(self) -> None:
        await self._ask()
        if self._group is None:
            if not self._topics <= self._cluster.topics.keys():
                raise UnknownTopicOrPartitionError
            places = [partition.place for topic in sorted(self._topics) for partition in self._cluster.topics[topic]]
            self.assign(0, dict.fromkeys(places, 0))
        elif self._topics or self._pattern:
            self._group.join(self)
            await self._assigned.wait()

    async def stop(self) -> None:
        if self._closed or self.link.dead:
            return
        self._listen(())
        self._closed, self.positions = True, {}
        self._more.set()
        if self._group is not None:
            try:
                await self._ask()
            except KafkaConnectionError:
                asyncio.get_running_loop().call_later(SESSION_S, self._group.leave, self)
            else:
                self._group.leave(self)

    def assignment(self) -> set[TopicPartition]:
        return set(self.positions)

    def subscription(self) -> frozenset[str]:
        return frozenset(topic for topic in self._cluster.topics if self.wants(topic))

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        found = self._cluster.topics.get(topic)
        return None if found is None else set(range(len(found)))

    async def getmany(
        self, *_: TopicPartition, timeout_ms: int = 0, max_records: int | None = None
    ) -> dict[TopicPartition, list[Record]]:
        """Records of some partitions; waits a while for them, for nothing depends on how long."""
        if self._closed:
            raise ConsumerStoppedError
        if max_records is not None and max_records < 1:
            raise ValueError("`max_records` must be a positive Integer")
        self._more.clear()
        if not self._has_more():
            try:
                async with asyncio.timeout(_LONGEST_FETCH_S):
                    await self._more.wait()
            except TimeoutError:
                if self.link.dead:
                    await self.link.never()
                return {}
        try:
            await self._ask(longer_s=self._cluster.fetch_s)
        except KafkaConnectionError:
            # The client reads on in the background; who polls sees nothing new.
            await asyncio.sleep(_RETRY_S)
            return {}
        return {} if self.revoked else self._taken(max_records or 500)

    def _has_more(self) -> bool:
        return not self.revoked and any(
            len(self._cluster.partition(place).records) > position for place, position in self.positions.items()
        )

    def _taken(self, limit: int) -> dict[TopicPartition, list[Record]]:
        places = list(self.positions)
        self._cluster.random.shuffle(places)
        taken: dict[TopicPartition, list[Record]] = {}
        for place in places:
            if limit <= 0:
                break
            position = self.positions[place]
            if records := self._cluster.partition(place).records[position : position + limit]:
                taken[place] = records
                self.positions[place] = position + len(records)
                limit -= len(records)
        return taken

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        if self._group is None:
            raise IllegalOperation
        if any(place not in self.positions for place in offsets):
            raise IllegalStateError("Partition is not assigned")
        # What is on its way arrives, whether or not anybody still waits for the answer.
        if not await asyncio.shield(asyncio.get_running_loop().create_task(self._commit(self._group, offsets))):
            self._group.refused(self)
            raise CommitFailedError

    async def _commit(self, group: Group, offsets: Mapping[TopicPartition, int]) -> bool:
        while not self.link.over:
            generation, lost = self._generation, int(self._cluster.random.random() * _LOST_COMMIT_ONE_IN)
            try:
                await self._ask(lost == 0)
                counts = group.commit(self, generation, offsets)
                await self._ask(lost == 1)
            except KafkaConnectionError:
                await asyncio.sleep(_RETRY_S)
            else:
                return counts
        return False

    async def committed(self, place: TopicPartition) -> int | None:
        if self._group is None:
            raise IllegalOperation
        await self._ask()
        return self._group.committed.get(place)

    async def position(self, place: TopicPartition) -> int:
        if place not in self.positions:
            raise IllegalStateError("Partition is not assigned")
        return self.positions[place]

    def seek(self, place: TopicPartition, offset: int) -> None:
        if place not in self.positions:
            raise IllegalStateError("Partition is not assigned")
        self.positions[place] = offset
        self._more.set()

    async def end_offsets(self, places: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        await self._ask()
        return {place: len(self._cluster.partition(place).records) for place in places}

    async def beginning_offsets(self, places: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        await self._ask()
        return dict.fromkeys(places, 0)

    async def _ask(self, lost: bool = False, longer_s: float = 0.0) -> None:
        await self.link.travel(KafkaConnectionError, longer_s)
        if self._cluster.down or lost:
            raise KafkaConnectionError
