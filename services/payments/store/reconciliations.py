"""How far both books have been compared, and which orders differ, for whoever goes on after a restart."""

from collections.abc import Sequence
from datetime import UTC, datetime

from services.payments.store.facts import Tenant
from shared.immutable import immutable
from shared.postgres import Pool

_NEVER = datetime.fromtimestamp(0, UTC)

_MARKS = "SELECT compared_to, summed_to FROM reconciliations WHERE merchant_id = $1 AND environment = $2"
# Several processes compare: what one has done the others need not do again.
_ADVANCE = """
INSERT INTO reconciliations (merchant_id, environment, compared_to, summed_to) VALUES ($1, $2, $3, $4)
ON CONFLICT (merchant_id, environment) DO UPDATE SET
    compared_to = greatest(reconciliations.compared_to, excluded.compared_to),
    summed_to = greatest(reconciliations.summed_to, excluded.summed_to)
"""
_DIFFERING = """
SELECT order_id FROM differing_orders
WHERE merchant_id = $1 AND environment = $2 AND order_id > $3 ORDER BY order_id LIMIT $4
"""
_DIFFER = """
INSERT INTO differing_orders (merchant_id, environment, order_id, found_at) SELECT $1, $2, unnest($3::text[]), $4
ON CONFLICT (merchant_id, environment, order_id) DO UPDATE SET found_at = excluded.found_at
"""
_AGREE = """
DELETE FROM differing_orders
WHERE merchant_id = $1 AND environment = $2 AND order_id = ANY($3::text[]) AND found_at <= $4
"""


@immutable
class Marks:
    """Up to when everything has been compared, and up to when facts are summed up."""

    compared_to: datetime = _NEVER
    summed_to: datetime = _NEVER


async def marks(pool: Pool, tenant: Tenant) -> Marks:
    """Since ever, where nothing has been compared yet."""
    row = await pool.fetchrow(_MARKS, *tenant)
    return Marks() if row is None else Marks(**row)


async def advance(pool: Pool, tenant: Tenant, reached: Marks) -> None:
    """Never back."""
    await pool.execute(_ADVANCE, *tenant, reached.compared_to, reached.summed_to)


async def differing(pool: Pool, tenant: Tenant, after: str, limit: int) -> list[str]:
    """At most `limit` of the orders that differed when they were last compared, those after this one by their ids."""
    rows = await pool.fetch(_DIFFERING, *tenant, after, limit)
    return [row["order_id"] for row in rows]


async def differ(pool: Pool, tenant: Tenant, order_ids: Sequence[str], now: datetime) -> None:
    """These were found to differ; they are compared again and again until they do no more."""
    await pool.execute(_DIFFER, *tenant, order_ids, now)


async def agree(pool: Pool, tenant: Tenant, order_ids: Sequence[str], began_at: datetime) -> None:
    """These do not differ, as it was when they were read; whoever has found otherwise since then is right."""
    await pool.execute(_AGREE, *tenant, order_ids, began_at)
