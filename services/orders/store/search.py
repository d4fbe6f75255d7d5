"""Finding orders: by id, by filters in pages, by words. Every page is read from an index.

An order's words are marked with the month in which it was created. A search goes back in time, so what it reads follows
from what it shows and not from all the years that lie there.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import orjson

from services.orders.core.state import Order
from services.orders.store.state import decode_state
from services.orders.words import lexemes, query_of, tenant_mark, words_of
from shared.postgres import Pool
from shared.writes import Write


def search_texts(order: Order) -> tuple[str | None, ...]:
    """What an order is found by, what names it first: of a large order not every word is indexed."""
    skus, names = [line.sku for line in order.lines], [line.name for line in order.lines]
    return (order.number, order.context.external_reference, *skus, *names)


_SAVE_WORDS = """
INSERT INTO order_search (order_id, words)
SELECT entry->>'order_id', array_to_tsvector(ARRAY(SELECT jsonb_array_elements_text(entry->'words')))
FROM jsonb_array_elements($1::jsonb) AS entry
ON CONFLICT (order_id) DO UPDATE SET words = excluded.words
"""


def new_words(orders: Sequence[Order]) -> Write | None:
    """The words by which the orders are found from now on."""
    if not orders:
        return None
    words = [lexemes(search_texts(order), _mark(order, _month(order.created_at))) for order in orders]
    entries = [{"order_id": order.order_id, "words": found} for order, found in zip(orders, words, strict=True)]
    return Write(_SAVE_WORDS, (orjson.dumps(entries).decode(),), len(entries))


def _month(at: datetime) -> int:
    """Months since the year 0, by UTC."""
    return at.astimezone(UTC).year * 12 + at.astimezone(UTC).month - 1


def _begin(month: int) -> datetime:
    return datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC)


def _mark(of: "Order | OrderFilter", month: int) -> str:
    return f"{tenant_mark(of.merchant_id, of.environment)}{_begin(month):%y%m}"


async def read_order(pool: Pool, order_id: str, merchant_id: str, environment: str) -> Order | None:
    """The newest state; another tenant's order reads as not there."""
    state = await pool.fetchval(
        "SELECT state::text FROM orders WHERE order_id = $1 AND merchant_id = $2 AND environment = $3",
        order_id,
        merchant_id,
        environment,
    )
    return None if state is None else decode_state(state)


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


Position = tuple[datetime, str]
"""The creation time and id of the last order that a reader has seen."""


def page_query(
    wanted: OrderFilter,
    after: Position | None,
    limit: int,
    *,
    found: Sequence[str] | None = None,
    words: str | None = None,
) -> tuple[str, list[Any]]:
    """The statement and arguments of one page: of all orders, of the `found` ones, or of those that have the `words`,
    for which orders are looked through in the page's order until it is full."""
    where = _where(wanted)
    if after is not None:
        where.add("(o.created_at, o.order_id) < ({}, {})", *after)
    if found is not None:
        where.add("o.order_id = ANY({}::text[])", found)
    if words is not None:
        # A subquery that is asked for each order, which no planner turns into a join.
        has_words = "(SELECT s.words @@ {}::text::tsquery FROM order_search AS s WHERE s.order_id = o.order_id)"
        where.add(has_words, words)
    order, conditions = "ORDER BY o.created_at DESC, o.order_id DESC", " AND ".join(where.conditions)
    if found is None:
        statement = f"SELECT o.state::text AS state FROM orders AS o WHERE {conditions} {order} LIMIT {int(limit)}"
    else:
        # Sorted without their states, which are read for the page alone.
        few = f"SELECT o.created_at, o.order_id FROM orders AS o WHERE {conditions} OFFSET 0"
        page = f"SELECT * FROM ({few}) AS o {order} LIMIT {int(limit)}"
        statement = f"SELECT s.state::text AS state FROM ({page}) AS o JOIN orders AS s USING (order_id) {order}"
    return statement, where.arguments


MOST_SORTED = 1_000
"""Orders that are read to be sorted; of words that more orders of a month have, a page is soon met in its order."""

_WIDER = 4
"""Each step back takes so many times as many months, until something is found."""

# The words' index is used whatever the limit makes the planner hope for, and read no further than that.
WITH_WORDS = f"""
WITH found AS MATERIALIZED (SELECT order_id FROM order_search WHERE words @@ $1::text::tsquery)
SELECT order_id FROM found LIMIT {MOST_SORTED + 1}
"""


async def with_words(pool: Pool, words: str) -> list[str] | None:
    """The orders that have them; `None` when they are too many to be sorted."""
    rows = await pool.fetch(WITH_WORDS, words)
    return [row["order_id"] for row in rows] if len(rows) <= MOST_SORTED else None


def words_wanted(wanted: OrderFilter, newest: int, months: int = 1) -> str:
    """What the text, which has words, asks of orders from as many months, the newest and those before it."""
    query = query_of(wanted.text or "", *(_mark(wanted, newest - back) for back in range(months)))
    assert query is not None
    return query


async def list_orders(pool: Pool, wanted: OrderFilter, after: Position | None, limit: int) -> list[Order]:
    """At most `limit` orders, newest first, that come after the given position."""
    if wanted.text is None:
        return await _page(pool, *page_query(wanted, after, limit))
    return await _search(pool, wanted, after, limit) if words_of(wanted.text) else []


async def _page(pool: Pool, statement: str, arguments: list[Any]) -> list[Order]:
    return [decode_state(row["state"]) for row in await pool.fetch_planned(statement, *arguments)]


async def _search(pool: Pool, wanted: OrderFilter, after: Position | None, limit: int) -> list[Order]:
    """Month after month back in time, in wider steps while little is found."""
    page: list[Order] = []
    month, oldest = await _months(pool, wanted, after)
    step = 1
    while month >= oldest and len(page) < limit:
        step = min(step, month - oldest + 1)
        found = await with_words(pool, words_wanted(wanted, month, step))
        if found is None and step > 1:
            step = 1
            continue
        if found is None:
            query = page_query(_of(wanted, month), after, limit - len(page), words=words_wanted(wanted, month))
        else:
            query = page_query(wanted, after, limit - len(page), found=found)
        if found != []:
            page += await _page(pool, *query)
        month -= step
        step = 1 if found is None else step * _WIDER
    return page


def _of(wanted: OrderFilter, month: int) -> OrderFilter:
    """What is wanted of a month."""
    return replace(
        wanted,
        created_from=max(filter(None, (wanted.created_from, _begin(month)))),
        created_before=min(filter(None, (wanted.created_before, _begin(month + 1)))),
    )


async def _months(pool: Pool, wanted: OrderFilter, after: Position | None) -> tuple[int, int]:
    """The newest and the oldest month that may hold what is wanted, in the other order where none may."""
    tenant = "FROM orders WHERE merchant_id = $1 AND environment = $2"
    newest, oldest = [
        await pool.fetchval(f"SELECT {end}(created_at) {tenant}", wanted.merchant_id, wanted.environment)
        for end in ("max", "min")
    ]
    if oldest is None:
        return 0, 1
    newest = min(filter(None, (newest, wanted.created_before, after[0] if after else None)))
    return _month(newest), _month(max(filter(None, (oldest, wanted.created_from))))
