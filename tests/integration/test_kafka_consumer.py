"""The batch consumer on a real broker: what is acknowledged, what comes again, and what never blocks the rest."""

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from time import monotonic
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.metadata import MetadataRequest
from confluent_kafka import Producer
from structlog.testing import capture_logs

from shared.faults import Poison, Transient
from shared.kafka import HANDLER_FAILED, BatchConsumer, DeadLetter, DeadLetters, Record, broker, client_options
from shared.kafka.clients import Clients
from shared.kafka.reader import Reader
from shared.kafka_admin import KafkaAdmin
from shared.settings import KafkaSettings
from shared.topics import TopicSpec, dead_letters
from tests.raw_batches import NotUtf8, raw_batch
from tests.servers import Servers

pytestmark = pytest.mark.servers

PATIENCE_S = 15.0


async def eventually(condition: Callable[[], bool], timeout_s: float = PATIENCE_S) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - conditions here are anything
            await asyncio.sleep(0.02)


class Recorder:
    """A handler that remembers what it was given and what it did, and misbehaves for chosen values."""

    def __init__(self) -> None:
        self.batches: list[list[bytes | None]] = []
        self.done: list[bytes | None] = []
        self.behaviour: dict[bytes, Exception | Poison | Callable[[], Awaitable[None]]] = {}
        self.outage = False

    async def __call__(self, records: Sequence[Record]) -> Sequence[Poison | None]:
        self.batches.append([record.value for record in records])
        if self.outage:
            raise Transient("the database is away")
        outcomes = [await self._outcome(record) for record in records]
        self.done += [record.value for record, outcome in zip(records, outcomes, strict=True) if outcome is None]
        return outcomes

    async def _outcome(self, record: Record) -> Poison | None:
        behaviour = self.behaviour.get(record.value or b"")
        if isinstance(behaviour, Poison):
            return behaviour
        if isinstance(behaviour, Exception):
            raise behaviour
        if behaviour is not None:
            await behaviour()
        return None


class World:
    """One topic of its own, a producer, and consumers that are stopped at the end."""

    def __init__(self, servers: Servers) -> None:
        self.settings = KafkaSettings(bootstrap_servers=servers.kafka_bootstrap_servers)
        self.topic = f"t{uuid.uuid4().hex[:10]}"
        self.group = f"g-{self.topic}"
        self.letters = DeadLetters(self.settings)
        self._closers: list[Callable[[], Awaitable[None]]] = [self.letters.stop]

    async def open(self) -> None:
        await self.create(TopicSpec(self.topic, 1), TopicSpec(dead_letters(self.topic), 1))
        self.producer = AIOKafkaProducer(**client_options(self.settings))
        await self.producer.start()
        self._closers.append(self.producer.stop)

    async def create(self, *specs: TopicSpec) -> None:
        await KafkaAdmin(self.settings).ensure_topics(specs)

    async def close(self) -> None:
        for closer in reversed(self._closers):
            await closer()

    async def send(self, *values: bytes, topic: str | None = None, **options: Any) -> None:
        for value in values:
            await self.producer.send(topic or self.topic, value, **options)
        await self.producer.flush()

    async def consume(self, handler: Recorder, **options: Any) -> BatchConsumer:
        given = {"topics": [self.topic], "group_id": self.group, **options}
        consumer = BatchConsumer(
            broker(self.settings), name="test", handler=handler, dead_letters=self.letters, **given
        )
        self._closers.append(consumer.stop)
        await consumer.start()
        return consumer

    async def committed(self) -> int | None:
        reader = AIOKafkaConsumer(group_id=self.group, **client_options(self.settings))
        async with reader:
            offset: int | None = await reader.committed(TopicPartition(self.topic, 0))
            return offset

    async def dead(self, count: int) -> list[Any]:
        reader = AIOKafkaConsumer(
            dead_letters(self.topic), auto_offset_reset="earliest", **client_options(self.settings)
        )
        async with reader, asyncio.timeout(PATIENCE_S):
            return [await reader.getone() for _ in range(count)]

    async def acknowledged(self, offset: int) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while await self.committed() != offset:  # noqa: ASYNC110 - only the broker knows
                await asyncio.sleep(0.1)


@pytest.fixture
async def world(servers: Servers) -> AsyncIterator[World]:
    world = World(servers)
    await world.open()
    yield world
    await world.close()


