"""Services in processes of their own, ready to be asked, and a merchant who may ask them."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import httpx2
import psutil

from bench.http_load import request
from bench.machine import Machine, worker
from bench.pace import publish_steadily
from bench.workload import MERCHANT, capture
from deploy.local.ports import HOST, Ports
from shared.auth.keys import hash_credential, new_api_key
from shared.contracts.access import SCOPES, Grant
from shared.ids import new_id
from shared.kafka import producer
from shared.topics import ACCESS_GRANTS, channel_topic

_START_S = 180
_MB = 1024 * 1024


@dataclass(frozen=True)
class Running:
    """One process of a service."""

    service: str
    port: int
    process: psutil.Process

    @property
    def resident_mb(self) -> float:
        return float(self.process.memory_info().rss) / _MB


@asynccontextmanager
async def running(here: Machine, service: str, role: str = "all", **environment: str) -> AsyncIterator[Running]:
    """A process of the service, from when it is ready on."""
    port = Ports.free().postgres
    arguments = ("bench.process", service, "--port", str(port), "--role", role)
    with worker(*arguments, environment=here.environment() | environment) as process:
        await _ready(port, process)
        yield Running(service, port, process)


async def _ready(port: int, process: psutil.Process) -> None:
    async with asyncio.timeout(_START_S), httpx2.AsyncClient(base_url=f"http://{HOST}:{port}") as client:
        while True:
            if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
                raise RuntimeError("the service ended before it was ready")
            with suppress(httpx2.HTTPError):
                if (await client.get("/readyz")).status_code == 200:
                    return
            await asyncio.sleep(0.1)


async def admit(here: Machine, *asked: Running, merchant: str = MERCHANT) -> str:
    """An API key of the merchant that these processes know."""
    key = new_api_key("test")
    grant = Grant(
        grant_id=new_id("grt"),
        credential_hash=hash_credential(key),
        kind="api_key",
        merchant_id=merchant,
        environment="test",
        scopes=tuple(SCOPES),
    )
    async with producer(here.settings.kafka) as sender:
        await sender.send_and_wait(ACCESS_GRANTS, grant.model_dump_json().encode(), grant.credential_hash.encode())
    paths = {"orders": "/v1/orders?page_size=1", "payments": "/v1/channels"}
    async with asyncio.timeout(_START_S), httpx2.AsyncClient(headers={"Authorization": f"Bearer {key}"}) as client:
        for one in asked:
            while (await client.get(f"http://{HOST}:{one.port}{paths[one.service]}")).status_code != 200:
                await asyncio.sleep(0.05)
    return key


@asynccontextmanager
async def bare(here: Machine, _: str = "bare") -> AsyncIterator[Running]:
    """A process of the reference for HTTP, from when it answers on."""
    port = Ports.free().postgres
    with worker("bench.bare_http", "--port", str(port), environment=here.environment()) as process:
        await _ready(port, process)
        yield Running("bare", port, process)


async def make_channel(payments: Running, key: str) -> str:
    """A channel of the merchant; gives its id."""
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx2.AsyncClient(base_url=f"http://{HOST}:{payments.port}", headers=headers, timeout=30) as client:
        answer = await client.post("/v1/channels", json={"name": "Bench", "source": "checkout"})
        answer.raise_for_status()
        return str(answer.json()["data"]["channel_id"])


async def until_read(here: Machine, channel_id: str) -> None:
    """A new channel's topic is noticed within seconds: returns when what is written there is taken in."""
    known = await here.value("SELECT count(*) FROM payments.channel_events")
    await publish_steadily(here, channel_topic(channel_id), [capture(channel_id, "ord_none", 1)], rate=1)
    async with asyncio.timeout(_START_S):
        while await here.value("SELECT count(*) FROM payments.channel_events") == known:
            await asyncio.sleep(0.2)


def creation(key: str, total_minor: int = 13_500) -> bytes:
    """The request for an order of three lines."""
    line = {"quantity": 1, "unit_price_money": {"amount": total_minor // 3, "currency": "EUR"}}
    lines = [{"name": name, **line} for name in ("Rain jacket", "Walking boots", "Socks")]
    body = json.dumps({"source": "checkout", "currency": "EUR", "line_items": lines}).encode()
    return request("POST", "/v1/orders", key, body, new_id("idem"))
