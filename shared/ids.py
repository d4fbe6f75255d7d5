"""Identifiers: a type prefix, an underscore and a ULID, so that they say what they name and sort by time."""

from typing import Protocol

from ulid import ULID


class IdMaker(Protocol):
    """Makes a new identifier with the given prefix; rules get ids as arguments and never make them."""

    def __call__(self, prefix: str) -> str: ...


def new_id(prefix: str) -> str:
    """A fresh identifier, unique everywhere: `new_id("ord")` is like `ord_01K…`."""
    return f"{prefix}_{ULID()}"


PREFIXES = {
    "order_id": "ord",
    "line_item_id": "li",
    "charge_id": "chg",
    "discount_id": "dis",
    "customer_id": "cus",
    "channel_id": "chn",
    "unmatched_money_id": "um",
    "merchant_id": "mer",
    "api_key_id": "key",
    "partner_app_id": "app",
    "install_id": "ins",
    "grant_id": "grt",
    "staff_user_id": "usr",
    "event_id": "evt",
    "replay_id": "rpl",
    "webhook_endpoint_id": "whe",
    "payment_intent_id": "pi",
    "webhook_delivery_id": "del",
}
"""What the identifiers in a field begin with, as the API reference says it of the parts of a path."""
