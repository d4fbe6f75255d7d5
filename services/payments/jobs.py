"""Timed work of the payment service."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import get_args

import asyncpg
import structlog
from prometheus_client import Gauge

from services.payments import matching, resolving
from services.payments.store import unmatched
from shared.clock import Clock
from shared.contracts.payment_intents import IntentStatus
from shared.contracts.payments import UnmatchedStatus
from shared.postgres import Pool, transaction
from shared.settings import Settings

log = structlog.get_logger(__name__)

UNMATCHED = Gauge("throughline_payments_unmatched_open", "Unmatched items that have not ended", ["kind"])
UNMATCHED_AGE = Gauge(
    "throughline_payments_unmatched_oldest_seconds", "Age of the oldest unmatched item that has not ended"
)
UNMATCHED_OLDER = Gauge(
    "throughline_payments_unmatched_older_than", "Unmatched items that were not ended for so many days", ["days"]
)
UNMATCHED_OVERDUE = Gauge("throughline_payments_unmatched_overdue", "Unmatched items whose time is over", ["kind"])
UNKNOWN = Gauge("throughline_payments_intents_unknown", "Intents of which nobody knows whether money moved")
UNKNOWN_AGE = Gauge(
    "throughline_payments_intents_unknown_oldest_seconds", "For how long the oldest of them has been unknown"
)
REFUNDS_UNKNOWN = Gauge(
    "throughline_payments_refunds_unknown", "Refunds by processors of which nobody knows whether money moved"
)
REFUNDS_UNKNOWN_AGE = Gauge(
    "throughline_payments_refunds_unknown_oldest_seconds", "For how long the oldest of them has been asked for"
)
UNDER_WAY = Gauge("throughline_payments_intents_under_way", "Intents that wait for something", ["status"])
UNANSWERED = Gauge("throughline_payments_commands_unanswered", "Commands without a reply for more than a minute")

_GIVEN_BACK_AT_ONCE = 100
"""In one run, so that a processor is not flooded when much becomes due on one day."""
_KINDS = ("unknown_order", "closed_order", "currency", "surplus", "conflict")

_DAYS = {"day": 1, "week": 7, "month": 30}

_OPEN_ITEMS = """
SELECT kind, count(*) AS items, min(created_at) AS oldest, count(overdue_at) AS overdue,
    count(*) FILTER (WHERE created_at < $1::timestamptz - interval '1 day') AS day,
    count(*) FILTER (WHERE created_at < $1::timestamptz - interval '7 days') AS week,
    count(*) FILTER (WHERE created_at < $1::timestamptz - interval '30 days') AS month
