"""What happened to orders: one row per version."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from shared.immutable import immutable
from shared.postgres import Pool
from shared.writes import NewRows


@immutable
class HistoryRow:
    """One version of an order: `payload` is JSON with its events, actor, reason and balances."""

    order_id: str
    version: int
    type: str
    payload: bytes
    recorded_at: datetime


def new_versions(rows: Sequence[HistoryRow]) -> NewRows:
    """What happened, one row per version."""
    records = [(row.order_id, row.version, row.type, row.payload.decode(), row.recorded_at) for row in rows]
    return NewRows("order_events", _HISTORY, records)


_HISTORY = (
    ("order_id", "text"),
    ("version", "integer"),
    ("type", "text"),
    ("payload", "jsonb"),
    ("recorded_at", "timestamptz"),
)


async def read_history(pool: Pool, order_id: str, first: int, last: int) -> list[HistoryRow]:
    """These versions of an order, both ends included, in order."""
    rows = await pool.fetch(
        """
        SELECT order_id, version, type, payload::text AS payload, recorded_at FROM order_events
        WHERE order_id = $1 AND version BETWEEN $2 AND $3 ORDER BY version
        """,
        order_id,
        first,
        last,
    )
    return [_history_row(row) for row in rows]


async def version_by(pool: Pool, order_id: str, moment: datetime) -> int | None:
    """The last version that was recorded by then, and with it all before it: the clocks of two workers may differ."""
    found: int | None = await pool.fetchval(
        "SELECT max(version) FROM order_events WHERE order_id = $1 AND recorded_at <= $2", order_id, moment
    )
    return found


async def page_of_history(pool: Pool, order_id: str, below: int | None, limit: int) -> list[HistoryRow]:
    """At most `limit` versions below the given one, newest first."""
    rows = await pool.fetch(
        """
        SELECT order_id, version, type, payload::text AS payload, recorded_at FROM order_events
        WHERE order_id = $1 AND ($2::integer IS NULL OR version < $2) ORDER BY version DESC LIMIT $3
        """,
        order_id,
        below,
        limit,
    )
    return [_history_row(row) for row in rows]


def _history_row(row: Any) -> HistoryRow:
    return HistoryRow(row["order_id"], row["version"], row["type"], row["payload"].encode(), row["recorded_at"])
