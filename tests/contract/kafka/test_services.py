"""What the services build on it: the batch consumer, the grants' tail and the relay, the same on both."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

from aiokafka import TopicPartition
from pydantic import SecretStr

from shared.auth.cache import GrantCache
from shared.auth.tail import GrantsTail
from shared.contracts.access import Grant
from shared.envelope import Envelope
from shared.faults import Poison, Transient
from shared.kafka import BatchConsumer, DeadLetters, Record, broker
from shared.kafka.clients import Producer
from shared.outbox import OutboxMessage, drop, put, topics_together
from shared.outside import Outside
from shared.postgres import transaction
from shared.relay import Relay, Wake, partition_of
from shared.settings import Settings
from shared.topics import dead_letters
from tests.contract.kafka.places import Place, eventually, on_both
from tests.contract.stores.store import in_memory


class Worker:
    """A process with a batch consumer, and what its handler was given and did."""

    def __init__(self, kafka: Place, topic: str, group: str, **options: Any) -> None:
        self.kafka, self.clients = kafka, kafka.process()
        self.given: list[tuple[int, bytes | None]] = []
        self.done: list[tuple[int, bytes | None]] = []
        self.begun: list[float] = []
        """When the handler was given something."""
        self.first: Callable[[Sequence[Record]], Awaitable[Sequence[Poison | None]]] | None = None
        """What the handler does instead, once."""
        letters = DeadLetters(kafka.settings, clients=self.clients)
        self.consumer = BatchConsumer(
            broker(kafka.settings, self.clients),
            name="worker",
            group_id=group,
            handler=self.handle,
            dead_letters=letters,
            topics=[topic],
            **options,
        )
        kafka.closers.push_async_callback(letters.stop)

    async def start(self) -> "Worker":
        await self.consumer.start()
        self.kafka.closers.push_async_callback(self.consumer.stop)
        return self

    async def handle(self, records: Sequence[Record]) -> Sequence[Poison | None]:
        self.begun.append(asyncio.get_running_loop().time())
        values = [(record.partition, record.value) for record in records]
        self.given += values
        first, self.first = self.first, None
        outcomes = [None] * len(records) if first is None else await first(records)
        self.done += [value for value, outcome in zip(values, outcomes, strict=True) if outcome is None]
        return outcomes

    async def crash(self) -> None:
        """Gone in the middle of whatever it did."""
        if self.consumer._watch is not None:
            self.consumer._watch.cancel()
        for task in self.consumer._subscriber.tasks:
            task.cancel()
        await self.kafka.crash(self.consumer._subscriber.consumer)


async def _is_committed(kafka: Place, group: str, topic: str, offset: int, partition: int = 0) -> None:
    async def committed() -> bool:
        return await kafka.committed(group, TopicPartition(topic, partition)) == offset

    await eventually(committed)


@on_both
async def test_a_batch_is_done_and_then_acknowledged(kafka: Place) -> None:
    topic, group = await kafka.topic(), kafka.name()
    worker = await Worker(kafka, topic, group).start()
    await kafka.send(topic, b"1", b"2", b"3")
    await _is_committed(kafka, group, topic, 3)
    assert worker.done == [(0, b"1"), (0, b"2"), (0, b"3")]
    assert (worker.consumer.alive(), worker.consumer.ready()) == (None, None)


@on_both
async def test_what_is_done_is_acknowledged_before_a_consumer_has_stopped(kafka: Place) -> None:
    topic, group = await kafka.topic(), kafka.name()
    worker = await Worker(kafka, topic, group).start()
    await kafka.send(topic, b"1", b"2", b"3")

    async def done() -> bool:
        return len(worker.done) == 3

    await eventually(done)
    await worker.consumer.stop()
    assert await kafka.committed(group, TopicPartition(topic, 0)) == 3


@on_both
async def test_batches_keep_their_pace(kafka: Place) -> None:
    """What comes within the pace shares the next batch."""
    topic, pace_s = await kafka.topic(), 0.05
    worker = await Worker(kafka, topic, kafka.name(), pace_s=pace_s).start()
    for number in range(20):
        await kafka.send(topic, b"%d" % number)

    async def done() -> bool:
        return len(worker.done) == 20

    await eventually(done)
    gaps = [after - before for before, after in pairwise(worker.begun)]
    assert all(gap > pace_s - 0.002 for gap in gaps), gaps


@on_both
async def test_what_a_crash_left_unacknowledged_comes_again(kafka: Place) -> None:
    topic, group = await kafka.topic(), kafka.name()
    await kafka.send(topic, b"1", b"2")
    worker = Worker(kafka, topic, group)

    async def never_ends(_: Sequence[Record]) -> Sequence[None]:
        await asyncio.Event().wait()
        return []

    worker.first = never_ends
    await worker.start()
    await eventually(lambda: len(worker.given) == 2)
    await worker.crash()
    assert await kafka.committed(group, TopicPartition(topic, 0)) is None
    successor = await Worker(kafka, topic, group).start()
    await _is_committed(kafka, group, topic, 2)
    assert (worker.done, successor.done[:2]) == ([], [(0, b"1"), (0, b"2")])
    assert set(successor.done) == {(0, b"1"), (0, b"2")}


@on_both
async def test_poison_becomes_a_dead_letter_and_the_rest_is_done(kafka: Place) -> None:
    topic, group = await kafka.topic(), kafka.name()
    worker = Worker(kafka, topic, group)

    async def judge(records: Sequence[Record]) -> Sequence[Poison | None]:
        return [Poison("BAD", "on purpose") if record.value == b"2" else None for record in records]

    worker.first = judge
    await kafka.send(topic, b"1", b"2", b"3")
    await worker.start()
    await _is_committed(kafka, group, topic, 3)
    assert worker.done == [(0, b"1"), (0, b"3")]
    reader = await kafka.consumer(dead_letters(topic), group=None)
    [[letter]] = (await reader.getmany(timeout_ms=20_000)).values()
    told = dict(letter.headers)
    assert (letter.value, told["tl_reason"], told["tl_topic"]) == (b"2", b"BAD", topic.encode())
    assert (told["tl_partition"], told["tl_offset"]) == (b"0", b"1")


@on_both
async def test_an_outage_repeats_the_batch_and_acknowledges_nothing_before(kafka: Place) -> None:
    topic, group = await kafka.topic(), kafka.name()
    worker = Worker(kafka, topic, group)
    seen: list[int | None] = []

    async def away(_: Sequence[Record]) -> Sequence[None]:
        seen.append(await kafka.committed(group, TopicPartition(topic, 0)))
        if len(seen) < 3:
            worker.first = away
        raise Transient("the database is away")

    worker.first = away
    await kafka.send(topic, b"1", b"2")
    await worker.start()
    await _is_committed(kafka, group, topic, 2)
    assert seen == [None, None, None]
    assert worker.done == [(0, b"1"), (0, b"2")]


@on_both
async def test_lanes_of_two_processes_share_and_keep_each_partition_in_order(kafka: Place) -> None:
    topic, group, count = await kafka.topic(4), kafka.name(), 20
    workers = [await Worker(kafka, topic, group, lanes=2, batch_size=3).start() for _ in range(2)]
    for partition in range(4):
        await kafka.send(topic, *(b"%02d" % number for number in range(count)), partition=partition)
    for partition in range(4):
        await _is_committed(kafka, group, topic, count, partition)
    wanted = [b"%02d" % number for number in range(count)]
    for partition in range(4):
        for worker in workers:
            mine = [value for number, value in worker.done if number == partition]
            assert _without_repeats(mine) == [value for value in wanted if value in mine]
        assert {value for worker in workers for number, value in worker.done if number == partition} == set(wanted)


def _without_repeats(values: Sequence[bytes | None]) -> list[bytes | None]:
    """Each one's first appearance."""
    return list(dict.fromkeys(values))


