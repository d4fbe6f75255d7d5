"""What the jobs measure, and what must hold."""

from collections.abc import Callable
from datetime import datetime, timedelta

import orjson

from services.payments.jobs import (
    _DAYS,
    _INTENTS_UNDER_WAY,
    _OPEN_ITEMS,
    _REFUNDS_UNKNOWN,
    _UNANSWERED,
    INVARIANTS,
)
from tests.simulation.postgres.client import Rows, Statements
from tests.simulation.postgres.engine import Transaction
from tests.simulation.postgres.table import Values

statement = Statements()


@statement(_OPEN_ITEMS)
def open_by_kind(t: Transaction, now: datetime) -> Rows:
    by_kind: dict[str, list[Values]] = {}
    for row in t.find(t.database["unmatched_money"], "unresolved", True):
        by_kind.setdefault(row["kind"], []).append(row)
    return [_measured(kind, rows, now) for kind, rows in by_kind.items()]


def _measured(kind: str, rows: list[Values], now: datetime) -> Values:
    created = [row["created_at"] for row in rows]

    def older(days: int) -> int:
        return sum(each < now - timedelta(days=days) for each in created)

    overdue = sum(row["overdue_at"] is not None for row in rows)
    ages = {name: older(days) for name, days in _DAYS.items()}
    return {"kind": kind, "items": len(rows), "oldest": min(created), "overdue": overdue} | ages


@statement(_UNANSWERED)
def unanswered(t: Transaction, now: datetime) -> Rows:
    minute_ago = now - timedelta(minutes=1)
    [events] = _count(t, "sent", lambda row: bool(row["changed_at"] < minute_ago))
    items = [
        row
        for row in t.find(t.database["unmatched_money"], "unresolved", True)
        if row["status"] in ("attaching", "returning") and row["asked_at"] and row["asked_at"] < minute_ago
    ]
    intents = [
        row
        for row in t.find(t.database["payment_intents"], "under_way", True)
        if row["updated_at"] < minute_ago and orjson.loads(row["state"]).get("unanswered")
    ]
    return [{"count": events["count"] + len(items) + len(intents)}]


@statement(_REFUNDS_UNKNOWN)
def refunds_unknown(t: Transaction) -> Rows:
    rows = t.find(t.database["payment_attempts"], "open", True)
    unknown = [
        row for row in rows if row["status"] == "unknown" and orjson.loads(row["asked"])["operation"] == "refund"
    ]
    return [{"refunds": len(unknown), "oldest": min((row["created_at"] for row in unknown), default=None)}]


@statement(_INTENTS_UNDER_WAY)
def intents_under_way(t: Transaction) -> Rows:
    by_status: dict[str, list[datetime]] = {}
    for row in t.find(t.database["payment_intents"], "under_way", True):
        by_status.setdefault(row["status"], []).append(row["status_since"])
    return [{"status": status, "intents": len(since), "oldest": min(since)} for status, since in by_status.items()]


@statement(INVARIANTS["money_is_told_to_orders"])
def money_that_is_not_told(t: Transaction) -> Rows:
    over = ("succeeded", "canceled", "failed", "expired", "requires_capture")
    before = t.started_at - timedelta(minutes=10)
    rows = t.find(t.database["payment_intents"], "under_way", True)
    return [{"count": sum(row["status"] in over and row["updated_at"] < before for row in rows)}]


@statement(INVARIANTS["applied_has_version"])
def applied_without_version(t: Transaction) -> Rows:
    since = t.started_at - timedelta(minutes=10)
    return _count(t, "applied", lambda row: row["changed_at"] > since and row["order_version"] is None)


@statement(INVARIANTS["sent_has_command"])
def sent_without_command(t: Transaction) -> Rows:
    return _count(t, "sent", lambda row: row["command_id"] is None or row["order_id"] is None)


_MOVES_MONEY = ("channel.payment.authorized.v1", "channel.payment.captured.v1", "channel.payment.refunded.v1")


@statement(INVARIANTS["money_without_order_is_shown"])
def money_that_is_not_shown(t: Transaction) -> Rows:
    def is_shown(row: Values) -> bool:
        items = t.find(t.database["unmatched_money"], "event", row["channel_event_id"])
        return any(item["kind"] == "unknown_order" for item in items)

    stuck = [row for status in ("waiting", "held") for row in t.find(t.database["channel_events"], "status", status)]
    return [{"count": sum(row["type"] in _MOVES_MONEY and not is_shown(row) for row in stuck)}]


def _count(t: Transaction, status: str, where: Callable[[Values], bool]) -> Rows:
    return [{"count": sum(map(where, t.find(t.database["channel_events"], "status", status)))}]
