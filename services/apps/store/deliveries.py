"""What is to be sent to webhook endpoints, and what came of it, as their owners see it."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.apps.core.webhooks import DeliveryStatus, Error
from services.apps.store.endpoints import Owner
from shared.immutable import immutable
from shared.postgres import Connection, Pool
from shared.writes import NewRows

_COLUMNS = (
    ("delivery_id", "text"),
    ("endpoint_id", "text"),
    ("event_id", "text"),
    ("event_type", "text"),
    ("order_id", "text"),
    ("test_body", "bytea"),
    ("status", "text"),
    ("tries", "smallint"),
    ("attempts", "integer"),
    ("due_at", "timestamptz"),
    ("created_at", "timestamptz"),
)
_NAMES = """
d.delivery_id, d.endpoint_id, d.event_id, d.event_type, d.order_id, d.test_body IS NOT NULL AS test, d.status,
d.attempts, d.due_at, d.last_status_code, d.last_error, d.created_at, d.settled_at
"""
_OWNED = """
JOIN webhook_endpoints AS e ON e.endpoint_id = d.endpoint_id
WHERE e.merchant_id = $1 AND e.environment = $2 AND e.grant_id IS NOT DISTINCT FROM $3
"""


@immutable
class NewDelivery:
    """An event on its way to an endpoint."""

    delivery_id: str
    endpoint_id: str
    event_id: str
    event_type: str
    order_id: str
    """The event's key: the order, or the subject of an event that is about no order."""
    test_body: bytes | None = None


@immutable
class PastEvent:
    """An event that is kept, without what it says."""

    position: int
    event_id: str
    type: str
    key: str
    grant_id: str | None


@dataclass(frozen=True, slots=True)
class Delivery:
    """An event on its way to an endpoint, or what came of it."""

    delivery_id: str
    endpoint_id: str
    event_id: str
    event_type: str
    order_id: str
    test: bool
    status: DeliveryStatus
    attempts: int
    due_at: datetime
    last_status_code: int | None
    last_error: Error | None
    created_at: datetime
    settled_at: datetime | None


@dataclass(frozen=True, slots=True)
class LoggedAttempt:
    """One line of the log of attempts."""

    attempt: int
    at: datetime
    latency_ms: int
    status_code: int | None
    error: Error | None
    response: str


@immutable
class DeliveryFilter:
    """Which of an owner's deliveries; what is `None` does not matter."""

    owner: Owner
    endpoint_id: str | None = None
    status: DeliveryStatus | None = None


def rows_of(deliveries: Iterable[NewDelivery], now: datetime) -> NewRows:
    """They are sent from now on, those of one order to one endpoint in this order."""
    rows = [
        (d.delivery_id, d.endpoint_id, d.event_id, d.event_type, d.order_id, d.test_body, "pending", 0, 0, now, now)
        for d in deliveries
    ]
    return NewRows("webhook_deliveries", _COLUMNS, rows)


def enqueued(new: NewDelivery, now: datetime) -> Delivery:
    """The new delivery as it is then read."""
    return Delivery(
        delivery_id=new.delivery_id,
        endpoint_id=new.endpoint_id,
        event_id=new.event_id,
        event_type=new.event_type,
        order_id=new.order_id,
        test=new.test_body is not None,
        status="pending",
        attempts=0,
        due_at=now,
        last_status_code=None,
        last_error=None,
        created_at=now,
        settled_at=None,
    )


async def past(
    connection: Connection, owner: Owner, window: tuple[datetime, datetime], after: int, limit: int
) -> list[PastEvent]:
    """At most `limit` of a tenant's events that were created in the window, oldest first, above a position."""
    rows = await connection.fetch(_PAST, owner.merchant_id, owner.environment, *window, after, limit)
    return [PastEvent(**row) for row in rows]


async def are_waiting(connection: Connection, endpoint_id: str, many: int) -> bool:
    """Whether so many deliveries or more wait for the endpoint."""
    waiting = await connection.fetchval(
        "SELECT count(*) FROM (SELECT FROM webhook_deliveries WHERE endpoint_id = $1 AND status = 'pending' LIMIT $2) "
        "AS waiting",
        endpoint_id,
        many,
    )
    return bool(waiting >= many)


async def read(pool: Pool, owner: Owner, delivery_id: str) -> Delivery | None:
    """The delivery; another owner's reads as not there."""
    query = f"SELECT {_NAMES} FROM webhook_deliveries AS d {_OWNED} AND d.delivery_id = $4"
    return _delivery(await pool.fetchrow(query, owner.merchant_id, owner.environment, owner.grant_id, delivery_id))


