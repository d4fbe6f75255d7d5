"""The order service by itself: statements, memory, and what it answers over HTTP."""

import asyncio
import json
from contextlib import suppress
from dataclasses import asdict

import httpx
import psutil

from bench import workload
from bench.http_load import Load, load, request
from bench.machine import Machine, worker
from bench.race import ORDERS, prepare
from deploy.local.ports import HOST, Ports
from shared.auth.keys import hash_credential, new_api_key
from shared.contracts.access import SCOPES, Grant
from shared.ids import new_id
from shared.kafka import producer
from shared.topics import ACCESS_GRANTS

_LONG_S = 300.0
_MB = 1024 * 1024


async def statements(here: Machine, orders: int) -> float:
    """SQL statements of the service's process for each command at batches of 500, its relay's included."""
    count, before = await prepare(here, ORDERS, orders)
    await here.execute("ALTER SYSTEM SET log_min_duration_statement = 0", "SELECT pg_reload_conf()")
    logged = here.statements_logged()
    with worker(ORDERS.module, "--port", str(Ports.free().postgres), environment=here.environment(500)):
        await here.times(ORDERS.replies, before, count, _LONG_S)
    logged = here.statements_logged() - logged
    await here.execute("ALTER SYSTEM RESET log_min_duration_statement", "SELECT pg_reload_conf()")
    return logged / count


async def memory(here: Machine, orders: int) -> dict[str, float]:
    """Resident megabytes of a worker that has just started, after the first tenth, and after all orders."""
    _, before = await prepare(here, ORDERS, 0)
    port = Ports.free().postgres
    with worker(ORDERS.module, "--port", str(port), environment=here.environment(500)) as process:
        await _ready(port)
        found, done = {"0": _resident_mb(process)}, 0
        async with producer(here.settings.kafka, max_batch_size=900 * 1024) as sender:
            for step in (orders // 10, orders - orders // 10):
                done += step
                messages = workload.commands(step, only_create=True)
                await workload.publish(sender, ORDERS.commands, here.settings.command_partitions, messages)
                await here.times(ORDERS.replies, before, done, _LONG_S)
                found[str(done)] = _resident_mb(process)
    return found


async def http(here: Machine, requests: int, connections: int) -> dict[str, dict[str, object]]:
    """Orders made and read over HTTP by one process that also relays and consumes."""
    await prepare(here, ORDERS, 0)
    port, key = Ports.free().postgres, new_api_key("test")
    await _admit(here, key)
    with worker(ORDERS.module, "--port", str(port), "--role", "all", environment=here.environment(500)) as process:
        await _ready(port)
        await asyncio.sleep(1)
        made = await load(HOST, port, [_creation(key) for _ in range(requests)], connections)
        ids = [json.loads(body)["data"]["order_id"] for body in made.bodies]
        read = await load(HOST, port, [request("GET", f"/v1/orders/{one}", key) for one in ids], connections)
        resident = _resident_mb(process)
    return {"creates": _summary(made), "reads": _summary(read), "memory": {"resident_mb": resident}}


async def _admit(here: Machine, key: str) -> None:
    grant = Grant(
        grant_id=new_id("grt"),
        credential_hash=hash_credential(key),
        kind="api_key",
        merchant_id=workload.MERCHANT,
        environment="test",
        scopes=tuple(SCOPES),
    )
    async with producer(here.settings.kafka) as sender:
        await sender.send_and_wait(ACCESS_GRANTS, grant.model_dump_json().encode(), grant.credential_hash.encode())


def _creation(key: str) -> bytes:
    line = {"quantity": 1, "unit_price_money": {"amount": 4500, "currency": "EUR"}}
    lines = [{"name": name, **line} for name in ("Rain jacket", "Walking boots", "Socks")]
    body = json.dumps({"source": "checkout", "currency": "EUR", "line_items": lines}).encode()
    return request("POST", "/v1/orders", key, body, new_id("idem"))


def _summary(result: Load) -> dict[str, object]:
    return {name: value for name, value in asdict(result).items() if name != "bodies"}


def _resident_mb(process: psutil.Process) -> float:
    return float(process.memory_info().rss) / _MB


async def _ready(port: int) -> None:
    async with asyncio.timeout(60), httpx.AsyncClient(base_url=f"http://{HOST}:{port}") as client:
        while True:
            with suppress(httpx.HTTPError):
                if (await client.get("/readyz")).status_code == 200:
                    return
            await asyncio.sleep(0.1)
