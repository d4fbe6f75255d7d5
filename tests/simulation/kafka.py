"""Kafka in memory: partitions that only grow, groups that rebalance, and aiokafka's face on them for one process.

What holds: a batch is appended whole, each partition keeps its order, a repeat by an idempotent producer is one record,
a member that is silent for the session's time is expelled, whoever is not a member of the current generation commits
nothing, and a partition goes on at what was committed. A fetch may take any time, and who was expelled without knowing
reads on. A commit is tried until it has an answer, so that it may count although its caller has given up, or in a later
generation. `tests/contract/kafka` holds all of it against real Kafka.
"""

import asyncio
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, NamedTuple

from aiokafka import TopicPartition
from aiokafka.errors import (
    CommitFailedError,
    ConsumerStoppedError,
    IllegalOperation,
    IllegalStateError,
    KafkaConnectionError,
    KafkaTimeoutError,
    ProducerClosed,
    UnknownTopicOrPartitionError,
)
from aiokafka.structs import RecordMetadata

from shared.faults import Transient
from shared.kafka.clients import Clients
from shared.relay import partition_of
from shared.topics import TopicSpec
from tests.simulation.network import Link

SESSION_S = 6.0
_LONGEST_REBALANCE_S = 0.5
_METADATA_AGE_S = 3.0
_LONGEST_FETCH_S = 1.0
_REQUEST_TIMEOUT_S = 20.0
_RETRY_S = 0.1
_LOST_COMMIT_ONE_IN = 30

Header = tuple[str, bytes]
Draft = tuple[bytes | None, bytes | None, Sequence[Header]]
"""Key, value and headers of a record that is on its way."""