FROM unmatched_money WHERE resolved_at IS NULL GROUP BY kind
"""
_INTENTS_UNDER_WAY = """
SELECT status, count(*) AS intents, min(status_since) AS oldest FROM payment_intents WHERE NOT settled GROUP BY status
"""
_REFUNDS_UNKNOWN = """
SELECT count(*) AS refunds, min(created_at) AS oldest FROM payment_attempts
WHERE status = 'unknown' AND asked->>'operation' = 'refund'
"""
_UNANSWERED = """
SELECT (
    SELECT count(*) FROM channel_events WHERE status = 'sent' AND changed_at < $1::timestamptz - interval '1 minute'
) + (
    SELECT count(*) FROM unmatched_money
    WHERE status IN ('attaching', 'returning') AND asked_at < $1::timestamptz - interval '1 minute'
) + (
    SELECT count(*) FROM payment_intents
    WHERE NOT settled AND updated_at < $1::timestamptz - interval '1 minute'
        AND jsonb_array_length(state->'unanswered') > 0
)
"""

INVARIANTS = {
    "money_is_told_to_orders": """
        SELECT count(*) FROM payment_intents
        WHERE NOT settled AND status IN ('succeeded', 'canceled', 'failed', 'expired', 'requires_capture')
            AND updated_at < now() - interval '10 minutes'
    """,
    "applied_has_version": """
        SELECT count(*) FROM channel_events
        WHERE changed_at > now() - interval '10 minutes' AND status = 'applied' AND order_version IS NULL
    """,
    "sent_has_command": """
        SELECT count(*) FROM channel_events WHERE status = 'sent' AND (command_id IS NULL OR order_id IS NULL)
    """,
    "money_without_order_is_shown": """
        SELECT count(*) FROM channel_events AS e
        WHERE status IN ('waiting', 'held') AND type IN (
            'channel.payment.authorized.v1', 'channel.payment.captured.v1', 'channel.payment.refunded.v1'
        ) AND NOT EXISTS (
            SELECT FROM unmatched_money AS item
            WHERE item.channel_event_id = e.channel_event_id AND item.kind = 'unknown_order'
        )
    """,
}
"""What must hold, one query each that counts what does not."""


class MatchWaitingJob:
    """Sends events again whose order became known at the very moment in which they began to wait."""

    def __init__(self, pool: Pool, clock: Clock, committed: Callable[[], None]) -> None:
        self._pool, self._clock, self._committed = pool, clock, committed

    async def __call__(self) -> None:
        async with transaction(self._pool) as connection:
            sent = await matching.match_waiting(connection, self._clock())
        if sent:
            self._committed()
            log.info("waiting_events_sent", events=sent)


class MarkOverdueJob:
    """Marks the items whose time is over; under the policy `return` they are then due to go back, and where a processor
    collected them it is asked for it, once."""

    def __init__(self, pool: Pool, clock: Clock, settings: Settings) -> None:
        self._pool, self._clock = pool, clock
        self._time = timedelta(days=settings.unmatched_money_days)
        self._status: UnmatchedStatus = "return_due" if settings.unmatched_money_policy == "return" else "open"

    async def __call__(self) -> None:
        """What one run leaves is for the next."""
        now = self._clock()
        async with transaction(self._pool) as connection:
            marked = await unmatched.mark_overdue(connection, now - self._time, self._status, now)
        if marked:
            log.info("unmatched_money_overdue", items=marked)
        if self._status == "return_due":
            await self._give_back(now)

    async def _give_back(self, now: datetime) -> None:
        asked = 0
        for due in await unmatched.to_give_back(self._pool, _GIVEN_BACK_AT_ONCE):
            async with transaction(self._pool) as connection:
                asked += await resolving.return_overdue(connection, due, now)
        if asked:
            log.info("unmatched_money_goes_back", items=asked)


class MeasureJob:
    """How much waits for somebody, and for how long, as metrics."""

    def __init__(self, pool: Pool, clock: Clock) -> None:
        self._pool, self._clock = pool, clock

    async def __call__(self) -> None:
        now = self._clock()
        rows = await self._pool.fetch(_OPEN_ITEMS, now)
        unanswered = await self._pool.fetchval(_UNANSWERED, now)
        under_way = await self._pool.fetch(_INTENTS_UNDER_WAY)
        [refunds] = await self._pool.fetch(_REFUNDS_UNKNOWN)
        by_kind = {row["kind"]: row for row in rows}
        for kind in _KINDS:
            items, overdue = (by_kind[kind]["items"], by_kind[kind]["overdue"]) if kind in by_kind else (0, 0)
            UNMATCHED.labels(kind).set(items)
            UNMATCHED_OVERDUE.labels(kind).set(overdue)
        for name, days in _DAYS.items():
            UNMATCHED_OLDER.labels(days).set(sum(row[name] for row in rows))
        UNMATCHED_AGE.set(max(((now - row["oldest"]).total_seconds() for row in rows), default=0))
        UNANSWERED.set(unanswered)
        REFUNDS_UNKNOWN.set(refunds["refunds"])
        REFUNDS_UNKNOWN_AGE.set((now - refunds["oldest"]).total_seconds() if refunds["oldest"] else 0)
        _measure_intents(under_way, now)


def _measure_intents(rows: Sequence[asyncpg.Record], now: datetime) -> None:
    by_status = {row["status"]: row for row in rows}
    for status in get_args(IntentStatus):
        UNDER_WAY.labels(status).set(by_status[status]["intents"] if status in by_status else 0)
    unknown = by_status.get("unknown")
    UNKNOWN.set(unknown["intents"] if unknown else 0)
    UNKNOWN_AGE.set((now - unknown["oldest"]).total_seconds() if unknown else 0)
