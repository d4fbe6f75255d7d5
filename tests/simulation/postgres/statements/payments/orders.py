"""The statements on orders as the payment service knows them."""

from typing import Any

from services.payments.store import orders
from tests.simulation.postgres.client import Rows, Statements
from tests.simulation.postgres.engine import Transaction
from tests.simulation.postgres.statements.rows import is_mine, picked, rows_of, there
from tests.simulation.postgres.table import Values

statement = Statements()

_ORDER = orders._NAMES.split(", ")


@statement(
    f"""
    INSERT INTO known_orders ({orders._NAMES}, reference_key)
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[],
                         $8::integer[], $9::bigint[], $10::text[], $11::timestamptz[], $12::text[])
    ON CONFLICT (order_id) DO UPDATE SET external_reference = excluded.external_reference,
        status = excluded.status, outstanding_minor = excluded.outstanding_minor, version = excluded.version,
        credit_minor = excluded.credit_minor, customer_id = excluded.customer_id, placed_at = excluded.placed_at,
        reference_key = excluded.reference_key
    WHERE known_orders.version < excluded.version
    """
)
async def save_orders(t: Transaction, *columns: list[Any]) -> str:
    fixed = ("order_id", "merchant_id", "environment", "currency")

    def newer(known: Values, new: Values) -> Values | None:
        changed = {name: value for name, value in new.items() if name not in fixed}
        return known | changed if known["version"] < new["version"] else None

    rows = rows_of([*_ORDER, "reference_key"], *columns)
    return f"INSERT 0 {len(await t.upsert(t.database['known_orders'], rows, newer))}"


@statement(f"SELECT {orders._NAMES} FROM known_orders WHERE order_id = ANY($1::text[])")
def read_orders(t: Transaction, ids: list[str]) -> Rows:
    return picked(there(t, "known_orders", ids), _ORDER)


@statement(f"SELECT {orders._NAMES} FROM known_orders WHERE {orders._MINE} AND order_id = $3")
def read_own(t: Transaction, merchant_id: str, environment: str, order_id: str) -> Rows:
    rows = there(t, "known_orders", [order_id])
    return picked((row for row in rows if is_mine(row, merchant_id, environment)), _ORDER)


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
