"""The demo merchant with its API key, channel and owner, made through the public API and pages like any other."""

import asyncio
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx2

from deploy.installation import Installation
from deploy.local.problem import RuntimeProblem
from shared.contracts.access import SCOPES

CHANNEL_ID = "chn_web"
_NAME = "Demo merchant"
_MARK = {"throughline": "demo"}
"""By which the demo merchant is found again where an installation's state was lost."""
_ACCEPTED_BY = ("/v1/auth-context", "/v1/orders?page_size=1", "/v1/channels?page_size=1")
"""A path of each service: a new key becomes known to each by itself."""
_HIDDEN = re.compile(r'<input type="hidden" name="(\w+)" value="([^"]*)">')
_PASSWORD_BYTES = 12
_TIMEOUT_S = 10.0
_PATIENCE_S = 60
_POLL_S = 0.02

Json = dict[str, Any]


async def ensure_demo(base_url: str, installation: Installation) -> None:
    """The demo merchant, its channel `chn_web` and its owner exist; the installation's state holds their credentials.

    Secrets are told once, when they are made; what was lost is made anew. Waits until all of it can be used.
    """
    state = installation.load_state()
    async with _client(base_url, state["platform_key"]) as platform:
        await _wait_until_ready(platform)
        await _wait_until_accepted(platform, ["/v1/auth-context"])
        if "merchant_id" not in state:
            state |= {"merchant_id": await _demo_merchant(platform)}
            installation.save_state(state)
        if not await _holds(base_url, state):
            state |= {"api_key": await _make_key(platform, state["merchant_id"])}
            installation.save_state(state)
    async with _client(base_url, state["platform_key"]) as platform, _client(base_url, state["api_key"]) as merchant:
        await _wait_until_accepted(merchant, _ACCEPTED_BY)
        if "channel" not in state or (await merchant.get(f"/v1/channels/{CHANNEL_ID}")).status_code != 200:
            state |= {"channel": await _make_channel(merchant)}
            installation.save_state(state)
        if not await _employs(merchant, state):
            installation.save_state(state | {"staff": await _make_owner(platform, state["merchant_id"])})


@asynccontextmanager
async def _client(base_url: str, key: str) -> AsyncIterator[httpx2.AsyncClient]:
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx2.AsyncClient(base_url=base_url, headers=headers, timeout=_TIMEOUT_S) as client:
        yield client


async def _wait_until_ready(client: httpx2.AsyncClient) -> None:
    async def not_ready() -> str | None:
        answer = await client.get("/readyz")
        return None if answer.status_code == 200 else answer.text

    await _wait(not_ready, "The services were not ready")


async def _wait_until_accepted(client: httpx2.AsyncClient, paths: Sequence[str]) -> None:
    async def refused() -> str | None:
        answers = [await client.get(path) for path in paths]
        return next((answer.text for answer in answers if answer.status_code == 401), None)

    await _wait(refused, "A new key was not accepted")


async def _wait(obstacle: Callable[[], Awaitable[str | None]], what: str) -> None:
    deadline = asyncio.get_running_loop().time() + _PATIENCE_S
    while (found := await obstacle()) is not None:
        if asyncio.get_running_loop().time() > deadline:
            raise RuntimeProblem(f"{what} after {_PATIENCE_S} s. What the services say: {found}")
        await asyncio.sleep(_POLL_S)


async def _demo_merchant(platform: httpx2.AsyncClient) -> str:
    """The id of the demo merchant, which is made where there is none."""
    params: dict[str, str | int] = {"page_size": 100}
    while True:
        page = (await platform.get("/v1/merchants", params=params)).raise_for_status().json()
        for merchant in page["data"]:
            if merchant["metadata"] == _MARK:
                return str(merchant["merchant_id"])
        if "next_page_token" not in page:
            break
        params["page_token"] = page["next_page_token"]
    request = {"name": _NAME, "country": "DE", "default_currency": "EUR", "metadata": _MARK}
    return str(_made(await platform.post("/v1/merchants", json=request), "merchant")["merchant_id"])


async def _holds(base_url: str, state: Json) -> bool:
    """Whether there is an API key, and it is still one of the demo merchant's."""
    if "api_key" not in state:
        return False
    async with _client(base_url, state["api_key"]) as merchant:
        answer = await merchant.get("/v1/auth-context")
    return answer.status_code == 200 and answer.json()["data"]["merchant_id"] == state["merchant_id"]


async def _make_key(platform: httpx2.AsyncClient, merchant_id: str) -> str:
    request = {"name": _NAME, "scopes": list(SCOPES), "merchant_id": merchant_id, "environment": "test"}
    return str(_made(await platform.post("/v1/api-keys", json=request), "API key")["secret"])


async def _make_channel(merchant: httpx2.AsyncClient) -> Json:
    request = {"channel_id": CHANNEL_ID, "name": "Demo web shop", "source": "checkout"}
    answer = await merchant.post("/v1/channels", json=request)
    if answer.status_code != 201:
        # It is there already, or was made without its password while Kafka was away.
        answer = await merchant.post(f"/v1/channels/{CHANNEL_ID}/rotate-credentials")
    made = _made(answer, "channel")
    login = made["kafka"]
    return {
        "channel_id": made["channel_id"],
        "topic": made["topic"],
        "username": login["username"],
        "password": login["password"],
    }


async def _employs(merchant: httpx2.AsyncClient, state: Json) -> bool:
    """Whether the person whose password is known still belongs to the merchant."""
    if "staff" not in state:
        return False
    params: dict[str, str | int] = {"page_size": 100}
    while True:
        page = (await merchant.get("/v1/staff-users", params=params)).raise_for_status().json()
        if any(person["email"] == state["staff"]["email"] for person in page["data"]):
            return True
        if "next_page_token" not in page:
            return False
        params["page_token"] = page["next_page_token"]


async def _make_owner(platform: httpx2.AsyncClient, merchant_id: str) -> Json:
    """Somebody new each time, so that nobody's password has to be reset."""
    email, password = f"owner-{secrets.token_hex(3)}@demo.example", secrets.token_urlsafe(_PASSWORD_BYTES)
    request = {"email": email, "name": "Demo owner", "role": "owner", "merchant_id": merchant_id}
    url = _made(await platform.post("/v1/staff-users", json=request), "owner")["invitation_url"]
    # A browser of their own, which keeps the cookie that the form belongs to and shows no key.
    async with httpx2.AsyncClient(base_url=platform.base_url, timeout=_TIMEOUT_S) as browser:
        hidden = dict(_HIDDEN.findall((await browser.get(url)).text))
        joined = await browser.post("/join", data=hidden | {"password": password})
    if joined.status_code != 303:
        raise RuntimeProblem(f"The demo owner could not join: {joined.status_code}")
    return {"email": email, "password": password}


def _made(answer: httpx2.Response, what: str) -> Json:
    if not answer.is_success:
        raise RuntimeProblem(f"The demo {what} could not be made: {answer.status_code} {answer.text}")
    made: Json = answer.json()["data"]
    return made
