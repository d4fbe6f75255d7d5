"""Lists stay fast with many orders: every filter is answered from an index."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from importlib import import_module
from itertools import product
from typing import Any

import orjson
import pytest

from services.orders.jobs import INVARIANTS
from services.orders.store import search
from services.orders.store.search import (
    MOST_SORTED,
    WITH_WORDS,
    OrderFilter,
    list_orders,
    page_query,
    with_words,
    words_wanted,
)
from services.orders.words import tenant_mark
from shared.postgres import Pool
from tests.stack import Stack

pytestmark = pytest.mark.servers

MANY = 30_000
MERCHANT = "mer_with_many_orders"
THEN = datetime(2026, 1, 15, tzinfo=UTC)
FEBRUARY = 2026 * 12 + 1

FILL = """
INSERT INTO orders (order_id, version, merchant_id, environment, number, status, payment_status, refund_status, source,
                    currency, total_minor, customer_id, external_reference, location_id, device_id, state, created_at,
                    updated_at)
SELECT 'ord_many' || n, 1, $1, 'test', n::text, (ARRAY['open', 'closed'])[1 + n % 2],
       (ARRAY['unpaid', 'paid', 'partially_paid'])[1 + n % 3], 'none', (ARRAY['checkout', 'pos'])[1 + n % 2], 'EUR',
       n % 10000, CASE WHEN n % 10 = 0 THEN 'cus_' || n % 500 END, 'web-' || n, 'loc_' || n % 50, 'dev_' || n % 200,
       jsonb_build_object('n', n), at, at
FROM (
    SELECT n, timestamptz '2026-01-01' + n * interval '10 minutes' AS at FROM generate_series(1, $2::integer) AS n
) AS a
"""
FILL_WORDS = """
INSERT INTO order_search (order_id, words)
SELECT order_id, array_to_tsvector(ARRAY[mark || ':word' || (state->>'n')::integer % 1000, mark || ':jacket'])
FROM (
    SELECT *, $2 || to_char(created_at AT TIME ZONE 'UTC', 'YYMM') AS mark FROM orders WHERE merchant_id = $1
) AS made
"""


FILL_HISTORY = """
INSERT INTO order_events (order_id, version, type, payload, recorded_at)
SELECT order_id, version, 'orders.order_created.v1', jsonb_build_object('text', repeat('a version ', 30)), created_at
FROM orders WHERE merchant_id = $1 ORDER BY created_at
"""
FILL_INBOX = """
INSERT INTO inbox (aggregate_id, command_id, outcome, recorded_at)
SELECT order_id, 'cmd_1', jsonb_build_object('text', repeat('an outcome ', 10)), created_at
FROM orders WHERE merchant_id = $1 ORDER BY created_at
"""


@pytest.fixture
async def pool(stack: Stack) -> AsyncIterator[Pool]:
    """Many orders of one merchant, with fresh statistics; they are gone afterwards."""
    pool = Pool(stack.settings.database_url.get_secret_value(), "orders", 2)
    await pool.open()
    await pool.execute(FILL, MERCHANT, MANY)
    await pool.execute(FILL_WORDS, MERCHANT, tenant_mark(MERCHANT, "test"))
    await pool.execute(FILL_HISTORY, MERCHANT)
    await pool.execute(FILL_INBOX, MERCHANT)
    for table in ("orders", "order_events", "inbox"):
        await pool.execute(f"ANALYZE {table}")
    await pool.execute("VACUUM ANALYZE order_search")
    yield pool
    await pool.execute("DELETE FROM orders WHERE merchant_id = $1", MERCHANT)
    await pool.execute("DELETE FROM order_search WHERE order_id LIKE 'ord_many%'")
    await pool.execute("DELETE FROM order_events WHERE order_id LIKE 'ord_many%'")
    await pool.execute("DELETE FROM inbox WHERE aggregate_id LIKE 'ord_many%'")
    await pool.close()


def nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    """A plan's parts, from its top down."""
    return [plan, *(inner for child in plan.get("Plans", []) for inner in nodes(child))]


def scans(plan: dict[str, Any]) -> list[str]:
    """The kinds of access in a plan, from its top down."""
    return [each["Node Type"] for each in nodes(plan)]


async def test_what_must_hold_is_checked_without_reading_every_order(pool: Pool) -> None:
    """Once a minute, whatever number of orders lies there."""
    for name, query in INVARIANTS.items():
        plan = orjson.loads(await pool.fetchval(f"EXPLAIN (FORMAT JSON) {query}"))[0]["Plan"]
        assert "Seq Scan" not in scans(plan), (name, plan)


async def test_every_filter_reads_an_index(pool: Pool) -> None:
    filters: list[dict[str, Any]] = [
        {},
        {"equal": {"status": "open"}},
        {"equal": {"payment_status": "overpaid"}},
        {"equal": {"payment_status": "paid", "status": "open"}},
        {"equal": {"refund_status": "refunded"}},
        {"equal": {"source": "pos"}},
        {"equal": {"customer_id": "cus_10"}},
        {"equal": {"number": "4711"}},
        {"equal": {"external_reference": "web-4711"}},
        {"equal": {"location_id": "loc_7"}},
        {"equal": {"device_id": "dev_7"}},
        {"created_from": THEN, "created_before": datetime(2026, 1, 16, tzinfo=UTC)},
        {"total_from": 9_990},
    ]
    jacket = words_wanted(OrderFilter(MERCHANT, "test", text="jacket"), FEBRUARY)
    asked = [*((wanted, None) for wanted in filters), ({}, jacket), ({"equal": {"status": "open"}}, jacket)]
    for wanted, words in asked:
        statement, arguments = page_query(OrderFilter(MERCHANT, "test", **wanted), (THEN, "ord_x"), 21, words=words)
        plan = orjson.loads(await pool.fetchval(f"EXPLAIN (FORMAT JSON) {statement}", *arguments))[0]["Plan"]
        assert "Seq Scan" not in scans(plan), (wanted, plan)
        assert any("Index" in kind for kind in scans(plan)), (wanted, plan)