async def test_a_batch_is_handled_whole_and_acknowledged(world: World) -> None:
    await world.send(b"1", b"2", b"3")
    handler = Recorder()
    consumer = await world.consume(handler)
    await eventually(lambda: len(handler.done) == 3)
    await world.acknowledged(3)
    assert handler.batches == [[b"1", b"2", b"3"]]
    assert consumer.alive() is None
    assert consumer.ready() is None


async def test_poison_goes_to_the_dead_letters_and_the_rest_is_done(world: World) -> None:
    handler = Recorder()
    handler.behaviour[b"2"] = Poison("NOT_A_CLOUDEVENT", "there is no specversion")
    await world.send(b"1")
    await world.send(b"2", key=b"k\xff", headers=[("a", b"\xff"), ("a", b"2")])
    await world.send(b"3")
    await world.consume(handler)
    await world.acknowledged(3)
    [letter] = await world.dead(1)
    headers = list(letter.headers)
    assert handler.done == [b"1", b"3"]
    assert (letter.key, letter.value) == (b"k\xff", b"2")
    assert headers[:-1] == [
        ("a", b"\xff"),
        ("a", b"2"),
        ("tl_reason", b"NOT_A_CLOUDEVENT"),
        ("tl_detail", b"there is no specversion"),
        ("tl_topic", world.topic.encode()),
        ("tl_partition", b"0"),
        ("tl_offset", b"1"),
    ]
    assert headers[-1][0] == "tl_failed_at"


async def test_nothing_is_acknowledged_before_its_dead_letter_is_safe(world: World) -> None:
    class Unavailable(DeadLetters):
        attempts = 0

        async def publish(self, letters: Sequence[DeadLetter]) -> None:
            self.attempts += 1
            if self.attempts <= 2:
                raise Transient("the broker is away")
            assert await world.committed() is None
            await super().publish(letters)

    world.letters = Unavailable(world.settings)
    handler = Recorder()
    handler.behaviour[b"1"] = Poison("BAD", "bad")
    await world.send(b"1")
    await world.consume(handler)
    await world.acknowledged(1)
    assert handler.batches == [[b"1"]]
    assert len(await world.dead(1)) == 1
    await world.letters.stop()


async def test_a_dead_letter_creates_the_topic_that_it_needs(world: World) -> None:
    await KafkaAdmin(world.settings).delete_topics([dead_letters(world.topic)])
    handler = Recorder()
    handler.behaviour[b"1"] = Poison("BAD", "bad")
    await world.send(b"1")
    await world.consume(handler)
    await world.acknowledged(1)
    assert [letter.value for letter in await world.dead(1)] == [b"1"]


async def test_a_record_that_comes_a_moment_later_is_still_waited_for(world: World) -> None:
    """FastStream would look away in between."""
    async with Reader(world.topic, **client_options(world.settings), auto_offset_reset="earliest") as reader:
        await world.send(b"first")
        await reader.getone()
        asked = asyncio.create_task(reader.getmany(timeout_ms=1))
        await asyncio.sleep(0.02)
        await world.send(b"lone")
        [[record]] = (await asked).values()
        assert record.value == b"lone"


async def test_first_dead_letters_at_the_same_time_leave_no_connection_open(world: World) -> None:
    await world.send(b"bad")
    async with AIOKafkaConsumer(
        world.topic, **client_options(world.settings), auto_offset_reset="earliest", group_id=None
    ) as reader:
        record = await reader.getone()
    letters, before = DeadLetters(world.settings), asyncio.all_tasks()
    await asyncio.gather(*[letters.publish([DeadLetter(record, "BAD", "on purpose")]) for _ in range(3)])
    # Each connection has tasks of its own; whatever else begins here meanwhile belongs to others.
    made = asyncio.all_tasks() - before
    assert made
    await letters.stop()
    await eventually(lambda: all(task.done() for task in made))


async def test_an_outage_pauses_and_skips_nothing(world: World) -> None:
    handler = Recorder()
    handler.outage = True
    consumer = await world.consume(handler, stall_after_s=0.5)
    await world.send(b"1", b"2")
    await eventually(lambda: len(handler.batches) >= 3)
    assert consumer.ready() == "test: handler: the database is away"
    assert consumer.alive() is None
    assert await world.committed() is None
    handler.outage = False
    await world.acknowledged(2)
    assert handler.done == [b"1", b"2"]
    assert consumer.ready() is None


