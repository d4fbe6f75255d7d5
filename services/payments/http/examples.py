"""What the API reference shows of channels, their events and unmatched money; a test reads each with its model."""

from typing import Any

Json = dict[str, Any]

PAYMENT: Json = {
    "order_id": "ord_01KA6M4T2V9C3R8E5XQWJHZ7NB",
    "payment_reference": "psp-77",
    "amount_money": {"amount": 9000, "currency": "EUR"},
    "method": {"type": "card", "brand": "visa", "last4": "4242"},
    "source": "checkout",
    "captured_at": "2026-11-21T12:00:00Z",
}

EVENT: Json = {
    "specversion": "1.0",
    "id": "4f1c0c52-5e5b-4b7a-8f0c-0d6a2f9be1c7",
    "type": "channel.payment.captured.v1",
    "source": "/channels/chn_web",
    "subject": "ord_01KA6M4T2V9C3R8E5XQWJHZ7NB",
    "time": "2026-11-21T12:00:01Z",
    "datacontenttype": "application/json",
    "data": PAYMENT,
}

OUTCOME: Json = {
    "event_id": "4f1c0c52-5e5b-4b7a-8f0c-0d6a2f9be1c7",
    "outcome": "accepted",
    "payment_id": "pay_01KA6M5D8Q2H4N6T0VXZJ3B7CW",
}

NEW_CHANNEL: Json = {"name": "Web shop", "channel_id": "chn_web", "source": "checkout"}

CHANNEL: Json = {
    "channel_id": "chn_web",
    "name": "Web shop",
    "status": "active",
    "source": "checkout",
    "topic": "channels.chn_web.payments",
    "dead_letter_topic": "channels.chn_web.payments.dead-letters",
    "kafka": {
        "bootstrap_servers": "localhost:19094",
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "SCRAM-SHA-256",
        "username": "channel-chn_web",
        "password": None,
    },
    "created_at": "2026-11-21T11:58:00Z",
    "updated_at": "2026-11-21T11:58:00Z",
}

ATTACH: Json = {
    "order_id": "ord_01KA6M4T2V9C3R8E5XQWJHZ7NB",
    "amount_money": {"amount": 9000, "currency": "EUR"},
    "expected_version": 1,
    "note": "The buyer mistyped the order number.",
}

RETURN: Json = {
    "reference": "transfer-2211",
    "returned_at": "2026-11-22T09:30:00Z",
    "note": "Sent back to the account that it came from.",
}

DISMISS: Json = {"expected_version": 1, "note": "The shop told it twice; the first amount was right."}

UNMATCHED: Json = {
    "unmatched_money_id": "um_01KA6M8F3W7J2D9K4SYB6HTN5C",
    "kind": "unknown_order",
    "status": "open",
    "detail": "There is no order of this name yet.",
    "amount_money": {"amount": 9000, "currency": "EUR"},
    "channel_id": "chn_web",
    "event_type": "channel.payment.captured.v1",
    "event_id": "4f1c0c52-5e5b-4b7a-8f0c-0d6a2f9be1c7",
    "event": {
        "external_reference": "WEB 8812",
        "payment_reference": "psp-77",
        "amount_money": {"amount": 9000, "currency": "EUR"},
        "source": "checkout",
    },
    "payment_id": "pay_01KA6M5D8Q2H4N6T0VXZJ3B7CW",
    "payment_reference": "psp-77",
    "external_reference": "WEB 8812",
    "version": 1,
    "created_at": "2026-11-21T12:00:02Z",
    "proposals": [
        {
            "order_id": "ord_01KA6M4T2V9C3R8E5XQWJHZ7NB",
            "external_reference": "web-8812",
            "status": "open",
            "outstanding_money": {"amount": 9000, "currency": "EUR"},
            "score": 100,
            "reasons": [
                {"code": "reference_equal", "detail": "The order is called web-8812, as the money says."},
                {"code": "amount_equal", "detail": "The order is still owed 90.00 EUR."},
                {"code": "near_in_time", "detail": "The order was made within a day of the money."},
            ],
        }
    ],
}
