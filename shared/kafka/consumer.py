"""The one place where messages are taken from Kafka and acknowledged: in batches, after their effects are durable."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from faststream import AckPolicy
from faststream.kafka import KafkaBroker
from faststream.kafka.subscriber.usecase import BatchSubscriber
from faststream.message import StreamMessage
from tenacity import AsyncRetrying, retry_if_exception_type, wait_exponential, wait_random

from shared.clock import monotonic
from shared.faults import Poison, Transient
from shared.isolation import describe, run_isolated
from shared.kafka.dead_letters import DeadLetter, DeadLetters
from shared.kafka.lanes import lanes_of
from shared.kafka.progress import STALL_AFTER_S, Progress
from shared.kafka.reader import LEAST_SESSION_MS
from shared.kafka.record import Record, place_of

BatchHandler = Callable[[Sequence[Record]], Awaitable[Sequence[Poison | None]]]
"""Makes the effects of all the records durable, or raises. One entry per record: why it can never be, or None."""

Outcome = Poison | Exception | None
"""What became of a record: why it can never be, what the handler raised for it alone, or nothing of note."""

HANDLER_FAILED = "HANDLER_FAILED"
"""Dead letter reason: the handler raised something unforeseen for this record alone."""

_POLL_MS = 2  # FastStream looks away for this long when there was nothing; the `Reader` waits longer than it asks for.
_LOOK_EVERY_S = 3.0
_BROKER_ANSWERS_S = 5.0
_JOIN_S = 60.0
_RECONNECT_AFTER_S = 60.0
_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 4.0
# Also how soon a member hears that partitions move, so it bounds every hand-over.
_HEARTBEAT_MS = 500
_DAY_MS = 24 * 60 * 60 * 1000

T = TypeVar("T")
log = structlog.get_logger(__name__)


class _Stopping(Exception):
    """The process ends while an outage lasts: the batch is given up and will be delivered again."""


class BatchConsumer:
    """Hands batches of records to a handler, one batch at a time, each partition's records in order.

    The handler is given at most `batch_size` records. Where more wait, as many as `lanes` times that are one batch, and
    are handled side by side, each partition in one lane: while one waits for the database, another decides.

    A batch is acknowledged, once, after the handler returned and the dead letters of its poisoned records are safe.
    `Transient` repeats it with backoff, in smaller steps, for as long as the outage lasts. Anything else that the
    handler raises is isolated to the records that cause it: they become dead letters, the rest is done. Whatever was
    not acknowledged is delivered again, so that a handler must bear repeats.

    A batch begins `pace_s` after the one before at the earliest. A batch costs the same whether it is one record or
    twenty, so that under load a short wait leaves all processes of a machine more time than it takes.
    """

    def __init__(
        self,
        broker: KafkaBroker,
        *,
        name: str,
        group_id: str,
        handler: BatchHandler,
        dead_letters: DeadLetters,
        topics: Sequence[str] = (),
        pattern: str | None = None,
        batch_size: int = 500,
        lanes: int = 1,
        pace_s: float = 0.0,
        session_timeout_ms: int = LEAST_SESSION_MS,
        stall_after_s: float = STALL_AFTER_S,
    ) -> None:
        self.name = name
        self._broker = broker
        self._handler = handler
        self._dead_letters = dead_letters
        self._batch_size, self._lanes = batch_size, lanes
        self._pace_s = pace_s
        self._progress = Progress(group_id, stall_after_s)
        self._stopping = asyncio.Event()
        self._watch: asyncio.Task[None] | None = None
        self._broken: str | None = None
        self._log = log.bind(consumer=name, group=group_id)
        self._subscriber: BatchSubscriber = broker.subscriber(
            *topics,
            pattern=pattern,
            group_id=group_id,
            batch=True,
            max_records=batch_size * lanes,
            batch_timeout_ms=_POLL_MS,
            auto_offset_reset="earliest",
            ack_policy=AckPolicy.MANUAL,
            parser=_raw,
            decoder=_records,
            no_reply=True,
            # The client would leave the group during an outage that lasts longer, and does not reliably come back.
            max_poll_interval_ms=_DAY_MS,
            session_timeout_ms=session_timeout_ms,
            heartbeat_interval_ms=_HEARTBEAT_MS,
        )
        self._subscriber(self._receive)

    async def start(self) -> None:
        """Consuming begins as soon as the broker can be reached; this returns at once."""
        if self._watch is None:
            self._stopping.clear()
            self._watch = asyncio.create_task(self._stay_connected(), name=f"consumer {self.name}")

    async def stop(self) -> None:
        """The batch in hand is finished, or given up if an outage holds it; nothing more is taken."""
        self._stopping.set()
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.cancel()
            with suppress(asyncio.CancelledError):
                await watch
            await self._subscriber.stop()

    def alive(self) -> str | None:
        """What is wrong with this consumer so that only a restart helps, or None."""
        if self._watch is not None and self._watch.done():
            return f"{self.name}: the task that watches over it has ended"
        if self._broken:
            return f"{self.name}: {self._broken}"
        if self._subscriber.running and not self._reads():
            return f"{self.name}: nothing reads from Kafka any more"
        return self._progress.stalled()

    def ready(self) -> str | None:
        """What stands in the way from outside, or None."""
        reason = self._progress.ready()
        return f"{self.name}: {reason}" if reason else None

    @property
    def lag(self) -> int:
        """Messages not yet processed, as the broker said a few seconds ago."""
        return self._progress.lag

    async def _receive(self, records: Any) -> None:  # FastStream would make a model of a more precise annotation.
        rested = monotonic() + self._pace_s
        try:
            await self._take(records)
            await asyncio.sleep(max(0.0, rested - monotonic()))
        except Exception as failure:
            # FastStream would go on with the next batch, whose acknowledgement would cover this one.
            self._subscriber.running = False
            self._broken = describe(failure)
            self._log.error("consumer_broken", failure=self._broken)
            raise

    async def _take(self, records: Sequence[Record]) -> None:
        self._progress.began(records)
        try:
            outcomes = await self._handled_in_lanes(records)
            letters = [_letter(record, outcome) for record, outcome in zip(records, outcomes, strict=True) if outcome]
            if letters:
                await self._through_outages("dead letters", lambda: self._dead_letters.publish(letters))
            self._count(records, letters)
            await self._acknowledge(records)
            self._broken = None
        except _Stopping:
            # A next batch may be at hand already, and its acknowledgement would cover this one.
            self._subscriber.running = False
            self._log.info("batch_given_up_for_shutdown", size=len(records))
        finally:
            self._progress.in_flight_ended()

    async def _handled_in_lanes(self, records: Sequence[Record]) -> list[Outcome]:
        """One outcome per record. Nothing is under way any more when this ends, however it ends."""
        lanes = lanes_of(records, self._batch_size, self._lanes)
        if len(lanes) == 1:
            return await self._handled(records)
        handling = (self._handled([records[position] for position in lane]) for lane in lanes)
        ends = await asyncio.gather(*handling, return_exceptions=True)
        outcomes: list[Outcome] = [None] * len(records)
        for lane, end in zip(lanes, ends, strict=True):
            if isinstance(end, BaseException):
                raise end
            for position, outcome in zip(lane, end, strict=True):
                outcomes[position] = outcome
        return outcomes

    async def _handled(self, records: Sequence[Record]) -> list[Outcome]:
        """One outcome per record. After each outage in smaller steps: too much work at once also looks like one."""
        outcomes: list[Outcome] = []
        size = min(len(records), self._batch_size)

        async def step() -> None:
            nonlocal size
            begun = len(outcomes)
            try:
                outcomes.extend(await run_isolated(self._handle, records[begun : begun + size]))
            except Transient:
                size = max(1, size // 2)
                raise

        while len(outcomes) < len(records):
            await self._through_outages("handler", step)
        return outcomes

    async def _handle(self, records: Sequence[Record]) -> Sequence[Poison | None]:
        outcomes = await self._handler(records)
        self._progress.moved()
        return outcomes

    async def _through_outages(self, cause: str, step: Callable[[], Awaitable[T]]) -> T:
        """The step's result, however long it raises `Transient`; `_Stopping` when the process ends meanwhile."""
        attempt = 0
        try:
            while True:
                try:
                    return await step()
                except Transient as failure:
                    attempt += 1
                    self._progress.retried(cause, f"{cause}: {failure}")
                    self._log.warning("paused", cause=cause, attempt=attempt, reason=str(failure))
                await self._sleep(_pause_s(attempt))
        finally:
            if attempt:
                self._progress.resumed(cause)

    async def _sleep(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
            raise _Stopping

    async def _acknowledge(self, records: Sequence[Record]) -> None:
        """Commit the offsets of partitions that are still ours; a failure only means that records come again."""
        consumer = self._subscriber.consumer
        if consumer is None:
            return
        last = {place_of(record): record.offset for record in records}
        ours = {TopicPartition(*place): offset + 1 for place, offset in last.items() if place in consumer.assignment()}
        try:
            async with asyncio.timeout(_BROKER_ANSWERS_S):
                if ours:
                    await consumer.commit(ours)
        except (KafkaError, TimeoutError) as failure:
            self._log.warning("offsets_not_committed", failure=type(failure).__name__, size=len(records))

    def _count(self, records: Sequence[Record], letters: Sequence[DeadLetter]) -> None:
        dead = Counter(letter.reason for letter in letters)
        self._progress.finished(len(records) - len(letters), dead)
        for letter in letters:
            record = letter.record
            position = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
            self._log.warning("dead_letter", reason=letter.reason, **position)

    async def _stay_connected(self) -> None:
        while True:
            await self._connect()
            await self._watch_until_stuck()
            self._log.error("consumer_restarts", reason=self.alive() or self.ready())
            await self._subscriber.stop()

    async def _connect(self) -> None:
        attempts = AsyncRetrying(
            retry=retry_if_exception_type((KafkaError, OSError, TimeoutError)),
            wait=wait_exponential(multiplier=0.2, max=4) + wait_random(0, 1),
        )
        await attempts(self._join)
        self._progress.resumed("connection")
        self._log.info("consuming")

    async def _join(self) -> None:
        try:
            async with asyncio.timeout(_JOIN_S):
                await self._broker.connect()
                await self._subscriber.start()
        except BaseException as failure:
            self._log.warning("kafka_not_reached", failure=type(failure).__name__)
            await self._subscriber.stop()
            raise

    async def _watch_until_stuck(self) -> None:
        """Returns when a new connection may help: nothing is read any more, or Kafka has been silent for long."""
        silent_s = 0.0
        while silent_s < _RECONNECT_AFTER_S and self._reads() and not self._progress.newly_stalled():
            await asyncio.sleep(_LOOK_EVERY_S)
            silent_s = 0.0 if await self.look() else silent_s + _LOOK_EVERY_S

    def _reads(self) -> bool:
        return self._subscriber.running and not all(task.done() for task in self._subscriber.tasks)

    async def look(self) -> bool:
        """Whether the broker answers, which is then asked how much is waiting; without this, every few seconds."""
        consumer = self._subscriber.consumer
        try:
            async with asyncio.timeout(_BROKER_ANSWERS_S):
                if consumer is not None:
                    await self._progress.look(consumer)
        except (KafkaError, OSError, TimeoutError) as failure:
            self._progress.paused("broker", f"Kafka does not answer ({type(failure).__name__})")
            return False
        self._progress.resumed("broker")
        return True


async def _raw(records: tuple[Record, ...]) -> StreamMessage[Any]:
    # FastStream's own parser fails, and so skips the batch, when one record has a header that is not UTF-8.
    return StreamMessage(raw_message=records, body=b"")


async def _records(message: StreamMessage[Any]) -> tuple[Record, ...]:
    records: tuple[Record, ...] = message.raw_message
    return records


def _pause_s(attempt: int) -> float:
    """After so many failures in a row; workers that failed together do not come again together."""
    growing = min(_LONGEST_PAUSE_S, _SHORTEST_PAUSE_S * 2.0 ** min(attempt - 1, 10))
    return growing + random.random()  # noqa: S311 - no secret


def _letter(record: Record, outcome: Exception) -> DeadLetter:
    if isinstance(outcome, Poison):
        return DeadLetter(record, outcome.reason, outcome.detail)
    return DeadLetter(record, HANDLER_FAILED, describe(outcome))
