"""The statements of the simulated acquirer."""

from collections.abc import Sequence
from datetime import datetime
from operator import itemgetter
from typing import Any

from services.sandbox import store
from tests.simulation.postgres.client import Rows, Statements
from tests.simulation.postgres.engine import Transaction
from tests.simulation.postgres.statements.rows import by_first, is_mine, picked, rows_of, there
from tests.simulation.postgres.table import Values

statement = Statements()

_PAYMENT = store._PAYMENT.split(", ")
_ATTEMPT = "merchant_id environment attempt_id request_hash payment_id answer movement_id amount_minor fails_at".split()
_TENANT = ("merchant_id", "environment")
_ENTRY = "movement_id account amount_minor kind attempt_id currency payment_id merchant_id environment".split()


@statement("SELECT 1")
def one(t: Transaction) -> Rows:
    return [{"?column?": 1}]


@statement(store._READ_ATTEMPTS)
def read_attempts(t: Transaction, *columns: list[str]) -> Rows:
    found = there(t, "attempts", zip(*columns, strict=True))
    return picked(found, (*_TENANT, "attempt_id", "request_hash", "answer", "payment_id", "outcome"))


@statement(store._INSERT_ATTEMPTS)
async def insert_attempts(t: Transaction, *columns: list[Any]) -> str:
    new = [await t.insert_new(t.database["attempts"], row) for row in rows_of(_ATTEMPT, *columns)]
    return f"INSERT 0 {len(new) - new.count(None)}"


@statement(store._END_ATTEMPTS)
async def end_attempts(t: Transaction, *columns: list[str]) -> str:
    *named, outcomes = columns
    ended = by_first(zip(*named, strict=True), outcomes)
    rows = await t.lock_rows(t.database["attempts"], ended)
    for row in rows:
        outcome = ended[t.database["attempts"].key(row)]
        await t.put(t.database["attempts"], row | {"outcome": outcome, "fails_at": None})
    return f"UPDATE {len(rows)}"


@statement(store._LOCK_PAYMENTS)
async def lock_payments(t: Transaction, merchants: list[str], environments: list[str], ids: list[str]) -> Rows:
    wanted = set(zip(merchants, environments, ids, strict=True))

    def named(row: Values) -> bool:
        return (row["merchant_id"], row["environment"], row["payment_id"]) in wanted

    return picked(await t.lock_rows(t.database["payments"], sorted(set(ids)), named), _PAYMENT)


@statement(store._SUMS)
def sums(t: Transaction, ids: list[str]) -> Rows:
    found = ((each, t.find(t.database["entries"], "payment", each)) for each in dict.fromkeys(ids))
    return [{"payment_id": each} | _sums(entries) for each, entries in found if entries]


@statement(store._LATE_REFUNDS)
def late_refunds(t: Transaction, ids: list[str]) -> Rows:
    late = [row for each in dict.fromkeys(ids) for row in t.find(t.database["attempts"], "late", each)]
    ordered = sorted(late, key=itemgetter("fails_at", "attempt_id"))
    return picked(ordered, ("payment_id", "attempt_id", "movement_id", "amount_minor", "fails_at"))


def _sums(entries: list[Values]) -> Values:
    def of(account: str) -> int:
        return sum(row["amount_minor"] for row in entries if row["account"] == account)

    kinds = {row["kind"] for row in entries}
    return {
        "held_minor": of("held"),
        "collected_minor": of("merchant"),
        "voided": "void" in kinds,
        "expired": "expiry" in kinds,
    }


@statement("SELECT merchant_id, environment FROM payments WHERE payment_id = $1")
def owner(t: Transaction, payment_id: str) -> Rows:
    return picked(there(t, "payments", [payment_id]), ("merchant_id", "environment"))


@statement(store._SAVE_PAYMENTS)
async def save_payments(t: Transaction, *columns: list[Any]) -> str:
    def changed(known: Values, new: Values) -> Values:
        return known | {name: new[name] for name in ("ends_at", "challenged", "due_at")}

    rows = rows_of([*_PAYMENT, "due_at"], *columns)
    return f"INSERT 0 {len(await t.upsert(t.database['payments'], rows, changed))}"


@statement(store._ADD_ENTRIES)
async def add_entries(t: Transaction, *arguments: Any) -> str:
    *columns, now = arguments
    rows = rows_of(_ENTRY, *columns)
    for row in rows:
        await t.insert(t.database["entries"], row | {"made_at": now})
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
        known = {name: row[name] for name in (*_ENTRY, "made_at") if name != "account"}
        found.append(known | about | {"source": sources[row["movement_id"]], "target": row["account"]})
    return found