async def test_words_are_read_from_their_index_however_little_is_wanted(pool: Pool) -> None:
    for months in (1, 16):
        words = words_wanted(OrderFilter(MERCHANT, "test", text="nowhere"), FEBRUARY, months)
        plan = orjson.loads(await pool.fetchval(f"EXPLAIN (FORMAT JSON) {WITH_WORDS}", words))[0]["Plan"]
        assert "Bitmap Index Scan" in scans(plan), plan
        assert "Seq Scan" not in scans(plan), plan


async def test_only_as_many_orders_as_can_be_sorted_are_read_for_a_word(pool: Pool) -> None:
    common, rare = (words_wanted(OrderFilter(MERCHANT, "test", text=text), FEBRUARY) for text in ("jacket", "word417"))
    assert await with_words(pool, common) is None
    assert len(await with_words(pool, rare) or []) == 4


async def test_a_page_is_sorted_before_its_orders_are_read(pool: Pool) -> None:
    found = [f"ord_many{n}" for n in range(1, MOST_SORTED)]
    statement, arguments = page_query(OrderFilter(MERCHANT, "test"), None, 20, found=found)
    [[plan]] = await pool.fetch(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", *arguments)
    [read] = [each for each in nodes(orjson.loads(plan)[0]["Plan"]) if each.get("Alias") == "s"]
    assert read["Actual Rows"] * read["Actual Loops"] == 20, plan


class Counted:
    """A pool that counts its statements."""

    def __init__(self, pool: Pool) -> None:
        self.pool, self.count = pool, 0

    async def fetch(self, *query: Any) -> Any:
        self.count += 1
        return await self.pool.fetch(*query)

    async def fetch_planned(self, *query: Any) -> Any:
        self.count += 1
        return await self.pool.fetch_planned(*query)

    async def fetchval(self, *query: Any) -> Any:
        self.count += 1
        return await self.pool.fetchval(*query)


# How many statements a page of all orders may take: two for the months, then at most two for each step back.
SEARCHES = (
    ("jacket", 4, MANY),  # too many in each month: looked through
    ("word417", 8, MANY // 1000),  # a few in each month: in wider steps
    ("word4", 7, MANY * 111 // 1000),  # few in a month, too many in four
    ("jack word41", 6, MANY * 11 // 1000),
    ("nowhere", 5, 0),
    ("jacket nowhere", 5, 0),
)
MORE: tuple[dict[str, Any], ...] = (
    {},
    {"equal": {"status": "closed"}},
    {"total_to": 5_000},
    {"created_from": datetime(2026, 2, 10, tzinfo=UTC), "created_before": datetime(2026, 4, 30, 23, tzinfo=UTC)},
    {"created_before": datetime(2025, 4, 1, tzinfo=UTC)},
)


async def test_a_search_finds_what_is_there_newest_first(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "decode_state", orjson.loads)
    for (text, most, orders), more in product(SEARCHES, MORE):
        wanted = OrderFilter(MERCHANT, "test", text=text, **more)
        there = [n for n in range(MANY, 0, -1) if _has(n, text) and _fits(n, wanted)]
        assert more or len(there) == orders
        seen, after = 0, None
        while seen <= min(len(there), 240):
            counted = Counted(pool)
            page: Any = await list_orders(counted, wanted, after, 20)  # type: ignore[arg-type]
            assert [each["n"] for each in page] == there[seen : seen + 20], wanted
            assert counted.count <= most or more, wanted
            seen += 20
            after = (_created(page[-1]["n"]), f"ord_many{page[-1]['n']}") if page else None


def _created(n: int) -> datetime:
    return datetime(2026, 1, 1, tzinfo=UTC) + n * timedelta(minutes=10)


def _has(n: int, text: str) -> bool:
    return all("jacket".startswith(word) or f"word{n % 1000}".startswith(word) for word in text.split())


def _fits(n: int, wanted: OrderFilter) -> bool:
    return (
        (not wanted.equal or n % 2 == 1)
        and (wanted.total_to is None or n % 10_000 <= wanted.total_to)
        and (wanted.created_from is None or _created(n) >= wanted.created_from)
        and (wanted.created_before is None or _created(n) < wanted.created_before)
    )


async def test_words_that_were_there_before_months_are_marked(pool: Pool) -> None:
    migration = import_module("services.orders.migrations.versions.0004_search_by_month")
    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        newest = f"ord_many{MANY}"
        marked = await connection.fetchval("SELECT words::text FROM order_search WHERE order_id = $1", newest)
        await connection.execute("DELETE FROM order_search WHERE order_id <> $1", newest)
        await connection.execute("UPDATE order_search SET words = $1::text::tsvector", marked.replace("2607:", ":"))
        await connection.execute(migration.MARKED)
        again = await connection.fetchval("SELECT words::text FROM order_search")
        await transaction.rollback()
    assert ":jacket" in marked
    assert again == marked
