"""Webhooks as a merchant meets them: over HTTP, from an order to a receiver on this machine."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import asyncpg
import httpx2
import pytest
from standardwebhooks import WebhookVerificationError

from services.apps.http import webhook_views
from shared.clock import utc_now
from shared.ids import new_id
from tests.apps import install, run
from tests.receiver import Received, Receiver, answer, receiving
from tests.stack import Stack, Tenant, eventually

pytestmark = pytest.mark.servers

Json = dict[str, Any]
ENDPOINTS, DELIVERIES = "/v1/webhook-endpoints", "/v1/webhook-deliveries"
ORDER = {
    "source": "checkout",
    "currency": "EUR",
    "line_items": [{"name": "Rain jacket", "quantity": 2, "unit_price_money": {"amount": 4500, "currency": "EUR"}}],
}


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as made:
        yield made


async def post(tenant: Tenant, path: str, body: Json | None = None, status: int = 201, **headers: str) -> Json:
    answered = await tenant.http.post(path, json=body or {}, headers=headers)
    assert answered.status_code == status, answered.text
    return data(answered)


def data(answered: httpx2.Response) -> Any:
    return answered.json()["data"]


def code(answered: httpx2.Response) -> tuple[int, str, str | None]:
    problem = answered.json()
    return answered.status_code, problem["code"], problem.get("param")


async def listed(tenant: Tenant, **filters: str) -> list[Json]:
    found: list[Json] = data(await tenant.http.get(DELIVERIES, params=filters))
    return found


async def test_from_an_order_to_a_verified_webhook(tenant: Tenant, receiver: Receiver) -> None:
    endpoint = await post(tenant, ENDPOINTS, {"url": receiver.url(), "event_types": ["order.created"]})
    order = await post(tenant, "/v1/orders", ORDER)
    [one] = await receiver.wait(1)
    event = one.verified(endpoint["secret"])
    assert (event["type"], event["order_id"], event["order_version"]) == ("order.created", order["order_id"], 1)
    assert event["data"]["order"]["line_items"][0]["name"] == "Rain jacket"
    assert one.headers["webhook-id"] == event["event_id"]
    assert data(await tenant.http.get(f"/v1/events/{event['event_id']}")) == event
    [delivery] = await eventually(lambda: listed(tenant, status="delivered"))
    assert (delivery["event_id"], delivery["attempts"], delivery["test"]) == (event["event_id"], 1, False)
    attempts = data(await tenant.http.get(f"{DELIVERIES}/{delivery['webhook_delivery_id']}/attempts"))
    assert [(each["attempt"], each["status_code"], each["error"]) for each in attempts] == [(1, 200, None)]


async def test_the_secret_is_shown_once_and_kept_sealed(stack: Stack, tenant: Tenant, receiver: Receiver) -> None:
    body, key = {"url": receiver.url()}, {"Idempotency-Key": "one"}
    first = await tenant.http.post(ENDPOINTS, json=body, headers=key)
    again = await tenant.http.post(ENDPOINTS, json=body, headers=key)
    secret = data(first)["secret"]
    assert secret.startswith("whsec_")
    assert (data(again)["secret"], again.headers["Idempotent-Replayed"]) == (None, "true")
    endpoint_id = data(first)["webhook_endpoint_id"]
    assert data(await tenant.http.get(f"{ENDPOINTS}/{endpoint_id}"))["secret"] is None
    [only] = data(await tenant.http.get(ENDPOINTS))
    assert (only["webhook_endpoint_id"], only["secret"]) == (endpoint_id, None)
    connection = await asyncpg.connect(stack.settings.database_url.get_secret_value())
    try:
        for table in ("webhook_endpoints", "idempotency_keys", "audit_log", "outbox"):
            rows = await connection.fetch(f"SELECT * FROM apps.{table}")
            assert rows or table == "outbox"
            assert secret not in repr(rows), table
            assert secret.removeprefix("whsec_").encode() not in b"".join(repr(row).encode() for row in rows), table
    finally:
        await connection.close()


async def test_after_a_rotation_both_secrets_verify_until_the_overlap_ends(tenant: Tenant, receiver: Receiver) -> None:
    old = await post(tenant, ENDPOINTS, {"url": receiver.url()})
    path = f"{ENDPOINTS}/{old['webhook_endpoint_id']}"
    new = await post(tenant, f"{path}/rotate-secret", {"overlap_s": 3600}, status=200)
    assert new["secret"] not in (None, old["secret"])
    await post(tenant, f"{path}/test-events")
    [one] = await receiver.wait(1)
    assert one.verified(old["secret"]) == one.verified(new["secret"])
    newest = await post(tenant, f"{path}/rotate-secret", {"overlap_s": 0}, status=200)
    await post(tenant, f"{path}/test-events")
    [_, two] = await receiver.wait(2)
    two.verified(newest["secret"])
    with pytest.raises(WebhookVerificationError):
        two.verified(new["secret"])


async def test_a_test_event_goes_to_one_endpoint_and_is_in_no_list_of_events(
    tenant: Tenant, receiver: Receiver
) -> None:
    one = await post(tenant, ENDPOINTS, {"url": receiver.url("/a"), "event_types": ["order.canceled"]})
    await post(tenant, ENDPOINTS, {"url": receiver.url("/b")})
    path = f"{ENDPOINTS}/{one['webhook_endpoint_id']}/test-events"
    delivery = await post(tenant, path, {"event_type": "order.paid"})
    assert (delivery["test"], delivery["status"], delivery["event_type"]) == (True, "pending", "order.paid")
    [got] = await receiver.wait(1)
    event = got.verified(one["secret"])
    assert (got.path, event["type"], event["data"]["change"]) == ("/a", "order.paid", {"type": "test"})
    await asyncio.sleep(0.3)
    assert len(receiver.received) == 1
    assert (await tenant.http.get(f"/v1/events/{event['event_id']}")).status_code == 404


async def test_what_failed_is_seen_and_sent_again(tenant: Tenant, receiver: Receiver) -> None:
    async def broken(_: Received) -> bytes:
        return answer(503, b"maintenance")

    receiver.answering = broken
    endpoint = await post(tenant, ENDPOINTS, {"url": receiver.url()})
    delivery = await post(tenant, f"{ENDPOINTS}/{endpoint['webhook_endpoint_id']}/test-events")
    path = f"{DELIVERIES}/{delivery['webhook_delivery_id']}"

    async def tried() -> Json | None:
        found: Json = data(await tenant.http.get(path))
        return found if found["attempts"] else None

    seen = await eventually(tried)
    assert (seen["status"], seen["last_status_code"], seen["last_error"]) == ("pending", 503, "refused")
    assert seen["next_attempt_at"] > seen["created_at"]
    [attempt] = data(await tenant.http.get(f"{path}/attempts"))
    assert (attempt["status_code"], attempt["error"], attempt["response"]) == (503, "refused", "maintenance")
    receiver.answering = None
    assert (await post(tenant, f"{path}/resend", status=200))["status"] == "pending"
    [first, second] = await receiver.wait(2, within_s=4)
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    found = await eventually(
        lambda: listed(tenant, webhook_endpoint_id=endpoint["webhook_endpoint_id"], status="delivered")
    )
    assert [one["webhook_delivery_id"] for one in found] == [delivery["webhook_delivery_id"]]


async def test_a_window_is_sent_again_page_by_page(tenant: Tenant, receiver: Receiver) -> None:
    began = utc_now()
    orders = [(await post(tenant, "/v1/orders", ORDER))["order_id"] for _ in range(3)]

    async def kept() -> bool:
        return len(data(await tenant.http.get("/v1/events"))) >= 3

    await eventually(kept)
    endpoint = await post(tenant, ENDPOINTS, {"url": receiver.url(), "event_types": ["order.created"]})
    path = f"{ENDPOINTS}/{endpoint['webhook_endpoint_id']}/replay"
    window = {"created_from": began.isoformat()}
    done = await post(tenant, path, window, status=200, **{"Idempotency-Key": "again"})
    assert done == {"enqueued": 3, "next_page_token": None}
    assert await post(tenant, path, window, status=200, **{"Idempotency-Key": "again"}) == done
    got = await receiver.wait(3)
    assert [one.json()["order_id"] for one in got] == orders
    before = {"created_from": (began - timedelta(days=1)).isoformat(), "created_before": began.isoformat()}
    assert (await post(tenant, path, before, status=200))["enqueued"] == 0
    damaged = await tenant.http.post(path, json={**window, "page_token": "AAAA"})
    assert code(damaged) == (400, "INVALID_PAGE_TOKEN", "page_token")


async def test_no_more_is_sent_again_while_much_waits(
    tenant: Tenant, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(_: Received) -> bytes:
        return answer(503)

    receiver.answering = broken
    monkeypatch.setattr(webhook_views, "MOST_WAITING", 2, raising=False)
    began = utc_now()
    await post(tenant, "/v1/orders", ORDER)
    await eventually(lambda: tenant_has_events(tenant))
    full, other = [await post(tenant, ENDPOINTS, {"url": receiver.url(path)}) for path in ("/full", "/other")]
    path = f"{ENDPOINTS}/{full['webhook_endpoint_id']}"
    window = {"created_from": began.isoformat()}
    for _ in range(2):
        assert (await post(tenant, f"{path}/replay", window, status=200))["enqueued"] == 1
    for action, body in (("replay", window), ("test-events", {})):
        refused = await tenant.http.post(f"{path}/{action}", json=body)
        assert code(refused)[:2] == (409, "TOO_MANY_WEBHOOK_DELIVERIES")
    assert len(await listed(tenant, webhook_endpoint_id=full["webhook_endpoint_id"])) == 2
    await post(tenant, f"{ENDPOINTS}/{other['webhook_endpoint_id']}/replay", window, status=200)
    receiver.answering = None
    for one in await listed(tenant, webhook_endpoint_id=full["webhook_endpoint_id"]):
        await post(tenant, f"{DELIVERIES}/{one['webhook_delivery_id']}/resend", status=200)
    await receiver.wait(2, "/full")
    await eventually(lambda: listed(tenant, webhook_endpoint_id=full["webhook_endpoint_id"], status="delivered"))
    await post(tenant, f"{path}/replay", window, status=200)


async def tenant_has_events(tenant: Tenant) -> bool:
    return bool(data(await tenant.http.get("/v1/events")))


async def test_a_disabled_endpoint_gets_nothing_until_it_is_active_again(tenant: Tenant, receiver: Receiver) -> None:
    endpoint = await post(tenant, ENDPOINTS, {"url": receiver.url()})
    path = f"{ENDPOINTS}/{endpoint['webhook_endpoint_id']}"
    off = data(await tenant.http.patch(path, json={"status": "disabled", "expected_version": 1}))
    assert (off["status"], off["disabled_reason"], off["version"]) == ("disabled", "requested", 2)
    assert code(await tenant.http.post(f"{path}/test-events", json={}))[:2] == (409, "WEBHOOK_ENDPOINT_DISABLED")
    stale = await tenant.http.patch(path, json={"status": "active", "expected_version": 1})
    assert (code(stale)[:2], stale.json()["current_version"]) == ((409, "VERSION_CONFLICT"), 2)
    on = data(await tenant.http.patch(path, json={"status": "active", "description": "back"}))
    assert (on["status"], on["disabled_reason"], on["description"]) == ("active", None, "back")
    await post(tenant, f"{path}/test-events")
    await receiver.wait(1)
    assert (await tenant.http.delete(path)).status_code == 204
    assert (await tenant.http.get(path)).status_code == 404
    entries = data(await tenant.http.get("/v1/audit-log"))
    done = [entry["action"] for entry in entries if entry["target_id"] == endpoint["webhook_endpoint_id"]]
    assert done == [f"webhook_endpoint.{what}" for what in ("deleted", "updated", "updated", "created")]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "url"),
        ({"url": "ftp://hooks.example.com"}, "url"),
        ({"url": "https://169.254.169.254/latest"}, "url"),
        ({"url": "https://[::ffff:169.254.169.254]/"}, "url"),
        ({"url": "https://u:p@hooks.example.com/"}, "url"),
        ({"url": "https://xn--a/"}, "url"),
        ({"url": "https://hooks.example.com/", "event_types": []}, "event_types"),
        ({"url": "https://hooks.example.com/", "event_types": ["order.unheard_of"]}, "event_types.0"),
        ({"url": "https://hooks.example.com/", "event_types": ["order.pa*"]}, "event_types.0"),
    ],
)
async def test_what_is_no_endpoint_is_refused(tenant: Tenant, body: Json, param: str) -> None:
    assert code(await tenant.http.post(ENDPOINTS, json=body)) == (400, "VALIDATION_FAILED", param)


async def test_there_is_an_end_to_the_number_of_endpoints(tenant: Tenant) -> None:
    answers = [await tenant.http.post(ENDPOINTS, json={"url": "https://hooks.example.com/"}) for _ in range(51)]
    assert {one.status_code for one in answers[:50]} == {201}
    assert code(answers[50])[:2] == (409, "TOO_MANY_WEBHOOK_ENDPOINTS")


async def test_another_tenants_endpoints_and_deliveries_are_not_found(
    stack: Stack, tenant: Tenant, receiver: Receiver
) -> None:
    mine = await post(tenant, ENDPOINTS, {"url": receiver.url()})
    endpoint = f"{ENDPOINTS}/{mine['webhook_endpoint_id']}"
    sent = await post(tenant, f"{endpoint}/test-events")
    delivery = f"{DELIVERIES}/{sent['webhook_delivery_id']}"
    stranger = await stack.tenant()
    live = await stack.tenant(merchant_id=tenant.merchant_id, environment="live")
    window = {"created_from": "2026-01-01T00:00:00Z"}
    for other in (stranger, live):
        for method, path, body in (
            ("GET", endpoint, None),
            ("PATCH", endpoint, {"status": "disabled"}),
            ("DELETE", endpoint, None),
            ("POST", f"{endpoint}/rotate-secret", {}),
            ("POST", f"{endpoint}/test-events", {}),
            ("POST", f"{endpoint}/replay", window),
            ("GET", delivery, None),
            ("GET", f"{delivery}/attempts", None),
            ("POST", f"{delivery}/resend", None),
        ):
            answered = await other.http.request(method, path, json=body)
            assert code(answered)[:2] == (404, "NOT_FOUND"), (method, path)
        assert data(await other.http.get(ENDPOINTS)) == []
        assert await listed(other) == await listed(other, webhook_endpoint_id=mine["webhook_endpoint_id"]) == []
        await other.http.aclose()
    assert data(await tenant.http.get(endpoint))["status"] == "active"


async def test_reading_is_not_enough_to_write_and_an_endpoint_needs_orders(stack: Stack, tenant: Tenant) -> None:
    reader = await stack.tenant(["webhooks.read"], tenant.merchant_id)
    blind = await stack.tenant(["webhooks.write"], tenant.merchant_id)
    body = {"url": "https://hooks.example.com/"}
    refused = await reader.http.post(ENDPOINTS, json=body)
    assert (code(refused)[:2], refused.json()["missing_scopes"]) == (
        (403, "INSUFFICIENT_SCOPE"),
        ["webhooks.write", "orders.read"],
    )
    assert (await blind.http.post(ENDPOINTS, json=body)).json()["missing_scopes"] == ["orders.read"]
    assert (await reader.http.get(ENDPOINTS)).status_code == 200
    types = [one["event_type"] for one in data(await reader.http.get("/v1/webhook-event-types"))]
    assert {"order.created", "order.paid"} <= set(types)
    for one in (reader, blind):
        await one.http.aclose()


async def test_lists_are_read_page_by_page(tenant: Tenant, receiver: Receiver) -> None:
    made = [await post(tenant, ENDPOINTS, {"url": receiver.url(f"/{number}")}) for number in range(3)]
    sent = [
        (await post(tenant, f"{ENDPOINTS}/{one['webhook_endpoint_id']}/test-events"))["webhook_delivery_id"]
        for one in made
        for _ in range(2)
    ]
    for path, name, expected in (
        (ENDPOINTS, "webhook_endpoint_id", [one["webhook_endpoint_id"] for one in made]),
        (DELIVERIES, "webhook_delivery_id", sent),
    ):
        found, token = [], None
        while True:
            query = {"page_size": 2} | ({"page_token": token} if token else {})
            answered = (await tenant.http.get(path, params=query)).json()
            found += [one[name] for one in answered["data"]]
            token = answered.get("next_page_token")
            if token is None:
                break
        assert found == expected[::-1]
    assert code(await tenant.http.get(DELIVERIES, params={"webhook_endpoint_id": new_id("whe"), "status": "lost"}))[
        :2
    ] == (
        400,
        "VALIDATION_FAILED",
    )


async def test_an_app_has_endpoints_of_its_own_until_the_merchant_ends_it(
    stack: Stack, tenant: Tenant, receiver: Receiver
) -> None:
    scopes = ("orders.read", "webhooks.write")
    app = await install(stack, new_id("app"), tenant.merchant_id, scopes=scopes)
    other = await install(stack, new_id("app"), tenant.merchant_id, scopes=scopes)
    made = await app.http.post(ENDPOINTS, json={"url": receiver.url("/app")})
    assert made.status_code == 201, made.text
    endpoint = data(made)
    await post(tenant, ENDPOINTS, {"url": receiver.url("/merchant")})
    path = f"{ENDPOINTS}/{endpoint['webhook_endpoint_id']}"
    for stranger in (tenant.http, other.http):
        assert (await stranger.get(path)).status_code == 404
        assert endpoint["webhook_endpoint_id"] not in (await stranger.get(ENDPOINTS)).text
    assert [one["webhook_endpoint_id"] for one in data(await app.http.get(ENDPOINTS))] == [
        endpoint["webhook_endpoint_id"]
    ]
    await post(tenant, "/v1/orders", ORDER)
    [told] = await receiver.wait(1, "/app")
    told.verified(endpoint["secret"])
    await run(stack, "UPDATE environment_grants SET status = 'revoked' WHERE grant_id = $1", app.grant.grant_id)
    order = await post(tenant, "/v1/orders", ORDER)

    async def merchant_was_told() -> bool:
        return order["order_id"] in {one.json()["order_id"] for one in receiver.at("/merchant")}

    await eventually(merchant_was_told)
    await asyncio.sleep(1)
    assert {one.json()["order_id"] for one in receiver.at("/app")} == {told.json()["order_id"]}
    for one in (app, other):
        await one.http.aclose()
