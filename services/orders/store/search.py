"""Finding orders: by id, by filters in pages, by words. Every page is read from an index."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson

from services.orders.core.state import Order
from services.orders.store.state import STATE
from services.orders.words import lexemes, query_of, tenant_mark
from shared.postgres import Connection, Pool


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
    return None if state is None else STATE.validate_json(state)


@dataclass(frozen=True, slots=True)
class OrderFilter:
    """Which orders a list holds; every field that is set must match."""

    merchant_id: str
    environment: str
    equal: dict[str, str] = field(default_factory=dict)
    """Column → value, for `status`, `payment_status`, `refund_status`, `source`, `customer_id`, `number` …"""
    created_from: datetime | None = None
    created_before: datetime | None = None
    total_from: int | None = None
    total_to: int | None = None
    text: str | None = None


_EQUAL_COLUMNS = frozenset(
    "status payment_status refund_status source customer_id number external_reference location_id device_id".split()
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
        ("o.total_minor >= {}", wanted.total_from),
        ("o.total_minor <= {}", wanted.total_to),
    )
    for condition, value in bounds:
        if value is not None:
            where.add(condition, value)
    return where


def page_query(
    wanted: OrderFilter, after: tuple[datetime, str] | None, limit: int, found: Sequence[str] | None = None
) -> tuple[str, list[Any]]:
    """The statement and arguments of one page.

    With words, `found` are the ids of all orders that have them. `None` says that these are too many to be sorted: then
    orders are looked through in the page's order until it is full. The database could not choose between the two, since
    it knows nothing about how common a merchant's word is.
    """
    where = _where(wanted)
    if after is not None:
        where.add("(o.created_at, o.order_id) < ({}, {})", *after)
    if found is not None:
        where.add("o.order_id = ANY({}::text[])", found)
    elif wanted.text is not None:
        # A subquery that is asked for each order, which no planner turns into a join.
        has_words = "(SELECT s.words @@ {}::text::tsquery FROM order_search AS s WHERE s.order_id = o.order_id)"
        where.add(has_words, words_wanted(wanted))
    columns, source = "o.state, o.created_at, o.order_id", f"orders AS o WHERE {' AND '.join(where.conditions)}"
    if found is not None:
        source = f"(SELECT {columns} FROM {source} OFFSET 0) AS o"
    statement = (
        f"SELECT o.state::text AS state FROM {source} ORDER BY o.created_at DESC, o.order_id DESC LIMIT {int(limit)}"
    )
    return statement, where.arguments


def words_wanted(wanted: OrderFilter) -> str | None:
    """What the text asks for, as a query of words; `None` when there is no word in it."""
    return query_of(wanted.text or "", tenant_mark(wanted.merchant_id, wanted.environment))


MOST_SORTED = 2_000
"""Orders that are read to be sorted; a word that more orders have is common enough to meet a page of them soon."""

# The words' index is used whatever the limit makes the planner hope for, and read no further than that.
WITH_WORDS = f"""
WITH found AS MATERIALIZED (SELECT order_id FROM order_search WHERE words @@ $1::text::tsquery)
SELECT order_id FROM found LIMIT {MOST_SORTED + 1}
"""


async def _with_words(pool: Pool, words: str) -> list[str] | None:
    """The orders that have them; `None` when they are too many to be sorted."""
    rows = await pool.fetch(WITH_WORDS, words)
    return [row["order_id"] for row in rows] if len(rows) <= MOST_SORTED else None


async def list_orders(pool: Pool, wanted: OrderFilter, after: tuple[datetime, str] | None, limit: int) -> list[Order]:
    """At most `limit` orders, newest first, that come after the given position."""
    found = None
    if wanted.text is not None:
        words = words_wanted(wanted)
        found = await _with_words(pool, words) if words else []
        if found == []:
            return []
    statement, arguments = page_query(wanted, after, limit, found)
    return [STATE.validate_json(row["state"]) for row in await pool.fetch(statement, *arguments)]
