"""Timed work of the payment service."""

from collections.abc import Callable

import structlog
from prometheus_client import Gauge

from services.payments import matching
from shared.clock import Clock
from shared.postgres import Pool, transaction

log = structlog.get_logger(__name__)

UNMATCHED = Gauge("throughline_payments_unmatched_open", "Open unmatched items", ["kind"])
UNMATCHED_AGE = Gauge("throughline_payments_unmatched_oldest_seconds", "Age of the oldest open unmatched item")
UNANSWERED = Gauge("throughline_payments_commands_unanswered", "Commands without a reply for more than a minute")

_KINDS = ("unknown_order", "closed_order", "currency", "surplus", "conflict")

_OPEN_ITEMS = """
SELECT kind, count(*) AS items, min(created_at) AS oldest FROM unmatched_money WHERE status = 'open' GROUP BY kind
"""
_UNANSWERED = """
SELECT count(*) FROM channel_events WHERE status = 'sent' AND changed_at < $1::timestamptz - interval '1 minute'
"""

INVARIANTS = {
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


class MeasureJob:
    """How much waits for somebody, and for how long, as metrics."""

    def __init__(self, pool: Pool, clock: Clock) -> None:
        self._pool, self._clock = pool, clock

    async def __call__(self) -> None:
        now = self._clock()
        rows = await self._pool.fetch(_OPEN_ITEMS)
        unanswered = await self._pool.fetchval(_UNANSWERED, now)
        items = {row["kind"]: row["items"] for row in rows}
        for kind in _KINDS:
            UNMATCHED.labels(kind).set(items.get(kind, 0))
        UNMATCHED_AGE.set(max(((now - row["oldest"]).total_seconds() for row in rows), default=0))
        UNANSWERED.set(unanswered)
