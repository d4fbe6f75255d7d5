"""The demo merchant comes into being once, through the public API, and survives what gets lost."""

from contextlib import AsyncExitStack
from pathlib import Path

import httpx2
import pytest

from deploy.installation import Installation
from deploy.seed import ensure_demo
from tests.people import Person, Town, browser
from tests.stack import Stack

pytestmark = pytest.mark.servers


async def test_what_is_lost_is_made_anew_for_the_same_merchant(stack: Stack, tmp_path: Path) -> None:
    installation = Installation(tmp_path)
    begun = {"platform_key": stack.platform.headers["Authorization"].removeprefix("Bearer ")}
    installation.save_state(begun)
    await ensure_demo(stack.base_url, installation)
    first = installation.load_state()
    await ensure_demo(stack.base_url, installation)
    assert installation.load_state() == first

    installation.save_state(begun)
    await ensure_demo(stack.base_url, installation)
    second = installation.load_state()
    assert second["merchant_id"] == first["merchant_id"]
    assert second["api_key"] != first["api_key"]
    assert second["channel"]["topic"] == first["channel"]["topic"]
    assert second["channel"]["password"] != first["channel"]["password"]
    assert second["staff"]["email"] != first["staff"]["email"]

    # A key that was revoked is replaced, too.
    async with httpx2.AsyncClient(base_url=stack.base_url) as client:
        headers = {"Authorization": f"Bearer {second['api_key']}"}
        grant_id = (await client.get("/v1/auth-context", headers=headers)).json()["data"]["grant_id"]
        revoked = await client.post(f"/v1/api-keys/{grant_id}/revoke", headers=headers)
        assert revoked.status_code == 200, revoked.text
        while (await client.get("/v1/auth-context", headers=headers)).status_code == 200:
            pass
    await ensure_demo(stack.base_url, installation)
    third = installation.load_state()
    assert third["api_key"] != second["api_key"]
    assert third["channel"] == second["channel"]
    assert third["staff"] == second["staff"]

    # Each owner can sign in; one who was removed is replaced.
    for state in (first, third):
        async with browser(stack.base_url) as http:
            owner = Person(http, state["staff"]["email"])
            signed_in = await owner.sign_in(password=state["staff"]["password"])
            assert (signed_in.status_code, signed_in.headers.get("location")) == (303, "/account")
    async with AsyncExitStack() as exits:
        merchant = await Town(stack, exits).key(third["merchant_id"], "live")
        staff = (await merchant.get("/v1/staff-users")).json()["data"]
        [staff_user_id] = [each["staff_user_id"] for each in staff if each["email"] == third["staff"]["email"]]
        removed = await merchant.delete(f"/v1/staff-users/{staff_user_id}")
        assert removed.status_code == 204, removed.text
    await ensure_demo(stack.base_url, installation)
    assert installation.load_state()["staff"]["email"] != third["staff"]["email"]
