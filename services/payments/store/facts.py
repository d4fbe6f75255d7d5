"""What orders say was collected through intents, as it comes from their events."""

from collections.abc import Sequence
from dataclasses import astuple
from datetime import datetime

from services.payments.core.reconciling import Fact
from shared.postgres import Connection, Pool

Tenant = tuple[str, str]
"""A merchant and an environment."""

_COLUMNS = (
    ("order_id", "text"),
    ("version", "integer"),
    ("ordinal", "integer"),
    ("merchant_id", "text"),
    ("environment", "text"),
    ("kind", "text"),
    ("currency", "text"),
    ("recorded_at", "timestamptz"),
    ("payment_id", "text"),
    ("reference", "text"),
    ("amount_minor", "bigint"),
    ("refund", "text"),
)
_NAMES = ", ".join(name for name, _ in _COLUMNS)
_UNNEST = ", ".join(f"${number}::{kind}[]" for number, (_, kind) in enumerate(_COLUMNS, start=1))
_SAVE = f"""
INSERT INTO order_facts ({_NAMES}, seen_at) SELECT *, ${len(_COLUMNS) + 1}::timestamptz FROM unnest({_UNNEST})
ON CONFLICT (order_id, version, ordinal) DO NOTHING
"""
_OF_ORDERS = f"""
SELECT {_NAMES} FROM order_facts WHERE merchant_id = $1 AND environment = $2 AND order_id = ANY($3::text[])
"""
_SEEN_SINCE = """
SELECT DISTINCT order_id FROM order_facts
WHERE merchant_id = $1 AND environment = $2 AND seen_at >= $3 AND order_id > $4 ORDER BY order_id LIMIT $5
"""
# Steps from one merchant to the next in the index, however many intents each of them has.
_MERCHANTS = """
WITH RECURSIVE found (merchant_id) AS (
    (SELECT merchant_id FROM payment_intents ORDER BY merchant_id LIMIT 1)
    UNION ALL
    SELECT (
        SELECT merchant_id FROM payment_intents WHERE merchant_id > found.merchant_id ORDER BY merchant_id LIMIT 1
    ) FROM found WHERE found.merchant_id IS NOT NULL
)
SELECT merchant_id FROM found WHERE merchant_id IS NOT NULL
"""


async def save(connection: Connection, facts: Sequence[Fact], now: datetime) -> None:
    """Each once, however often and in whatever order its version comes; one statement."""
    if facts:
        await connection.execute(_SAVE, *map(list, zip(*map(astuple, facts), strict=True)), now)


async def of_orders(pool: Pool, tenant: Tenant, order_ids: Sequence[str]) -> list[Fact]:
    """All that is known of these orders."""
    return [Fact(**row) for row in await pool.fetch(_OF_ORDERS, *tenant, order_ids)]


async def seen_since(pool: Pool, tenant: Tenant, since: datetime, after: str, limit: int) -> list[str]:
    """At most `limit` orders of which something was heard since then, those after this one by their ids."""
    rows = await pool.fetch(_SEEN_SINCE, *tenant, since, after, limit)
    return [row["order_id"] for row in rows]


async def merchants(pool: Pool) -> list[str]:
    """All that ever had an intent."""
    return [row["merchant_id"] for row in await pool.fetch(_MERCHANTS)]
