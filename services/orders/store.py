"""All SQL about orders: rows locked and saved in batches, pages and past versions read from indexes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

import orjson
from pydantic import TypeAdapter

from services.orders.core.state import Order
from services.orders.words import lexemes, query_of, tenant_mark
from shared.postgres import Connection, Pool

_STATE: TypeAdapter[Order] = TypeAdapter(Order)


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """One version of an order: `payload` is JSON with its events, actor, reason and balances."""

    order_id: str
    version: int
    type: str
    payload: bytes
    recorded_at: datetime


class OrderCache:
    """Orders that this process wrote or read lately, so that a locked row's state need not be read and parsed again.

    An order is taken from here only at the version that its locked row has.
    """

    def __init__(self, largest: int = 20_000) -> None:
        self._largest = largest
        self._orders: dict[str, Order] = {}

    def get(self, order_id: str, version: int) -> Order | None:
        """The order at exactly this version, if it is known."""
        order = self._orders.get(order_id)
        return order if order is not None and order.version == version else None

    def put(self, orders: Iterable[Order]) -> None:
        """Remember orders as they are committed; the ones remembered longest ago are forgotten."""
        for order in orders:
            self._orders.pop(order.order_id, None)
            self._orders[order.order_id] = order
        while len(self._orders) > self._largest:
            del self._orders[next(iter(self._orders))]


async def lock_orders(connection: Connection, order_ids: Sequence[str], cache: OrderCache) -> dict[str, Order]:
    """The orders that exist, their rows locked until the transaction ends; locks are taken in the order of the ids."""
    rows = await connection.fetch(
        "SELECT order_id, version FROM orders WHERE order_id = ANY($1::text[]) ORDER BY order_id FOR UPDATE", order_ids
    )
    known = {order_id: cache.get(order_id, version) for order_id, version in rows}
    locked = {order_id: order for order_id, order in known.items() if order is not None}
    unknown = [order_id for order_id, order in known.items() if order is None]
    if unknown:
        states = await connection.fetch("SELECT state::text FROM orders WHERE order_id = ANY($1::text[])", unknown)
        read = [_STATE.validate_json(state) for (state,) in states]
        locked |= {order.order_id: order for order in read}
    return locked


_FIXED = ("order_id", "merchant_id", "environment", "number", "source", "currency", "created_at")
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
    ("state", "text"),
)
_COLUMNS = (*_FIXED, *(name for name, _ in _CHANGING))


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
        _STATE.dump_json(order).decode(),
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


async def insert_orders(connection: Connection, orders: Sequence[Order]) -> None:
    """New rows, one statement; an order that another worker created meanwhile is a unique violation."""
    if orders:
        await connection.copy_records_to_table("orders", records=map(_row, orders), columns=_COLUMNS)


_UPDATE = f"""
UPDATE orders SET {", ".join(f"{name} = new.{name}{'::jsonb' if name == 'state' else ''}" for name, _ in _CHANGING)}
FROM unnest($1::text[], $2::integer[], {", ".join(f"${n}::{kind}[]" for n, (_, kind) in enumerate(_CHANGING, start=3))})
    AS new (order_id, known_version, {", ".join(name for name, _ in _CHANGING)})
WHERE orders.order_id = new.order_id AND orders.version = new.known_version
"""


async def update_orders(connection: Connection, orders: Sequence[tuple[Order, int]]) -> None:
    """Newest states with the versions that they replace, one statement; the rows are locked by this transaction."""
    if not orders:
        return
    columns = zip(*(_changing(order) for order, _ in orders), strict=True)
    ids, known = [order.order_id for order, _ in orders], [version for _, version in orders]
    done = await connection.execute(_UPDATE, ids, known, *columns)
    assert done == f"UPDATE {len(orders)}", "a locked order has the version that was read"


async def insert_history(connection: Connection, rows: Sequence[HistoryRow]) -> None:
    """What happened, one row per version, one statement."""
    records = [(row.order_id, row.version, row.type, row.payload.decode(), row.recorded_at) for row in rows]
    await connection.copy_records_to_table("order_events", records=records, columns=_HISTORY)


_HISTORY = ("order_id", "version", "type", "payload", "recorded_at")


def search_texts(order: Order) -> tuple[str | None, ...]:
    """What an order is found by."""
    lines = (text for line in order.lines for text in (line.name, line.sku))
    return (order.number, order.context.external_reference, *lines)


async def save_words(connection: Connection, orders: Sequence[Order]) -> None:
    """The words by which the orders are found from now on, one statement."""
    if not orders:
        return
    words = [lexemes(search_texts(order), tenant_mark(order.merchant_id, order.environment)) for order in orders]
    await connection.execute(
        """
        INSERT INTO order_search (order_id, words)
        SELECT entry->>'order_id',
               array_to_tsvector(ARRAY(SELECT jsonb_array_elements_text(entry->'words')))
        FROM jsonb_array_elements($1::jsonb) AS entry
        ON CONFLICT (order_id) DO UPDATE SET words = excluded.words
        """,
        orjson.dumps(
            [{"order_id": order.order_id, "words": found} for order, found in zip(orders, words, strict=True)]
        ).decode(),
    )


async def read_order(pool: Pool, order_id: str, merchant_id: str, environment: str) -> Order | None:
    """The newest state; another tenant's order reads as not there."""
    state = await pool.fetchval(
        "SELECT state::text FROM orders WHERE order_id = $1 AND merchant_id = $2 AND environment = $3",
        order_id,
        merchant_id,
        environment,
    )
    return None if state is None else _STATE.validate_json(state)


