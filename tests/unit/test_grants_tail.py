"""The tail tells a consumer that is stuck from one for which there is always more, on virtual time."""

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from aiokafka import TopicPartition

from shared.auth.cache import GrantCache
from shared.auth.tail import GrantsTail
from tests.contract.kafka.places import Memory, played_in_memory
from tests.contract.stores.store import in_memory
from tests.simulation.kafka.consumer import Consumer

_LONG_S = 60.0
"""Many times as long as a tail takes to notice that it gets nothing."""


class Busy(Consumer):
    """A record comes whenever somebody looks for the end: by the time of the answer there is always more."""

    async def end_offsets(self, places: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        given = list(places)
        for place in given:
            self._cluster.partition(place).append([(b"k", b"no grant", ())])
        return await super().end_offsets(given)


class Stuck(Busy):
    """It fetches no more."""

    async def getmany(self, *places: TopicPartition, **options: Any) -> dict[TopicPartition, list[Any]]:
        await asyncio.sleep(0.5)
        return {}


def connections(kind: type[Consumer]) -> int:
    """How many consumers a tail made in a while."""

    async def follow(kafka: Memory) -> int:
        topic, made = await kafka.topic(), []

        def consumer(*topics: str, **options: Any) -> Consumer:
            made.append(kind(kafka.cluster, kafka.links[-1], *topics, **options))
            return made[-1]

        clients: Any = replace(kafka.process(), consumer=consumer)  # type: ignore[arg-type]
        async with in_memory("orders") as store:
            tail = GrantsTail(kafka.settings, "orders", topic, GrantCache(), clients)
            task = asyncio.create_task(tail.run(store.pool))
            await asyncio.sleep(_LONG_S)
            assert not task.done(), task
            task.cancel()
            await asyncio.wait([task])
        return len(made)

    found: int = played_in_memory(follow, 1)
    return found


def test_records_that_have_just_come_are_no_reason_to_connect_again() -> None:
    assert connections(Busy) == 1


def test_a_consumer_that_gives_nothing_although_there_is_something_is_replaced() -> None:
    assert connections(Stuck) > 2
