"""All SQL of the acquirer. Whatever is read or changed is of one merchant's account."""

from collections.abc import Collection, Sequence
from datetime import datetime
from operator import attrgetter, itemgetter
from typing import Any

from services.sandbox.core.payment import Change, LateRefund, Movement, Payment
from services.sandbox.core.tokens import BEHAVIOURS
from shared.contracts.sandbox import SandboxMovement, SandboxOutcome, Whose
from shared.http.pages import TimePosition
from shared.immutable import immutable
from shared.postgres import Connection, Pool
from shared.writes import Write, columns_of

_PAYMENT = (
    "payment_id, merchant_id, environment, attempt_id, order_id, payment_intent_id, currency, token, amount_minor, "
    "capture, return_url, ends_at, challenged"
)
_values = attrgetter(*_PAYMENT.split(", "))
_SAVE_PAYMENTS = f"""
INSERT INTO payments ({_PAYMENT}, due_at)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
                     $9::bigint[], $10::boolean[], $11::text[], $12::timestamptz[], $13::boolean[], $14::timestamptz[])
ON CONFLICT (payment_id) DO UPDATE
SET ends_at = EXCLUDED.ends_at, challenged = EXCLUDED.challenged, due_at = EXCLUDED.due_at
"""
_ADD_ENTRIES = """
INSERT INTO entries (movement_id, account, amount_minor, kind, attempt_id, currency, payment_id, merchant_id,
    environment, made_at)
SELECT *, $10::timestamptz
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
            $9::text[])
"""
_LOCK_PAYMENTS = f"""
SELECT {_PAYMENT} FROM payments
WHERE (merchant_id, environment, payment_id) IN (SELECT * FROM unnest($1::text[], $2::text[], $3::text[]))
ORDER BY payment_id FOR UPDATE
"""
_SUMS = """
SELECT payment_id, coalesce(sum(amount_minor) FILTER (WHERE account = 'held'), 0)::bigint AS held_minor,
    coalesce(sum(amount_minor) FILTER (WHERE account = 'merchant'), 0)::bigint AS collected_minor,
    bool_or(kind = 'void') AS voided, bool_or(kind = 'expiry') AS expired
FROM entries WHERE payment_id = ANY($1::text[]) GROUP BY payment_id
"""
_READ_ATTEMPTS = """
SELECT merchant_id, environment, attempt_id, request_hash, answer, payment_id, outcome FROM attempts
WHERE (merchant_id, environment, attempt_id) IN (SELECT * FROM unnest($1::text[], $2::text[], $3::text[]))
"""
_INSERT_ATTEMPTS = """
INSERT INTO attempts (merchant_id, environment, attempt_id, request_hash, payment_id, answer, movement_id, amount_minor,
    fails_at)
SELECT merchant_id, environment, attempt_id, request_hash, payment_id, answer::jsonb, movement_id, amount_minor,
    fails_at
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bigint[],
            $9::timestamptz[])
    AS new (merchant_id, environment, attempt_id, request_hash, payment_id, answer, movement_id, amount_minor, fails_at)
ON CONFLICT DO NOTHING
"""
_END_ATTEMPTS = """
UPDATE attempts AS ended SET outcome = new.outcome::jsonb, fails_at = NULL
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS new (merchant_id, environment, attempt_id, outcome)
WHERE ended.merchant_id = new.merchant_id AND ended.environment = new.environment
    AND ended.attempt_id = new.attempt_id
"""
_LATE_REFUNDS = """
SELECT payment_id, attempt_id, movement_id, amount_minor, fails_at FROM attempts
WHERE payment_id = ANY($1::text[]) AND fails_at IS NOT NULL ORDER BY fails_at, attempt_id
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


Named = tuple[str, str, str]
"""A payment or an attempt: merchant, environment, and its id."""


@immutable
class Attempt:
    """What was asked under an id, and what came of it."""

    merchant_id: str
    environment: str
    attempt_id: str
    request_hash: str | None
    """None where somebody asked about the id before anything came."""
    answer: SandboxOutcome
    payment_id: str | None = None
    outcome: SandboxOutcome | None = None
    """What became of it, where that is not the answer any more."""
    late: LateRefund | None = None
    """The refund that it is and that comes back, while it is new."""

    @property
    def named(self) -> Named:
        return self.merchant_id, self.environment, self.attempt_id


async def read_attempts(connection: Connection, wanted: Collection[Named]) -> dict[Named, Attempt]:
    """Those of the attempts that are known; one statement."""
    rows = await connection.fetch(_READ_ATTEMPTS, *columns_of(sorted(wanted)))
    found = map(_attempt, rows)
    return {attempt.named: attempt for attempt in found}


def new_attempts(attempts: Sequence[Attempt]) -> Write | None:
    """A mismatch where not all their ids are free; waits for another transaction that is about to take one."""
    rows = sorted(map(_row, attempts), key=itemgetter(0, 1, 2))
    return Write(_INSERT_ATTEMPTS, columns_of(rows), len(rows), exact=True) if rows else None


async def lock_payments(connection: Connection, wanted: Collection[Named]) -> dict[Named, Payment]:
    """The payments as the ledger has them, locked in the order of their ids; another merchant's are not there."""
    rows = await connection.fetch(_LOCK_PAYMENTS, *columns_of(sorted(wanted))) if wanted else []
    if not rows:
        return {}
    # Not before the rows are locked: sums that were read with them would lack what somebody else was adding.
    found = await connection.fetch(_SUMS, [row["payment_id"] for row in rows])
    sums = {each["payment_id"]: dict(each) for each in found}
    failing = [row["payment_id"] for row in rows if BEHAVIOURS[row["token"]].refund_fails]
    late = await _late_refunds(connection, failing) if failing else {}
    return {
        (row["merchant_id"], row["environment"], row["payment_id"]): Payment(
            **(dict(row) | sums.get(row["payment_id"], {})), late=tuple(late.get(row["payment_id"], ()))
        )
        for row in rows
    }


