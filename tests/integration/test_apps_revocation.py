"""An app that a merchant let in by OAuth: when its rights end, its stream and its topic end with them."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import pytest

from shared.topics import plugin_topic
from tests.apps import run
from tests.integration.test_apps_install import Installed, developer, installed, town
from tests.integration.test_apps_plugin_topics import on_topic, topic_when_ready
from tests.integration.test_apps_stream import stream, take
from tests.people import Town
from tests.stack import Stack, eventually

pytestmark = pytest.mark.servers
__all__ = ["developer", "installed", "town"]

INSTALLED = ["partner_app.environment_grant.created", "partner_app.install.created"]

Act = Callable[[Installed, httpx2.AsyncClient], Awaitable[httpx2.Response]]


async def _revoke(made: Installed, developer: httpx2.AsyncClient) -> httpx2.Response:
    return await developer.post(f"{made.path}/revoke")


async def _suspend(made: Installed, _: httpx2.AsyncClient) -> httpx2.Response:
    return await made.town.stack.platform.patch(f"/v1/merchants/{made.merchant_id}", json={"status": "suspended"})


async def order_of(town: Town, merchant_id: str) -> Callable[[], Awaitable[str]]:
    key = await town.key(merchant_id)

    async def order() -> str:
        body: dict[str, Any] = {"source": "checkout", "currency": "EUR", "line_items": []}
        answer = await key.post("/v1/orders", json=body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["data"]["order_id"])

    return order


async def orders_on_topic(stack: Stack, app_id: str) -> list[str]:
    """The order of the topic's first event of one, beside which the app was told of its own install."""
    told = await on_topic(stack, app_id, len(INSTALLED) + 1)
    assert sorted(each["body"]["type"] for each in told if each["body"]["subject"]["type"] != "order") == INSTALLED
    return [each["key"] for each in told if each["body"]["subject"]["type"] == "order"]


@pytest.mark.parametrize("act", [_revoke, _suspend])
async def test_all_ways_are_shut_within_a_second(
    stack: Stack, installed: Installed, developer: httpx2.AsyncClient, act: Act
) -> None:
    app_id = installed.app["partner_app_id"]
    app = await installed.town.client(installed.token["access_token"])
    order = await order_of(installed.town, installed.merchant_id)
    await topic_when_ready(app)
    async with stream(app, type="order.*") as source:
        before = await order()
        [told] = await take(source, 1)
        assert await orders_on_topic(stack, app_id) == [before]
        # The order service may take an order after this: whoever made it was let in before.
        answer = await act(installed, developer)
        assert answer.status_code == 200, answer.text
        async with asyncio.timeout(1.0):
            assert [each async for each in source] == []
    await installed.refused()
    rows = await run(stack, "SELECT count(*) FROM outbox WHERE aggregatetype = $1", plugin_topic(app_id))
    assert rows[0]["count"] == 0
    assert told.event == "order.created"


async def test_nothing_of_a_revoked_merchant_is_on_the_topic(
    stack: Stack, installed: Installed, developer: httpx2.AsyncClient
) -> None:
    app_id = installed.app["partner_app_id"]
    app = await installed.town.client(installed.token["access_token"])
    order = await order_of(installed.town, installed.merchant_id)
    await topic_when_ready(app)
    before = await order()
    assert await orders_on_topic(stack, app_id) == [before]
    assert (await developer.post(f"{installed.path}/revoke")).status_code == 200
    after = await order()

    async def kept() -> bool:
        return bool(await run(stack, "SELECT FROM events WHERE order_id = $1", after))

    await eventually(kept)
    with pytest.raises(TimeoutError):
        await on_topic(stack, app_id, len(INSTALLED) + 2, within_s=2)


async def test_a_deleted_app_leaves_no_topic(stack: Stack, installed: Installed, developer: httpx2.AsyncClient) -> None:
    app_id = installed.app["partner_app_id"]
    await topic_when_ready(await installed.town.client(installed.token["access_token"]))
    assert (await developer.delete(f"/v1/developer/partner/apps/{app_id}")).status_code == 204

    async def gone() -> bool:
        return not await run(stack, "SELECT FROM plugin_topics WHERE app_id = $1", app_id)

    await eventually(gone)
    await installed.refused()
