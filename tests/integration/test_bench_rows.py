"""Benchmarks write rows into the services' tables themselves: what they write, the services can read, and fast."""

from argparse import Namespace
from pathlib import Path

import httpx2
import pytest

from bench import reconcile, results
from bench.filling import BIG, fill, make_templates
from bench.fleet import admit, running
from bench.machine import Machine, machine
from bench.results import Result
from deploy.local.ports import HOST
from services.orders.store.search import OrderFilter, list_orders
from shared.postgres import Pool

pytestmark = pytest.mark.servers

ORDERS = 10_000
OFTEN = 8
"""PostgreSQL plans a statement for its arguments five times before it thinks of one plan for all of them."""


async def test_orders_that_were_copied_read_like_others() -> None:
    async with machine() as here:
        await make_templates(here)
        await fill(here, ORDERS, whole=False)
        await fill(here, ORDERS, whole=True)
        for table in ("orders.orders", "orders.order_search", "payments.known_orders"):
            assert await here.value(f"SELECT count(*) FROM {table}") == ORDERS
        paid = await here.value("SELECT count(*) FROM orders.orders WHERE payment_status = 'paid'")
        assert 0 < paid == await here.value("SELECT count(*) FROM payments.channel_events")
        await pages_read_what_they_show(here)
        async with running(here, "orders", "api") as api:
            key = await admit(here, api, merchant=BIG)
            headers = {"Authorization": f"Bearer {key}"}
            async with httpx2.AsyncClient(base_url=f"http://{HOST}:{api.port}/v1", headers=headers) as client:
                listed = (await client.get("/orders?page_size=100&query=jacket")).json()["data"]
                assert listed
                for order in listed:
                    read = (await client.get(f"/orders/{order['order_id']}")).json()["data"]
                    assert (read["merchant_id"], read["number"]) == (BIG, order["number"])
                    entries = (await client.get(f"/orders/{order['order_id']}/activities")).json()["data"]
                    assert {entry["version"] for entry in entries} == set(range(1, read["version"] + 1))


async def pages_read_what_they_show(here: Machine) -> None:
    """Most merchants have five orders; the one who has hundreds must not be read as if it were one of them."""
    pool = Pool(here.settings.database_url.get_secret_value(), "orders", 1)
    await pool.open()
    for _ in range(OFTEN):
        before = await orders_read(pool)
        assert len(await list_orders(pool, OrderFilter(BIG, "test"), None, 20)) == 20
        assert await orders_read(pool) - before <= 40
    await pool.close()


async def orders_read(pool: Pool) -> int:
    """By whomever, up to now."""
    await pool.execute("SELECT pg_stat_force_next_flush()")
    return int(
        await pool.fetchval(
            "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_user_tables WHERE relid = 'orders'::regclass"
        )
    )


async def test_copies_are_compared_and_those_that_differ_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    await reconcile.measure(Result("reconcile", publish=False), Namespace(movements=[1_000]))
    assert "1000" in (tmp_path / "reconcile.json").read_text()
