"""What the API reference shows of payment intents; a test reads each with its model."""

from typing import Any

Json = dict[str, Any]

METHOD: Json = {"type": "card", "token": "sandbox_approve"}

NEW_INTENT: Json = {
    "amount_money": {"amount": 9000, "currency": "EUR"},
    "method": METHOD,
    "source": "checkout",
    "capture_method": "manual",
    "confirm": True,
}

PAY: Json = {
    "source": "pos",
    "method": {"type": "cash", "tendered_money": {"amount": 5000, "currency": "EUR"}},
    "amount_money": {"amount": 4000, "currency": "EUR"},
    "completion_behavior": "partial_payment",
    "expected_outstanding_money": {"amount": 10000, "currency": "EUR"},
}

INTENT: Json = {
    "payment_intent_id": "pi_01KA6MB2W9E5V7K3R8TQX4HZ6N",
    "order_id": "ord_01KA6M4T2V9C3R8E5XQWJHZ7NB",
    "status": "succeeded",
    "version": 4,
    "amount_money": {"amount": 4000, "currency": "EUR"},
    "authorized_money": {"amount": 0, "currency": "EUR"},
    "captured_money": {"amount": 4000, "currency": "EUR"},
    "voided_money": {"amount": 0, "currency": "EUR"},
    "capture_method": "automatic",
    "source": "pos",
    "method": {
        "type": "cash",
        "tendered_money": {"amount": 5000, "currency": "EUR"},
        "change_money": {"amount": 1000, "currency": "EUR"},
    },
    "connector": "manual",
    "payment_id": "pay_OJ5Q3C7X2M4KTY6WBN4DVPZRAE",
    "payment_reference": "att_R4X7QK2N5WZPCJ3VTB6HYDMA2E",
    "order_version": 4,
    "created_by": {"type": "key", "id": "key_01KA6M2Z8F4N6Q0S2U4W6Y8A0C"},
    "created_at": "2026-11-22T10:00:00Z",
    "updated_at": "2026-11-22T10:00:00Z",
}

PAID: Json = {
    "order_id": "ord_01KA6M4T2V9C3R8E5XQWJHZ7NB",
    "order_version": 4,
    "status": "succeeded",
    "captured_money": {"amount": 4000, "currency": "EUR"},
    "change_money": {"amount": 1000, "currency": "EUR"},
    "payment_intents": [INTENT],
}

ATTEMPT: Json = {
    "attempt_id": "att_R4X7QK2N5WZPCJ3VTB6HYDMA2E",
    "payment_intent_id": "pi_01KA6MB2W9E5V7K3R8TQX4HZ6N",
    "order_id": "ord_01KA6M4T2V9C3R8E5XQWJHZ7NB",
    "operation": "authorize",
    "connector": "sandbox",
    "status": "ended",
    "amount_money": {"amount": 9000, "currency": "EUR"},
    "method": {"type": "card", "brand": "visa", "last4": "4242"},
    "outcome": "declined",
    "code": "insufficient_funds",
    "detail": "The card has not enough money on it.",
    "looked_up": 0,
    "created_at": "2026-11-22T10:00:00Z",
    "updated_at": "2026-11-22T10:00:00Z",
}
