"""Events that did not happen, by which a receiver can be tried out."""

import json
from datetime import datetime
from typing import Any

from services.apps.core.events import Origin, PublicEvent, Subject

_ORDER: dict[str, Any] = {
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
_NOTHING, _ALL = {"amount": 0, "currency": "EUR"}, {"amount": 9000, "currency": "EUR"}
_INTENT: dict[str, Any] = {
    "payment_intent_id": "pi_00000000000000000000000000",
    "order_id": _ORDER["order_id"],
    "version": 3,
    "amount_money": _ALL,
    "authorized_money": _NOTHING,
    "captured_money": _NOTHING,
    "voided_money": _NOTHING,
    "capture_method": "automatic",
    "source": "checkout",
    "method": {"type": "card", "brand": "visa", "last4": "4242"},
    "connector": "sandbox",
    "created_by": {"type": "key", "id": "key_00000000000000000000000000"},
}
_INTENT_AFTER: dict[str, dict[str, Any]] = {
    "requires_action": {
        "next_action": {
            "type": "redirect",
            "url": "https://pay.example.com/challenge",
            "expires_at": "2026-11-21T12:00:00Z",
        }
    },
    "requires_capture": {"authorized_money": _ALL, "capture_method": "manual"},
    "succeeded": {"captured_money": _ALL},
    "failed": {
        "status": "requires_payment_method",
        "last_decline": {"code": "insufficient_funds", "message": "The account does not hold enough."},
    },
}
_MONEY: dict[str, Any] = {
    "unmatched_money_id": "um_00000000000000000000000000",
    "kind": "unknown_order",
    "detail": "There is no order of this name yet.",
    "amount_money": _ALL,
    "channel_id": "chn_web",
    "event_type": "channel.payment.captured.v1",
    "event_id": "web-1",
    "event": {"external_reference": "web-8812", "payment_reference": "psp-77", "amount_money": _ALL},
    "payment_id": "pay_00000000000000000000000000",
    "payment_reference": "psp-77",
    "external_reference": "web-8812",
}
_MONEY_AFTER: dict[str, dict[str, Any]] = {
    "found": {"status": "open"},
    "attached": {"order_id": _ORDER["order_id"]},
    "dismissed": {"kind": "conflict", "detail": "psp-77 was told of before with 80.00 EUR."},
}


def sample_event(event_id: str, event_type: str, merchant_id: str, environment: str, now: datetime) -> PublicEvent:
    """An event of this type about what does not exist; `data.change.type` is `test`."""
    subject = _subject(event_type, merchant_id, environment, now)
    after = subject[1] if subject else _ORDER | {"merchant_id": merchant_id, "environment": environment}
    return PublicEvent(
        event_id=event_id,
        type=event_type,
        created_at=now,
        merchant_id=merchant_id,
        environment=environment,
        order_id=after.get("order_id"),
        order_version=None if subject else 3,
        actor=Origin("system", "test-events"),
        cause=None,
        change=b'{"type":"test"}',
        order=_json(None if subject else after),
        subject=Subject(subject[0], after[f"{subject[0]}_id"], _json(after)) if subject else None,
    )


def _subject(event_type: str, merchant_id: str, environment: str, now: datetime) -> tuple[str, dict[str, Any]] | None:
    """What an event of this type is about, by name and as it is afterwards; `None` is an order."""
    family, _, what = event_type.partition(".")
    moment = now.isoformat().replace("+00:00", "Z")
    match family:
        case "payment_intent":
            times = {"created_at": moment, "updated_at": moment}
            return family, _INTENT | {"status": what} | times | _INTENT_AFTER.get(what, {})
        case "unmatched_money":
            money = _MONEY | {"created_at": moment, "status": what, "resolved_at": None if what == "found" else moment}
            return family, money | _MONEY_AFTER.get(what, {})
        case "webhook_endpoint":
            return family, _ENDPOINT
        case "partner_app":
            status = "revoked" if what.endswith(".revoked") else "active"
            after = _INSTALLATION | {"merchant_id": merchant_id, "mode": environment, "status": status}
            return ("environment_grant" if what.startswith("environment_grant.") else "partner_app_install"), after
        case _:
            return None


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
