"""A Kafka under test: the real one, or the one in memory on virtual time, many times with other random numbers."""

import asyncio
import math
import random
import uuid
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from itertools import count
from random import Random
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError

from shared.kafka import client_options, producer
from shared.kafka.clients import REAL_CLIENTS, Clients
from shared.settings import KafkaSettings
from shared.topics import TopicSpec
from tests.servers import Servers
from tests.simulation.kafka import SESSION_S, Cluster, clients
from tests.simulation.loop import run_virtually
from tests.simulation.network import Link

SEEDS = 25
"""How often the memory plays each scenario."""
PATIENCE_S = 30.0
_SESSION_MS = int(SESSION_S * 1000)

Scenario = Callable[["Place"], Coroutine[Any, Any, None]]
Value = tuple[int, int, bytes | None]
"""Partition, offset and value of a record."""


def on_both(scenario: Scenario) -> Callable[..., None]:
    """A test that plays the scenario on real Kafka once, and in memory once for every seed."""

    @pytest.mark.parametrize("where", ["memory", pytest.param("kafka", marks=pytest.mark.servers)])
    def test(where: str, request: pytest.FixtureRequest) -> None:
        if where == "memory":
            for seed in range(SEEDS):
                played_in_memory(scenario, seed)
        else:
            place = Real(request.getfixturevalue("servers"))
            loop = asyncio.new_event_loop()
            try:
                loop.run_until_complete(_played(scenario, place))
            finally:
                loop.close()

    test.__name__, test.__doc__, test.__module__ = scenario.__name__, scenario.__doc__, scenario.__module__
    return test


def played_in_memory(scenario: Callable[["Memory"], Coroutine[Any, Any, Any]], seed: int) -> Any:
    """What the scenario gives, always the same for a seed."""

    async def play() -> Any:
        return await _played(scenario, Memory(seed))

    random.seed(seed)  # What retries wait at random is the services' own, and has no other source.
    try:
        return run_virtually(play())
    except BaseException as failure:
        failure.add_note(f"in memory, seed {seed}")
        raise


async def _played(scenario: Callable[[Any], Coroutine[Any, Any, Any]], place: "Place") -> Any:
    try:
        async with place.closers:
            return await scenario(place)
    finally:
        place.end()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=5)


class Place(ABC):
    """A Kafka and the processes that use it. Whatever is opened is closed at the end."""

    settings: KafkaSettings

    def __init__(self) -> None:
        self.closers = AsyncExitStack()

    @abstractmethod
    def process(self) -> Clients:
        """What one more process connects with."""

    @abstractmethod
    async def crash(self, consumer: Any) -> None:
        """The consumer's process is gone and has told nobody."""

    @abstractmethod
    async def silence(self, consumer: Any) -> None:
        """The consumer works on, but its heartbeats stop: soon it is no member any more, and does not know."""

    @abstractmethod
    async def outdate(self, consumer: Any) -> None:
        """The consumer has missed the last rebalance."""

    @abstractmethod
    def cut_off(self, producer: Any) -> AbstractContextManager[None]:
        """No request of the producer reaches Kafka while this lasts, and it can see that."""

    @abstractmethod
    async def rebalance(self, group: str) -> None:
        """The group shares its partitions anew, with the same members."""

    @abstractmethod
    def name(self) -> str:
        """One that nothing else has."""

    @abstractmethod
    def end(self) -> None:
        """Nothing waits any more."""

    async def topic(self, partitions: int = 1, name: str | None = None) -> str:
        """A topic of its own."""
        topic = name or self.name()
        await self.process().admin(self.settings).ensure_topics([TopicSpec(topic, partitions)])
        return topic

    async def producer(self, clients: Clients | None = None, **options: Any) -> Any:
        made = producer(self.settings, clients or self.process(), **options)
        await made.start()
        self.closers.push_async_callback(made.stop)
        return made

    async def send(self, topic: str, *values: bytes, partition: int = 0) -> None:
        """One after the other, each acknowledged."""
        sender = producer(self.settings, self.process())
        async with sender:
            for value in values:
                await sender.send_and_wait(topic, value=value, partition=partition)

    def made(self, *topics: str, group: str | None, pattern: str | None = None, **options: Any) -> Any:
        """A consumer as the services have them, not started."""
        consumer = self.process().consumer(
            group_id=group,
            **client_options(self.settings),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=_SESSION_MS,
            heartbeat_interval_ms=_SESSION_MS // 12,
            metadata_max_age_ms=1_000,
            fetch_max_wait_ms=100,
            **options,
        )
        consumer.subscribe(topics=topics, pattern=pattern)
        self.closers.push_async_callback(consumer.stop)
        return consumer

    async def consumer(self, *topics: str, group: str | None, **options: Any) -> Any:
        """A consumer that has started."""
        made = self.made(*topics, group=group, **options)
        await made.start()
        return made

    async def whole(self, topic: str) -> list[Value]:
        """All that the topic has, as a reader of its own sees it."""
        reader = await self.consumer(topic, group=None)
        ends = await reader.end_offsets(reader.assignment())
        found: list[Value] = []
        async with asyncio.timeout(PATIENCE_S):
            while len(found) < sum(ends.values()):
                found += await taken(reader)
        await reader.stop()
        return found

    async def committed(self, group: str, place: TopicPartition) -> int | None:
        """What the group has committed, asked by an outsider."""
        outsider = self.process().consumer(group_id=group, **client_options(self.settings))
        await outsider.start()
        try:
            offset: int | None = await outsider.committed(place)
            return offset
        finally:
            await outsider.stop()


