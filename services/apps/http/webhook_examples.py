"""What the API reference shows of webhooks; a test reads each with its model."""

from typing import Any

Json = dict[str, Any]

NEW_ENDPOINT: Json = {
    "url": "https://hooks.example.com/throughline",
    "event_types": ["order.paid", "order.refunded"],
    "description": "Books what was paid",
}

ENDPOINT: Json = {
    "webhook_endpoint_id": "whe_01KA6M4T2V9C3R8E5XQWJHZ7NB",
    "url": "https://hooks.example.com/throughline",
    "description": "Books what was paid",
    "event_types": ["order.paid", "order.refunded"],
    "scopes": ["orders.read", "webhooks.write"],
    "status": "active",
    "disabled_reason": None,
    "failing_since": None,
    "secret": None,
    "previous_secret_ends_at": None,
    "version": 1,
    "created_at": "2026-11-21T11:58:00Z",
    "updated_at": "2026-11-21T11:58:00Z",
}

DELIVERY: Json = {
    "webhook_delivery_id": "del_01KA6M5D8Q2H4N6T0VXZJ3B7CW",
    "webhook_endpoint_id": "whe_01KA6M4T2V9C3R8E5XQWJHZ7NB",
    "event_id": "evt_01KA6M5D7M3X9Q4V8T2Z6N0RBH",
    "event_type": "order.paid",
    "order_id": "ord_01KA6M4T2V9C3R8E5XQWJHZ7NB",
    "test": False,
    "status": "pending",
    "attempts": 1,
    "next_attempt_at": "2026-11-21T12:00:06Z",
    "last_status_code": 503,
    "last_error": "refused",
    "created_at": "2026-11-21T12:00:00Z",
    "settled_at": None,
}

ATTEMPT: Json = {
    "attempt": 1,
    "at": "2026-11-21T12:00:00Z",
    "latency_ms": 412,
    "status_code": 503,
    "error": "refused",
    "response": "down for maintenance",
}
