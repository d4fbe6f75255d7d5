"""The statements of the simulated acquirer, without late refunds: intents give nothing back."""

from collections.abc import Sequence
from datetime import datetime
from operator import itemgetter
from typing import Any

from services.sandbox import store
from tests.simulation.postgres.client import Rows, Statements
from tests.simulation.postgres.engine import Transaction
from tests.simulation.postgres.statements.rows import is_mine, picked, rows_of, there
from tests.simulation.postgres.table import Values

statement = Statements()

_PAYMENT = store._PAYMENT.split(", ")
_ATTEMPT = "merchant_id environment attempt_id request_hash payment_id answer movement_id amount_minor fails_at".split()
_ENTRY = "movement_id account amount_minor kind attempt_id".split()
_ABOUT = "currency payment_id merchant_id environment made_at".split()


@statement("SELECT 1")
def one(t: Transaction) -> Rows:
    return [{"?column?": 1}]


@statement(
    """
    SELECT attempt_id, request_hash, answer, payment_id, outcome FROM attempts
    WHERE merchant_id = $1 AND environment = $2 AND attempt_id = $3
    """
)
def read_attempt(t: Transaction, *key: str) -> Rows:
    return picked(there(t, "attempts", [key]), ("attempt_id", "request_hash", "answer", "payment_id", "outcome"))


@statement(
    """
    INSERT INTO attempts (merchant_id, environment, attempt_id, request_hash, payment_id, answer, movement_id,
    amount_minor, fails_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING
    """
)
async def insert_attempt(t: Transaction, *values: Any) -> str:
    new = await t.insert_new(t.database["attempts"], dict(zip(_ATTEMPT, values, strict=True)))
    return f"INSERT 0 {0 if new is None else 1}"


@statement(
    """
    UPDATE attempts SET outcome = $4, fails_at = NULL
    WHERE merchant_id = $1 AND environment = $2 AND attempt_id = $3
    """
)
async def end_attempt(t: Transaction, merchant_id: str, environment: str, attempt_id: str, outcome: str) -> str:
    rows = await t.lock_rows(t.database["attempts"], [(merchant_id, environment, attempt_id)])
    for row in rows:
        await t.put(t.database["attempts"], row | {"outcome": outcome, "fails_at": None})
    return f"UPDATE {len(rows)}"


@statement(
    f"""
    SELECT {store._PAYMENT} FROM payments
    WHERE payment_id = $1 AND merchant_id = $2 AND environment = $3 FOR UPDATE
    """
)
async def lock_payment(t: Transaction, payment_id: str, merchant_id: str, environment: str) -> Rows:
    rows = await t.lock_rows(t.database["payments"], [payment_id], lambda row: is_mine(row, merchant_id, environment))
    return picked(rows, _PAYMENT)


@statement(
    """
    SELECT coalesce(sum(amount_minor) FILTER (WHERE account = 'held'), 0)::bigint AS held_minor,
        coalesce(sum(amount_minor) FILTER (WHERE account = 'merchant'), 0)::bigint AS collected_minor,
        coalesce(bool_or(kind = 'void'), false) AS voided, coalesce(bool_or(kind = 'expiry'), false) AS expired
    FROM entries WHERE payment_id = $1
    """
)
def sums(t: Transaction, payment_id: str) -> Rows:
    entries = t.find(t.database["entries"], "payment", payment_id)

    def of(account: str) -> int:
        return sum(row["amount_minor"] for row in entries if row["account"] == account)

    kinds = {row["kind"] for row in entries}
    return [
        {
            "held_minor": of("held"),
            "collected_minor": of("merchant"),
            "voided": "void" in kinds,
            "expired": "expiry" in kinds,
        }
    ]


@statement("SELECT merchant_id, environment FROM payments WHERE payment_id = $1")
def owner(t: Transaction, payment_id: str) -> Rows:
    return picked(there(t, "payments", [payment_id]), ("merchant_id", "environment"))


@statement(store._SAVE_PAYMENT)
async def save_payment(t: Transaction, *values: Any) -> str:
    def changed(known: Values, new: Values) -> Values:
        return known | {name: new[name] for name in ("ends_at", "challenged", "due_at")}

    row = dict(zip([*_PAYMENT, "due_at"], values, strict=True))
    return f"INSERT 0 {len(await t.upsert(t.database['payments'], [row], changed))}"


@statement(store._ADD_ENTRIES)
async def add_entries(t: Transaction, *values: Any) -> str:
    columns, about = values[: len(_ENTRY)], dict(zip(_ABOUT, values[len(_ENTRY) :], strict=True))
    rows = rows_of(_ENTRY, *columns)
    for row in rows:
        await t.insert(t.database["entries"], row | about)
    return f"INSERT 0 {len(rows)}"


@statement(
    "SELECT payment_id FROM payments WHERE merchant_id = $1 AND environment = $2 AND due_at <= $3 "
    "ORDER BY due_at LIMIT $4"
)
def due(t: Transaction, merchant_id: str, environment: str, now: datetime, limit: int) -> Rows:
    mine = (row for row in t.scan(t.database["payments"]) if is_mine(row, merchant_id, environment))
    over = [row for row in mine if row["due_at"] is not None and row["due_at"] <= now]
    return picked(sorted(over, key=itemgetter("due_at"))[:limit], ("payment_id",))


@statement(store._MOVEMENTS)
def movements(
    t: Transaction, merchant_id: str, environment: str, made_at: datetime | None, movement_id: str | None, limit: int
) -> Rows:
    return _page_of_movements(t, (merchant_id, environment), made_at, movement_id, limit)


@statement(store._MOVEMENTS_OF)
def movements_of(
    t: Transaction,
    merchant_id: str,
    environment: str,
    made_at: datetime | None,
    movement_id: str | None,
    limit: int,
    order_ids: list[str],
) -> Rows:
    return _page_of_movements(t, (merchant_id, environment), made_at, movement_id, limit, order_ids)


def _page_of_movements(
    t: Transaction,
    tenant: tuple[str, str],
    made_at: datetime | None,
    movement_id: str | None,
    limit: int,
    order_ids: Sequence[str] | None = None,
) -> Rows:
    mine = [row for row in t.scan(t.database["entries"]) if is_mine(row, *tenant)]
    if order_ids is not None:
        theirs = {row["payment_id"] for row in t.scan(t.database["payments"]) if row["order_id"] in order_ids}
        mine = [row for row in mine if row["payment_id"] in theirs]
    sources = {row["movement_id"]: row["account"] for row in mine if row["amount_minor"] < 0}
    place = itemgetter("made_at", "movement_id")
    wanted = [
        row for row in mine if row["amount_minor"] > 0 and (made_at is None or place(row) > (made_at, movement_id))
    ]
    found = []
    for row in sorted(wanted, key=place)[:limit]:
        [payment] = there(t, "payments", [row["payment_id"]])
        about = {name: payment[name] for name in ("order_id", "payment_intent_id")}
        known = {name: row[name] for name in (*_ENTRY, *_ABOUT) if name != "account"}
        found.append(known | about | {"source": sources[row["movement_id"]], "target": row["account"]})
    return found
