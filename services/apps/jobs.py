"""Timed work around events: partitions ahead of time, and what is old dropped."""

from datetime import timedelta

import structlog

from services.apps.store import partitions
from shared.clock import Clock
from shared.postgres import Pool

log = structlog.get_logger(__name__)

_AHEAD = (timedelta(0), timedelta(days=7), timedelta(days=14))


class KeepEventsJob:
    """There is a partition for this week and the next two, and none for what is no longer kept."""

    def __init__(self, pool: Pool, clock: Clock, kept: timedelta) -> None:
        self._pool, self._clock, self._kept = pool, clock, kept

    async def __call__(self) -> None:
        now = self._clock()
        await partitions.ensure(self._pool, (partitions.week_of(now + ahead) for ahead in _AHEAD))
        dropped = await partitions.drop_before(self._pool, now - self._kept)
        if dropped:
            log.info("events_dropped", weeks=[str(week) for week in dropped])
