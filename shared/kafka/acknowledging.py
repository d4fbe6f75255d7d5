"""Acknowledging what is done, a few times a second: each time is a request to the broker and a record in its log."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from shared.kafka.record import Record, place_of

EVERY_S = 0.1
"""What was done within this time, and not acknowledged when a worker dies, is delivered again."""

_BROKER_ANSWERS_S = 5.0

log = structlog.get_logger(__name__)


class Acknowledgements:
    """Offsets of records that are done, committed together within `EVERY_S`.

    A failure only means that records come again. What another consumer has by then is left to it.
    """

    def __init__(self, group_id: str, consumer: Callable[[], Any]) -> None:
        self._consumer = consumer
        self._log = log.bind(group=group_id)
        self._next: dict[TopicPartition, int] = {}
        """By partition, the offset of the first record that is not done."""
        self._committing: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()

    def done(self, records: Sequence[Record]) -> None:
        """These are done, and all before them in their partitions. Raises what went wrong with committing, once."""
        for record in records:
            self._next[TopicPartition(*place_of(record))] = record.offset + 1
        task = self._committing
        if task is not None and task.done():
            self._committing = None
            task.result()
        if self._committing is None:
            self._committing = asyncio.create_task(self._commit_now_and_then(), name="acknowledgements")

    def forget(self) -> None:
        """What is not acknowledged comes again: the consumer begins anew."""
        self._next.clear()

    async def commit(self) -> None:
        """All of it, at once; what is on its way has arrived as well when this ends."""
        async with self._lock:
            consumer, done, self._next = self._consumer(), self._next, {}
            assigned = set() if consumer is None else consumer.assignment()
            ours = {place: offset for place, offset in done.items() if place in assigned}
            try:
                async with asyncio.timeout(_BROKER_ANSWERS_S):
                    if ours:
                        await consumer.commit(ours)
            except (KafkaError, TimeoutError) as failure:
                self._log.warning("offsets_not_committed", failure=type(failure).__name__, partitions=len(ours))

    def close(self) -> None:
        """Nothing is committed any more."""
        if self._committing is not None:
            self._committing.cancel()
            self._committing = None

    async def _commit_now_and_then(self) -> None:
        while self._next:
            await asyncio.sleep(EVERY_S)
            await self.commit()