async def page(pool: Pool, wanted: DeliveryFilter, after: tuple[datetime, str] | None, limit: int) -> list[Delivery]:
    """At most `limit` deliveries, newest first, that come after the position; read endpoint by endpoint."""
    owner = wanted.owner
    rows = await pool.fetch_planned(
        f"""
        SELECT d.* FROM webhook_endpoints AS e CROSS JOIN LATERAL (
            SELECT {_NAMES} FROM webhook_deliveries AS d
            WHERE d.endpoint_id = e.endpoint_id AND {_STATUS[wanted.status]}
                AND ($5::timestamptz IS NULL OR (d.created_at, d.delivery_id) < ($5, $6))
            ORDER BY d.created_at DESC, d.delivery_id DESC LIMIT $7
        ) AS d
        WHERE e.merchant_id = $1 AND e.environment = $2 AND e.grant_id IS NOT DISTINCT FROM $3
            AND ($4::text IS NULL OR e.endpoint_id = $4)
        ORDER BY d.created_at DESC, d.delivery_id DESC LIMIT $7
        """,
        owner.merchant_id,
        owner.environment,
        owner.grant_id,
        wanted.endpoint_id,
        *(after or (None, None)),
        limit,
    )
    return [Delivery(**row) for row in rows]


async def attempts(pool: Pool, owner: Owner, delivery_id: str) -> list[LoggedAttempt] | None:
    """What is known of a delivery's attempts, the first one first; `None` when the owner has no such delivery."""
    if await read(pool, owner, delivery_id) is None:
        return None
    rows = await pool.fetch(
        "SELECT attempt, at, latency_ms, status_code, error, response FROM webhook_attempts "
        "WHERE delivery_id = $1 ORDER BY attempt",
        delivery_id,
    )
    return [LoggedAttempt(**row) for row in rows]


async def resend(connection: Connection, owner: Owner, delivery_id: str, now: datetime) -> Delivery | None:
    """The delivery, due now with all its tries before it; `None` when it belongs to no active endpoint of the owner.

    One that is being sent at this moment is not sent a second time before that is over.
    """
    return _delivery(
        await connection.fetchrow(
            f"""
            UPDATE webhook_deliveries AS d SET status = 'pending', tries = 0, due_at = $5, settled_at = NULL
            FROM webhook_endpoints AS e
            WHERE e.endpoint_id = d.endpoint_id AND e.merchant_id = $1 AND e.environment = $2
                AND e.grant_id IS NOT DISTINCT FROM $3 AND e.status = 'active' AND d.delivery_id = $4
            RETURNING {_NAMES}
            """,
            owner.merchant_id,
            owner.environment,
            owner.grant_id,
            delivery_id,
            now,
        )
    )


async def cancel(connection: Connection, now: datetime, limit: int) -> int:
    """At most `limit` of those that wait for an endpoint that gets nothing any more are canceled; says how many."""
    done = await connection.execute(_CANCEL, now, limit)
    return int(done.rpartition(" ")[2])


async def forget(connection: Connection, before: datetime, limit: int) -> int:
    """At most `limit` deliveries and attempts each that are older are forgotten; says how many."""
    forgotten = 0
    for statement in _FORGET:
        done = await connection.execute(statement, before, limit)
        forgotten += int(done.rpartition(" ")[2])
    return forgotten


_STATUS: dict[DeliveryStatus | None, str] = {
    None: "true",
    **{status: f"d.status = '{status}'" for status in ("pending", "delivered", "failed", "canceled")},
}
"""Written out, so that the index of each is found."""

_PAST = """
SELECT position, event_id, type, coalesce(order_id, subject_id) AS key, grant_id FROM events
WHERE merchant_id = $1 AND environment = $2 AND created_at >= $3 AND created_at < $4 AND position > $5
ORDER BY position LIMIT $6
"""

_CANCEL = """
UPDATE webhook_deliveries AS d SET status = 'canceled', settled_at = $1
FROM (
    SELECT delivery_id FROM webhook_deliveries AS d
    WHERE status = 'pending' AND (claimed_until IS NULL OR claimed_until <= $1)
        AND NOT EXISTS (SELECT FROM webhook_endpoints AS e WHERE e.endpoint_id = d.endpoint_id AND e.status = 'active')
    LIMIT $2 FOR UPDATE SKIP LOCKED
) AS over
WHERE d.delivery_id = over.delivery_id
"""

_FORGET = (
    """
    DELETE FROM webhook_deliveries WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM webhook_deliveries WHERE created_at < $1 AND status <> 'pending' LIMIT $2
    ))
    """,
    "DELETE FROM webhook_attempts WHERE ctid = ANY (ARRAY(SELECT ctid FROM webhook_attempts WHERE at < $1 LIMIT $2))",
)


def _delivery(row: Any) -> Delivery | None:
    return None if row is None else Delivery(**row)
