"""What orders say was collected through intents, as it comes from their events."""

from collections.abc import Sequence
from dataclasses import astuple
from datetime import datetime

from services.payments.core.reconciling import Fact
from shared.postgres import Connection, Pool
from shared.writes import columns_of, names_of, unnested

Tenant = tuple[str, str]
"""A merchant and an environment."""
Place = tuple[datetime, str]
"""When something was heard of an order, and which."""

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
_NAMES = names_of(_COLUMNS)
_SAVE = f"""
INSERT INTO order_facts ({_NAMES}, seen_at)
SELECT *, ${len(_COLUMNS) + 1}::timestamptz FROM {unnested(_COLUMNS)} AS new ({_NAMES})
WHERE NOT EXISTS (
    SELECT FROM order_facts AS known WHERE known.order_id = new.order_id AND known.summed_to >= new.version
)
ON CONFLICT (order_id, version, ordinal) DO NOTHING
"""
_OF_ORDERS = f"""
SELECT {_NAMES} FROM order_facts WHERE merchant_id = $1 AND environment = $2 AND order_id = ANY($3::text[])
"""
_SEEN = """
SELECT DISTINCT seen_at, order_id FROM order_facts
WHERE merchant_id = $1 AND environment = $2 AND (seen_at, order_id) > ($3, $4) AND seen_at < $5
ORDER BY seen_at, order_id LIMIT $6
"""
_CHANGE = """
UPDATE order_facts AS fact SET amount_minor = new.amount_minor, summed_to = new.summed_to
FROM unnest($1::text[], $2::integer[], $3::integer[], $4::bigint[], $5::integer[])
    AS new (order_id, version, ordinal, amount_minor, summed_to)
WHERE fact.order_id = new.order_id AND fact.version = new.version AND fact.ordinal = new.ordinal
"""
_REMOVE = """
DELETE FROM order_facts AS fact
USING unnest($1::text[], $2::integer[], $3::integer[]) AS old (order_id, version, ordinal)
WHERE fact.order_id = old.order_id AND fact.version = old.version AND fact.ordinal = old.ordinal
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
    """Each once, however often and in whatever order its version comes, also where it was summed up; one statement."""
    if facts:
        await connection.execute(_SAVE, *columns_of(list(map(astuple, facts))), now)


async def of_orders(pool: Pool, tenant: Tenant, order_ids: Sequence[str]) -> list[Fact]:
    """All that is known of these orders."""
    return [Fact(**row) for row in await pool.fetch(_OF_ORDERS, *tenant, order_ids)]


async def seen(pool: Pool, tenant: Tenant, after: Place, before: datetime, limit: int) -> list[Place]:
    """At most `limit` orders of which something was heard after this place and before that time, the first ones first.

    One comes again where more was heard of it later.
    """
    rows = await pool.fetch(_SEEN, *tenant, *after, before, limit)
    return [(row["seen_at"], row["order_id"]) for row in rows]


async def sum_up(connection: Connection, kept: Sequence[Fact], gone: Sequence[Fact]) -> None:
    """From now on these say what all of them said; a repeat changes nothing. Two statements."""
    newest: dict[str, int] = {}
    for fact in (*kept, *gone):
        newest[fact.order_id] = max(fact.version, newest.get(fact.order_id, 0))
    columns = [[getattr(fact, name) for fact in kept] for name in ("order_id", "version", "ordinal", "amount_minor")]
    await connection.execute(_CHANGE, *columns, [newest[fact.order_id] for fact in kept])
    await connection.execute(
        _REMOVE, *([getattr(fact, name) for fact in gone] for name in ("order_id", "version", "ordinal"))
    )


async def merchants(pool: Pool) -> list[str]:
    """All that ever had an intent."""
    return [row["merchant_id"] for row in await pool.fetch(_MERCHANTS)]
