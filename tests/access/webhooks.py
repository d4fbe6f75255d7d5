"""The routes of webhooks."""

from tests.access.matrix import Callers, Entry, Made

_ENDPOINTS, _DELIVERIES = "/v1/webhook-endpoints", "/v1/webhook-deliveries"
ENDPOINT = {"url": "http://127.0.0.1:9/nobody", "event_types": ["order.refunded"]}


async def endpoint(callers: Callers) -> Made:
    made = await callers.owner.post(_ENDPOINTS, json=ENDPOINT)
    assert made.status_code == 201, made.text
    endpoint_id = made.json()["data"]["webhook_endpoint_id"]
    return Made({"webhook_endpoint_id": endpoint_id}, f"{_ENDPOINTS}/{endpoint_id}")


async def delivery(callers: Callers) -> Made:
    """Of a test event. Nobody looks whether it changes: it is on its way."""
    made = await endpoint(callers)
    sent = await callers.owner.post(f"{made.witness}/test-events", json={})
    assert sent.status_code == 201, sent.text
    return Made({"webhook_delivery_id": sent.json()["data"]["webhook_delivery_id"]})


def _at(method: str, rest: str = "", where: str = f"{_ENDPOINTS}/{{webhook_endpoint_id}}") -> str:
    return f"{method} {where}{rest}"


_DELIVERY = f"{_DELIVERIES}/{{webhook_delivery_id}}"

ENTRIES = {
    f"POST {_ENDPOINTS}": Entry("webhooks.write", body=ENDPOINT, further=("orders.read",)),
    f"GET {_ENDPOINTS}": Entry("webhooks.read", endpoint, lists="webhook_endpoint_id"),
    _at("GET"): Entry("webhooks.read", endpoint),
    _at("PATCH"): Entry("webhooks.write", endpoint, {"description": "Shop"}),
    _at("DELETE"): Entry("webhooks.write", endpoint),
    _at("POST", "/rotate-secret"): Entry("webhooks.write", endpoint, {}),
    _at("POST", "/test-events"): Entry("webhooks.write", endpoint, {}),
    _at("POST", "/replay"): Entry("webhooks.write", endpoint, {"created_from": "2026-11-21T10:00:00Z"}),
    f"GET {_DELIVERIES}": Entry("webhooks.read", delivery, lists="webhook_delivery_id"),
    _at("GET", "", _DELIVERY): Entry("webhooks.read", delivery),
    _at("GET", "/attempts", _DELIVERY): Entry("webhooks.read", delivery),
    _at("POST", "/resend", _DELIVERY): Entry("webhooks.write", delivery),
    "GET /v1/webhook-event-types": Entry("webhooks.read"),
}
