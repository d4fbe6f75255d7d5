"""Orders as far as the payment service knows them, from their events."""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from operator import attrgetter

from services.payments.core.proposals import Clues, reference_key
from services.payments.core.state import Item, KnownOrder, KnownOrders, Reference
from services.payments.store.events import WAITS_FOR
from shared.immutable import immutable
from shared.postgres import Connection, Pool
from shared.writes import columns_of

_NAMES = (
    "order_id, merchant_id, environment, external_reference, currency, status, outstanding_minor, version, "
    "credit_minor, customer_id, placed_at"
)
_values = attrgetter(*_NAMES.split(", "))
_MINE = "merchant_id = $1 AND environment = $2"
_CANDIDATES = 20
"""Orders that are weighed for one reason."""
_LATER = timedelta(days=1)
"""How long after its money an order may still be made that is found by the amount alone."""

_SAVE = f"""
WITH saved AS (
    INSERT INTO known_orders ({_NAMES}, reference_key)
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[],
                         $8::integer[], $9::bigint[], $10::text[], $11::timestamptz[], $12::text[])
    ON CONFLICT (order_id) DO UPDATE SET external_reference = excluded.external_reference,
        status = excluded.status, outstanding_minor = excluded.outstanding_minor, version = excluded.version,
        credit_minor = excluded.credit_minor, customer_id = excluded.customer_id, placed_at = excluded.placed_at,
        reference_key = excluded.reference_key
    WHERE known_orders.version < excluded.version
) SELECT EXISTS (SELECT FROM channel_events WHERE {WAITS_FOR})
"""
_READ_AT = f"""
SELECT {_NAMES} FROM known_orders
WHERE (merchant_id, environment, order_id) IN (SELECT * FROM unnest($1::text[], $2::text[], $3::text[]))
"""
_NEWEST = f"ORDER BY placed_at DESC, order_id LIMIT {_CANDIDATES}"
_FIND_CANDIDATES = f"""
(
    SELECT {_NAMES} FROM known_orders
    WHERE {_MINE} AND currency = $3 AND outstanding_minor = $4 AND outstanding_minor > 0 AND placed_at <= $7 {_NEWEST}
) UNION (
    SELECT found.* FROM unnest($5::text[]) AS alike (key) CROSS JOIN LATERAL (
        SELECT {_NAMES} FROM known_orders WHERE {_MINE} AND reference_key = alike.key {_NEWEST}
    ) AS found
) UNION (
    SELECT {_NAMES} FROM known_orders WHERE {_MINE} AND customer_id = $6 {_NEWEST}
)
"""


@immutable
class Place:
    """An order by its id, and whose it is."""

    merchant_id: str
    environment: str
    order_id: str

    def names(self, order: KnownOrder) -> bool:
        """Whether it is this one."""
        return order.order_id == self.order_id and (order.merchant_id, order.environment) == self.tenant

    @property
    def tenant(self) -> tuple[str, str]:
        return self.merchant_id, self.environment


async def save_orders(connection: Connection | Pool, orders: Sequence[KnownOrder]) -> bool:
    """Whether channel events wait for any of them. The newest version of each counts, however often and in whatever
    order they are saved; one statement. At most one version of an order in `orders`.
    """
    rows = sorted((*_values(order), _key(order)) for order in orders)
    return bool(await connection.fetchval(_SAVE, *columns_of(rows)))


async def read_orders(connection: Connection | Pool, order_ids: Sequence[str]) -> dict[str, KnownOrder]:
    """Those that are known."""
    rows = await connection.fetch(f"SELECT {_NAMES} FROM known_orders WHERE order_id = ANY($1::text[])", order_ids)
    return {row["order_id"]: KnownOrder(**row) for row in rows}


async def read_own(
    connection: Connection | Pool, merchant_id: str, environment: str, order_id: str
) -> KnownOrder | None:
    """The order, if it is known; another tenant's is not."""
    [order] = await read_at(connection, [Place(merchant_id, environment, order_id)])
    return order


async def read_at(connection: Connection | Pool, places: Sequence[Place]) -> list[KnownOrder | None]:
    """For each place its order, if it is known; another tenant's is not. One statement."""
    wanted = sorted({(*place.tenant, place.order_id) for place in places})
    rows = await connection.fetch(_READ_AT, *columns_of(wanted))
    known = {row["order_id"]: KnownOrder(**row) for row in rows}
    return [order if (order := known.get(place.order_id)) and place.names(order) else None for place in places]


async def find_orders(connection: Connection, order_ids: Iterable[str], references: Iterable[Reference]) -> KnownOrders:
    """The known orders with these ids, and at most two with each reference, those that have not ended first."""
    wanted = sorted(set(references))
    rows = await connection.fetch(
        f"""
        SELECT found.* FROM unnest($1::text[], $2::text[], $3::text[]) AS asked (merchant, env, reference)
        CROSS JOIN LATERAL (
            SELECT {_NAMES} FROM known_orders
            WHERE merchant_id = asked.merchant AND environment = asked.env AND external_reference = asked.reference
            ORDER BY status IN ('closed', 'canceled') LIMIT 2
        ) AS found
        """,
        *([reference[part] for reference in wanted] for part in range(3)),
    )
    by_reference: dict[Reference, list[KnownOrder]] = {}
    for row in rows:
        order = KnownOrder(**row)
        by_reference.setdefault((row["merchant_id"], row["environment"], row["external_reference"]), []).append(order)
    return KnownOrders(await read_orders(connection, sorted(set(order_ids))), by_reference)


async def customer_of(pool: Pool, item: Item) -> str | None:
    """Whose the order is that the item's payment is on, or else the one that refused the money."""
    customer: str | None = await pool.fetchval(
        f"""
        SELECT customer_id FROM known_orders
        WHERE {_MINE} AND customer_id IS NOT NULL AND order_id IN (
            $3, (SELECT order_id FROM channel_payments WHERE payment_id = $4)
        ) ORDER BY order_id = $3, order_id LIMIT 1
        """,
        item.merchant_id,
        item.environment,
        item.money.order_id,
        item.money.payment_id,
    )
    return customer


async def candidates(pool: Pool, item: Item, clues: Clues) -> list[KnownOrder]:
    """Orders that something speaks for, the newest of each reason; at most so many that all can be weighed."""
    rows = await pool.fetch(
        _FIND_CANDIDATES,
        item.merchant_id,
        item.environment,
        clues.currency,
        clues.amount_minor,
        clues.reference_keys,
        clues.customer_id,
        item.money.created_at + _LATER,
    )
    return [KnownOrder(**row) for row in rows]


def _key(order: KnownOrder) -> str | None:
    return reference_key(order.external_reference) if order.external_reference is not None else None
