"""Public events on real servers: listed, read and followed, each once, by those who may see them."""

from typing import Any

import httpx2
import orjson
import pytest

from services.apps.store import events as store
from shared.contracts.order_commands import RecordCapture
from shared.contracts.orders import OrderVersion
from shared.ids import new_id
from shared.topics import ORDERS_EVENTS
from tests.apps import install
from tests.stack import Stack, Tenant, eventually

pytestmark = pytest.mark.servers

PAID = ["order.created", "order.payment_captured", "order.paid"]


def money(amount: int) -> dict[str, Any]:
    return {"amount": amount, "currency": "EUR"}


async def new_order(tenant: Tenant, amount: int = 9000, lines: int = 1) -> str:
    line = {"name": "Rain jacket", "quantity": 1, "unit_price_money": money(amount)}
    body = {"source": "checkout", "currency": "EUR", "line_items": [line] * lines}
    answer = await tenant.http.post("/v1/orders", json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["data"]["order_id"])


async def pay(stack: Stack, tenant: Tenant, order_id: str, amount: int = 9000) -> None:
    payment_id = new_id("pay")
    command = RecordCapture(payment_id=payment_id, payment_reference=payment_id, amount_minor=amount, currency="EUR")
    await stack.command(tenant, order_id, command)


async def events(tenant: Tenant | httpx2.AsyncClient, **filters: Any) -> list[dict[str, Any]]:
    http = tenant.http if isinstance(tenant, Tenant) else tenant
    answer = await http.get("/v1/events", params=filters)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["data"]
    return found


async def events_when(tenant: Tenant, count: int, **filters: Any) -> list[dict[str, Any]]:
    """The events, newest first, once there are so many."""

    async def enough() -> Any:
        found = await events(tenant, **filters)
        return found if len(found) >= count else None

    found: list[dict[str, Any]] = await eventually(enough)
    assert len(found) == count
    return found


async def test_an_order_that_is_paid_is_told_of_in_its_order(stack: Stack, tenant: Tenant) -> None:
    order_id = await new_order(tenant)
    await pay(stack, tenant, order_id)
    found = await events_when(tenant, 3)

    assert [event["type"] for event in reversed(found)] == PAID
    paid = found[0]
    assert {name: paid[name] for name in ("merchant_id", "environment", "order_id", "order_version")} == {
        "merchant_id": tenant.merchant_id,
        "environment": "test",
        "order_id": order_id,
        "order_version": 2,
    }
    order = (await tenant.http.get(f"/v1/orders/{order_id}")).json()["data"]
    assert paid["data"]["order"].pop("customer", None) is None
    assert paid["data"]["order"] == {name: value for name, value in order.items() if name != "customer"}
    assert found[1]["data"]["change"]["amount_money"] == money(9000)
    assert found[2]["actor"] == {"type": "key", "id": tenant.grant.grant_id}
    assert found[2]["cause"]["type"] == "command"
    one = await tenant.http.get(f"/v1/events/{paid['event_id']}")
    assert one.json()["data"]["event_id"] == paid["event_id"]


async def test_a_version_that_comes_again_tells_nothing_new(stack: Stack, tenant: Tenant) -> None:
    order_id = await new_order(tenant)
    before = await events_when(tenant, 1)
    [record] = await stack.read(ORDERS_EVENTS, order_id, 1)
    for _ in range(3):
        await stack.kafka.send_and_wait(ORDERS_EVENTS, record.value, key=record.key, headers=list(record.headers))
    await pay(stack, tenant, order_id)
    after = await events_when(tenant, 3)
    assert after[-1] == before[0]


