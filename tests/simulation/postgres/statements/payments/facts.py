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
    rows = [row | {"seen_at": now} for row in rows_of(_FACT, *columns)]
    return f"INSERT 0 {len(await t.upsert(t.database['order_facts'], rows, _stays))}"


def _stays(_known: Values, _new: Values) -> Values | None:
    return None


@statement(facts._OF_ORDERS)
def facts_of_orders(t: Transaction, merchant_id: str, environment: str, order_ids: list[str]) -> Rows:
    found = (row for order_id in dict.fromkeys(order_ids) for row in t.find(_table(t), "order", order_id))
    return picked((row for row in found if is_mine(row, merchant_id, environment)), _FACT)


@statement(facts._SEEN_SINCE)
def seen_since(t: Transaction, merchant_id: str, environment: str, since: datetime, after: str, limit: int) -> Rows:
    mine = t.find(_table(t), "tenant", (merchant_id, environment))
    seen = sorted({row["order_id"] for row in mine if row["seen_at"] >= since and row["order_id"] > after})
    return [{"order_id": order_id} for order_id in seen[:limit]]


@statement(facts._MERCHANTS)
def merchants(t: Transaction) -> Rows:
    return [
        {"merchant_id": each} for each in sorted(map(str, t.database["payment_intents"].indexes["merchant"].values()))
    ]


def _table(t: Transaction) -> Any:
    return t.database["order_facts"]
