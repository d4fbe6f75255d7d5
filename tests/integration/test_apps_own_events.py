"""Installs and webhook endpoints are told of by every path: to their merchant, and to the app that they are about."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import httpx2
import pytest

from shared.topics import APPS_EVENTS
from tests.integration.test_apps_events import events
from tests.integration.test_apps_partner_apps import APPS, data, install
from tests.integration.test_apps_plugin_topics import on_topic, topic_when_ready
from tests.people import READ, Person, Town
from tests.receiver import Receiver, receiving
from tests.stack import Stack, eventually, headers_of

pytestmark = pytest.mark.servers

CUSTOMERS = {
    "permission_id": "customers",
    "title": "Read customers",
    "description": "To greet them.",
    "required_scopes": ["customers.read"],
    "optional": True,
}
INSTALLED = ["partner_app.environment_grant.created", "partner_app.install.created"]


@pytest.fixture
async def town(stack: Stack) -> AsyncIterator[Town]:
    async with AsyncExitStack() as exits:
        yield Town(stack, exits)


@pytest.fixture
async def shop(town: Town) -> tuple[str, Person, httpx2.AsyncClient]:
    """A merchant, its owner, and a key that sees everything."""
    merchant_id = await town.merchant()
    key = await town.key(merchant_id, "test", "orders.write", "apps.write", "webhooks.write", "keys.write")
    return merchant_id, await town.person_of(merchant_id), key


async def types_when(client: httpx2.AsyncClient, count: int, **filters: Any) -> list[str]:
    """The types of the events, sorted, once there are so many."""

    async def enough() -> Any:
        found = await events(client, **filters)
        return found if len(found) >= count else None

    found: list[dict[str, Any]] = await eventually(enough)
    return sorted(event["type"] for event in found)


async def test_an_install_is_told_to_its_merchant_and_to_its_app_and_to_nobody_else(
    town: Town, shop: tuple[str, Person, httpx2.AsyncClient]
) -> None:
    merchant_id, person, key = shop
    developer = await town.key(await town.merchant())
    app, other = await town.app_of(developer, name="One"), await town.app_of(developer, name="Other")
    token, others = await install(town, person, app, "test"), await install(town, person, other, "test")
    assert await types_when(key, 4) == sorted(INSTALLED * 2)

    as_app, as_other = await town.client(token["access_token"]), await town.client(others["access_token"])
    for client, mine in ((as_app, token), (as_other, others)):
        found = await events(client)
        assert sorted(event["type"] for event in found) == INSTALLED
        assert {event["data"][event["subject"]["type"]]["environment_grant_id"] for event in found} == {
            mine["environment_grant_id"]
        }
    [created] = await events(as_app, type="partner_app.install.created")
    assert created["subject"] == {"type": "partner_app_install", "id": token["partner_app_install_id"]}
    assert (created["order_id"], created["order_version"], created["data"]["order"]) == (None, None, None)
    assert created["merchant_id"] == merchant_id
    assert created["data"]["partner_app_install"]["scopes"] == ["orders.read"]
    assert created["actor"]["type"] == "app"
    path = f"/v1/events/{created['event_id']}"
    assert data(await as_app.get(path)) == data(await key.get(path)) == created
    assert (await as_other.get(path)).status_code == 404
    # Whoever may not read apps is not told of them, nor is another merchant or the other environment.
    blind = await town.key(merchant_id, "test", "orders.read")
    assert await events(blind) == await events(blind, type="partner_app.*") == []
    assert (await blind.get(path)).status_code == 404
    assert (await blind.get("/v1/events/stream", params={"after": created["event_id"]})).status_code == 400
    for stranger in (developer, await town.key(merchant_id, "live")):
        assert await events(stranger) == []
        assert (await stranger.get(path)).status_code == 404


async def test_what_becomes_of_an_install_is_told_in_its_order(
    town: Town, shop: tuple[str, Person, httpx2.AsyncClient]
) -> None:
    _, person, key = shop
    developer = await town.key(await town.merchant())
    app = await town.app_of(developer, manifest=[READ, CUSTOMERS], default_permission_ids=["customers"])
    await install(town, person, app, "test", permission="customers")
    token = await install(town, person, app, "test")
    await types_when(key, 3)
    [updated] = await events(key, type="partner_app.install.permissions_updated")
    assert updated["data"]["change"]["scopes_before"] == ["customers.read", "orders.read"]
    assert updated["data"]["partner_app_install"]["scopes"] == ["orders.read"]
    install_id = token["partner_app_install_id"]
    revoked = await developer.post(f"{APPS}/{app['partner_app_id']}/installs/{install_id}/revoke")
    assert revoked.status_code == 200
    assert await types_when(key, 5) == [
        "partner_app.environment_grant.created",
        "partner_app.environment_grant.revoked",
        "partner_app.install.created",
        "partner_app.install.permissions_updated",
        "partner_app.install.revoked",
    ]
    of_install = [each["type"] for each in await events(key, type="partner_app.install.*")]
    assert of_install == [f"partner_app.install.{what}" for what in ("revoked", "permissions_updated", "created")]
    [gone] = await events(key, type="partner_app.install.revoked")
    assert gone["data"]["partner_app_install"]["status"] == "revoked"


async def test_the_topic_of_an_app_tells_of_itself_alone(
    stack: Stack, town: Town, shop: tuple[str, Person, httpx2.AsyncClient]
) -> None:
    _, person, _ = shop
    developer = await town.key(await town.merchant())
    app, other = await town.app_of(developer), await town.app_of(developer)
    token = await install(town, person, app, "test")
    await topic_when_ready(await town.client(token["access_token"]))
    await install(town, person, other, "test")
    others = await town.client((await install(town, person, other, "test"))["access_token"])
    await topic_when_ready(others)
    for each in (app, other):
        told = await on_topic(stack, each["partner_app_id"], 2)
        assert sorted(one["body"]["type"] for one in told) == INSTALLED
        for one in told:
            shown = one["body"]["data"][one["body"]["subject"]["type"]]
            assert shown["partner_app_id"] == each["partner_app_id"]
            assert one["key"] == one["headers"]["ce_subject"] == one["body"]["subject"]["id"]
            assert "ce_orderversion" not in one["headers"]


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as made:
        yield made


async def test_a_disabled_endpoint_is_told_of_once_by_every_path(
    stack: Stack, town: Town, shop: tuple[str, Person, httpx2.AsyncClient], receiver: Receiver
) -> None:
    _, person, key = shop
    app = await town.app_of(await town.key(await town.merchant()))
    as_app = await town.client((await install(town, person, app, "test"))["access_token"])
    await types_when(key, 2)
    body = {"url": receiver.url("/watch"), "event_types": ["webhook_endpoint.*"]}
    watching = data(await key.post("/v1/webhook-endpoints", json=body), 201)
    doomed = data(
        await key.post("/v1/webhook-endpoints", json={"url": receiver.url("/x?token=hush"), "event_types": ["*"]}), 201
    )
    path = f"/v1/webhook-endpoints/{doomed['webhook_endpoint_id']}"
    for _ in range(2):
        assert (await key.patch(path, json={"status": "disabled"})).status_code == 200
    assert await types_when(key, 1, type="webhook_endpoint.disabled") == ["webhook_endpoint.disabled"]
    [one] = await receiver.wait(1)
    assert one.path == "/watch"
    told = one.json()
    assert told == data(await key.get(f"/v1/events/{told['event_id']}"))
    shown = told["data"]["webhook_endpoint"]
    assert (shown["disabled_reason"], shown["environment_grant_id"]) == ("requested", None)
    assert "hush" not in json.dumps(told)
    # It is the merchant's own: no app is told.
    assert sorted(event["type"] for event in await events(as_app)) == INSTALLED
    [record] = await stack.read(APPS_EVENTS, doomed["webhook_endpoint_id"], 1)
    assert headers_of(record)["ce_type"] == "apps.webhook_endpoint_disabled.v1"
    listed = data(
        await key.get("/v1/webhook-deliveries", params={"webhook_endpoint_id": watching["webhook_endpoint_id"]})
    )
    assert [(each["event_type"], each["order_id"]) for each in listed] == [("webhook_endpoint.disabled", None)]