async def find_owner(pool: Pool, payment_id: str) -> Whose | None:
    """Whose payment it is; for those who can prove that they may know of it."""
    row = await pool.fetchrow("SELECT merchant_id, environment FROM payments WHERE payment_id = $1", payment_id)
    return None if row is None else Whose(**row)


def changed(changes: Sequence[Change], now: datetime) -> list[Write | None]:
    """What moved is in the ledger, and payments and their attempts are as they became: each as its last change says."""
    payments = {change.payment.payment_id: change.payment for change in changes}.values()
    entries = [entry for change in changes for movement in change.movements for entry in _entries(movement, change)]
    outcomes = {
        (change.payment.merchant_id, change.payment.environment, attempt_id): outcome.model_dump_json(exclude_none=True)
        for change in changes
        for attempt_id, outcome in change.outcomes
    }
    return [
        _rows(_SAVE_PAYMENTS, [(*_values(each), each.due_at) for each in payments]),
        _rows(_ADD_ENTRIES, entries, now),
        _rows(_END_ATTEMPTS, [(*named, outcome) for named, outcome in outcomes.items()]),
    ]


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


def _rows(statement: str, rows: Sequence[tuple[Any, ...]], *further: Any) -> Write | None:
    return Write(statement, (*columns_of(rows), *further), len(rows)) if rows else None


def _attempt(row: Any) -> Attempt:
    outcome = None if row["outcome"] is None else SandboxOutcome.model_validate_json(row["outcome"])
    answer = SandboxOutcome.model_validate_json(row["answer"])
    named = row["merchant_id"], row["environment"], row["attempt_id"]
    return Attempt(*named, row["request_hash"], answer, row["payment_id"], outcome)


def _row(attempt: Attempt) -> tuple[Any, ...]:
    late = attempt.late
    return (
        *attempt.named,
        attempt.request_hash,
        attempt.payment_id,
        attempt.answer.model_dump_json(exclude_none=True),
        late.movement_id if late else None,
        late.amount_minor if late else 0,
        late.fails_at if late else None,
    )


def _entries(movement: Movement, change: Change) -> list[tuple[Any, ...]]:
    """The two rows of a movement."""
    payment, amount = change.payment, movement.amount_minor
    about = (
        movement.kind,
        movement.attempt_id,
        payment.currency,
        payment.payment_id,
        payment.merchant_id,
        payment.environment,
    )
    named = movement.movement_id
    return [(named, movement.source, -amount, *about), (named, movement.target, amount, *about)]


async def _late_refunds(connection: Connection, payment_ids: Sequence[str]) -> dict[str, list[LateRefund]]:
    rows = await connection.fetch(_LATE_REFUNDS, payment_ids)
    found: dict[str, list[LateRefund]] = {}
    for row in rows:
        late = LateRefund(row["attempt_id"], row["movement_id"], row["amount_minor"], row["fails_at"])
        found.setdefault(row["payment_id"], []).append(late)
    return found