async def test_filters_and_pages(stack: Stack, tenant: Tenant) -> None:
    orders = [await new_order(tenant) for _ in range(3)]
    await pay(stack, tenant, orders[1])
    everything = await events_when(tenant, 5)

    assert [e["type"] for e in await events(tenant, type="order.paid")] == ["order.paid"]
    assert len(await events(tenant, type="order.paid, order.created")) == 4
    assert await events(tenant, type="order.*") == everything
    assert [e["type"] for e in reversed(await events(tenant, order_id=orders[1]))] == PAID
    assert len(await events(tenant, order_id=orders[0], type="order.paid")) == 0
    middle = everything[2]["created_at"]
    assert await events(tenant, created_from=middle) == [e for e in everything if e["created_at"] >= middle]
    assert await events(tenant, created_before=middle) == [e for e in everything if e["created_at"] < middle]
    walked: list[dict[str, Any]] = []
    token: dict[str, str] = {}
    while True:
        answer = (await tenant.http.get("/v1/events", params={"page_size": 2, "type": "order.*", **token})).json()
        walked += answer["data"]
        if "next_page_token" not in answer:
            break
        token = {"page_token": answer["next_page_token"]}
    assert walked == everything
    for wrong in ({"type": "order.pai"}, {"type": ""}, {"page_size": "0"}, {"created_from": "x"}, {"page_token": "e"}):
        assert (await tenant.http.get("/v1/events", params=wrong)).status_code == 400


async def test_pages_of_large_events_are_short(stack: Stack, tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(5):
        await new_order(tenant)
    everything = await events_when(tenant, 5)
    monkeypatch.setattr(store, "_LARGEST_PAGE_BYTES", len(orjson.dumps(everything[0]["data"])) + 1)
    for wanted in ({}, {"type": "order.created"}):
        pages, token = [], dict[str, str]()
        while True:
            answer = (await tenant.http.get("/v1/events", params={"page_size": 100, **wanted, **token})).json()
            pages.append(answer["data"])
            if "next_page_token" not in answer:
                break
            token = {"page_token": answer["next_page_token"]}
        assert [len(page) for page in pages] == [2, 2, 1]
        assert [each for page in pages for each in page] == everything


async def test_others_see_nothing_of_it(stack: Stack, tenant: Tenant) -> None:
    await new_order(tenant)
    [event] = await events_when(tenant, 1)
    path = f"/v1/events/{event['event_id']}"
    live = await stack.tenant(merchant_id=tenant.merchant_id, environment="live")
    stranger = await stack.tenant()
    for other in (live, stranger):
        assert await events(other) == []
        assert (await other.http.get(path)).status_code == 404
        answer = await other.http.get("/v1/events/stream", params={"after": event["event_id"]})
        assert answer.status_code == 400
    unscoped = await stack.tenant(["payments.read"], merchant_id=tenant.merchant_id)
    for refused in (path, "/v1/events", "/v1/events/stream"):
        assert (await unscoped.http.get(refused)).json()["code"] == "INSUFFICIENT_SCOPE"
    for unknown in ("evt_1", "evt_" + "Z" * 26, "evt_" + "0" * 26, "ord_1"):
        assert (await tenant.http.get(f"/v1/events/{unknown}")).status_code == 404
    for each in (live, stranger, unscoped):
        await each.http.aclose()


async def test_an_installed_app_sees_no_customer_without_the_scope(stack: Stack, tenant: Tenant) -> None:
    order_id = await new_order(tenant)
    await events_when(tenant, 1)
    [record] = await stack.read(ORDERS_EVENTS, order_id, 1)
    version = OrderVersion.model_validate_json(record.value)
    assert version.order is not None
    told = version.model_copy(update={"version": 2, "order": version.order | {"customer": {"name": "Ada"}}})
    headers = [(name, value) for name, value in record.headers if name != "ce_id"]
    await stack.kafka.send_and_wait(
        ORDERS_EVENTS, told.model_dump_json().encode(), key=record.key, headers=[*headers, ("ce_id", b"again")]
    )
    [seen, _] = await events_when(tenant, 2)
    assert seen["data"]["order"]["customer"] == {"name": "Ada"}
    for scopes, customer in ((("orders.read",), None), (("orders.read", "customers.read"), {"name": "Ada"})):
        app = await install(stack, new_id("app"), tenant.merchant_id, scopes=scopes)
        [newest, _] = await events(app.http)
        assert newest["event_id"] == seen["event_id"]
        assert newest["data"]["order"].get("customer") == customer
        assert ("customer" in newest["data"]["order"]) == (customer is not None)
        await app.http.aclose()
