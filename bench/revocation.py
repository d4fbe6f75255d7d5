"""How long a revoked key is still accepted, with many grants: from the request to revoke until a service refuses it."""

import asyncio
import json
import time
from argparse import Namespace
from collections.abc import Iterator

import httpx2

from bench.fleet import Running, running
from bench.http_load import Caller, request
from bench.machine import Machine, machine
from bench.results import Json, Result, spread
from deploy.local.ports import HOST
from shared.auth.keys import hash_credential, new_api_key
from shared.contracts.access import SCOPES, Grant
from shared.ids import new_id
from shared.kafka import producer
from shared.topics import ACCESS_GRANTS

_PATHS = {"orders": "/v1/orders/ord_none", "payments": "/v1/channels/chn_none", "apps": "/v1/auth-context"}
_AT_ONCE = 2_000
_FILL_S = 600
_PATIENCE_S = 10
_PAUSE_S = 0.002
"""Between two questions; what is measured is late by this and a request at most."""


async def measure(found: Result, options: Namespace) -> None:
    """Services that start with an empty copy of many grants, then one revocation after the other."""
    platform_key = new_api_key("live")
    async with machine() as here:
        await _fill(here, options.grants)
        began = time.perf_counter()
        async with running(here, "orders") as orders:
            found.add(grants=options.grants, start_s=round(time.perf_counter() - began, 1))
            await _holds_all(here, options.grants)
            async with (
                running(here, "payments") as payments,
                running(here, "apps", PLATFORM_KEY_HASH=hash_credential(platform_key)) as apps,
                httpx2.AsyncClient(base_url=f"http://{HOST}:{apps.port}") as client,
            ):
                client.headers["Authorization"] = f"Bearer {platform_key}"
                merchant_id = await _merchant(client)
                waits: dict[str, list[float]] = {service: [] for service in (*_PATHS, "everywhere")}
                for _ in range(options.revocations):
                    one = await _revocation(client, merchant_id, (orders, payments, apps))
                    for service, seconds in one.items():
                        waits[service].append(seconds)
                found.add(revoked_to_refused={service: spread(each) for service, each in waits.items()})
    _print(found.found)


async def _fill(here: Machine, grants: int) -> None:
    """The topic holds this many, of as many keys of different merchants."""
    async with producer(here.settings.kafka, max_batch_size=900 * 1024, linger_ms=5) as sender:
        waiting = []
        for grant in _grants(grants):
            key = grant.credential_hash.encode()
            waiting.append(await sender.send(ACCESS_GRANTS, grant.model_dump_json().encode(), key))
            if len(waiting) == _AT_ONCE:
                await asyncio.gather(*waiting)
                waiting = []
        await asyncio.gather(*waiting)


def _grants(count: int) -> Iterator[Grant]:
    for number in range(count):
        yield Grant(
            grant_id=new_id("key"),
            credential_hash=hash_credential(str(number)),
            kind="api_key",
            merchant_id=f"mer_{number % 10_000}",
            environment="test",
            scopes=SCOPES,
            name="One of many",
        )


async def _holds_all(here: Machine, grants: int) -> None:
    """A service that is ready has every grant; anything else would be a fault, not slowness."""
    held = await here.value("SELECT count(*) FROM orders.grants")
    assert held >= grants, f"ready with {held:.0f} of {grants} grants"


async def _merchant(client: httpx2.AsyncClient) -> str:
    async with asyncio.timeout(_PATIENCE_S):
        while (answer := await client.post("/v1/merchants", json={"name": "Bench"})).status_code == 401:
            await asyncio.sleep(_PAUSE_S)
    return str(answer.raise_for_status().json()["data"]["merchant_id"])


async def _revocation(client: httpx2.AsyncClient, merchant_id: str, services: tuple[Running, ...]) -> dict[str, float]:
    """Seconds until each service refuses a key that each had accepted, and until the last of them does."""
    body = {"name": "Bench", "scopes": ["keys.write"], "merchant_id": merchant_id, "environment": "test"}
    made = (await client.post("/v1/api-keys", json=body)).raise_for_status().json()["data"]
    questions = [request("GET", _PATHS[one.service], made["secret"]) for one in services]
    asked = [(one, question) for one, question in zip(services, questions, strict=True)]
    async with asyncio.timeout(_PATIENCE_S):
        await asyncio.gather(*(_until(one, question, refused=False) for one, question in asked))
        watching = [asyncio.create_task(_until(one, question, refused=True)) for one, question in asked]
        await asyncio.sleep(10 * _PAUSE_S)
        began = time.perf_counter()
        (await client.post(f"/v1/api-keys/{made['api_key_id']}/revoke")).raise_for_status()
        ends = await asyncio.gather(*watching)
    taken = {one.service: end - began for one, end in zip(services, ends, strict=True)}
    return taken | {"everywhere": max(taken.values())}


async def _until(service: Running, question: bytes, *, refused: bool) -> float:
    """When the answer to a question had come that says so."""
    async with Caller(HOST, service.port) as caller:
        while ((await caller.ask(question))[0] == 401) is not refused:
            await asyncio.sleep(_PAUSE_S)
        return time.perf_counter()


def _print(found: Json) -> None:
    print(f"{found['grants']:,} grants; a service that starts without any is ready with all after {found['start_s']} s")
    for service, each in found["revoked_to_refused"].items():
        print(f"revoked -> refused, {service}: {json.dumps(each)}", flush=True)