class Record(NamedTuple):
    """As it lies in its partition."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[Header]


@dataclass(eq=False)
class Partition:
    """One log, and who waits for more of it."""

    place: TopicPartition
    records: list[Record] = field(default_factory=list)
    waiting: list[asyncio.Event] = field(default_factory=list)
    told: Callable[[Record], None] | None = None
    """Called with every record, at once."""

    def append(self, drafts: Iterable[Draft]) -> int:
        """Appends all at one instant; gives the first offset."""
        first = len(self.records)
        topic, number = self.place
        for offset, (key, value, headers) in enumerate(drafts, first):
            record = Record(topic, number, offset, key, value, tuple(headers))
            self.records.append(record)
            if self.told is not None:
                self.told(record)
        for event in self.waiting:
            event.set()
        return first


class Cluster:
    """All topics and groups; lives as long as the run."""

    def __init__(self, random: Random, fetch_s: float = 0.01) -> None:
        self.random, self.fetch_s = random, fetch_s
        self.topics: dict[str, list[Partition]] = {}
        self.groups: dict[str, Group] = {}
        self.down = False

    def create(self, name: str, partitions: int) -> None:
        """A topic with at least so many partitions; a repeat changes nothing."""
        found = self.topics.setdefault(name, [])
        if len(found) < partitions:
            found += [Partition(TopicPartition(name, number)) for number in range(len(found), partitions)]
            for group in self.groups.values():
                asyncio.get_running_loop().call_later(_METADATA_AGE_S, group.topics_changed)

    def partition(self, place: TopicPartition) -> Partition:
        return self.topics[place.topic][place.partition]

    def partition_of(self, topic: str, key: bytes | None) -> int:
        """Where clients put a key; without one, anywhere."""
        count = len(self.topics[topic])
        return self.random.randrange(count) if key is None else partition_of(key, count)

    def group(self, name: str) -> "Group":
        if name not in self.groups:
            self.groups[name] = Group(self)
        return self.groups[name]

    def went_silent(self, link: Link) -> None:
        """A process is dead, frozen or cut off: its members are expelled unless it is heard of in time."""

        def look() -> None:
            if link.silent:
                for group in self.groups.values():
                    group.expel(link)

        asyncio.get_running_loop().call_later(SESSION_S, look)

    def came_back(self, link: Link) -> None:
        """A frozen process goes on; a little later its heartbeats tell it what has become of its membership."""
        for group in self.groups.values():
            for consumer in [consumer for consumer in group.expelled if consumer.link is link]:
                delay = self.random.uniform(0, SESSION_S / 3)
                asyncio.get_running_loop().call_later(delay, group.join_again, consumer)

    def rebalance(self) -> None:
        """For no reason, as it happens."""
        for group in self.groups.values():
            group.changed()


class Group:
    """Who shares the partitions of a subscription, and what they have committed."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.committed: dict[TopicPartition, int] = {}
        self.members: dict[Consumer, None] = {}
        self.expelled: dict[Consumer, None] = {}
        self.generation = 0
        self._rebalancing: asyncio.Task[None] | None = None
        self._again = False
        self._known: set[TopicPartition] = set()

    def join(self, consumer: "Consumer") -> None:
        self.members[consumer] = None
        self.changed()

    def refused(self, consumer: "Consumer") -> None:
        """It has learnt that it is not a member, or not of this generation, and joins."""
        if consumer in self.members:
            self.changed()
        self.join_again(consumer)

    def join_again(self, consumer: "Consumer") -> None:
        if consumer in self.expelled and not consumer.link.dead:
            del self.expelled[consumer]
            consumer.muted = False
            consumer.revoke()
            self.join(consumer)

    def leave(self, consumer: "Consumer") -> None:
        self.expelled.pop(consumer, None)
        if consumer in self.members:
            del self.members[consumer]
            self.changed()

    def expel(self, link: Link) -> None:
        """The members of a process that was silent for too long; they do not know."""
        gone = [consumer for consumer in self.members if consumer.link is link]
        for consumer in gone:
            del self.members[consumer]
            self.expelled[consumer] = None
        if gone:
            self.changed()

    def commit(self, consumer: "Consumer", generation: int, offsets: Mapping[TopicPartition, int]) -> bool:
        """Whether it counts: nobody asks whose the partitions are, only who is of the group as it is."""
        counts = consumer in self.members and generation == self.generation
        if counts:
            self.committed.update(offsets)
        return counts

    def topics_changed(self) -> None:
        if self._subscribed() != self._known:
            self.changed()

    def changed(self) -> None:
        """A rebalance is due; one that is under way is followed by another."""
        if self._rebalancing is None or self._rebalancing.done():
            self._rebalancing = asyncio.get_running_loop().create_task(self._rebalance())
        else:
            self._again = True

    def end(self) -> None:
        if self._rebalancing is not None:
            self._rebalancing.cancel()

    async def _rebalance(self) -> None:
        again = True
        while again:
            self._again = False
            # One after the other hears of it; the others read on and commit.
            for consumer in list(self.members):
                await asyncio.sleep(self.cluster.random.uniform(0.01, _LONGEST_REBALANCE_S / len(self.members or "1")))
                if not consumer.silent:
                    consumer.revoke()
            # Who does not answer holds everyone up until it is expelled.
            while any(consumer.silent for consumer in self.members):  # noqa: ASYNC110
                await asyncio.sleep(0.25)
            self.generation += 1
            self._assign()
            again = self._again

    def has_read_all(self) -> bool:
        """Whether every partition is somebody's, who has come to its end."""
        readers = [member for member in self.members if not member.revoked]
        read = {place: position for member in readers for place, position in member.positions.items()}
        ends = {place: len(self.cluster.partition(place).records) for place in self._subscribed()}
        return read == ends

    def _subscribed(self) -> set[TopicPartition]:
        topics = [topic for topic in self.cluster.topics if any(member.wants(topic) for member in self.members)]
        return {partition.place for topic in topics for partition in self.cluster.topics[topic]}

    def _assign(self) -> None:
        self._known = self._subscribed()
        members = list(self.members)
        self.cluster.random.shuffle(members)
        shares: dict[Consumer, list[TopicPartition]] = {member: [] for member in members}
        for number, place in enumerate(sorted(self._known)):
            able = [member for member in members if member.wants(place.topic)]
            shares[able[number % len(able)]].append(place)
        for member, places in shares.items():
            member.assign(self.generation, {place: self.committed.get(place, 0) for place in places})


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


class Batch:
    """A record batch on its way."""

    def __init__(self, largest: int) -> None:
        self.drafts: list[Draft] = []
        self._free, self._closed = largest, False

    def append(
        self, *, timestamp: int | None, key: bytes | None, value: bytes | None, headers: Sequence[Header]
    ) -> object | None:
        size = 20 + len(key or b"") + len(value or b"") + sum(len(name) + len(text) for name, text in headers)
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


