"""What real Kafka does on a bad day the memory does too: each for some seeds, and the same for one seed every time."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import CommitFailedError, KafkaTimeoutError

from tests.contract.kafka.places import Memory, assigned, eventually, played_in_memory, polled, taken
from tests.simulation.kafka import SESSION_S

_SEEDS = 120


def _outcomes(scenario: Callable[[Memory], Coroutine[Any, Any, Any]]) -> list[Any]:
    return [played_in_memory(scenario, seed) for seed in range(_SEEDS)]


def test_a_send_that_was_tried_again_is_there_once_and_one_that_timed_out_perhaps() -> None:
    async def send(kafka: Memory) -> tuple[str, int]:
        topic, clients = await kafka.topic(), kafka.process()
        sender = await kafka.producer(clients)
        acknowledged = await sender.send(topic, value=b"1", partition=0)
        await asyncio.sleep(kafka.random.uniform(0.0, 0.005))
        kafka.links[-1].cut_until = asyncio.get_running_loop().time() + kafka.random.choice((0.5, 30.0))
        try:
            await acknowledged
            answer = "acknowledged"
        except KafkaTimeoutError:
            answer = "timed out"
        await asyncio.sleep(60)
        return answer, len(await kafka.whole(topic))

    assert set(_outcomes(send)) == {("acknowledged", 1), ("timed out", 0), ("timed out", 1)}


def test_what_a_producer_still_sends_when_it_stops_may_come_after_what_others_wrote() -> None:
    async def stop_while_cut_off(kafka: Memory) -> list[bytes | None]:
        topic, clients = await kafka.topic(), kafka.process()
        sender = await kafka.producer(clients)
        kafka.links[-1].cut_until = asyncio.get_running_loop().time() + 2
        await sender.send(topic, value=b"old", partition=0)
        stopping = asyncio.create_task(sender.stop())
        await kafka.send(topic, b"new")
        await stopping
        return [value for _, _, value in await kafka.whole(topic)]

    assert all(found == [b"new", b"old"] for found in _outcomes(stop_while_cut_off))


def test_a_commit_may_be_answered_late_and_counts_before_that() -> None:
    async def commit(kafka: Memory) -> tuple[bool, int | None]:
        topic, group = await kafka.topic(), kafka.name()
        here = TopicPartition(topic, 0)
        member = await kafka.consumer(topic, group=group)
        task = asyncio.create_task(member.commit({here: 1}))
        await eventually(lambda: here in kafka.cluster.group(group).committed)
        done, _ = await asyncio.wait([task], timeout=0.06)
        await task
        return bool(done), kafka.cluster.group(group).committed[here]

    assert set(_outcomes(commit)) == {(True, 1), (False, 1)}


def test_a_commit_that_was_given_up_may_count_nevertheless() -> None:
    async def commit(kafka: Memory) -> tuple[str, int | None, int | None]:
        topic, group = await kafka.topic(), kafka.name()
        here = TopicPartition(topic, 0)
        member = await kafka.consumer(topic, group=group)
        try:
            async with asyncio.timeout(kafka.random.uniform(0.0, 0.01)):
                await member.commit({here: 1})
            answer = "acknowledged"
        except TimeoutError:
            answer = "given up"
        at_once = kafka.cluster.group(group).committed.get(here)
        await asyncio.sleep(5)
        return answer, at_once, kafka.cluster.group(group).committed.get(here)

    assert set(_outcomes(commit)) >= {("acknowledged", 1, 1), ("given up", 1, 1), ("given up", None, 1)}


def test_a_commit_that_is_tried_again_may_set_back_a_partition_that_is_anothers_by_now() -> None:
    async def commit(kafka: Memory) -> tuple[bool, int | None]:
        topic, group = await kafka.topic(2), kafka.name()
        members = [await kafka.consumer(topic, group=group) for _ in range(2)]
        await assigned(members, 2)
        [here] = members[0].assignment()
        members[0].link.cut_until = asyncio.get_running_loop().time() + 1
        task = asyncio.create_task(members[0].commit({here: 1}))
        await kafka.rebalance(group)
        await eventually(lambda: kafka.cluster.group(group).generation > members[0]._generation or task.done())
        await asyncio.wait([task])
        task.exception()
        await assigned(members, 2)
        return here in members[1].assignment(), kafka.cluster.group(group).committed.get(here)

    assert (True, 1) in _outcomes(commit)


def test_a_process_that_was_frozen_for_too_long_reads_on_for_a_while_and_commits_nothing() -> None:
    async def freeze(kafka: Memory) -> tuple[bool, str]:
        topic, group = await kafka.topic(), kafka.name()
        here = TopicPartition(topic, 0)
        zombie = await kafka.consumer(topic, group=group)
        zombie.link.freeze()
        kafka.cluster.went_silent(zombie.link)
        other = await kafka.consumer(topic, group=group)
        async with polled(other) as found:
            await kafka.send(topic, b"1")
            await eventually(lambda: bool(found))
        # While members change, the answer to it may get lost, and it is refused when it is tried again.
        with suppress(CommitFailedError):
            await other.commit({here: 1})
        zombie.link.thaw()
        kafka.cluster.came_back(zombie.link)
        read = await taken(zombie)
        answer = "no rights"
        if here in zombie.assignment():
            try:
                await zombie.commit({here: 0})
                answer = "counts"
            except CommitFailedError:
                answer = "refused"
        return bool(read), answer

    outcomes = set(_outcomes(freeze))
    assert (True, "refused") in outcomes
    assert (True, "counts") not in outcomes


def test_a_leave_that_gets_lost_is_noticed_after_the_session() -> None:
    async def leave(kafka: Memory) -> float:
        topic, group = await kafka.topic(2), kafka.name()
        members = [await kafka.consumer(topic, group=group) for _ in range(2)]
        await assigned(members, 2)
        members[0].link.cut_until = asyncio.get_running_loop().time() + 1
        began = asyncio.get_running_loop().time()
        await members[0].stop()
        await assigned(members[1:], 2)
        return asyncio.get_running_loop().time() - began

    assert min(_outcomes(leave)) >= SESSION_S


def test_a_seed_repeats_itself() -> None:
    async def story(kafka: Memory) -> list[Any]:
        topic, group = await kafka.topic(4), kafka.name()
        for partition in range(4):
            await kafka.send(topic, b"1", b"2", partition=partition)
        members = [await kafka.consumer(topic, group=group) for _ in range(3)]
        told: list[Any] = []
        for member in members:
            found = await taken(member)
            told += [asyncio.get_running_loop().time(), sorted(member.assignment()), found]
            for partition, offset, _ in found:
                place = TopicPartition(topic, partition)
                if place in member.assignment():
                    await asyncio.wait([asyncio.create_task(member.commit({place: offset + 1}))])
            await kafka.rebalance(group)
        return [*told, asyncio.get_running_loop().time(), dict(kafka.cluster.group(group).committed)]

    assert _outcomes(story) == (told := _outcomes(story))
    assert len({repr(each) for each in told}) == _SEEDS