@on_both
async def test_a_rebalance_during_a_batch_loses_nothing(kafka: Place) -> None:
    topic, group = await kafka.topic(2), kafka.name()
    worker, going_on = Worker(kafka, topic, group), asyncio.Event()

    async def slowly(records: Sequence[Record]) -> Sequence[None]:
        await going_on.wait()
        return [None] * len(records)

    worker.first = slowly
    await kafka.send(topic, b"1", b"2")
    await worker.start()
    await eventually(lambda: bool(worker.given))
    other = await Worker(kafka, topic, group).start()
    await asyncio.sleep(3)
    going_on.set()
    await kafka.send(topic, b"3", partition=0)
    await kafka.send(topic, b"4", partition=1)
    await _is_committed(kafka, group, topic, 3)
    await _is_committed(kafka, group, topic, 1, partition=1)
    assert {value for _, value in worker.done + other.done} == {b"1", b"2", b"3", b"4"}
    assert [each.consumer.alive() for each in (worker, other)] == [None, None]


@on_both
async def test_a_stop_finishes_the_batch_in_hand(kafka: Place) -> None:
    topic, group = await kafka.topic(), kafka.name()
    worker = Worker(kafka, topic, group)

    async def slowly(records: Sequence[Record]) -> Sequence[None]:
        await asyncio.sleep(0.5)
        return [None] * len(records)

    worker.first = slowly
    await kafka.send(topic, b"1")
    await worker.start()
    await eventually(lambda: bool(worker.given))
    await worker.consumer.stop()
    assert worker.done == [(0, b"1")]
    assert await kafka.committed(group, TopicPartition(topic, 0)) == 1


