"""A group: every record to one of its members, from what is committed on, whatever becomes of the others."""

import asyncio

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError

from tests.contract.kafka.places import Place, assigned, eventually, on_both, polled, taken, values


@on_both
async def test_members_share_and_each_record_goes_to_one_in_order(kafka: Place) -> None:
    topic, group = await kafka.topic(4), kafka.name()
    members = [await kafka.consumer(topic, group=group) for _ in range(2)]
    await assigned(members, 4)
    assert [len(member.assignment()) for member in members] == [2, 2]
    for partition in range(4):
        await kafka.send(topic, b"1", b"2", b"3", partition=partition)
    found = []
    for member in members:
        mine = []
        async with asyncio.timeout(30):
            while len(mine) < 6:
                mine += await taken(member)
        assert {partition for partition, _, _ in mine} == {place.partition for place in member.assignment()}
        found += mine
    assert sorted(found) == [(partition, number, b"%d" % (number + 1)) for partition in range(4) for number in range(3)]
    for partition in range(4):
        assert [offset for number, offset, _ in found if number == partition] == [0, 1, 2]


@on_both
async def test_a_consumer_has_its_partitions_when_it_has_started(kafka: Place) -> None:
    topic = await kafka.topic(2)
    member = await kafka.consumer(topic, group=kafka.name())
    assert member.assignment() == {TopicPartition(topic, 0), TopicPartition(topic, 1)}
    assert member.subscription() == {topic}


@on_both
async def test_nothing_is_committed_before_the_first_commit(kafka: Place) -> None:
    topic, group = await kafka.topic(), kafka.name()
    here = TopicPartition(topic, 0)
    member = await kafka.consumer(topic, group=group)
    assert await member.committed(here) is None
    await kafka.send(topic, b"1")
    assert await values(member, 1) == [b"1"]
    assert await member.committed(here) is None
    await member.commit({here: 1})
    assert await member.committed(here) == 1
    assert await kafka.committed(group, here) == 1
    assert await kafka.committed(kafka.name(), here) is None, "another group's"


@on_both
async def test_who_comes_after_one_that_left_goes_on_at_what_is_committed(kafka: Place) -> None:
    topic, group = await kafka.topic(), kafka.name()
    await kafka.send(topic, b"1", b"2", b"3")
    first = await kafka.consumer(topic, group=group)
    assert await values(first, 3) == [b"1", b"2", b"3"]
    await first.commit({TopicPartition(topic, 0): 1})
    await first.stop()
    second = await kafka.consumer(topic, group=group)
    assert await second.position(TopicPartition(topic, 0)) == 1
    assert await values(second, 2) == [b"2", b"3"]


@on_both
async def test_a_member_that_crashed_is_succeeded_after_its_session(kafka: Place) -> None:
    topic, group = await kafka.topic(2), kafka.name()
    here = TopicPartition(topic, 0)
    first, second = [await kafka.consumer(topic, group=group) for _ in range(2)]
    await assigned([first, second], 2)
    dead, alive = (first, second) if here in first.assignment() else (second, first)
    await kafka.send(topic, b"1", b"2")
    assert await values(dead, 2) == [b"1", b"2"]
    await dead.commit({here: 1})
    began = asyncio.get_running_loop().time()
    await kafka.crash(dead)
    async with polled(alive) as found:
        await eventually(lambda: bool(found))
    assert found == [(0, 1, b"2")]
    assert asyncio.get_running_loop().time() - began > 3, "nobody knows earlier"


@on_both
async def test_when_one_leaves_the_other_has_all_at_once(kafka: Place) -> None:
    topic, group = await kafka.topic(4), kafka.name()
    members = [await kafka.consumer(topic, group=group) for _ in range(2)]
    await assigned(members, 4)
    await members[0].stop()
    async with asyncio.timeout(5):
        await assigned(members[1:], 4)


@on_both
async def test_what_was_not_committed_comes_again_after_a_rebalance(kafka: Place) -> None:
    topic, group = await kafka.topic(), kafka.name()
    here = TopicPartition(topic, 0)
    await kafka.send(topic, b"1", b"2", b"3")
    member = await kafka.consumer(topic, group=group)
    async with polled(member) as found:
        await eventually(lambda: len(found) == 3)
        await member.commit({here: 1})
        await kafka.rebalance(group)
        await eventually(lambda: len(found) == 5)
    assert [value for _, _, value in found] == [b"1", b"2", b"3", b"2", b"3"]


