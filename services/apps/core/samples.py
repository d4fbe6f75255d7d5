"""Events that did not happen, by which a receiver can be tried out."""

import json
from datetime import datetime

from services.apps.core.events import Origin, PublicEvent

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


def sample_event(event_id: str, event_type: str, merchant_id: str, environment: str, now: datetime) -> PublicEvent:
    """An event of this type about an order that does not exist; `data.change.type` is `test`."""
    order = _ORDER | {"merchant_id": merchant_id, "environment": environment}
    return PublicEvent(
        event_id=event_id,
        type=event_type,
        created_at=now,
        merchant_id=merchant_id,
        environment=environment,
        order_id=str(_ORDER["order_id"]),
        order_version=3,
        actor=Origin("system", "test-events"),
        cause=None,
        change=b'{"type":"test"}',
        order=json.dumps(order, separators=(",", ":")).encode(),
    )
