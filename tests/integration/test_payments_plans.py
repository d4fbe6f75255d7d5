"""Timed checks stay cheap with many channel events: each is answered from an index."""

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from services.payments.jobs import INVARIANTS
from shared.postgres import Pool
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


@pytest.fixture
async def pool(stack: Stack) -> AsyncIterator[Pool]:
    """Many events of one channel, with fresh statistics; they are gone afterwards."""
    pool = Pool(stack.settings.database_url.get_secret_value(), "payments", 2)
    await pool.open()
    await pool.execute(FILL, MANY)
    await pool.execute("ANALYZE channel_events")
    yield pool
    await pool.execute("DELETE FROM channel_events WHERE channel_id = 'chn_many'")
    await pool.close()


def scans(plan: dict[str, Any]) -> list[tuple[str, str | None]]:
    """The kinds of access in a plan with what they read, from its top down."""
    inner = [kind for child in plan.get("Plans", []) for kind in scans(child)]
    return [(plan["Node Type"], plan.get("Relation Name")), *inner]


async def test_what_must_hold_is_checked_without_reading_every_event(pool: Pool) -> None:
    for name, query in INVARIANTS.items():
        plan = orjson.loads(await pool.fetchval(f"EXPLAIN (FORMAT JSON) {query}"))[0]["Plan"]
        assert ("Seq Scan", "channel_events") not in scans(plan), (name, plan)