class Real(Place):
    """The servers' Kafka."""

    def __init__(self, servers: Servers) -> None:
        super().__init__()
        self.settings = KafkaSettings(bootstrap_servers=servers.kafka_bootstrap_servers)

    def process(self) -> Clients:
        return REAL_CLIENTS

    async def crash(self, consumer: Any) -> None:
        async def leaves_nothing() -> None: ...

        consumer._coordinator._maybe_leave_group = leaves_nothing
        await consumer.stop()

    async def silence(self, consumer: Any) -> None:
        coordinator, generation = consumer._coordinator, consumer._coordinator.generation
        beat = coordinator._do_heartbeat

        async def lost() -> Any:
            if coordinator.generation == generation:
                await asyncio.sleep(PATIENCE_S)
            return await beat()

        coordinator._do_heartbeat = lost

    async def outdate(self, consumer: Any) -> None:
        consumer._coordinator.generation -= 1

    @contextmanager
    def cut_off(self, producer: Any) -> Iterator[None]:
        async def fails(*_: object, **__: object) -> None:
            raise KafkaConnectionError

        client = producer.client
        client.send, sends = fails, client.send
        yield
        client.send = sends

    async def rebalance(self, group: str) -> None:
        passing = self.made(await self.topic(), group=group)
        await passing.start()
        await passing.stop()

    def name(self) -> str:
        return f"t{uuid.uuid4().hex[:10]}"

    def end(self) -> None: ...


class Memory(Place):
    """The simulation's Kafka."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.random = Random(seed)
        self.cluster = Cluster(self.random)
        self.settings = KafkaSettings()
        self.links: list[Link] = []
        self._names = count(1)

    def process(self) -> Clients:
        self.links.append(Link(self.random))
        return clients(self.cluster, self.links[-1])

    async def crash(self, consumer: Any) -> None:
        consumer.link.dead = True
        self.cluster.went_silent(consumer.link)

    async def silence(self, consumer: Any) -> None:
        consumer.muted = True
        for group in self.cluster.groups.values():
            asyncio.get_running_loop().call_later(SESSION_S, group.expel, consumer.link)

    async def outdate(self, consumer: Any) -> None:
        consumer._generation -= 1

    @contextmanager
    def cut_off(self, producer: Any) -> Iterator[None]:
        producer.link.cut_until = math.inf
        yield
        producer.link.cut_until = 0.0

    async def rebalance(self, group: str) -> None:
        self.cluster.group(group).changed()

    def name(self) -> str:
        return f"t{next(self._names)}"

    def end(self) -> None:
        for link in self.links:
            link.end()
        for group in self.cluster.groups.values():
            group.end()


async def taken(consumer: Any, **options: Any) -> list[Value]:
    """What the next poll gives."""
    batches = await consumer.getmany(timeout_ms=200, **options)
    return [(record.partition, record.offset, record.value) for batch in batches.values() for record in batch]


async def values(consumer: Any, number: int) -> list[bytes | None]:
    """As many values as there should be, and a little time for there to be more."""
    found: list[Value] = []
    async with asyncio.timeout(PATIENCE_S):
        while len(found) < number:
            found += await taken(consumer)
    found += await taken(consumer)
    return [value for _, _, value in found]


async def eventually(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    """Waits for it."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            answer = condition()
            if answer if isinstance(answer, bool) else await answer:
                return
            await asyncio.sleep(0.05)


async def assigned(consumers: Iterable[Any], partitions: int) -> None:
    """Until all of `partitions` are shared among these consumers, each with some."""
    members = list(consumers)

    def shared() -> bool:
        shares = [consumer.assignment() for consumer in members]
        return all(shares) and len(set().union(*shares)) == sum(map(len, shares)) == partitions

    await eventually(shared)


@asynccontextmanager
async def polled(consumer: Any) -> AsyncIterator[list[Value]]:
    """Everything that the consumer is given while this lasts."""
    found: list[Value] = []

    async def poll() -> None:
        while True:
            found.extend(await taken(consumer))

    task = asyncio.create_task(poll())
    try:
        yield found
    finally:
        task.cancel()
        await asyncio.wait([task])
