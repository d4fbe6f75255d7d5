"""What the API reference shows of orders and customers; a test reads each with its model."""

from typing import Any

Json = dict[str, Any]


def _eur(amount: int) -> Json:
    return {"amount": amount, "currency": "EUR"}


NEW_ORDER: Json = {
    "source": "checkout",
    "currency": "EUR",
    "external_reference": "web-8812",
    "line_items": [
        {
            "name": "Rain jacket",
            "sku": "RJ-1",
            "quantity": 2,
            "unit_price_money": _eur(4500),
            "taxes": [
                {
                    "name": "VAT",
                    "percentage": "19",
                    "inclusive": True,
                }
            ],
        }
    ],
    "charges": [
        {
            "name": "Shipping",
            "type": "shipping",
            "amount_money": _eur(490),
        }
    ],
    "metadata": {
        "basket": "b-17",
    },
}

ORDER: Json = {
    "order_id": "ord_01KA6M4T2V9C3R8E5XQWJHZ7NB",
    "number": "1042",
    "merchant_id": "mer_01KA6M0000000000000000000A",
    "environment": "test",
    "version": 2,
    "status": "open",
    "payment_status": "partially_paid",
    "refund_status": "none",
    "fulfillment_status": "not_fulfilled",
    "source": "checkout",
    "location_id": None,
    "device_id": None,
    "operator_id": None,
    "customer_id": None,
    "external_reference": "web-8812",
    "currency": "EUR",
    "line_items": [
        {
            "line_item_id": "li_01KA6M4T2V9C3R8E5XQWJHZ7NC",
            "name": "Rain jacket",
            "sku": "RJ-1",
            "quantity": "2",
            "unit_price_money": _eur(4500),
            "subtotal_money": _eur(9000),
            "discount_money": _eur(0),
            "taxes": [
                {
                    "name": "VAT",
                    "percentage": "19",
                    "inclusive": True,
                    "tax_money": _eur(1437),
                }
            ],
            "total_money": _eur(9000),
            "metadata": {},
        }
    ],
    "charges": [
        {
            "charge_id": "chg_01KA6M4T2V9C3R8E5XQWJHZ7ND",
            "name": "Shipping",
            "type": "shipping",
            "amount_money": _eur(490),
            "taxes": [],
            "total_money": _eur(490),
        }
    ],
    "discounts": [],
    "pricing": {
        "subtotal_money": _eur(9000),
        "discount_money": _eur(0),
        "charge_money": _eur(490),
        "tax_money": _eur(1437),
        "tip_money": _eur(0),
        "total_money": _eur(9490),
        "returned_money": _eur(0),
        "net_total_money": _eur(9490),
    },
    "settlement": {
        "authorized_money": _eur(0),
        "captured_money": _eur(4000),
        "refunded_money": _eur(0),
        "net_collected_money": _eur(4000),
        "leased_money": _eur(0),
        "outstanding_money": _eur(5490),
        "available_money": _eur(5490),
        "credit_money": _eur(0),
    },
    "payments": [
        {
            "payment_id": "pay_01KA6M5D8Q2H4N6T0VXZJ3B7CW",
            "reference": "psp-77",
            "status": "captured",
            "source": "checkout",
            "method": {
                "type": "card",
                "brand": "visa",
                "last4": "4242",
            },
            "authorized_money": _eur(0),
            "captured_money": _eur(4000),
            "refunded_money": _eur(0),
            "voided_money": _eur(0),
            "failure_code": None,
            "channel_id": "chn_web",
            "payment_intent_id": None,
            "device_id": None,
            "location_id": None,
            "operator_id": None,
            "lease_id": None,
            "captured_at": "2026-11-21T12:00:00Z",
        }
    ],
    "leases": [],
    "refunds": [],
    "customer": None,
    "metadata": {
        "basket": "b-17",
    },
    "created_at": "2026-11-21T11:59:00Z",
    "updated_at": "2026-11-21T12:00:01Z",
    "closed_at": None,
    "canceled_at": None,
}
"""`NEW_ORDER` after a channel told that it captured 40.00 EUR."""

LINE_ITEM: Json = {"name": "Umbrella", "quantity": "1", "unit_price_money": _eur(2000)}
CHARGE: Json = {"name": "Gift wrap", "type": "other", "amount_money": _eur(300)}
DISCOUNT: Json = {"name": "Spring", "percentage": "10"}
TIP: Json = {"tip_money": _eur(500)}
NOTE: Json = {"text": "The buyer asked for delivery after six."}
REASON: Json = {"reason": "The buyer changed their mind."}
CHANGES: Json = {"metadata": {"basket": None, "gift": "yes"}, "expected_version": 2}

NEW_CUSTOMER: Json = {"name": "Ada Example", "email": "ada@example.com", "phone": "+4930123456"}
CUSTOMER: Json = {
    "customer_id": "cus_01KA6M3Y7B5D9F1G2H4J6K8M0N",
    "version": 1,
    "name": "Ada Example",
    "email": "ada@example.com",
    "phone": "+4930123456",
    "external_reference": None,
    "metadata": {},
    "created_at": "2026-11-21T11:58:00Z",
    "updated_at": "2026-11-21T11:58:00Z",
}