@on_both
async def test_only_what_is_assigned_can_be_committed(kafka: Place) -> None:
    topic, group = await kafka.topic(2), kafka.name()
    members = [await kafka.consumer(topic, group=group) for _ in range(2)]
    await assigned(members, 2)
    [own], [others] = (member.assignment() for member in members)
    with pytest.raises(IllegalStateError):
        await members[0].commit({own: 1, others: 1})
    with pytest.raises(IllegalStateError):
        await members[0].commit({TopicPartition(kafka.name(), 0): 1})
    assert [await kafka.committed(group, place) for place in (own, others)] == [None, None]


@on_both
async def test_a_commit_is_whatever_it_says_even_less_than_before(kafka: Place) -> None:
    topic, group = await kafka.topic(), kafka.name()
    here = TopicPartition(topic, 0)
    await kafka.send(topic, b"1", b"2", b"3")
    member = await kafka.consumer(topic, group=group)
    for offset in (3, 1):
        await member.commit({here: offset})
        assert await kafka.committed(group, here) == offset


@on_both
async def test_a_zombie_reads_on_but_commits_nothing_and_then_joins_again(kafka: Place) -> None:
    topic, group = await kafka.topic(), kafka.name()
    here = TopicPartition(topic, 0)
    zombie = await kafka.consumer(topic, group=group)
    await kafka.silence(zombie)
    other = await kafka.consumer(topic, group=group)
    await eventually(lambda: other.assignment() == {here})
    await kafka.send(topic, b"1", b"2")
    assert zombie.assignment() == {here}, "it does not know"
    assert await values(zombie, 2) == [b"1", b"2"]
    assert await values(other, 2) == [b"1", b"2"]
    await other.commit({here: 1})
    with pytest.raises(CommitFailedError):
        await zombie.commit({here: 2})
    assert await kafka.committed(group, here) == 1
    await eventually(lambda: len(zombie.assignment()) + len(other.assignment()) == 1)
    await other.stop()
    assert set(await values(zombie, 1)) == {b"2"}, "it has joined again, and begins at what is committed"
    await zombie.commit({here: 2})
    assert await kafka.committed(group, here) == 2


@on_both
async def test_an_outdated_member_commits_nothing_and_then_joins_again(kafka: Place) -> None:
    topic, group = await kafka.topic(), kafka.name()
    here = TopicPartition(topic, 0)
    member = await kafka.consumer(topic, group=group)
    await kafka.send(topic, b"1")
    async with polled(member) as found:
        await eventually(lambda: len(found) == 1)
        await kafka.outdate(member)
        with pytest.raises(CommitFailedError):
            await member.commit({here: 1})
        assert await kafka.committed(group, here) is None
        await eventually(lambda: len(found) == 2)
    assert found == [(0, 0, b"1"), (0, 0, b"1")]
    await member.commit({here: 1})
    assert await kafka.committed(group, here) == 1


@on_both
async def test_a_pattern_finds_topics_that_come_later_and_no_others(kafka: Place) -> None:
    prefix = kafka.name()
    await kafka.topic(name=f"{prefix}.one.in")
    member = await kafka.consumer(group=kafka.name(), pattern=rf"^{prefix}\.[a-z]+\.in$")
    assert member.assignment() == {TopicPartition(f"{prefix}.one.in", 0)}
    for name in ("two.in", "two.in.dead-letters", "TWO.in"):
        await kafka.topic(name=f"{prefix}.{name}")
        await kafka.send(f"{prefix}.{name}", name.encode())
    async with polled(member) as found:
        await eventually(lambda: bool(found))
        await asyncio.sleep(2)
    assert {value for _, _, value in found} == {b"two.in"}
    assert member.subscription() == {f"{prefix}.one.in", f"{prefix}.two.in"}


@on_both
async def test_a_pattern_that_matches_nothing_yet_has_nothing(kafka: Place) -> None:
    prefix = kafka.name()
    member = await kafka.consumer(group=kafka.name(), pattern=rf"^{prefix}\.in$")
    assert (member.assignment(), await member.getmany(timeout_ms=200)) == (set(), {})
    await kafka.topic(name=f"{prefix}.in")
    await kafka.send(f"{prefix}.in", b"1")
    assert await values(member, 1) == [b"1"]


@on_both
async def test_partitions_that_are_added_are_read(kafka: Place) -> None:
    topic = await kafka.topic()
    member = await kafka.consumer(topic, group=kafka.name())
    await kafka.topic(2, name=topic)
    await kafka.send(topic, b"1", partition=1)
    assert await values(member, 1) == [b"1"]


@on_both
async def test_groups_do_not_concern_each_other(kafka: Place) -> None:
    topic = await kafka.topic()
    members = [await kafka.consumer(topic, group=kafka.name()) for _ in range(2)]
    await kafka.send(topic, b"1")
    for member in members:
        assert await values(member, 1) == [b"1"]
        await member.commit({TopicPartition(topic, 0): 1})
