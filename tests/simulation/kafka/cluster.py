"""All topics, and the groups that share their partitions."""

import asyncio
from collections.abc import Callable, Mapping
from random import Random
from typing import TYPE_CHECKING

from aiokafka import TopicPartition

from shared.relay import partition_of
from tests.simulation.kafka.log import Partition, Record
from tests.simulation.network import Link

if TYPE_CHECKING:
    from tests.simulation.kafka.consumer import Consumer

SESSION_S = 6.0
_LONGEST_REBALANCE_S = 0.5
_METADATA_AGE_S = 3.0


class Cluster:
    """All topics and groups; lives as long as the run."""

    def __init__(self, random: Random, fetch_s: float = 0.01, told: Callable[[Record], None] | None = None) -> None:
        self.random, self.fetch_s, self._told = random, fetch_s, told
        self.topics: dict[str, list[Partition]] = {}
        self.groups: dict[str, Group] = {}
        self.down = False

    def create(self, name: str, partitions: int) -> None:
        """A topic with at least so many partitions; a repeat changes nothing."""
        found = self.topics.setdefault(name, [])
        if len(found) < partitions:
            numbers = range(len(found), partitions)
            found += [Partition(TopicPartition(name, number), told=self._told) for number in numbers]
            for group in self.groups.values():
                asyncio.get_running_loop().call_later(_METADATA_AGE_S, group.topics_changed)

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        """`None` when it is not there."""
        return set(range(len(self.topics[topic]))) if topic in self.topics else None

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
