"""Attempts: claimed by whoever sends or looks them up."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, get_args

from services.payments.core.asking import Asked, Found
from services.payments.core.intents.state import Attempt, Intent
from services.payments.store.intents import decode
from shared.postgres import Connection, Pool
from shared.stored import decoder_of, encode_state
from shared.writes import Write, columns_of, names_of, unnested

CLAIMED_FOR = timedelta(seconds=15)
"""After that, whoever claimed it and has not renewed the claim is taken for dead."""

_decode_asked = decoder_of(Asked)
_ANSWERS = {kind.__name__: kind for kind in get_args(Found)}
_DECODE = {name: decoder_of(kind) for name, kind in _ANSWERS.items()}

_COLUMNS = (
    ("attempt_id", "text"),
    ("payment_intent_id", "text"),
    ("merchant_id", "text"),
    ("environment", "text"),
    ("order_id", "text"),
    ("connector", "text"),
    ("asked", "jsonb"),
    ("created_at", "timestamptz"),
    ("status", "text"),
    ("due_at", "timestamptz"),
    ("updated_at", "timestamptz"),
    ("looks", "integer"),
    ("outcome", "text"),
    ("answer", "jsonb"),
    ("claims", "integer"),
    ("claimed_until", "timestamptz"),
)
_NAMES = names_of(_COLUMNS)
_SAVE = f"""
INSERT INTO payment_attempts ({_NAMES}) SELECT * FROM {unnested(_COLUMNS)} AS new ({_NAMES})
ON CONFLICT (attempt_id) DO UPDATE SET status = excluded.status, due_at = excluded.due_at,
    updated_at = excluded.updated_at, looks = excluded.looks, outcome = excluded.outcome,
    answer = excluded.answer, claimed_until = excluded.claimed_until
"""
_READ = (
    "connector, asked::text AS asked, created_at, status, due_at, updated_at, looks, claims, outcome, "
    "answer::text AS answer"
)
_WITH_INTENTS = f"""
    RETURNING payment_intent_id, {_READ}
) SELECT claimed.*, state::text AS state FROM claimed JOIN payment_intents USING (payment_intent_id)
"""
_CLAIM = f"""
WITH claimed AS (
    UPDATE payment_attempts SET claims = claims + 1, claimed_until = $2 WHERE attempt_id IN (
        SELECT attempt_id FROM payment_attempts
        WHERE status <> 'ended' AND due_at <= $1 AND (claimed_until IS NULL OR claimed_until <= $1)
        ORDER BY due_at LIMIT $3 FOR UPDATE SKIP LOCKED
    ) {_WITH_INTENTS}
"""
_CLAIM_UNKNOWN = f"""
WITH claimed AS (
    UPDATE payment_attempts SET claims = claims + 1, claimed_until = $3
    WHERE payment_intent_id = $1 AND status IN ('unknown', 'challenged', 'watched')
        AND (claimed_until IS NULL OR claimed_until <= $2)
    {_WITH_INTENTS}
"""
_RENEW = """
UPDATE payment_attempts AS a SET claimed_until = $3
FROM unnest($1::text[], $2::integer[]) AS mine (attempt_id, claims)
WHERE a.attempt_id = mine.attempt_id AND a.claims = mine.claims AND a.claimed_until IS NOT NULL
"""

Claim = tuple[Attempt, Intent]
"""An attempt, and its intent as it is then."""


async def claim(connection: Connection | Pool, now: datetime, limit: int) -> list[Claim]:
    """At most `limit` attempts that are due, from now on this caller's for as long as `CLAIMED_FOR`; one statement."""
    return _claims(await connection.fetch(_CLAIM, now, now + CLAIMED_FOR, limit))


async def claim_unknown(pool: Pool, payment_intent_id: str, now: datetime) -> list[Claim]:
    """What this intent waits to know, or watches, due or not; nothing while it is somebody's. One statement."""
    return _claims(await pool.fetch(_CLAIM_UNKNOWN, payment_intent_id, now, now + CLAIMED_FOR))


async def renew(pool: Pool, mine: Sequence[Attempt], now: datetime) -> None:
    """They stay this caller's, but for those that were answered or are somebody else's by now; one statement."""
    names, claims = [each.attempt_id for each in mine], [each.claims for each in mine]
    await pool.execute(_RENEW, names, claims, now + CLAIMED_FOR)


def saved(answered: Sequence[Attempt], new: Sequence[Attempt]) -> Write | None:
    """Those that were answered are nobody's any more; new ones are their maker's for as long as `CLAIMED_FOR`, where
    they are claimed.
    """
    rows = [*(_row(attempt, None) for attempt in answered), *(_row(attempt, _until(attempt)) for attempt in new)]
    return Write(_SAVE, columns_of(rows), len(rows)) if rows else None


async def of_order(
    pool: Pool, tenant: tuple[str, str], order_id: str, after: tuple[datetime, str] | None, limit: int
) -> list[Attempt]:
    """At most `limit` attempts on an order of this merchant and environment, newest first, after the position."""
    rows = await pool.fetch(
        f"""
        SELECT {_READ} FROM payment_attempts
        WHERE merchant_id = $1 AND environment = $2 AND order_id = $3
            AND ($4::timestamptz IS NULL OR (created_at, attempt_id) < ($4, $5))
        ORDER BY created_at DESC, attempt_id DESC LIMIT $6
        """,
        *tenant,
        order_id,
        *(after or (None, None)),
        limit,
    )
    return [_attempt(row) for row in rows]


def _claims(rows: Iterable[Any]) -> list[Claim]:
    return [(_attempt(row), decode(row["state"])) for row in rows]


def _until(attempt: Attempt) -> datetime | None:
    return attempt.created_at + CLAIMED_FOR if attempt.claims else None


def _attempt(row: Any) -> Attempt:
    answer = None if row["outcome"] is None else _DECODE[row["outcome"]](row["answer"])
    return Attempt(
        asked=_decode_asked(row["asked"]),
        connector=row["connector"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        due_at=row["due_at"],
        status=row["status"],
        answer=answer,
        claims=row["claims"],
        looks=row["looks"],
    )


def _row(attempt: Attempt, claimed_until: datetime | None) -> tuple[Any, ...]:
    asked, answer = attempt.asked, attempt.answer
    return (
        asked.attempt_id,
        asked.payment_intent_id,
        asked.merchant_id,
        asked.environment,
        asked.order_id,
        attempt.connector,
        encode_state(asked).decode(),
        attempt.created_at,
        attempt.status,
        attempt.due_at,
        attempt.updated_at,
        attempt.looks,
        None if answer is None else type(answer).__name__,
        None if answer is None else encode_state(answer).decode(),
        attempt.claims,
        claimed_until,
    )
