"""The example plugin's story, told against the running services by programs that know the public API only."""

import ast
import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from deploy.local.datadir import REPOSITORY
from shared.ids import new_id
from tests.people import PASSWORD, Town
from tests.stack import Stack

EXAMPLE = REPOSITORY / "examples" / "plugin"
OURS = {"services", "shared", "deploy", "tests", "bench"}


@pytest.fixture
async def town(stack: Stack) -> AsyncIterator[Town]:
    async with AsyncExitStack() as exits:
        yield Town(stack, exits)


@pytest.mark.parametrize("program", sorted(EXAMPLE.glob("*.py")), ids=lambda path: path.name)
def test_it_imports_nothing_of_ours(program: Path) -> None:
    named = set()
    for node in ast.walk(ast.parse(program.read_text())):
        if isinstance(node, ast.Import):
            named |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module, "no relative imports"
            named.add(node.module.split(".")[0])
    assert named, "it imports something"
    assert not named & OURS


@pytest.mark.servers
async def test_a_plugin_from_its_registration_to_its_end(town: Town) -> None:
    merchant_id = await town.merchant()
    owner = await town.person_of(merchant_id, signed_in=False)
    shop = await town.key(
        merchant_id, "test", "apps.write", "orders.write", "payments.write", "webhooks.write", "keys.write"
    )
    channel = await shop.post("/v1/channels", json={"name": "Web shop", "channel_id": new_id("chn")})
    assert channel.status_code == 201, channel.text

    # How soon it is shut depends on what else the machine does; the benches measure it. That it is shut does not.
    told, code = await _told(
        THROUGHLINE_API=town.stack.base_url,
        THROUGHLINE_KEY=shop.headers["Authorization"].removeprefix("Bearer "),
        THROUGHLINE_CHANNEL=channel.json()["data"]["channel_id"],
        STAFF_EMAIL=owner.email,
        STAFF_PASSWORD=PASSWORD,
        SHUT_WITHIN_S="20",
    )
    assert code == 0, told
    for line in ("approved on the consent page", "may: orders.read webhooks.write", "401 by each service", "Done"):
        assert line in told
    for way in ("topic", "webhook", "stream"):
        assert f"│ {way}" in told
    assert told.count("0 of 20 later orders came") == 3
    # The app and what it had are gone, the merchant's orders are not.
    assert (await shop.get("/v1/developer/partner/apps")).json()["data"] == []
    paid = (await shop.get("/v1/orders", params={"page_size": 100})).json()["data"]
    assert {order["payment_status"] for order in paid} == {"paid"}


@pytest.mark.servers
async def test_the_story_fails_when_something_is_not_as_it_says(town: Town) -> None:
    merchant_id = await town.merchant()
    clerk = await town.person_of(merchant_id, "clerk", signed_in=False)
    shop = await town.key(merchant_id)
    told, code = await _told(
        THROUGHLINE_API=town.stack.base_url,
        THROUGHLINE_KEY=shop.headers["Authorization"].removeprefix("Bearer "),
        THROUGHLINE_CHANNEL="chn_none",
        STAFF_EMAIL=clerk.email,
        STAFF_PASSWORD=PASSWORD,
    )
    assert code == 1, told
    assert "The consent page does not say: Install Packing lists?" in told
    assert "Traceback" not in told


async def _told(**environment: str) -> tuple[str, int | None]:
    """What the story prints, and its exit code."""
    story = await asyncio.create_subprocess_exec(
        sys.executable,
        EXAMPLE / "demo.py",
        env=os.environ | environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await story.communicate()
    return printed.decode(), story.returncode