def _grant(number: int) -> Grant:
    return Grant(
        grant_id=f"key_{number}",
        credential_hash=f"hash-000{number}",
        kind="api_key",
        merchant_id="mer_1",
        environment="test",
        scopes=("orders.read",),
    )


@on_both
async def test_the_grants_tail_follows_its_topic_and_goes_on_where_its_table_is(kafka: Place) -> None:
    topic = await kafka.topic()
    sender = await kafka.producer()

    async def publish(number: int, value: bytes | None) -> None:
        await sender.send_and_wait(topic, key=f"hash-000{number}".encode(), value=value, partition=0)

    async def known() -> list[str]:
        rows = await store.rows("grants")
        return sorted(row["credential_hash"] for row in rows if row["status"] == "active")

    def following() -> "asyncio.Task[None]":
        tail = GrantsTail(kafka.settings, "orders", topic, GrantCache(), kafka.process())
        tails.append(tail)
        return asyncio.create_task(tail.run(store.pool))

    tails: list[GrantsTail] = []
    for number in (1, 2):
        await publish(number, _grant(number).model_dump_json().encode())
    async with in_memory("orders") as store:
        task = following()
        await tails[0].caught_up.wait()
        assert await known() == ["hash-0001", "hash-0002"]
        await publish(1, None)
        await publish(3, b"no grant")

        async def revoked() -> bool:
            return await known() == ["hash-0002"]

        await eventually(revoked)
        task.cancel()
        await asyncio.wait([task])
        await publish(4, _grant(4).model_dump_json().encode())
        task = following()
        await tails[1].caught_up.wait()
        assert await known() == ["hash-0002", "hash-0004"]
        task.cancel()
        await asyncio.wait([task])


