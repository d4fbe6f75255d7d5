"""Timed work around what is kept in parts: parts ahead of time, and what is old dropped."""

from datetime import timedelta

import structlog

from services.apps.audit import By, note
from services.apps.store import partitions
from shared.clock import Clock
from shared.contracts.model import Actor
from shared.postgres import Connection, Pool

log = structlog.get_logger(__name__)

_AHEAD = (timedelta(0), timedelta(days=7), timedelta(days=14))
_AUDIT_AHEAD = (timedelta(0), timedelta(days=365))


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


class KeepAuditLogJob:
    """The audit log takes entries of this year and the next; years of which no entry need be kept go.

    That a year went is an entry itself.
    """

    def __init__(self, pool: Pool, clock: Clock, kept: timedelta) -> None:
        self._pool, self._clock, self._kept = pool, clock, kept

    async def __call__(self) -> None:
        now = self._clock()
        years = [partitions.year_of(now + ahead) for ahead in _AUDIT_AHEAD]
        await partitions.ensure(self._pool, years, partitions.YEARS)

        async def noted(connection: Connection, table: str) -> None:
            by = By(Actor(type="system", id="retention"), now)
            await note(connection, by.did("audit_log.dropped", table, merchant_id=None))

        dropped = await partitions.drop_before(self._pool, now - self._kept, partitions.YEARS, noted)
        if dropped:
            log.info("audit_log_dropped", years=[year.year for year in dropped])
