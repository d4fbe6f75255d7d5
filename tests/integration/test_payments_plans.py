"""Timed checks stay cheap with many channel events: each is answered from an index."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import orjson
import pytest

from services.payments.jobs import INVARIANTS
from services.payments.store import intents as intents_store
from services.payments.store import orders as orders_store
from shared.postgres import Pool
from tests.contract.stores.samples import known
from tests.stack import Stack

pytestmark = pytest.mark.servers

MANY = 30_000

FILL = """
INSERT INTO channel_events (channel_event_id, channel_id, merchant_id, environment, event_id, type, body, payment_id,
                            status, order_id, order_version, attempt, received_at, changed_at)
SELECT 'che_many' || n, 'chn_many', 'mer_many', 'test', 'evt_' || n, 'channel.payment.captured.v1',
       '{"text": "as long as such an event is, with its order, its reference, its amount and how it was paid"}',
       'pay_' || n, 'applied', 'ord_' || n, 3, 1, at, at
FROM (SELECT n, timestamptz '2026-01-01' + n * interval '1 minute' AS at FROM generate_series(1, $1::integer) AS n) AS a
"""
ORDERS = """
INSERT INTO known_orders (order_id, merchant_id, environment, currency, status, outstanding_minor, version)
SELECT 'ord_many' || n, 'mer_many', 'test', 'EUR', 'open', 900, 1 FROM generate_series(1, $1::integer) AS n
"""
INTENTS = """
INSERT INTO payment_intents (payment_intent_id, merchant_id, environment, order_id, group_id, status, settled,
                             created_at, updated_at, status_since, state)
SELECT 'pi_many' || n, 'mer_many', 'test', 'ord_many' || n, 'pi_many' || n, 'succeeded', true, now(), now(), now(), '{}'
FROM generate_series(1, $1::integer) AS n
"""
FEW = [f"many{number}" for number in range(1, 50)]
MINE = [["mer_many"] * len(FEW), ["test"] * len(FEW)]
ORDER_IDS, INTENT_IDS = [f"ord_{name}" for name in FEW], [f"pi_{name}" for name in FEW]


@pytest.fixture
async def pool(stack: Stack) -> AsyncIterator[Pool]:
    """Many events of one channel, with fresh statistics; they are gone afterwards."""
    pool = Pool(stack.settings.database_url.get_secret_value(), "payments", 2)
    await pool.open()
    await pool.execute(FILL, MANY)
    await pool.execute(ORDERS, MANY)
    await pool.execute(INTENTS, MANY)
    for table in ("channel_events", "known_orders", "payment_intents"):
        await pool.execute(f"ANALYZE {table}")
    yield pool
    await pool.execute("DELETE FROM channel_events WHERE channel_id = 'chn_many'")
    for table in ("known_orders", "payment_intents"):
        await pool.execute(f"DELETE FROM {table} WHERE merchant_id = 'mer_many'")
    await pool.close()


def scans(plan: dict[str, Any]) -> list[tuple[str, str | None]]:
    """The kinds of access in a plan with what they read, from its top down."""
    inner = [kind for child in plan.get("Plans", []) for kind in scans(child)]
    return [(plan["Node Type"], plan.get("Relation Name")), *inner]


async def test_what_must_hold_is_checked_without_reading_every_event(pool: Pool) -> None:
    for name, query in INVARIANTS.items():
        plan = orjson.loads(await pool.fetchval(f"EXPLAIN (FORMAT JSON) {query}"))[0]["Plan"]
        assert ("Seq Scan", "channel_events") not in scans(plan), (name, plan)


async def test_what_requests_and_versions_are_about_is_found_by_its_id(pool: Pool) -> None:
    orders = [known(order_id, merchant_id="mer_many", external_reference=order_id) for order_id in ORDER_IDS]
    rows = [(*orders_store._values(order), order.external_reference) for order in orders]
    asked: dict[str, Sequence[Any]] = {
        orders_store._READ_AT: [*MINE, ORDER_IDS],
        orders_store._SAVE: list(map(list, zip(*rows, strict=True))),
        intents_store._READ: [*MINE, INTENT_IDS],
        intents_store._SETTLED: [INTENT_IDS],
    }
    for query, arguments in asked.items():
        plan = orjson.loads(await pool.fetchval(f"EXPLAIN (FORMAT JSON) {query}", *arguments))[0]["Plan"]
        read = {relation for kind, relation in scans(plan) if kind == "Seq Scan"}
        assert not read & {"known_orders", "payment_intents", "channel_events"}, (query, plan)
