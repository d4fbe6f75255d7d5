"""That nobody is told through a webhook endpoint what their own credential may not read."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx2
import pytest

from shared.clock import utc_now
from shared.ids import new_id
from shared.topics import ORDERS_EVENTS
from tests.apps import install, version_of
from tests.receiver import Received, Receiver, answer, receiving
from tests.stack import Stack, Tenant, eventually

pytestmark = pytest.mark.servers

LEFT = ["orders.read", "webhooks.read", "webhooks.write"]
ENDPOINTS, DELIVERIES = "/v1/webhook-endpoints", "/v1/webhook-deliveries"


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as made:
        yield made


def data(answered: httpx2.Response) -> Any:
    assert answered.is_success, answered.text
    return answered.json()["data"]


def refused(answered: httpx2.Response) -> tuple[int, str, list[str]]:
    problem = answered.json()
    return answered.status_code, problem["code"], problem["missing_scopes"]


async def made(tenant: Tenant, receiver: Receiver, **more: Any) -> Any:
    """An endpoint of a key that may do everything."""
    return data(await tenant.http.post(ENDPOINTS, json={"url": receiver.url("/maker")} | more))


async def happened(stack: Stack, tenant: Tenant, order_id: str | None = None) -> str:
    """An order with a customer, kept as an event."""
    name = order_id or new_id("ord")
    version = version_of((tenant.merchant_id, tenant.environment), name, 1, customer={"name": "Ada"})
    await stack.publish(ORDERS_EVENTS, version)

    async def kept() -> bool:
        return bool(data(await tenant.http.get("/v1/events", params={"order_id": name})))

    await eventually(kept)
    return name


async def test_who_may_not_read_orders_cannot_have_them_sent_elsewhere(
    stack: Stack, tenant: Tenant, receiver: Receiver
) -> None:
    blind = await stack.tenant(["webhooks.write"], tenant.merchant_id)
    endpoint = await made(tenant, receiver, event_types=["order.paid"])
    path = f"{ENDPOINTS}/{endpoint['webhook_endpoint_id']}"
    for change in ({"url": receiver.url("/thief")}, {"event_types": ["*"]}):
        assert refused(await blind.http.patch(path, json=change)) == (403, "INSUFFICIENT_SCOPE", ["orders.read"])
    same = {name: endpoint[name] for name in ("url", "event_types")}
    assert data(await blind.http.patch(path, json=same))["version"] == 1, "it is as it was"
    for change in ({"status": "disabled"}, {"status": "active"}, {"description": "of the shop"}):
        assert data(await blind.http.patch(path, json=change))["scopes"] == endpoint["scopes"]
    assert data(await tenant.http.get(path))["url"] == endpoint["url"]


async def test_what_is_sent_elsewhere_tells_no_more_than_its_sender_may_read(
    stack: Stack, tenant: Tenant, receiver: Receiver
) -> None:
    reader = await stack.tenant(["webhooks.write", "orders.read"], tenant.merchant_id)
    endpoint = await made(tenant, receiver)
    path = f"{ENDPOINTS}/{endpoint['webhook_endpoint_id']}"
    began = utc_now() - timedelta(minutes=1)
    order_id = await happened(stack, tenant)
    [before] = await receiver.wait(1, "/maker")
    assert before.json()["data"]["order"]["customer"] == {"name": "Ada"}
    moved = data(await reader.http.patch(path, json={"url": receiver.url("/reader")}))
    assert moved["scopes"] == LEFT
    assert data(await reader.http.post(f"{path}/replay", json={"created_from": began.isoformat()}))["enqueued"] == 1
    [delivery] = data(await tenant.http.get(DELIVERIES, params={"status": "delivered"}))[-1:]
    data(await reader.http.post(f"{DELIVERIES}/{delivery['webhook_delivery_id']}/resend"))
    for one in await receiver.wait(2, "/reader"):
        told = one.json()["data"]["order"]
        assert (told["order_id"], "customer" in told) == (order_id, False)
    [entry, *_] = data(await tenant.http.get("/v1/audit-log", params={"action": "webhook_endpoint.updated"}))
    assert entry["changes"]["scopes"]["to"] == LEFT


async def test_who_may_read_less_than_an_endpoint_is_told_gets_neither_its_past_nor_its_secret(
    stack: Stack, tenant: Tenant, receiver: Receiver
) -> None:
    reader = await stack.tenant(["webhooks.write", "orders.read", "payments.read", "apps.read"], tenant.merchant_id)
    endpoint = await made(tenant, receiver)
    path = f"{ENDPOINTS}/{endpoint['webhook_endpoint_id']}"
    lacking = (403, "INSUFFICIENT_SCOPE", ["customers.read"])
    window = {"created_from": (utc_now() - timedelta(days=1)).isoformat()}
    assert refused(await reader.http.post(f"{path}/replay", json=window)) == lacking
    assert refused(await reader.http.post(f"{path}/rotate-secret", json={})) == lacking
    assert data(await tenant.http.get(path))["version"] == 1
    assert data(await tenant.http.post(f"{path}/rotate-secret", json={}))["secret"].startswith("whsec_")
    assert data(await reader.http.post(f"{path}/test-events", json={}))["test"], "it tells of nothing that happened"


async def test_what_a_receiver_answered_is_shown_to_those_who_may_read_what_it_was_told(
    stack: Stack, tenant: Tenant, receiver: Receiver
) -> None:
    async def echo(received: Received) -> bytes:
        return answer(200, received.body)

    receiver.answering = echo
    blind = await stack.tenant(["webhooks.read"], tenant.merchant_id)
    await made(tenant, receiver)
    order_id = await happened(stack, tenant)
    [delivery] = await eventually(lambda: delivered(tenant))
    path = f"{DELIVERIES}/{delivery['webhook_delivery_id']}/attempts"
    [attempt] = data(await tenant.http.get(path))
    assert order_id in attempt["response"]
    assert data(await blind.http.get(path)) == [attempt | {"response": None}]


async def delivered(tenant: Tenant) -> Any:
    return data(await tenant.http.get(DELIVERIES, params={"status": "delivered"}))


async def test_an_apps_endpoint_is_told_what_its_grant_allows_wherever_it_is(
    stack: Stack, tenant: Tenant, receiver: Receiver
) -> None:
    app = await install(
        stack, new_id("app"), tenant.merchant_id, scopes=("orders.read", "customers.read", "webhooks.write")
    )
    endpoint = data(await app.http.post(ENDPOINTS, json={"url": receiver.url("/old")}))
    path = f"{ENDPOINTS}/{endpoint['webhook_endpoint_id']}"
    moved = data(await app.http.patch(path, json={"url": receiver.url("/new")}))
    assert moved["scopes"] == endpoint["scopes"]
    await happened(stack, tenant)
    [one] = await receiver.wait(1, "/new")
    assert one.json()["data"]["order"]["customer"] == {"name": "Ada"}
    for action, body in (
        ("rotate-secret", {}),
        ("replay", {"created_from": (utc_now() - timedelta(days=1)).isoformat()}),
    ):
        assert data(await app.http.post(f"{path}/{action}", json=body))
    await app.http.aclose()
