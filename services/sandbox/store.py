"""All SQL of the acquirer. Whatever is read or changed is of one merchant's account."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from services.sandbox.core.payment import Change, LateRefund, Movement, Payment
from services.sandbox.core.tokens import BEHAVIOURS
from shared.contracts.sandbox import SandboxMovement, SandboxOutcome, Whose
from shared.http.pages import TimePosition
from shared.immutable import immutable
from shared.postgres import Connection, Pool

_PAYMENT = (
    "payment_id, merchant_id, environment, attempt_id, order_id, payment_intent_id, currency, token, amount_minor, "
    "capture, return_url, ends_at, challenged"
)
_SAVE_PAYMENT = f"""
INSERT INTO payments ({_PAYMENT}, due_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
ON CONFLICT (payment_id) DO UPDATE
SET ends_at = EXCLUDED.ends_at, challenged = EXCLUDED.challenged, due_at = EXCLUDED.due_at
"""
_ADD_ENTRIES = """
INSERT INTO entries (movement_id, account, amount_minor, kind, attempt_id, currency, payment_id, merchant_id,
    environment, made_at)
SELECT movement_id, account, amount_minor, kind, attempt_id, $6, $7, $8, $9, $10
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[])
    AS new (movement_id, account, amount_minor, kind, attempt_id)
"""
_MOVEMENT = """
SELECT more.movement_id, more.kind, more.payment_id, order_id, payment_intent_id, more.attempt_id,
    less.account AS source, more.account AS target, more.amount_minor, more.currency, more.made_at,
    more.merchant_id, more.environment
FROM entries AS more
JOIN entries AS less ON less.movement_id = more.movement_id AND less.amount_minor < 0
JOIN payments ON payments.payment_id = more.payment_id
WHERE more.merchant_id = $1 AND more.environment = $2 AND more.amount_minor > 0
    AND ($3::timestamptz IS NULL OR (more.made_at, more.movement_id) > ($3, $4))
"""
_IN_ORDER = "ORDER BY more.made_at, more.movement_id LIMIT $5\n"
_MOVEMENTS = f"{_MOVEMENT}{_IN_ORDER}"
_MOVEMENTS_OF = f"{_MOVEMENT}    AND payments.order_id = ANY($6::text[])\n{_IN_ORDER}"


@immutable
class Attempt:
    """What was asked under an id, and what came of it."""

    attempt_id: str
    request_hash: str | None
    """None where somebody asked about the id before anything came."""
    answer: SandboxOutcome
    payment_id: str | None = None
    outcome: SandboxOutcome | None = None
    """What became of it, where that is not the answer any more."""


async def read_attempt(connection: Connection, whose: Whose, attempt_id: str) -> Attempt | None:
    """What is known under this id."""
    row = await connection.fetchrow(
        "SELECT attempt_id, request_hash, answer, payment_id, outcome FROM attempts "
        "WHERE merchant_id = $1 AND environment = $2 AND attempt_id = $3",
        whose.merchant_id,
        whose.environment,
        attempt_id,
    )
    if row is None:
        return None
    outcome = None if row["outcome"] is None else SandboxOutcome.model_validate_json(row["outcome"])
    answer = SandboxOutcome.model_validate_json(row["answer"])
    return Attempt(row["attempt_id"], row["request_hash"], answer, row["payment_id"], outcome)


async def insert_attempt(
    connection: Connection, whose: Whose, attempt: Attempt, late: LateRefund | None = None
) -> bool:
    """Whether the id was free; waits for another transaction that is about to take it."""
    status = await connection.execute(
        "INSERT INTO attempts (merchant_id, environment, attempt_id, request_hash, payment_id, answer, movement_id, "
        "amount_minor, fails_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING",
        whose.merchant_id,
        whose.environment,
        attempt.attempt_id,
        attempt.request_hash,
        attempt.payment_id,
        attempt.answer.model_dump_json(exclude_none=True),
        late.movement_id if late else None,
        late.amount_minor if late else 0,
        late.fails_at if late else None,
    )
    return status == "INSERT 0 1"


async def lock_payment(connection: Connection, whose: Whose, payment_id: str) -> Payment | None:
    """The payment as the ledger has it, locked; another merchant's is not there."""
    row = await connection.fetchrow(
        f"SELECT {_PAYMENT} FROM payments WHERE payment_id = $1 AND merchant_id = $2 AND environment = $3 FOR UPDATE",
        payment_id,
        whose.merchant_id,
        whose.environment,
    )
    if row is None:
        return None
    # Not before the row is locked: a sum that was read with it would lack what somebody else was adding.
    sums = await connection.fetchrow(
        """
        SELECT coalesce(sum(amount_minor) FILTER (WHERE account = 'held'), 0)::bigint AS held_minor,
            coalesce(sum(amount_minor) FILTER (WHERE account = 'merchant'), 0)::bigint AS collected_minor,
            coalesce(bool_or(kind = 'void'), false) AS voided, coalesce(bool_or(kind = 'expiry'), false) AS expired
        FROM entries WHERE payment_id = $1
        """,
        payment_id,
    )
    late = await _late_refunds(connection, payment_id) if BEHAVIOURS[row["token"]].refund_fails else ()
    return Payment(**dict(row), **dict(sums), late=late)  # type: ignore[arg-type]


