"""Events that did not happen, by which a receiver can be tried out."""

import json
from datetime import datetime
from typing import Any

from services.apps.core.events import Origin, PublicEvent, Subject

_ORDER = {
    "order_id": "ord_00000000000000000000000000",
    "number": "1042",
    "version": 3,
    "status": "open",
    "payment_status": "paid",
    "refund_status": "none",
    "fulfillment_status": "not_fulfilled",
    "source": "checkout",
    "currency": "EUR",
    "line_items": [
        {"name": "Rain jacket", "quantity": "2", "unit_price_money": {"amount": 4500, "currency": "EUR"}},
    ],
    "pricing": {"total_money": {"amount": 9000, "currency": "EUR"}},
    "settlement": {"captured_money": {"amount": 9000, "currency": "EUR"}},
    "metadata": {},
}


_INSTALLATION = {
    "partner_app_install_id": "ins_00000000000000000000000000",
    "partner_app_id": "app_00000000000000000000000000",
    "environment_grant_id": "grt_00000000000000000000000000",
    "permission_ids": ["read_orders"],
    "scopes": ["orders.read"],
}
_ENDPOINT: dict[str, Any] = {
    "webhook_endpoint_id": "whe_00000000000000000000000000",
    "environment_grant_id": None,
    "url": "https://hooks.example.com/throughline",
    "event_types": ["order.paid"],
    "status": "disabled",
    "disabled_reason": "failing",
}


def sample_event(event_id: str, event_type: str, merchant_id: str, environment: str, now: datetime) -> PublicEvent:
    """An event of this type about what does not exist; `data.change.type` is `test`."""
    subject = _subject(event_type, merchant_id, environment)
    order = _ORDER | {"merchant_id": merchant_id, "environment": environment}
    return PublicEvent(
        event_id=event_id,
        type=event_type,
        created_at=now,
        merchant_id=merchant_id,
        environment=environment,
        order_id=None if subject else str(_ORDER["order_id"]),
        order_version=None if subject else 3,
        actor=Origin("system", "test-events"),
        cause=None,
        change=b'{"type":"test"}',
        order=_json(None if subject else order),
        subject=subject,
    )


def _subject(event_type: str, merchant_id: str, environment: str) -> Subject | None:
    """What an event of this type is about; `None` is an order."""
    if event_type.startswith("webhook_endpoint."):
        return Subject("webhook_endpoint", _ENDPOINT["webhook_endpoint_id"], _json(_ENDPOINT))
    if not event_type.startswith("partner_app."):
        return None
    name = "environment_grant" if ".environment_grant." in event_type else "partner_app_install"
    status = "revoked" if event_type.endswith(".revoked") else "active"
    after = _INSTALLATION | {"merchant_id": merchant_id, "mode": environment, "status": status}
    return Subject(name, str(after[f"{name}_id"]), _json(after))


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
