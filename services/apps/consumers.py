"""What apps take from Kafka. Effects are durable on return."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import date, datetime, timedelta

from services.apps.core.events import PublicEvent
from services.apps.incoming import events_in
from services.apps.store import api_keys, partitions
from services.apps.store import events as store
from shared.clock import Clock
from shared.contracts.access import CredentialsUsed
from shared.envelope import decode
from shared.faults import Poison
from shared.kafka import Record
from shared.kafka.reading import invalid_body, read_each
from shared.postgres import Connection, Pool, transaction
from shared.telemetry import span
from shared.writes import NewRows

Follower = Callable[[Connection, Sequence[PublicEvent]], Awaitable[NewRows | None]]
"""What is to follow from events in the batch's transaction. It sees each event once, an order's in their order; what it
gives is written with them."""
Committed = Callable[[], None]
"""Called after each commit that kept events, to wake the relay and whoever waits for events."""


class UseConsumer:
    """`access.used`: when keys were used last."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def __call__(self, records: Sequence[Record]) -> list[Poison | None]:
        reports, results = read_each(records, _report_in)
        latest: dict[str, datetime] = {}
        for report in reports:
            for grant_id, used_at in report.uses.items():
                latest[grant_id] = max(used_at, latest.get(grant_id, used_at))
        if latest:
            async with transaction(self._pool) as connection:
                await api_keys.used(connection, latest)
        return results


class EventsConsumer:
    """The topics of all services: keeps the public events, and lets the followers act on those that are new.

    A batch is one transaction. What was kept before, be it by another process at this very moment, is not new. An
    event that would be dropped already is neither kept nor followed.
    """

    def __init__(
        self, pool: Pool, clock: Clock, committed: Committed, followers: Sequence[Follower], kept: timedelta
    ) -> None:
        self._pool, self._clock, self._committed = pool, clock, committed
        self._followers, self._kept = followers, kept
        self._weeks: frozenset[date] = frozenset()

    async def __call__(self, records: Sequence[Record]) -> list[Poison | None]:
        read, results = read_each(records, events_in)
        told = [event for events in read for event in events]
        oldest = self._clock() - self._kept
        lasting = [event for event in told if event.created_at >= oldest]
        if lasting:
            await self._ensure_partitions(lasting)
            with span("apps.keep_events", events=len(lasting)):
                async with transaction(self._pool) as connection:
                    new = await self._take(connection, lasting)
            if new:
                self._committed()
        return results

    async def _take(self, connection: Connection, told: Sequence[PublicEvent]) -> list[PublicEvent]:
        new = await store.unknown(connection, told)
        if new:
            await store.append(connection, new, *[await follow(connection, new) for follow in self._followers])
        return new

    async def _ensure_partitions(self, events: Sequence[PublicEvent]) -> None:
        weeks = {partitions.week_of(event.created_at) for event in events}
        if not weeks <= self._weeks:
            await partitions.ensure(self._pool, weeks)
            self._weeks = frozenset(weeks)


def _report_in(record: Record) -> CredentialsUsed:
    envelope = decode(record.headers, record.key, record.value)
    if envelope.type != CredentialsUsed.wire_type:
        raise Poison("UNKNOWN_TYPE", f"no report has the type {envelope.type[:100]}")
    with invalid_body():
        return CredentialsUsed.model_validate_json(envelope.data)
