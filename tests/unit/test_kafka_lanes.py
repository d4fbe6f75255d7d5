"""More records than one transaction should hold are handled side by side, each partition in one lane."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.faults import Poison, Transient
from shared.kafka import BatchConsumer, DeadLetter, DeadLetters, Record, broker
from shared.kafka.lanes import lanes_of
from shared.settings import KafkaSettings
from tests.unit.test_review_consumer import Message

Handler = Callable[[Sequence[Record]], Awaitable[Sequence[Poison | None]]]


def records_of(*partitions: int) -> list[Message]:
    """One record in each of these partitions, in this order."""
    return [Message(offset, partition=partition) for offset, partition in enumerate(partitions)]


@given(
    partitions=st.lists(st.integers(0, 5), min_size=1, max_size=60),
    most=st.integers(1, 70),
    lanes=st.integers(1, 4),
)
def test_every_record_is_in_one_lane_and_partitions_stay_whole(partitions: list[int], most: int, lanes: int) -> None:
    records = records_of(*partitions)
    shared = lanes_of(records, most, lanes)
    assert 1 <= len(shared) <= min(lanes, -(-len(records) // most))
    assert sorted(position for lane in shared for position in lane) == list(range(len(records)))
    for partition in set(partitions):
        [lane] = [lane for lane in shared if any(partitions[position] == partition for position in lane)]
        mine = [position for position in lane if partitions[position] == partition]
        assert mine == sorted(mine)


def test_lanes_are_about_equally_long() -> None:
    shared = lanes_of(records_of(*[0] * 50, *[1] * 30, *[2] * 25, *[3] * 5), most=60, lanes=2)
    assert sorted(map(len, shared)) == [55, 55]


class Letters(DeadLetters):
    """Keeps what would be published."""

    def __init__(self) -> None:
        super().__init__(KafkaSettings())
        self.kept: list[DeadLetter] = []

    async def publish(self, letters: Sequence[DeadLetter]) -> None:
        self.kept += letters


def consumer_of(handler: Handler, letters: DeadLetters, batch_size: int) -> BatchConsumer:
    consumer = BatchConsumer(
        broker(KafkaSettings()),
        name="test",
        group_id="test",
        handler=handler,
        dead_letters=letters,
        topics=["t"],
        batch_size=batch_size,
        lanes=2,
    )
    consumer._subscriber.running = True
    return consumer


async def test_two_lanes_are_handled_at_the_same_time() -> None:
    both, given = asyncio.Barrier(2), list[list[int]]()

    async def handle(records: Sequence[Record]) -> Sequence[None]:
        given.append([record.offset for record in records])
        async with asyncio.timeout(5):
            await both.wait()
        return [None] * len(records)

    await consumer_of(handle, Letters(), batch_size=2)._receive(records_of(0, 1, 0, 1))
    assert sorted(given) == [[0, 2], [1, 3]]


async def test_what_one_transaction_can_hold_is_one_batch() -> None:
    given = []

    async def handle(records: Sequence[Record]) -> Sequence[None]:
        given.append([record.offset for record in records])
        return [None] * len(records)

    await consumer_of(handle, Letters(), batch_size=4)._receive(records_of(0, 1, 0, 1))
    assert given == [[0, 1, 2, 3]]


async def test_a_lane_with_one_large_partition_is_handled_in_steps() -> None:
    given = []

    async def handle(records: Sequence[Record]) -> Sequence[None]:
        given.append([record.offset for record in records])
        return [None] * len(records)

    await consumer_of(handle, Letters(), batch_size=2)._receive(records_of(0, 0, 0, 0, 0))
    assert given == [[0, 1], [2, 3], [4]]


async def test_each_poisoned_record_has_its_own_letter_whatever_lane_it_is_in() -> None:
    letters = Letters()

    async def handle(records: Sequence[Record]) -> Sequence[Poison | None]:
        return [Poison(f"REASON_{record.offset}", "") if record.offset in {1, 2} else None for record in records]

    await consumer_of(handle, letters, batch_size=2)._receive(records_of(0, 1, 0, 1))
    assert {(letter.record.offset, letter.reason) for letter in letters.kept} == {(1, "REASON_1"), (2, "REASON_2")}


async def test_an_outage_of_one_lane_repeats_that_lane_alone() -> None:
    tried = Counter[int]()

    async def handle(records: Sequence[Record]) -> Sequence[None]:
        tried.update(record.offset for record in records)
        if records[0].partition == 1 and tried[records[0].offset] == 1:
            raise Transient("away")
        return [None] * len(records)

    await consumer_of(handle, Letters(), batch_size=1)._receive(records_of(0, 1))
    assert tried == {0: 1, 1: 2}


async def test_while_one_lane_is_kept_the_consumer_says_so_though_the_other_is_done() -> None:
    consumer: BatchConsumer

    async def handle(records: Sequence[Record]) -> Sequence[None]:
        if records[0].partition == 1:
            raise Transient("away")
        await asyncio.sleep(0.05)
        return [None] * len(records)

    consumer = consumer_of(handle, Letters(), batch_size=1)
    consumer._progress.resumed("connection")
    receiving = asyncio.create_task(consumer._receive(records_of(0, 1)))
    await asyncio.sleep(0.1)
    assert consumer.ready() == "test: handler: away"
    consumer._stopping.set()
    await receiving


@pytest.mark.parametrize("failing", [0, 1])
async def test_a_batch_is_given_up_only_when_no_lane_is_at_work_any_more(failing: int) -> None:
    done = []

    async def handle(records: Sequence[Record]) -> Sequence[None]:
        if records[0].partition == failing:
            raise Transient("away")
        await asyncio.sleep(0.2)
        done.append(records[0].partition)
        return [None] * len(records)

    consumer = consumer_of(handle, Letters(), batch_size=1)
    consumer._stopping.set()
    await consumer._receive(records_of(0, 1))
    assert done == [1 - failing]
    assert not consumer._subscriber.running
