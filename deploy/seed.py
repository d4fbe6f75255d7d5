"""The demo merchant's channel, made through the public API like any other."""

import asyncio
from typing import Any

import httpx

from deploy.installation import Installation
from deploy.local.problem import RuntimeProblem

CHANNEL_ID = "chn_web"
_TIMEOUT_S = 10.0
_PATIENCE_S = 60
_POLL_S = 0.02


async def ensure_channel(base_url: str, installation: Installation) -> None:
    """The channel `chn_web` exists, and the installation's state holds its credentials.

    Its password is told once, when it is made; a channel whose password was lost gets a new one. Waits until the
    services are ready, so that whoever is told the credentials can use them at once.
    """
    state = installation.load_state()
    headers = {"Authorization": f"Bearer {state['api_key']}"}
    async with httpx.AsyncClient(base_url=base_url, headers=headers, timeout=_TIMEOUT_S) as client:
        await _wait_until_ready(client)
        if "channel" in state and (await client.get(f"/v1/channels/{CHANNEL_ID}")).status_code == 200:
            return
        installation.save_state(state | {"channel": await _make(client)})


async def _wait_until_ready(client: httpx.AsyncClient) -> None:
    deadline = asyncio.get_running_loop().time() + _PATIENCE_S
    while (answer := await client.get("/readyz")).status_code != 200:
        if asyncio.get_running_loop().time() > deadline:
            raise RuntimeProblem(f"The services were not ready after {_PATIENCE_S} s. What they say: {answer.text}")
        await asyncio.sleep(_POLL_S)


async def _make(client: httpx.AsyncClient) -> dict[str, Any]:
    request = {"channel_id": CHANNEL_ID, "name": "Demo web shop", "source": "checkout"}
    answer = await client.post("/v1/channels", json=request)
    if answer.status_code != 201:
        # It is there already, or was made without its password while Kafka was away.
        answer = await client.post(f"/v1/channels/{CHANNEL_ID}/rotate-credentials")
    if not answer.is_success:
        raise RuntimeProblem(f"The demo channel could not be made: {answer.status_code} {answer.text}")
    made = answer.json()["data"]
    login = made["kafka"]
    return {
        "channel_id": made["channel_id"],
        "topic": made["topic"],
        "username": login["username"],
        "password": login["password"],
    }
