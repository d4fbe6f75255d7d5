"""What a consumer does while nobody looks: its lag, its last progress, its pauses, and whether it has stalled."""

from collections import Counter
from collections.abc import Mapping, Sequence

from aiokafka import AIOKafkaConsumer, TopicPartition
from prometheus_client import Counter as Count
from prometheus_client import Gauge

from shared.clock import monotonic
from shared.kafka.record import Record, place_of

STALL_AFTER_S = 30.0
"""Messages wait, nothing stands in the way, and still nothing happens for this long: the consumer has stalled."""

_LAG = Gauge("throughline_consumer_lag", "Messages not yet processed", ["group", "topic", "partition"])
_LAST = Gauge(
    "throughline_consumer_last_progress_timestamp_seconds", "When a consumer last processed something", ["group"]
)
_PROCESSED = Count("throughline_consumer_processed", "Messages processed", ["group"])
_DEAD = Count("throughline_consumer_dead_lettered", "Messages given up, by reason", ["group", "reason"])
_RETRIES = Count("throughline_consumer_retries", "Batches repeated because of an outage", ["group"])


class Progress:
    """The state behind one consumer's probes and metrics. Times are seconds of the monotonic clock."""

    def __init__(self, group: str, stall_after_s: float = STALL_AFTER_S) -> None:
        self._group = group
        self._processed, self._last = _PROCESSED.labels(group), _LAST.labels(group)
        self._stall_after_s = stall_after_s
        self._lag: dict[TopicPartition, int] = {}
        self._in_flight: Counter[tuple[str, int]] = Counter()
        self._moved = True
        self._waiting_since = monotonic()
        self._pauses = {"connection": "not connected to Kafka yet"}
        self._stall_known = False

    @property
    def lag(self) -> int:
        """Messages not yet processed, as of the last look."""
        return sum(self._lag.values())

    def began(self, records: Sequence[Record]) -> None:
        """These records are being processed and still count as lag."""
        self._in_flight = Counter(map(place_of, records))

    def moved(self) -> None:
        """Something was done."""
        self._moved = True
        self._last.set_to_current_time()

    def finished(self, processed: int, dead: Mapping[str, int]) -> None:
        """The batch that was begun is done."""
        self.moved()
        self._processed.inc(processed)
        for reason, count in dead.items():
            _DEAD.labels(self._group, reason).inc(count)

    def in_flight_ended(self) -> None:
        """No batch is in hand, whether it is done or given up."""
        self._in_flight.clear()

    def paused(self, cause: str, text: str) -> None:
        """An outage stands in the way."""
        self._pauses[cause] = text

    def retried(self, cause: str, text: str) -> None:
        """An outage stands in the way, and a batch will be tried again."""
        self.paused(cause, text)
        _RETRIES.labels(self._group).inc()

    def resumed(self, cause: str) -> None:
        """This outage is over, and explains the time until now."""
        if self._pauses.pop(cause, None):
            self._waiting_since = monotonic()

    def ready(self) -> str | None:
        """What stands in the way from outside, or None."""
        return next(iter(self._pauses.values()), None)

    def stalled(self) -> str | None:
        """How long messages have been waiting for no reason, or None while all is well or an outage explains it."""
        waited = monotonic() - self._waiting_since
        if self._pauses or not self.lag or waited < self._stall_after_s:
            return None
        return f"{self._group}: {self.lag} messages wait, and nothing has happened for {waited:.0f} s"

    def newly_stalled(self) -> bool:
        """Whether this is the first question since it stalled."""
        known, self._stall_known = self._stall_known, self.stalled() is not None
        return self._stall_known and not known

    async def look(self, consumer: AIOKafkaConsumer) -> None:
        """Ask the broker how much is waiting. Raises what the client raises when the broker is away."""
        lag = await _lag_of_assigned(consumer) if consumer.assignment() else await _lag_of_group(consumer)
        now = {tp: behind + self._in_flight[tp] for tp, behind in lag.items()}
        if self._moved or self._pauses or not sum(now.values()) or _shrunk(self._lag, now):
            self._waiting_since = monotonic()
        self._moved = False
        self._publish(now)

    def _publish(self, lag: dict[TopicPartition, int]) -> None:
        for gone in self._lag.keys() - lag.keys():
            _LAG.remove(self._group, gone.topic, str(gone.partition))
        for tp, behind in lag.items():
            _LAG.labels(self._group, tp.topic, str(tp.partition)).set(behind)
        self._lag = lag


async def _lag_of_assigned(consumer: AIOKafkaConsumer) -> dict[TopicPartition, int]:
    partitions = list(consumer.assignment())
    ends = await consumer.end_offsets(partitions)
    return {tp: max(0, ends[tp] - await consumer.position(tp)) for tp in partitions if tp in consumer.assignment()}


async def _lag_of_group(consumer: AIOKafkaConsumer) -> dict[TopicPartition, int]:
    """For a member without partitions: the whole group's, so that a group in which nobody works shows."""
    topics = consumer.subscription() or frozenset()
    partitions = [
        TopicPartition(topic, number) for topic in topics for number in consumer.partitions_for_topic(topic) or ()
    ]
    if not partitions:
        return {}
    starts, ends = await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)
    lag = {}
    for tp in partitions:
        committed = await consumer.committed(tp)
        lag[tp] = max(0, ends[tp] - (starts[tp] if committed is None else committed))
    return lag


def _shrunk(before: Mapping[TopicPartition, int], now: Mapping[TopicPartition, int]) -> bool:
    """Others of the group made progress, or partitions were handed over: not this consumer's stall."""
    return before.keys() != now.keys() or any(now[tp] < before[tp] for tp in now)
