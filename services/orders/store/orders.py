"""Rows of orders, locked and saved in batches: one statement each, whatever the size of the batch."""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from services.orders.core.state import Order
from services.orders.store.state import decode_state, encode_state
from shared.postgres import Connection, Pool
from shared.writes import NewRows, Write, columns_of, names_of, unnested


class OrderCache:
    """Orders that this process committed lately, so that a locked row's state need not be read and parsed again.

    An order is taken from here only at the version and time that its locked row has: after a failover that lost the
    newest commits, another worker may have written the same version anew.
    """

    def __init__(self, largest: int = 5_000) -> None:
        self._largest = largest
        self._orders: OrderedDict[str, Order] = OrderedDict()

    def get(self, order_id: str, version: int, updated_at: datetime) -> Order | None:
        """The order at exactly this version, if it is known."""
        order = self._orders.get(order_id)
        same = order is not None and order.version == version and order.updated_at == updated_at
        return order if same else None

    def put(self, orders: Iterable[Order]) -> None:
        """Remember orders as they are committed; the ones remembered longest ago are forgotten."""
        for order in orders:
            self._orders[order.order_id] = order
            self._orders.move_to_end(order.order_id)
        while len(self._orders) > self._largest:
            self._orders.popitem(last=False)


async def lock_orders(connection: Connection, order_ids: Sequence[str], cache: OrderCache) -> dict[str, Order]:
    """The orders that exist, their rows locked until the transaction ends; locks are taken in the order of the ids."""
    rows = await connection.fetch(
        """
        SELECT order_id, version, updated_at FROM orders WHERE order_id = ANY($1::text[]) ORDER BY order_id FOR UPDATE
        """,
        order_ids,
    )
    known = {order_id: cache.get(order_id, version, updated_at) for order_id, version, updated_at in rows}
    locked = {order_id: order for order_id, order in known.items() if order is not None}
    unknown = [order_id for order_id, order in known.items() if order is None]
    if unknown:
        states = await connection.fetch("SELECT state::text FROM orders WHERE order_id = ANY($1::text[])", unknown)
        read = [decode_state(state) for (state,) in states]
        locked |= {order.order_id: order for order in read}
    return locked


_FIXED = (
    ("order_id", "text"),
    ("merchant_id", "text"),
    ("environment", "text"),
    ("number", "text"),
    ("source", "text"),
    ("currency", "text"),
    ("created_at", "timestamptz"),
)
_CHANGING = (
    ("version", "integer"),
    ("status", "text"),
    ("payment_status", "text"),
    ("refund_status", "text"),
    ("total_minor", "bigint"),
    ("customer_id", "text"),
    ("external_reference", "text"),
    ("location_id", "text"),
    ("device_id", "text"),
    ("next_lease_expiry", "timestamptz"),
    ("updated_at", "timestamptz"),
    ("state", "jsonb"),
)
_KNOWN = (("order_id", "text"), ("known_version", "integer"), *_CHANGING)


def _changing(order: Order) -> tuple[Any, ...]:
    context = order.context
    return (
        order.version,
        order.status,
        order.payment_status,
        order.refund_status,
        order.pricing.total,
        context.customer_id,
        context.external_reference,
        context.location_id,
        context.device_id,
        min((lease.expires_at for lease in order.leases), default=None) if order.leases else None,
        order.updated_at,
        encode_state(order).decode(),
    )


def _row(order: Order) -> tuple[Any, ...]:
    fixed = (
        order.order_id,
        order.merchant_id,
        order.environment,
        order.number,
        order.source,
        order.currency,
        order.created_at,
    )
    return fixed + _changing(order)


def new_orders(orders: Sequence[Order]) -> NewRows:
    """An order that another worker created meanwhile is a unique violation."""
    return NewRows("orders", (*_FIXED, *_CHANGING), [_row(order) for order in orders])


_UPDATE = f"""
UPDATE orders SET {", ".join(f"{name} = new.{name}" for name, _ in _CHANGING)}
FROM {unnested(_KNOWN)} AS new ({names_of(_KNOWN)})
WHERE orders.order_id = new.order_id AND orders.version = new.known_version
"""


def changed_orders(orders: Sequence[tuple[Order, int]]) -> Write | None:
    """Newest states with the versions that they replace; their rows are locked, so that they have these versions."""
    rows = [(order.order_id, version, *_changing(order)) for order, version in orders]
    return Write(_UPDATE, columns_of(rows), len(rows), exact=True) if rows else None


async def expired_leases(pool: Pool, now: datetime, limit: int) -> list[tuple[str, str, str]]:
    """Orders (id, merchant, environment) with a lease that has run out and is still written down; oldest first."""
    rows = await pool.fetch(
        """
        SELECT order_id, merchant_id, environment FROM orders
        WHERE next_lease_expiry <= $1 ORDER BY next_lease_expiry LIMIT $2
        """,
        now,
        limit,
    )
    return [(row["order_id"], row["merchant_id"], row["environment"]) for row in rows]