async def test_an_unforeseen_failure_is_isolated_to_its_record(world: World) -> None:
    handler = Recorder()
    handler.behaviour[b"2"] = ValueError("4242 4242 4242 4242")
    await world.send(b"1", b"2", b"3")
    await world.consume(handler)
    await world.acknowledged(3)
    [letter] = await world.dead(1)
    headers = dict(letter.headers)
    assert handler.batches == [[b"1", b"2", b"3"], [b"1"], [b"2"], [b"3"]]
    assert handler.done == [b"1", b"3"]
    assert letter.value == b"2"
    assert headers["tl_reason"] == HANDLER_FAILED.encode()
    assert headers["tl_detail"].startswith(b"ValueError at test_kafka_consumer.py:")


async def test_an_outage_while_records_run_alone_repeats_the_batch(world: World) -> None:
    handler = Recorder()
    handler.behaviour[b"1"] = ValueError()
    away = [Transient("away"), Transient("away")]

    async def fail_twice() -> None:
        if away:
            raise away.pop()

    handler.behaviour[b"2"] = fail_twice
    await world.send(b"1", b"2")
    await world.consume(handler)
    await world.acknowledged(2)
    assert handler.done == [b"2"]
    assert [letter.value for letter in await world.dead(1)] == [b"1"]


async def test_a_rebalance_during_a_batch_loses_nothing(world: World) -> None:
    both = asyncio.Event()
    slow, other = Recorder(), Recorder()

    async def wait() -> None:
        await both.wait()

    slow.behaviour[b"1"] = wait
    await world.send(b"1", b"2")
    first = await world.consume(slow)
    await eventually(lambda: bool(slow.batches))
    await world.consume(other)
    await asyncio.sleep(4)
    both.set()
    await eventually(lambda: len(slow.done) >= 2)
    await world.send(b"3")
    await eventually(lambda: b"3" in slow.done + other.done)
    await world.acknowledged(3)
    assert set(slow.done + other.done) == {b"1", b"2", b"3"}
    assert first.alive() is None


async def test_stopping_lets_the_batch_finish(world: World) -> None:
    release = asyncio.Event()
    handler = Recorder()

    async def wait() -> None:
        await release.wait()

    handler.behaviour[b"1"] = wait
    await world.send(b"1")
    consumer = await world.consume(handler)
    await eventually(lambda: bool(handler.batches))
    stopping = asyncio.create_task(consumer.stop())
    await asyncio.sleep(0.2)
    release.set()
    await stopping
    assert handler.done == [b"1"]
    assert await world.committed() == 1


async def test_stopping_in_an_outage_gives_the_batch_up_for_the_next_consumer(world: World) -> None:
    handler = Recorder()
    handler.outage = True
    await world.send(b"1")
    consumer = await world.consume(handler)
    await eventually(lambda: bool(handler.batches))
    async with asyncio.timeout(5):
        await consumer.stop()
    assert await world.committed() is None
    healthy = Recorder()
    await world.consume(healthy)
    await world.acknowledged(1)
    assert healthy.done == [b"1"]


async def test_a_new_topic_of_a_pattern_is_found(world: World) -> None:
    handler = Recorder()
    await world.consume(handler, topics=(), pattern=rf"^{world.topic}\.[a-z]+\.payments$")
    await asyncio.sleep(2)
    new = f"{world.topic}.new.payments"
    await world.create(TopicSpec(new, 3), TopicSpec(dead_letters(new), 1))
    await world.send(b"1", topic=new)
    await world.send(b"not ours", topic=dead_letters(new))
    await eventually(lambda: handler.done == [b"1"], timeout_s=8)


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
async def test_records_are_read_however_a_client_compresses_them(world: World, codec: str) -> None:
    client = Producer({"bootstrap.servers": world.settings.bootstrap_servers, "compression.type": codec})
    client.produce(world.topic, b"a" * 1000)
    await asyncio.to_thread(client.flush, PATIENCE_S)
    handler = Recorder()
    await world.consume(handler)
    await eventually(lambda: handler.done == [b"a" * 1000])


async def test_a_header_name_that_is_not_utf8_loses_nothing_and_holds_nothing_up(world: World) -> None:
    other = f"{world.topic}.other"
    await world.create(TopicSpec(other, 1))
    await world.send(b"1")
    odd = [("a", b"1"), (NotUtf8("x"), b"2")]
    headers = {b"2": [("a", b"1")], b"3": odd, b"4": odd, b"5": [("a", b"2")]}
    batch = raw_batch(world.producer, *((b"k", value, each) for value, each in headers.items()))
    await (await world.producer.send_batch(batch, world.topic, partition=0))
    await world.send(b"6")
    await world.send(b"7", b"8", topic=other)
    handler = Recorder()
    handler.behaviour[b"3"] = Poison("BAD", "bad")
    await world.consume(handler, topics=[world.topic, other])
    await world.acknowledged(6)
    await eventually(lambda: len(handler.done) == 7)
    [letter] = await world.dead(1)
    assert sorted(value or b"" for value in handler.done) == [b"1", b"2", b"4", b"5", b"6", b"7", b"8"]
    assert (letter.key, letter.value) == (b"k", b"3")
    assert list(letter.headers)[:2] == [("a", b"1"), ("?", b"2")]