@dataclass(frozen=True, slots=True)
class OrderFilter:
    """Which orders a list holds; every field that is set must match."""

    merchant_id: str
    environment: str
    equal: dict[str, str] = field(default_factory=dict)
    """Column → value, for `status`, `payment_status`, `refund_status`, `source`, `customer_id`, `number` …"""
    created_from: datetime | None = None
    created_before: datetime | None = None
    updated_from: datetime | None = None
    updated_before: datetime | None = None
    total_from: int | None = None
    total_to: int | None = None
    text: str | None = None


_EQUAL_COLUMNS = frozenset(
    "status payment_status refund_status source currency customer_id number external_reference location_id "
    "device_id".split()
)


class _Where:
    """Conditions with their numbered arguments."""

    def __init__(self) -> None:
        self.conditions: list[str] = []
        self.arguments: list[Any] = []

    def add(self, condition: str, *values: Any) -> None:
        """`condition` holds one `{}` per value."""
        numbers = range(len(self.arguments) + 1, len(self.arguments) + 1 + len(values))
        self.conditions.append(condition.format(*(f"${number}" for number in numbers)))
        self.arguments.extend(values)


def _where(wanted: OrderFilter) -> _Where:
    where = _Where()
    where.add("o.merchant_id = {}", wanted.merchant_id)
    where.add("o.environment = {}", wanted.environment)
    for column, value in wanted.equal.items():
        assert column in _EQUAL_COLUMNS
        where.add(f"o.{column} = {{}}", value)
    bounds: tuple[tuple[str, Any], ...] = (
        ("o.created_at >= {}", wanted.created_from),
        ("o.created_at < {}", wanted.created_before),
        ("o.updated_at >= {}", wanted.updated_from),
        ("o.updated_at < {}", wanted.updated_before),
        ("o.total_minor >= {}", wanted.total_from),
        ("o.total_minor <= {}", wanted.total_to),
    )
    for condition, value in bounds:
        if value is not None:
            where.add(condition, value)
    return where


async def list_orders(pool: Pool, wanted: OrderFilter, after: tuple[datetime, str] | None, limit: int) -> list[Order]:
    """At most `limit` orders, newest first, that come after the given position."""
    where = _where(wanted)
    source = "orders AS o"
    if wanted.text is not None:
        query = query_of(wanted.text, tenant_mark(wanted.merchant_id, wanted.environment))
        if query is None:
            return []
        source += " JOIN order_search AS s USING (order_id)"
        where.add("s.words @@ {}::text::tsquery", query)
    if after is not None:
        where.add("(o.created_at, o.order_id) < ({}, {})", *after)
    rows = await pool.fetch(
        f"SELECT o.state::text AS state FROM {source} WHERE {' AND '.join(where.conditions)} "
        f"ORDER BY o.created_at DESC, o.order_id DESC LIMIT {int(limit)}",
        *where.arguments,
    )
    return [_STATE.validate_json(row["state"]) for row in rows]


async def read_history(
    pool: Pool, order_id: str, *, up_to: int | None = None, until: datetime | None = None
) -> list[HistoryRow]:
    """The versions of an order in order, up to a version or a moment (inclusive)."""
    rows = await pool.fetch(
        """
        SELECT order_id, version, type, payload::text AS payload, recorded_at FROM order_events
        WHERE order_id = $1 AND ($2::integer IS NULL OR version <= $2)
            AND ($3::timestamptz IS NULL OR recorded_at <= $3)
        ORDER BY version
        """,
        order_id,
        up_to,
        until,
    )
    return [_history_row(row) for row in rows]


async def page_of_history(pool: Pool, order_id: str, below: int | None, limit: int) -> list[HistoryRow]:
    """At most `limit` versions below the given one, newest first."""
    rows = await pool.fetch(
        """
        SELECT order_id, version, type, payload::text AS payload, recorded_at FROM order_events
        WHERE order_id = $1 AND ($2::integer IS NULL OR version < $2) ORDER BY version DESC LIMIT $3
        """,
        order_id,
        below,
        limit,
    )
    return [_history_row(row) for row in rows]


def _history_row(row: Any) -> HistoryRow:
    return HistoryRow(row["order_id"], row["version"], row["type"], row["payload"].encode(), row["recorded_at"])


async def take_numbers(connection: Connection, merchant_id: str, environment: str, count: int) -> int:
    """The first of `count` numbers that nobody else gets; a tenant's first number is 1001."""
    return cast(
        int,
        await connection.fetchval(
            """
            INSERT INTO order_numbers AS known (merchant_id, environment, next_number)
            VALUES ($1, $2, 1001 + $3::bigint)
            ON CONFLICT (merchant_id, environment) DO UPDATE SET next_number = known.next_number + $3
            RETURNING next_number - $3
            """,
            merchant_id,
            environment,
            count,
        ),
    )


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
