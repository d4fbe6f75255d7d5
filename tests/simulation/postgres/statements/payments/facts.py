"""The statements on what orders say was collected."""

from datetime import datetime
from typing import Any

from services.payments.store import facts
from tests.simulation.postgres.client import Rows, Statements
from tests.simulation.postgres.engine import Transaction
from tests.simulation.postgres.statements.rows import is_mine, picked, rows_of
from tests.simulation.postgres.table import Values

statement = Statements()

_FACT = [name for name, _ in facts._COLUMNS]


@statement(facts._SAVE)
async def save_facts(t: Transaction, *arguments: Any) -> str:
    *columns, now = arguments
    rows = [row | {"seen_at": now} for row in rows_of(_FACT, *columns) if not _is_summed(t, row)]
    return f"INSERT 0 {len(await t.upsert(t.database['order_facts'], rows, _stays))}"


def _is_summed(t: Transaction, row: Values) -> bool:
    known = t.find(_table(t), "order", row["order_id"])
    return any(each["summed_to"] is not None and each["summed_to"] >= row["version"] for each in known)


def _stays(_known: Values, _new: Values) -> Values | None:
    return None


@statement(facts._OF_ORDERS)
def facts_of_orders(t: Transaction, merchant_id: str, environment: str, order_ids: list[str]) -> Rows:
    found = (row for order_id in dict.fromkeys(order_ids) for row in t.find(_table(t), "order", order_id))
    return picked((row for row in found if is_mine(row, merchant_id, environment)), _FACT)


@statement(facts._SEEN)
def seen(
    t: Transaction, merchant_id: str, environment: str, after: datetime, order_id: str, before: datetime, limit: int
) -> Rows:
    mine = t.find(_table(t), "tenant", (merchant_id, environment))
    places = {(row["seen_at"], row["order_id"]) for row in mine if row["seen_at"] < before}
    found = sorted(place for place in places if place > (after, order_id))[:limit]
    return [{"seen_at": seen_at, "order_id": order_id} for seen_at, order_id in found]


@statement(facts._CHANGE)
async def change_facts(t: Transaction, *columns: list[Any]) -> str:
    names = ("order_id", "version", "ordinal", "amount_minor", "summed_to")
    new = {(row["order_id"], row["version"], row["ordinal"]): row for row in rows_of(names, *columns)}
    rows = await t.lock_rows(_table(t), list(new))
    for row in rows:
        await t.put(_table(t), row | new[row["order_id"], row["version"], row["ordinal"]])
    return f"UPDATE {len(rows)}"


@statement(facts._REMOVE)
async def remove_facts(t: Transaction, *columns: list[Any]) -> str:
    rows = await t.lock_rows(_table(t), list(zip(*columns, strict=True)))
    for row in rows:
        t.remove(_table(t), _table(t).key(row))
    return f"DELETE {len(rows)}"


@statement(facts._MERCHANTS)
def merchants(t: Transaction) -> Rows:
    return [
        {"merchant_id": each} for each in sorted(map(str, t.database["payment_intents"].indexes["merchant"].values()))
    ]


def _table(t: Transaction) -> Any:
    return t.database["order_facts"]