async def test_a_consumer_whose_task_died_starts_again(world: World) -> None:
    handler = Recorder()
    consumer = await world.consume(handler)
    await world.send(b"1")
    await world.acknowledged(1)
    for task in consumer._subscriber.tasks:
        task.cancel()
    await world.send(b"2")
    await eventually(lambda: consumer.alive() is not None)
    assert consumer.alive() == "test: nothing reads from Kafka any more"
    await world.acknowledged(2)
    assert handler.done == [b"1", b"2"]
    assert consumer.alive() is None


async def test_a_consumer_whose_client_fetches_no_more_starts_again(world: World) -> None:
    """As after aiokafka's `Unexpected error in fetcher routine`; it would read nothing, for ever, and say nothing."""
    handler = Recorder()
    consumer = await world.consume(handler)
    await world.send(b"1")
    await world.acknowledged(1)
    client = consumer._subscriber.consumer
    assert client is not None

    def unforeseen(*_: Any) -> None:
        raise RuntimeError("unforeseen")

    client._fetcher._get_actions_per_node = unforeseen
    await world.send(b"2")
    await eventually(lambda: consumer.alive() is not None)
    assert consumer.alive() == "test: nothing reads from Kafka any more"
    await world.send(b"3")
    await world.acknowledged(3)
    assert handler.done == [b"1", b"2", b"3"]
    assert consumer.alive() is None


async def test_a_connection_that_has_just_been_closed_is_a_kafka_error(world: World) -> None:
    """On uvloop, which the services run on, its transport raises something that aiokafka does not foresee."""

    class ClosedTransport:
        def write(self, _: bytes) -> None:
            raise RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed")

        def close(self) -> None:
            return None

    client = world.producer.client
    await client.ready(1)
    connection = client._conns[1, 0]
    writer, connection._writer = connection._writer, ClosedTransport()
    with pytest.raises(KafkaConnectionError):
        connection.send(MetadataRequest([]))
    assert not connection.connected()
    writer.close()
    await world.send(b"1")


async def test_a_fetch_that_waits_after_a_failure_does_not_keep_a_reader_from_stopping(world: World) -> None:
    """As when a worker is asked to stop while Kafka is away: aiokafka's own closing ends with the fetch's canceling."""
    reader = Reader(world.topic, **client_options(world.settings))
    await reader.start()
    fetches = [asyncio.create_task(asyncio.sleep(3600)) for _ in range(2)]
    reader._fetcher._pending_tasks.update(fetches)
    await reader.stop()
    assert all(fetch.cancelled() for fetch in fetches)
    assert not any(connection.connected() for connection in reader._client._conns.values())


async def test_our_own_mistake_acknowledges_nothing_and_is_seen(world: World) -> None:
    class Broken(DeadLetters):
        repaired = False

        async def publish(self, letters: Sequence[DeadLetter]) -> None:
            if not self.repaired:
                raise ZeroDivisionError
            await super().publish(letters)

    world.letters = broken = Broken(world.settings)
    handler = Recorder()
    handler.behaviour[b"1"] = Poison("BAD", "bad")
    consumer = await world.consume(handler, batch_size=1)
    await world.send(b"1", b"2")
    await eventually(lambda: consumer.alive() is not None)
    assert str(consumer.alive()).startswith("test: ZeroDivisionError at test_kafka_consumer.py:")
    await asyncio.sleep(0.5)
    assert await world.committed() is None
    assert handler.done == []
    broken.repaired = True
    await world.acknowledged(2)
    assert consumer.alive() is None
    await broken.stop()


async def test_an_oversized_record_becomes_a_cut_dead_letter(world: World) -> None:
    handler = Recorder()
    big = b"x" * (1024 * 1024 - 200)
    handler.behaviour[big] = Poison("TOO_LARGE", "too large")
    await world.send(big)
    await world.consume(handler)
    await world.acknowledged(1)
    [letter] = await world.dead(1)
    assert dict(letter.headers)["tl_truncated"] == str(len(big)).encode()
    assert 1_000_000 < len(letter.value) < len(big)
    assert big.startswith(letter.value)


