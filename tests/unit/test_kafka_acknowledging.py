"""What is done is acknowledged: soon, together, and only where it is ours."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import CommitFailedError

from shared.kafka.acknowledging import EVERY_S, Acknowledgements

HERE, THERE = TopicPartition("t", 0), TopicPartition("t", 1)


@dataclass
class Consumer:
    """Has partitions, and remembers what was committed."""

    ours: set[TopicPartition] = field(default_factory=lambda: {HERE, THERE})
    commits: list[dict[TopicPartition, int]] = field(default_factory=list)
    failure: Exception | None = None
    open: asyncio.Event = field(default_factory=asyncio.Event)

    def assignment(self) -> set[TopicPartition]:
        return self.ours

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        self.commits.append(dict(offsets))
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure
        await self.open.wait()


@dataclass(frozen=True)
class At:
    """A record, as far as it matters where it is."""

    place: TopicPartition
    offset: int

    @property
    def topic(self) -> str:
        return str(self.place.topic)

    @property
    def partition(self) -> int:
        return int(self.place.partition)


def made(*, open_: bool = True) -> tuple[Consumer, Acknowledgements]:
    consumer = Consumer()
    if open_:
        consumer.open.set()
    return consumer, Acknowledgements("g", lambda: consumer)


def done(acknowledgements: Acknowledgements, *records: At) -> None:
    batch: Any = records
    acknowledgements.done(batch)


async def test_what_is_done_soon_after_each_other_is_committed_together() -> None:
    consumer, acknowledgements = made()
    done(acknowledgements, At(HERE, 4), At(HERE, 5))
    done(acknowledgements, At(THERE, 7))
    done(acknowledgements, At(HERE, 6))
    assert not consumer.commits
    await asyncio.sleep(2 * EVERY_S)
    assert consumer.commits == [{HERE: 7, THERE: 8}]
    await asyncio.sleep(2 * EVERY_S)
    done(acknowledgements, At(HERE, 7))
    await asyncio.sleep(2 * EVERY_S)
    assert consumer.commits == [{HERE: 7, THERE: 8}, {HERE: 8}]


async def test_what_somebody_else_has_by_then_is_left_to_it() -> None:
    consumer, acknowledgements = made()
    done(acknowledgements, At(HERE, 4), At(THERE, 7))
    consumer.ours = {THERE}
    await acknowledgements.commit()
    consumer.ours = {HERE}
    await acknowledgements.commit()
    assert consumer.commits == [{THERE: 8}]


async def test_what_cannot_be_committed_comes_again_and_holds_nothing_up() -> None:
    consumer, acknowledgements = made()
    consumer.failure = CommitFailedError()
    done(acknowledgements, At(HERE, 4))
    await asyncio.sleep(2 * EVERY_S)
    done(acknowledgements, At(HERE, 5))
    await asyncio.sleep(2 * EVERY_S)
    assert consumer.commits == [{HERE: 5}, {HERE: 6}]


async def test_a_mistake_is_not_kept_quiet() -> None:
    consumer, acknowledgements = made()
    consumer.failure = ZeroDivisionError()
    done(acknowledgements, At(HERE, 4))
    await asyncio.sleep(2 * EVERY_S)
    with pytest.raises(ZeroDivisionError):
        done(acknowledgements, At(HERE, 5))


async def test_whoever_commits_at_once_waits_for_what_is_on_its_way() -> None:
    consumer, acknowledgements = made(open_=False)
    done(acknowledgements, At(HERE, 4))
    await asyncio.sleep(2 * EVERY_S)
    last = asyncio.create_task(acknowledgements.commit())
    await asyncio.sleep(EVERY_S)
    assert not last.done()
    consumer.open.set()
    await last
    assert consumer.commits == [{HERE: 5}]


async def test_who_begins_anew_acknowledges_nothing_of_before() -> None:
    consumer, acknowledgements = made()
    done(acknowledgements, At(HERE, 4))
    acknowledgements.forget()
    await asyncio.sleep(2 * EVERY_S)
    done(acknowledgements, At(HERE, 5))
    acknowledgements.close()
    await asyncio.sleep(2 * EVERY_S)
    assert not consumer.commits
