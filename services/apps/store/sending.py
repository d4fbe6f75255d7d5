"""How senders share the deliveries: by claims that end, so that what a sender left behind goes on in another.

Of one order's deliveries to one endpoint only the oldest that is still pending can be claimed.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta

from asyncpg import Record

from services.apps.core.webhooks import Attempt, Fate, Health
from shared.immutable import immutable, replace
from shared.postgres import Connection


@immutable
class Room:
    """How much a sender can begin now."""

    requests: int
    """In all."""
    to_each: int
    """At an endpoint that `free` does not name."""
    free: Mapping[str, int]
    """By endpoint."""


@immutable
class Target:
    """An endpoint, as far as it matters for sending."""

    endpoint_id: str
    url: str
    scopes: frozenset[str]
    sealed_secret: bytes
    sealed_previous_secret: bytes | None
    health: Health


@immutable
class Claimed:
    """A delivery that nobody else begins before the claim ends, with what is needed to send it."""

    delivery_id: str
    seq: int
    event_id: str
    order_id: str
    test_body: bytes | None
    tries: int
    claimed_until: datetime
    target: Target


@immutable
class Outcome:
    """What came of a claimed delivery."""

    claimed: Claimed
    attempt: Attempt
    fate: Fate


async def claim(connection: Connection, room: Room, now: datetime, lasting: timedelta) -> list[Claimed]:
    """Deliveries that are due, fairly from all endpoints that can take some; one statement.

    An endpoint that failed gets one at a time, one that is paused gets none, and neither does one whose app is no
    longer installed or whose merchant is suspended.
    """
    rows = await connection.fetch(
        _CLAIM,
        now,
        now + lasting,
        room.requests,
        room.to_each,
        list(room.free.keys()),
        list(room.free.values()),
    )
    endpoints = {row["endpoint_id"]: row for row in rows}
    targets = {endpoint_id: _target(row) for endpoint_id, row in endpoints.items()}
    return [
        Claimed(
            delivery_id=row["delivery_id"],
            seq=row["seq"],
            event_id=row["event_id"],
            order_id=row["order_id"],
            test_body=row["test_body"],
            tries=row["tries"],
            claimed_until=row["claimed_until"],
            target=targets[row["endpoint_id"]],
        )
        for row in rows
    ]


async def renew(connection: Connection, claimed: Sequence[Claimed], until: datetime) -> dict[str, Claimed]:
    """Those of the claims that nobody else has taken over last until then; by delivery."""
    if not claimed:
        return {}
    rows = await connection.fetch(
        "UPDATE webhook_deliveries AS d SET claimed_until = $3 "
        "FROM unnest($1::text[], $2::timestamptz[]) AS mine (delivery_id, claimed_until) "
        "WHERE d.delivery_id = mine.delivery_id AND d.claimed_until = mine.claimed_until RETURNING d.delivery_id",
        [one.delivery_id for one in claimed],
        [one.claimed_until for one in claimed],
        until,
    )
    renewed = {row["delivery_id"] for row in rows}
    return {one.delivery_id: replace(one, claimed_until=until) for one in claimed if one.delivery_id in renewed}


async def release(connection: Connection, claimed: Sequence[Claimed]) -> None:
    """They can be claimed again at once; for what was not sent."""
    await connection.execute(
        "UPDATE webhook_deliveries AS d SET claimed_until = NULL "
        "FROM unnest($1::text[], $2::timestamptz[]) AS mine (delivery_id, claimed_until) "
        "WHERE d.delivery_id = mine.delivery_id AND d.claimed_until = mine.claimed_until",
        [one.delivery_id for one in claimed],
        [one.claimed_until for one in claimed],
    )


async def settle(connection: Connection, outcomes: Sequence[Outcome]) -> None:
    """What came of each is saved and logged. Of a claim that has ended, only that the event was received, and so of two
    outcomes of one delivery, as there may be where its claim had ended.

    One statement, and one more where something failed: what comes after it in the same order then waits with it.
    """
    received_last = sorted(outcomes, key=lambda one: one.attempt.error is None)
    outcomes = list({one.claimed.delivery_id: one for one in received_last}.values())
    await connection.execute(
        _SETTLE,
        [one.claimed.delivery_id for one in outcomes],
        [one.claimed.claimed_until for one in outcomes],
        [one.fate.status for one in outcomes],
        [one.fate.due_at for one in outcomes],
        [one.attempt.at for one in outcomes],
        [one.attempt.latency_ms for one in outcomes],
        [one.attempt.status_code for one in outcomes],
        [one.attempt.error for one in outcomes],
        [one.attempt.response for one in outcomes],
    )
    waiting = [one for one in outcomes if one.fate.status == "pending"]
    if waiting:
        await connection.execute(
            _POSTPONE,
            [one.claimed.target.endpoint_id for one in waiting],
            [one.claimed.order_id for one in waiting],
            [one.claimed.seq for one in waiting],
            [one.fate.due_at for one in waiting],
        )


async def lock_health(connection: Connection, endpoint_ids: Collection[str]) -> dict[str, Health]:
    """How the active ones of these endpoints are doing; nobody else says so before the transaction ends."""
    rows = await connection.fetch(
        "SELECT endpoint_id, failures, failing_since, paused_until FROM webhook_endpoints "
        "WHERE endpoint_id = ANY($1::text[]) AND status = 'active' ORDER BY endpoint_id FOR UPDATE",
        list(endpoint_ids),
    )
    return {row["endpoint_id"]: Health(row["failures"], row["failing_since"], row["paused_until"]) for row in rows}


async def save_health(connection: Connection, health: Mapping[str, Health]) -> None:
    """How these endpoints are doing; one statement."""
    if health:
        await connection.execute(
            "UPDATE webhook_endpoints AS e SET failures = h.failures, failing_since = h.since, paused_until = h.until "
            "FROM unnest($1::text[], $2::integer[], $3::timestamptz[], $4::timestamptz[]) "
            "    AS h (endpoint_id, failures, since, until) "
            "WHERE e.endpoint_id = h.endpoint_id AND e.status = 'active'",
            list(health),
            [one.failures for one in health.values()],
            [one.failing_since for one in health.values()],
            [one.paused_until for one in health.values()],
        )


def _target(row: Record) -> Target:
    return Target(
        row["endpoint_id"],
        row["url"],
        frozenset(row["scopes"]),
        row["sealed_secret"],
        row["sealed_previous_secret"],
        Health(row["failures"], row["failing_since"], row["paused_until"]),
    )


# `waiting` walks from endpoint to endpoint along the index: what it costs depends on how many endpoints have something
# pending, not on how much. `share` keeps one endpoint's backlog from taking all the room.
_CLAIM = """
WITH RECURSIVE waiting AS (
    (SELECT endpoint_id FROM webhook_deliveries WHERE status = 'pending' ORDER BY endpoint_id LIMIT 1)
    UNION ALL
    SELECT (
        SELECT d.endpoint_id FROM webhook_deliveries AS d
        WHERE d.status = 'pending' AND d.endpoint_id > waiting.endpoint_id ORDER BY d.endpoint_id LIMIT 1
    ) FROM waiting WHERE waiting.endpoint_id IS NOT NULL
), able AS (
    SELECT e.endpoint_id, e.url, e.sealed_secret, e.failures, e.failing_since, e.paused_until,
        CASE WHEN e.previous_secret_ends_at > $1 THEN e.sealed_previous_secret END AS sealed_previous_secret,
        coalesce(g.scopes, e.scopes) AS scopes,
        least(coalesce(known.free, $4::integer), CASE WHEN e.failures > 0 THEN 1 END) AS free
    FROM waiting JOIN webhook_endpoints AS e USING (endpoint_id)
    LEFT JOIN environment_grants AS g ON g.grant_id = e.grant_id
    LEFT JOIN unnest($5::text[], $6::integer[]) AS known (endpoint_id, free) ON known.endpoint_id = e.endpoint_id
    WHERE e.status = 'active' AND (e.paused_until IS NULL OR e.paused_until <= $1)
        AND (e.grant_id IS NULL OR g.status = 'active')
        AND NOT EXISTS (SELECT FROM merchants AS m WHERE m.merchant_id = e.merchant_id AND m.status <> 'active')
), ready AS (
    SELECT *, greatest(1, $3::integer / count(*) OVER ()) AS share
    FROM able WHERE free > 0 AND EXISTS (
        SELECT FROM webhook_deliveries AS d
        WHERE d.endpoint_id = able.endpoint_id AND d.status = 'pending' AND d.due_at <= $1
    )
    ORDER BY random() LIMIT $3
), picked AS (
    SELECT d.delivery_id, ready.*
    FROM ready CROSS JOIN LATERAL (
        SELECT delivery_id FROM webhook_deliveries AS d
        WHERE d.endpoint_id = ready.endpoint_id AND d.status = 'pending' AND d.due_at <= $1
            AND (d.claimed_until IS NULL OR d.claimed_until <= $1)
            AND NOT EXISTS (
                SELECT FROM webhook_deliveries AS before
                WHERE before.endpoint_id = d.endpoint_id AND before.order_id = d.order_id
                    AND before.status = 'pending' AND before.seq < d.seq
            )
        ORDER BY d.due_at, d.seq LIMIT least(ready.free, ready.share) FOR UPDATE SKIP LOCKED
    ) AS d
)
UPDATE webhook_deliveries AS d SET claimed_until = $2 FROM picked
WHERE d.delivery_id = picked.delivery_id
RETURNING d.delivery_id, d.seq, d.event_id, d.order_id, d.test_body, d.tries, d.claimed_until, picked.endpoint_id,
    picked.url, picked.scopes, picked.sealed_secret, picked.sealed_previous_secret, picked.failures,
    picked.failing_since, picked.paused_until
