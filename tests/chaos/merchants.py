"""Merchants with their keys, channels and owners, made through the API while nothing is at fault yet."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass

import httpx2

from shared.contracts.access import SCOPES
from shared.ids import new_id
from tests.chaos.channels import Channel
from tests.chaos.journal import Journal, Json
from tests.chaos.load import World
from tests.chaos.system import System
from tests.people import PASSWORD, Person, browser

CHANNELS = 2
_PATIENCE_S = 60.0
_PATIENT_IN_CHAOS = httpx2.Timeout(5)


@dataclass
class Merchant:
    """One merchant: where its clients write, and who lets apps in."""

    world: World
    apps: httpx2.AsyncClient
    """The apps service, with the merchant's key."""
    owner: Person

    @property
    def merchant_id(self) -> str:
        return self.world.merchant_id


async def open_shop(system: System, journal: Journal, exits: AsyncExitStack) -> Merchant:
    """A merchant whom every service knows."""
    async with _client(system.apps_url, system.platform_key) as platform:
        await _known(platform, "/v1/auth-context")
        merchant_id = _data(await platform.post("/v1/merchants", json={"name": "Chaos"}))["merchant_id"]
        wanted = {"name": "Load", "scopes": list(SCOPES), "merchant_id": merchant_id, "environment": "test"}
        key = _data(await platform.post("/v1/api-keys", json=wanted))["secret"]
        owner = await _owner(platform, merchant_id, exits)
    orders, payments, apps = [
        await exits.enter_async_context(_client(url, key))
        for url in (system.orders_url, system.payments_url, system.apps_url)
    ]
    await _known(orders, "/v1/orders/ord_none")
    await _known(payments, "/v1/unmatched-money")
    await _known(apps, "/v1/auth-context")
    world = World(merchant_id, orders, payments, [], journal)
    for number in range(CHANNELS):
        made = _data(await payments.post("/v1/channels", json={"name": f"Chaos {number}", "source": "checkout"}))
        world.channels.append(Channel(made, journal))
    return Merchant(world, apps, owner)


async def _owner(platform: httpx2.AsyncClient, merchant_id: str, exits: AsyncExitStack) -> Person:
    email = f"{new_id('p').lower()}@shop.example"
    wanted = {"email": email, "name": "Ada", "role": "owner", "merchant_id": merchant_id}
    url = _data(await platform.post("/v1/staff-users", json=wanted))["invitation_url"]
    person = Person(await exits.enter_async_context(browser(str(platform.base_url))), email)
    joined = await person.send(await person.http.get(url), "/join", password=PASSWORD)
    signed_in = await person.sign_in()
    person.http.timeout = _PATIENT_IN_CHAOS
    if (joined.status_code, signed_in.status_code) != (303, 303):
        raise RuntimeError(f"the owner could not sign in: {joined.text} {signed_in.text}")
    return person


def _client(url: str, key: str) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=_PATIENCE_S)


async def _known(client: httpx2.AsyncClient, path: str) -> None:
    async with asyncio.timeout(_PATIENCE_S):
        while (await client.get(path)).status_code in (401, 503):  # noqa: ASYNC110 - another process does it
            await asyncio.sleep(0.05)


def _data(answer: httpx2.Response) -> Json:
    answer.raise_for_status()
    found: Json = answer.json()["data"]
    return found
