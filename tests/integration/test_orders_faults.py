"""Workers that come, are killed and go while commands flow: nothing lost, nothing twice, versions in order."""

import asyncio
import os
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from deploy.local.ports import HOST, Ports
from shared.contracts import order_commands as c
from shared.contracts.order_parts import LineItem
from shared.ids import new_id
from shared.settings import Settings
from shared.topics import ORDERS_EVENTS, ORDERS_REPLIES
from tests.stack import Stack, Tenant, body_of, eventually, tail

pytestmark = pytest.mark.servers

ORDERS = 40
CAPTURES = 12
CREATE = c.CreateOrder(
    currency="EUR", line_items=(LineItem(line_item_id="li_1", name="Thing", unit_price_minor=12_000),)
)


@contextmanager
def worker(settings: Settings) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """One more worker of the order service, as a process of its own; killed without mercy at the end."""
    port = Ports.free().postgres
    environment = {
        **os.environ,
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "KAFKA_BOOTSTRAP_SERVERS": settings.kafka.bootstrap_servers,
        "CONSUMER_BATCH_SIZE": "20",
    }
    throughline = Path(sys.executable).with_name("throughline")
    command = [throughline, "serve", "orders", "--role", "worker", "--port", str(port)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process, f"http://{HOST}:{port}"
    finally:
        process.kill()
        process.wait()


async def ready(base_url: str) -> bool:
    async with httpx2.AsyncClient(base_url=base_url) as client:
        try:
            return (await client.get("/readyz")).status_code == 200
        except httpx2.HTTPError:
            return False


@pytest.fixture
async def orders(stack: Stack, tenant: Tenant) -> list[str]:
    ids = [new_id("ord") for _ in range(ORDERS)]
    for order_id in ids:
        await stack.command(tenant, order_id, CREATE)
    return ids


async def test_killed_and_joining_workers_lose_nothing_and_repeat_nothing(
    stack: Stack, tenant: Tenant, orders: list[str]
) -> None:
    with worker(stack.settings) as (first, first_url), worker(stack.settings) as (_, second_url):
        await eventually(lambda: ready(first_url), within_s=40)
        await eventually(lambda: ready(second_url), within_s=40)
        sent: dict[str, list[str]] = defaultdict(list)
        for number in range(CAPTURES):
            if number == CAPTURES // 3:
                first.send_signal(signal.SIGKILL)
            for order_id in orders:
                capture = c.RecordCapture(
                    payment_id=f"pay_{number}", payment_reference=f"psp-{number}", amount_minor=1000, currency="EUR"
                )
                sent[order_id].append(await stack.command(tenant, order_id, capture))
                if number % 4 == 0:
                    await stack.command(tenant, order_id, capture, sent[order_id][-1])

        async def paid() -> bool:
            listed = (await tenant.http.get("/v1/orders", params={"page_size": 100})).json()["data"]
            return [order["payment_status"] for order in listed] == ["paid"] * ORDERS

        await eventually(paid, within_s=60)
    await assert_gap_free(stack, orders, CAPTURES + 1)
    await assert_one_outcome_each(stack, sent)


async def assert_gap_free(stack: Stack, orders: list[str], versions: int) -> None:
    """First occurrences of each order's versions are 1, 2, 3 …; what comes again says the same."""
    seen: dict[str, list[int]] = {order_id: [] for order_id in orders}
    said: dict[tuple[str, int], bytes] = {}
    async with tail(stack.settings.kafka, ORDERS_EVENTS) as records, asyncio.timeout(30):
        async for record in records:
            order_id = record.key.decode()
            if order_id not in seen:
                continue
            version = body_of(record)["version"]
            assert said.setdefault((order_id, version), record.value) == record.value
            if version not in seen[order_id]:
                seen[order_id].append(version)
            if all(len(found) == versions for found in seen.values()):
                break
    assert all(found == list(range(1, versions + 1)) for found in seen.values())


async def assert_one_outcome_each(stack: Stack, sent: dict[str, list[str]]) -> None:
    """Every command has an outcome, and only one however often it was told."""
    wanted = {command_id for commands in sent.values() for command_id in commands}
    outcomes: dict[str, bytes] = {}
    async with tail(stack.settings.kafka, ORDERS_REPLIES) as records, asyncio.timeout(30):
        async for record in records:
            command_id = body_of(record)["command_id"]
            if command_id in wanted:
                assert outcomes.setdefault(command_id, record.value) == record.value
            if len(outcomes) == len(wanted):
                break
    assert outcomes.keys() == wanted


async def test_a_stopped_relay_hands_its_shards_over_and_order_holds(
    stack: Stack, tenant: Tenant, orders: list[str]
) -> None:
    with worker(stack.settings) as (frozen, url):
        await eventually(lambda: ready(url), within_s=40)
        await asyncio.sleep(1.5)  # long enough for it to have its share of the outbox
        frozen.send_signal(signal.SIGSTOP)
        for number in range(3):
            for order_id in orders:
                tip = {"tip_money": {"amount": number + 1, "currency": "EUR"}}
                answer = await tenant.http.post(f"/v1/orders/{order_id}/tip", json=tip)
                assert answer.status_code in (200, 404)
                while answer.status_code == 404:  # its creation may wait for the frozen worker's partitions
                    await asyncio.sleep(0.2)
                    answer = await tenant.http.post(f"/v1/orders/{order_id}/tip", json=tip)
        await assert_gap_free(stack, orders, 4)
        frozen.send_signal(signal.SIGCONT)
        await asyncio.sleep(1)
    await assert_gap_free(stack, orders, 4)