@on_both
async def test_the_relay_publishes_every_row_in_the_order_of_its_key(kafka: Place) -> None:
    topic = await kafka.topic(3)
    keys, numbers = ["ord_1", "ord_2", "ord_3", "ord_4"], range(10)
    async with in_memory("orders") as store:
        settings = Settings(database_url=SecretStr(store.url), kafka=kafka.settings)
        relay = Relay(settings, "orders", Wake(), Outside(postgres=store.drivers, kafka=kafka.process()))
        task = asyncio.create_task(relay.run())
        for number in numbers:
            messages = [
                OutboxMessage(topic, Envelope(f"{key}.{number}", "t.v1", "/tests", f"{key}.{number}".encode(), key=key))
                for key in keys
            ]
            async with transaction(store.pool) as connection:
                await put(connection, messages)

        async def all_gone() -> bool:
            return not await store.rows("outbox")

        await eventually(all_gone)
        task.cancel()
        await asyncio.wait([task])
    found = [(partition, (value or b"").decode()) for partition, _, value in await kafka.whole(topic)]
    for key in keys:
        mine = [(partition, value) for partition, value in found if value.startswith(key)]
        assert mine == [(partition_of(key.encode(), 3), f"{key}.{number}") for number in numbers]
    assert len(found) == len(keys) * len(numbers)


@on_both
async def test_a_relay_that_lost_its_session_publishes_nothing_of_it_any_more(kafka: Place) -> None:
    """What it held back may have been dropped since, and others publish what remains."""
    topic, sessions, producers = await kafka.topic(), list[Any](), list[Producer]()
    clients = kafka.process()

    def made(**options: Any) -> Any:
        producers.append(clients.producer(**options))
        return producers[-1]

    async with in_memory("apps") as store:

        async def connected(*given: Any, **more: Any) -> Any:
            sessions.append(await store.drivers.connect(*given, **more))
            return sessions[-1]

        async def told(name: str) -> None:
            async with transaction(store.pool) as connection:
                await put(connection, [OutboxMessage(topic, Envelope(name, "t.v1", "/tests", name.encode(), key="k"))])

        async def gone() -> bool:
            return not await store.rows("outbox")

        settings = Settings(database_url=SecretStr(store.url), kafka=kafka.settings)
        outside = Outside(postgres=replace(store.drivers, connect=connected), kafka=replace(clients, producer=made))
        relay = Relay(settings, "apps", Wake(), outside)
        task = asyncio.create_task(relay.run())
        await told("first")
        await eventually(gone)
        with kafka.cut_off(producers[0]):
            await told("dropped")
            await asyncio.sleep(1)
            async with transaction(store.pool) as connection:
                await drop(connection, topic)
            sessions[0].terminate()
            await asyncio.sleep(2)
        await told("last")
        await eventually(gone)
        task.cancel()
        await asyncio.wait([task])
    assert len(sessions) > 1, "the relay came back"
    assert [value for _, _, value in await kafka.whole(topic)] == [b"first", b"last"]


@on_both
async def test_a_topic_that_is_not_there_yet_holds_up_no_other(kafka: Place) -> None:
    there, late = await kafka.topic(2), kafka.name()
    async with in_memory("orders") as store:
        settings = Settings(database_url=SecretStr(store.url), kafka=kafka.settings)
        relay = Relay(settings, "orders", Wake(), Outside(postgres=store.drivers, kafka=kafka.process()))
        task = asyncio.create_task(relay.run())

        async def told(number: int, *topics: str) -> None:
            envelope = Envelope(f"evt_{number}", "t.v1", "/tests", b"%d" % number, key="k")
            async with transaction(store.pool) as connection:
                await put(connection, [OutboxMessage(topics_together(topics), envelope)])

        async def waiting() -> list[str]:
            return [row["aggregatetype"] for row in await store.rows("outbox")]

        async def only_late() -> bool:
            return set(await waiting()) == {late}

        async def nothing() -> bool:
            return not await waiting()

        for number, topics in enumerate([(late,), (there,), (there, late), (late, there)]):
            await told(number, *topics)
        await eventually(only_late)
        assert relay.ready() is None
        assert [value for _, _, value in await kafka.whole(there)] == [b"1", b"2", b"3"]
        await told(4, late)
        await kafka.topic(1, name=late)
        await told(5, late)
        await eventually(nothing)
        task.cancel()
        await asyncio.wait([task])
    assert [value for _, _, value in await kafka.whole(late)] == [b"0", b"2", b"3", b"4", b"5"]