async def find_owner(pool: Pool, payment_id: str) -> Whose | None:
    """Whose payment it is; for those who can prove that they may know of it."""
    row = await pool.fetchrow("SELECT merchant_id, environment FROM payments WHERE payment_id = $1", payment_id)
    return None if row is None else Whose(**row)


async def save(connection: Connection, change: Change, now: datetime) -> None:
    """What moved is in the ledger, and the payment and its attempts are as they became."""
    payment = change.payment
    await connection.execute(_SAVE_PAYMENT, *(getattr(payment, name) for name in _PAYMENT.split(", ")), payment.due_at)
    if change.movements:
        entries = [entry for movement in change.movements for entry in _entries(movement)]
        columns = map(list, zip(*entries, strict=True))
        whose = (payment.currency, payment.payment_id, payment.merchant_id, payment.environment)
        await connection.execute(_ADD_ENTRIES, *columns, *whose, now)
    for attempt_id, outcome in change.outcomes:
        await connection.execute(
            "UPDATE attempts SET outcome = $4, fails_at = NULL "
            "WHERE merchant_id = $1 AND environment = $2 AND attempt_id = $3",
            payment.merchant_id,
            payment.environment,
            attempt_id,
            outcome.model_dump_json(exclude_none=True),
        )


async def due(pool: Pool, whose: Whose, now: datetime, limit: int) -> list[str]:
    """Payments to which something should have happened by now."""
    rows = await pool.fetch(
        "SELECT payment_id FROM payments WHERE merchant_id = $1 AND environment = $2 AND due_at <= $3 "
        "ORDER BY due_at LIMIT $4",
        whose.merchant_id,
        whose.environment,
        now,
        limit,
    )
    return [row["payment_id"] for row in rows]


async def movements(pool: Pool, whose: Whose, after: TimePosition | None, limit: int) -> Sequence[SandboxMovement]:
    """The ledger's movements from this position on, oldest first."""
    made_at, movement_id = after or (None, None)
    rows = await pool.fetch(_MOVEMENTS, whose.merchant_id, whose.environment, made_at, movement_id, limit)
    return [SandboxMovement(**row) for row in rows]


async def movements_of(
    pool: Pool, whose: Whose, order_ids: Sequence[str], after: TimePosition | None, limit: int
) -> Sequence[SandboxMovement]:
    """The same, only of these orders."""
    made_at, movement_id = after or (None, None)
    account = (whose.merchant_id, whose.environment)
    rows = await pool.fetch(_MOVEMENTS_OF, *account, made_at, movement_id, limit, order_ids)
    return [SandboxMovement(**row) for row in rows]


def _entries(movement: Movement) -> list[tuple[Any, ...]]:
    """The two rows of a movement."""
    named, about = movement.movement_id, (movement.kind, movement.attempt_id)
    amount = movement.amount_minor
    return [(named, movement.source, -amount, *about), (named, movement.target, amount, *about)]


async def _late_refunds(connection: Connection, payment_id: str) -> tuple[LateRefund, ...]:
    rows = await connection.fetch(
        "SELECT attempt_id, movement_id, amount_minor, fails_at FROM attempts "
        "WHERE payment_id = $1 AND fails_at IS NOT NULL ORDER BY fails_at, attempt_id",
        payment_id,
    )
    return tuple(LateRefund(**dict(row)) for row in rows)
