"""Lists stay fast with many orders: every filter is answered from an index."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from services.orders.jobs import INVARIANTS
from services.orders.store.search import WITH_WORDS, OrderFilter, _with_words, page_query, words_wanted
from services.orders.words import tenant_mark
from shared.postgres import Pool
from tests.stack import Stack

pytestmark = pytest.mark.servers

MANY = 30_000
MERCHANT = "mer_with_many_orders"
THEN = datetime(2026, 1, 15, tzinfo=UTC)

FILL = """
INSERT INTO orders (order_id, version, merchant_id, environment, number, status, payment_status, refund_status, source,
                    currency, total_minor, customer_id, external_reference, location_id, device_id, state, created_at,
                    updated_at)
SELECT 'ord_many' || n, 1, $1, 'test', n::text, (ARRAY['open', 'closed'])[1 + n % 2],
       (ARRAY['unpaid', 'paid', 'partially_paid'])[1 + n % 3], 'none', (ARRAY['checkout', 'pos'])[1 + n % 2], 'EUR',
       n % 10000, CASE WHEN n % 10 = 0 THEN 'cus_' || n % 500 END, 'web-' || n, 'loc_' || n % 50, 'dev_' || n % 200,
       jsonb_build_object('n', n), at, at
FROM (SELECT n, timestamptz '2026-01-01' + n * interval '1 minute' AS at FROM generate_series(1, $2::integer) AS n) AS a
"""
FILL_WORDS = """
INSERT INTO order_search (order_id, words)
SELECT 'ord_many' || n, array_to_tsvector(ARRAY[$2 || ':word' || n % 1000, $2 || ':jacket'])
FROM generate_series(1, $1::integer) AS n
"""


@pytest.fixture
async def pool(stack: Stack) -> AsyncIterator[Pool]:
    """Many orders of one merchant, with fresh statistics; they are gone afterwards."""
    pool = Pool(stack.settings.database_url.get_secret_value(), "orders", 2)
    await pool.open()
    await pool.execute(FILL, MERCHANT, MANY)
    await pool.execute(FILL_WORDS, MANY, tenant_mark(MERCHANT, "test"))
    await pool.execute("ANALYZE orders")
    await pool.execute("VACUUM ANALYZE order_search")
    yield pool
    await pool.execute("DELETE FROM orders WHERE merchant_id = $1", MERCHANT)
    await pool.execute("DELETE FROM order_search WHERE order_id LIKE 'ord_many%'")
    await pool.close()


def scans(plan: dict[str, Any]) -> list[str]:
    """The kinds of access in a plan, from its top down."""
    inner = [kind for child in plan.get("Plans", []) for kind in scans(child)]
    return [plan["Node Type"], *inner]


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
        {"text": "jacket"},
        {"text": "jacket", "equal": {"status": "open"}},
    ]
    for wanted in filters:
        statement, arguments = page_query(OrderFilter(MERCHANT, "test", **wanted), (THEN, "ord_x"), 21)
        plan = orjson.loads(await pool.fetchval(f"EXPLAIN (FORMAT JSON) {statement}", *arguments))[0]["Plan"]
        assert "Seq Scan" not in scans(plan), (wanted, plan)
        assert any("Index" in kind for kind in scans(plan)), (wanted, plan)


async def test_words_are_read_from_their_index_however_little_is_wanted(pool: Pool) -> None:
    words = words_wanted(OrderFilter(MERCHANT, "test", text="nowhere"))
    plan = orjson.loads(await pool.fetchval(f"EXPLAIN (FORMAT JSON) {WITH_WORDS}", words))[0]["Plan"]
    assert "Bitmap Index Scan" in scans(plan), plan
    assert "Seq Scan" not in scans(plan), plan


async def test_only_as_many_orders_as_can_be_sorted_are_read_for_a_word(pool: Pool) -> None:
    common, rare = (words_wanted(OrderFilter(MERCHANT, "test", text=text)) for text in ("jacket", "word417"))
    assert common is not None
    assert rare is not None
    assert await _with_words(pool, common) is None
    assert len(await _with_words(pool, rare) or []) == MANY // 1000


@pytest.mark.parametrize("more", [{}, {"equal": {"status": "closed"}}, {"total_to": 5_000}])
async def test_common_and_rare_words_are_answered_alike(pool: Pool, more: dict[str, Any]) -> None:
    wanted = OrderFilter(MERCHANT, "test", text="word417", **more)
    found = await _with_words(pool, words_wanted(wanted) or "")
    assert found
    sorted_page, looked_through = page_query(wanted, None, 10, found), page_query(wanted, None, 10, None)
    pages = [
        [row["state"] for row in await pool.fetch(query, *given)] for query, given in (sorted_page, looked_through)
    ]
    assert pages[0] == pages[1]
    assert 0 < len(pages[0]) <= 10