"""

_SETTLE = """
WITH told AS (
    SELECT * FROM unnest(
        $1::text[], $2::timestamptz[], $3::text[], $4::timestamptz[], $5::timestamptz[], $6::integer[], $7::smallint[],
        $8::text[], $9::text[]
    ) AS told (delivery_id, claimed_until, status, due_at, at, latency_ms, status_code, error, response)
), settled AS (
    UPDATE webhook_deliveries AS d SET
        status = told.status, due_at = told.due_at, tries = d.tries + 1, attempts = d.attempts + 1,
        claimed_until = NULL, last_status_code = told.status_code, last_error = told.error,
        settled_at = CASE WHEN told.status <> 'pending' THEN told.at END
    FROM told
    WHERE d.delivery_id = told.delivery_id AND d.status = 'pending'
        AND (d.claimed_until = told.claimed_until OR told.status = 'delivered')
    RETURNING d.delivery_id, d.attempts, told.at, told.latency_ms, told.status_code, told.error, told.response
)
INSERT INTO webhook_attempts (delivery_id, attempt, at, latency_ms, status_code, error, response)
SELECT * FROM settled
"""

_POSTPONE = """
UPDATE webhook_deliveries AS d SET due_at = head.due_at
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::timestamptz[]) AS head (endpoint_id, order_id, seq, due_at)
WHERE d.endpoint_id = head.endpoint_id AND d.order_id = head.order_id AND d.status = 'pending' AND d.seq > head.seq
    AND d.due_at < head.due_at
"""
