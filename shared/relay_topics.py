"""Which topics the relay can publish to, and which of them wait until they are there."""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError
from prometheus_client import Gauge

from shared.clock import monotonic

log = structlog.get_logger(__name__)

MISSING = Gauge("throughline_relay_missing_topics", "Topics that are not there, whose messages wait", ["service"])

_KEPT_S = 60.0
_SOONEST_S, _LATEST_S = 0.1, 5.0


@dataclass(slots=True)
class _Absence:
    """Of a topic: since when, until when its rows are left alone, and whether that is over."""

    since: float
    until: float
    held: bool = True


class Topics:
    """How many partitions topics have, as far as the relay has used them lately.

    Topics of apps come and go. Of one that is gone the client would ask, and complain, for ever; and what waits for
    one that somebody has deleted must not hold up the rest.
    """

    def __init__(self, service: str) -> None:
        self._missing = MISSING.labels(service)
        self._used: dict[str, float] = {}
        self._absent: dict[str, _Absence] = {}
        self._missing.set(0)

    def held(self) -> set[str]:
        """Those whose rows are left alone for now. It only shrinks when some are let go."""
        return {topic for topic, absence in self._absent.items() if absence.held}

    def let_go(self) -> bool:
        """Look for those again whose time has come; true when there are any: rows of theirs may be old."""
        due = [absence for absence in self._absent.values() if absence.held and absence.until <= monotonic()]
        for absence in due:
            absence.held = False
        return bool(due)

    async def partitions(self, producer: AIOKafkaProducer, wanted: AbstractSet[str]) -> dict[str, int]:
        """Of each of these topics that is there and not held; Kafka is asked once for all that are new.

        One that is not there is held: for half of the time since it was first missed, 0.1 to 5 s.
        """
        wanted = wanted - self.held()
        known = wanted <= self._used.keys() or await producer.client.set_topics(self._used.keys() | wanted)
        if not known:
            raise KafkaConnectionError("Kafka does not say which topics there are")
        found, now = {topic: producer.client.cluster.partitions_for_topic(topic) for topic in wanted}, monotonic()
        for topic, partitions in found.items():
            if partitions is None:
                self._miss(topic, now)
            else:
                self._used[topic] = now
                self._absent.pop(topic, None)
        if None in found.values():
            producer.client.set_topics(self._used.keys())
        self._missing.set(len(self._absent))
        return {topic: len(partitions) for topic, partitions in found.items() if partitions is not None}

    def gone(self, producer: AIOKafkaProducer, topics: AbstractSet[str]) -> set[str]:
        """Those of the topics that are no more, as far as the client has heard."""
        return {topic for topic in topics if producer.client.cluster.partitions_for_topic(topic) is None}

    def forget(self, producer: AIOKafkaProducer) -> None:
        """Those that were not used, or not missed, for a while."""
        now = monotonic()
        lasting = {topic: at for topic, at in self._used.items() if now - at < _KEPT_S}
        if len(lasting) < len(self._used):
            self._used = lasting
            producer.client.set_topics(lasting.keys())
        self._absent = {
            topic: absence for topic, absence in self._absent.items() if absence.held or now - absence.until < _KEPT_S
        }
        self._missing.set(len(self._absent))

    def _miss(self, topic: str, now: float) -> None:
        self._used.pop(topic, None)
        absence = self._absent.setdefault(topic, _Absence(now, now))
        if absence.since == now:
            log.warning("relay_topic_missing", topic=topic)
        absence.until = now + min(max((now - absence.since) / 2, _SOONEST_S), _LATEST_S)
        absence.held = True