async def test_what_a_broker_takes_only_in_small_is_a_cut_dead_letter(world: World) -> None:
    small = TopicSpec(dead_letters(world.topic), 1, {"max.message.bytes": str(64 * 1024)})
    await world.create(small)
    handler = Recorder()
    values = [b"a" * 10, b"b" * 100_000, b"c" * 20_000, b"d" * 10]
    for value in values:
        handler.behaviour[value] = Poison("BAD", "bad")
    await world.send(*values)
    await world.consume(handler)
    await world.acknowledged(4)
    letters = await world.dead(4)
    assert [letter.value[:1] for letter in letters] == [b"a", b"b", b"c", b"d"]
    assert [len(letter.value) < len(value) for letter, value in zip(letters, values, strict=True)] == [
        False,
        True,
        True,
        False,
    ]


async def test_a_thousand_dead_letters_take_few_requests(world: World) -> None:
    handler = Recorder()
    values = [b"%d " % number + b"x" * 2_000 for number in range(1_000)]
    for value in values:
        handler.behaviour[value] = Poison("BAD", "bad")
    await world.send(*values)
    sent = Counter[str]()

    class Counting(AIOKafkaProducer):  # type: ignore[misc]
        async def send_batch(self, *given: Any, **more: Any) -> Any:
            sent["batches"] += 1
            return await super().send_batch(*given, **more)

    world.letters = DeadLetters(world.settings, clients=Clients(producer=Counting))
    await world.consume(handler)
    await world.acknowledged(1_000)
    assert [letter.value for letter in await world.dead(1_000)] == values
    assert 0 < sent["batches"] < 20
    await world.letters.stop()


async def test_a_consumer_whose_letters_failed_leaves_the_others_connection(world: World) -> None:
    await world.send(b"1")
    letters = DeadLetters(world.settings)
    first = await letters._started()
    await letters._discard(first)
    second = await letters._started()
    await letters._discard(first)
    assert second is not first
    assert await letters._started() is second
    await letters.stop()


async def test_a_consumer_starts_while_kafka_is_away(world: World) -> None:
    world.settings = KafkaSettings(bootstrap_servers="127.0.0.1:9")
    consumer = await world.consume(Recorder())
    await asyncio.sleep(0.5)
    assert consumer.ready() == "test: not connected to Kafka yet"
    assert consumer.alive() is None


async def test_a_session_time_out_that_the_broker_refuses_is_made_longer(world: World) -> None:
    with capture_logs() as logs:
        await world.consume(Recorder(), session_timeout_ms=500)
        await world.send(b"1")
        await world.acknowledged(1)
    refused = [entry for entry in logs if entry["event"] == "session_timeout_refused"]
    assert [(entry["wanted_ms"], entry["used_ms"]) for entry in refused] == [(500, 6_000)]


async def test_the_partitions_of_a_worker_that_died_move_on_soon(world: World) -> None:
    """It says no goodbye: its heartbeats end, and the broker has to notice."""
    dying, living = Recorder(), Recorder()
    first = await world.consume(dying, session_timeout_ms=2_000)
    await world.send(b"1")
    await world.acknowledged(1)
    second = await world.consume(living, session_timeout_ms=2_000)
    await eventually(lambda: second.ready() is None)
    await _die(first)
    began = monotonic()
    await world.send(b"2")
    await eventually(lambda: living.done == [b"2"])
    assert monotonic() - began < 2 + 0.5 + 1.5  # session, heartbeat, and time for a slow machine


async def _die(consumer: BatchConsumer) -> None:
    client = consumer._subscriber.consumer
    assert client is not None
    assert consumer._watch is not None
    consumer._watch.cancel()
    for task in consumer._subscriber.tasks:
        task.cancel()
    await client._coordinator._stop_heartbeat_task()
    client._coordinator._group_instance_id = "does not say goodbye"


async def test_a_hanging_handler_is_seen_as_a_stall(world: World) -> None:
    handler = Recorder()
    release = asyncio.Event()

    async def hang() -> None:
        await release.wait()

    handler.behaviour[b"1"] = hang
    await world.send(b"1", b"2")
    consumer = await world.consume(handler, batch_size=1, stall_after_s=4)
    await eventually(lambda: consumer.alive() is not None)
    assert str(consumer.alive()).startswith(f"{world.group}: 2 messages wait, and nothing has happened for ")
    release.set()
    await eventually(lambda: consumer.alive() is None)
    await world.acknowledged(2)
