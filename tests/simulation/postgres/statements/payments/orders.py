"""The statements on orders as the payment service knows them."""

from typing import Any

from services.payments.store import orders
from tests.simulation.postgres.client import Rows, Statements
from tests.simulation.postgres.engine import Transaction
from tests.simulation.postgres.statements.payments.events import is_waiting, that_wait_for
from tests.simulation.postgres.statements.rows import picked, rows_of, there
from tests.simulation.postgres.table import Values

statement = Statements()

_ORDER = orders._NAMES.split(", ")


@statement(orders._SAVE)
async def save_orders(t: Transaction, *columns: list[Any]) -> Rows:
    fixed = ("order_id", "merchant_id", "environment", "currency")

    def newer(known: Values, new: Values) -> Values | None:
        changed = {name: value for name, value in new.items() if name not in fixed}
        return known | changed if known["version"] < new["version"] else None

    await t.upsert(t.database["known_orders"], rows_of([*_ORDER, "reference_key"], *columns), newer)
    return [{"exists": any(is_waiting(row) for row in that_wait_for(t, *columns[:4]))}]


@statement(f"SELECT {orders._NAMES} FROM known_orders WHERE order_id = ANY($1::text[])")
def read_orders(t: Transaction, ids: list[str]) -> Rows:
    return picked(there(t, "known_orders", ids), _ORDER)


@statement(orders._READ_AT)
def read_at(t: Transaction, merchants: list[str], environments: list[str], ids: list[str]) -> Rows:
    wanted = set(zip(merchants, environments, ids, strict=True))
    rows = there(t, "known_orders", ids)
    return picked((row for row in rows if (row["merchant_id"], row["environment"], row["order_id"]) in wanted), _ORDER)


@statement(
    f"""
    SELECT found.* FROM unnest($1::text[], $2::text[], $3::text[]) AS asked (merchant, env, reference)
    CROSS JOIN LATERAL (
        SELECT {orders._NAMES} FROM known_orders
        WHERE merchant_id = asked.merchant AND environment = asked.env AND external_reference = asked.reference
        ORDER BY status IN ('closed', 'canceled') LIMIT 2
    ) AS found
    """
)
def find_orders(t: Transaction, *columns: list[str]) -> Rows:
    def called(reference: tuple[str, ...]) -> list[Values]:
        rows = t.find(t.database["known_orders"], "reference", reference)
        return sorted(rows, key=lambda row: row["status"] in ("closed", "canceled"))[:2]

    return picked((row for reference in zip(*columns, strict=True) for row in called(reference)), _ORDER)
