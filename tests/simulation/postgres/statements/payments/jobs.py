"""What the jobs measure, and what must hold."""

from collections.abc import Callable
from datetime import datetime, timedelta

from services.payments.jobs import _OPEN_ITEMS, _UNANSWERED, INVARIANTS
from tests.simulation.postgres.client import Rows, Statements
from tests.simulation.postgres.engine import Transaction, Values

statement = Statements()


@statement(_OPEN_ITEMS)
def open_by_kind(t: Transaction) -> Rows:
    created: dict[str, list[datetime]] = {}
    for row in t.find(t.database["unmatched_money"], "open", True):
        created.setdefault(row["kind"], []).append(row["created_at"])
    return [{"kind": kind, "items": len(times), "oldest": min(times)} for kind, times in created.items()]


@statement(_UNANSWERED)
def unanswered(t: Transaction, now: datetime) -> Rows:
    return _count(t, "sent", lambda row: bool(row["changed_at"] < now - timedelta(minutes=1)))


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