class Producer:
    """aiokafka's idempotent producer: one request at a time, with what waits for any partition."""

    def __init__(self, cluster: Cluster, link: Link, *, max_batch_size: int = 1024 * 1024, **_: Any) -> None:
        self._cluster, self._link, self._largest = cluster, link, max_batch_size
        self._waiting: list[_Sending] = []
        self._sender: asyncio.Task[None] | None = None
        self._closed = False

    async def start(self) -> None:
        await self._link.travel(KafkaConnectionError)
        if self._cluster.down:
            raise KafkaConnectionError

    async def stop(self) -> None:
        """What is on its way is sent to its end, however late: others may have written in the meantime."""
        self._closed = True
        if self._sender is not None:
            await asyncio.wait([self._sender])

    async def __aenter__(self) -> "Producer":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def partitions_for(self, topic: str) -> set[int]:
        return set(range(len(self._cluster.topics[topic])))

    def create_batch(self) -> Batch:
        return Batch(self._largest)

    async def send_batch(self, batch: Batch, topic: str, *, partition: int) -> "asyncio.Future[RecordMetadata]":
        return self._send(self._cluster.topics[topic][partition], batch.drafts)

    async def send(
        self,
        topic: str,
        value: bytes | None = None,
        key: bytes | None = None,
        headers: Sequence[Header] = (),
        partition: int | None = None,
    ) -> "asyncio.Future[RecordMetadata]":
        assert value is not None or key is not None, "Need at least one: key or value"
        number = self._cluster.partition_of(topic, key) if partition is None else partition
        return self._send(self._cluster.topics[topic][number], [(key, value, headers)])

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
        while self._waiting:
            batch, self._waiting = self._waiting, []
            if len(batch) > 1 and self._cluster.random.random() < 0.2:
                # The leaders of partitions are different brokers: one may answer long before another.
                middle = self._cluster.random.randrange(1, len(batch))
                batch, self._waiting = batch[:middle], batch[middle:]
            await self._request(batch)

    async def _request(self, batch: Sequence[_Sending]) -> None:
        loop = asyncio.get_running_loop()
        until, offsets = loop.time() + _REQUEST_TIMEOUT_S, None
        while True:
            try:
                await self._link.travel(KafkaConnectionError)
                if self._cluster.down:
                    raise KafkaConnectionError
                if offsets is None:
                    offsets = [sending.partition.append(sending.drafts) for sending in batch]
                await self._link.travel(KafkaConnectionError)
            except KafkaConnectionError:
                if loop.time() < until and not self._link.over:
                    await asyncio.sleep(_RETRY_S)
                    continue
                for sending in batch:
                    if not sending.acknowledged.done():
                        sending.acknowledged.set_exception(KafkaTimeoutError())
                return
            for sending, offset in zip(batch, offsets, strict=True):
                sending.told(offset)
            return


class Admin:
    """`KafkaAdmin`: topics come into being; users and rights are nobody's concern here."""

    def __init__(self, cluster: Cluster, link: Link) -> None:
        self._cluster, self._link = cluster, link

    async def ensure_topics(self, specs: Iterable[TopicSpec]) -> None:
        await self._link.travel(lambda: Transient("Kafka does not answer"))
        if self._cluster.down:
            raise Transient("Kafka does not answer")
        for spec in specs:
            self._cluster.create(spec.name, spec.partitions)

    async def create_scram_user(self, username: str, password: str) -> None: ...

    async def delete_scram_user(self, username: str) -> None: ...

    async def grant_write(self, principal: str, topic: str) -> None: ...

    async def grant_read(self, principal: str, topic: str, group_prefix: str) -> None: ...

    async def revoke_all(self, principal: str) -> None: ...


def clients(cluster: Cluster, link: Link) -> Clients:
    """What one process connects with."""
    made: Callable[..., Any] = Clients
    return made(
        consumer=lambda *topics, **options: Consumer(cluster, link, *topics, **options),
        producer=lambda **options: Producer(cluster, link, **options),
        admin=lambda _: Admin(cluster, link),
    )
