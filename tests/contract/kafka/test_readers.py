"""A consumer without a group, and what any consumer says of where it is."""

import asyncio

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import (
    ConsumerStoppedError,
    IllegalOperation,
    IllegalStateError,
    UnknownTopicOrPartitionError,
)

from shared.kafka.progress import _lag_of_assigned, _lag_of_group
from tests.contract.kafka.places import Place, assigned, eventually, on_both, taken, values


@on_both
async def test_every_reader_sees_everything_from_where_it_wants(kafka: Place) -> None:
    topic = await kafka.topic(2)
    here, there = TopicPartition(topic, 0), TopicPartition(topic, 1)
    await kafka.send(topic, b"1", b"2", b"3")
    readers = [await kafka.consumer(topic, group=None) for _ in range(2)]
    for reader in readers:
        assert reader.assignment() == {here, there}
        assert await reader.end_offsets([here, there]) == {here: 3, there: 0}
        assert await reader.beginning_offsets([here, there]) == {here: 0, there: 0}
        reader.seek(here, 0)
        reader.seek(there, 0)
        assert await values(reader, 3) == [b"1", b"2", b"3"]
        assert (await reader.position(here), await reader.position(there)) == (3, 0)
        reader.seek(here, 1)
        assert await reader.position(here) == 1
        assert await values(reader, 2) == [b"2", b"3"]


@on_both
async def test_polls_take_no_more_than_they_may_and_lose_nothing(kafka: Place) -> None:
    topic = await kafka.topic(3)
    for partition in range(3):
        await kafka.send(topic, *(b"%d" % number for number in range(7)), partition=partition)
    reader = await kafka.consumer(topic, group=None)
    found = []
    while len(found) < 21:
        some = await taken(reader, max_records=4)
        assert len(some) <= 4
        found += some
    for partition in range(3):
        mine = [(offset, value) for number, offset, value in found if number == partition]
        assert mine == [(number, b"%d" % number) for number in range(7)]
    with pytest.raises(ValueError, match="max_records"):
        await reader.getmany(max_records=0)


@on_both
async def test_a_poll_takes_all_that_came_since_the_last_one(kafka: Place) -> None:
    """And not only what came first, with which a client that fetches ahead would come back."""
    topic = await kafka.topic(2)
    reader = await kafka.consumer(topic, group=kafka.name())
    await kafka.send(topic, b"first", partition=0)
    while not await taken(reader):
        pass
    for round_ in range(3):
        sent = [b"%d.%d" % (round_, number) for number in range(4)]
        for number, value in enumerate(sent):
            await kafka.send(topic, value, partition=number % 2)
            await asyncio.sleep(0.1)
        assert {value for _, _, value in await taken(reader)} == set(sent)


@on_both
async def test_a_poll_waits_for_records_and_comes_back_without_any(kafka: Place) -> None:
    topic = await kafka.topic()
    reader = await kafka.consumer(topic, group=None)
    assert await reader.getmany(timeout_ms=200) == {}
    poll = asyncio.create_task(reader.getmany(timeout_ms=20_000))
    await kafka.send(topic, b"1")
    [[record]] = (await poll).values()
    assert record.value == b"1"


@on_both
async def test_a_reader_that_stops_ends_a_poll_and_takes_no_other(kafka: Place) -> None:
    topic = await kafka.topic()
    for group in (None, kafka.name()):
        reader = await kafka.consumer(topic, group=group)
        poll = asyncio.create_task(reader.getmany(timeout_ms=20_000))
        await asyncio.sleep(0.5)
        await reader.stop()
        async with asyncio.timeout(5):
            assert await poll == {}
        with pytest.raises(ConsumerStoppedError):
            await reader.getmany(timeout_ms=200)
        await reader.stop()


@on_both
async def test_what_has_no_meaning_is_refused(kafka: Place) -> None:
    topic = await kafka.topic()
    here, elsewhere = TopicPartition(topic, 0), TopicPartition(kafka.name(), 0)
    reader = await kafka.consumer(topic, group=None)
    with pytest.raises(IllegalOperation):
        await reader.commit({here: 0})
    with pytest.raises(IllegalOperation):
        await reader.committed(here)
    with pytest.raises(IllegalStateError):
        await reader.position(elsewhere)
    with pytest.raises(IllegalStateError):
        reader.seek(elsewhere, 0)
    assert reader.partitions_for_topic(elsewhere.topic) is None
    lost = kafka.made(elsewhere.topic, group=None, request_timeout_ms=1_000)
    with pytest.raises(UnknownTopicOrPartitionError):
        await lost.start()


@on_both
async def test_lag_is_what_is_left_of_ones_own_partitions_or_of_the_group(kafka: Place) -> None:
    topic, group = await kafka.topic(), kafka.name()
    here = TopicPartition(topic, 0)
    await kafka.send(topic, b"1", b"2", b"3")
    members = [await kafka.consumer(topic, group=group) for _ in range(2)]

    async def one_has_it() -> bool:
        return sorted(len(member.assignment()) for member in members) == [0, 1]

    await eventually(one_has_it)
    idle, busy = sorted(members, key=lambda member: len(member.assignment()))
    assert await _lag_of_group(idle) == {here: 3}
    assert await _lag_of_assigned(busy) == {here: 3}
    assert len(await taken(busy, max_records=2)) == 2
    assert await _lag_of_assigned(busy) == {here: 1}
    assert await _lag_of_group(idle) == {here: 3}, "nothing is committed"
    await busy.commit({here: 2})
    assert await _lag_of_group(idle) == {here: 1}
    await idle.stop()
    await assigned([busy], 1)
