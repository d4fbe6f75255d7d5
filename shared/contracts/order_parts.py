"""The pieces that commands, events and the state of an order share."""

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from shared.contracts.model import AmountMinor, Clean, Identifier, Metadata, Part, PositiveMinor, Reference, Text

Source = Literal["checkout", "payment_link", "api", "pos", "subscription"]
Status = Literal["draft", "open", "closed", "canceled"]
PaymentStatus = Literal["unpaid", "authorized", "partially_paid", "paid", "overpaid"]
RefundStatus = Literal["none", "partially_refunded", "refunded"]
ChargeType = Literal["shipping", "service", "handling", "gift_wrap", "deposit", "other"]
MethodType = Literal["card", "cash", "check", "bank_transfer", "wallet", "gift_card", "store_credit", "external"]
RefundEffect = Literal["reduce_total", "reopen_balance"]

MAX_METADATA_KEYS = 50
MAX_LINES = 500
"""Lines of one order; a snapshot of that many stays well below Kafka's largest message."""
MAX_CHARGES = MAX_DISCOUNTS = 50


def _plain(text: str) -> str:
    """`2.500` and `2.5` are the same quantity; the shortest form is kept."""
    return format(Decimal(text).normalize(), "f")


def _more_than_nothing(text: str) -> str:
    if Decimal(text) == 0:
        raise ValueError("must be more than zero")
    return text


Quantity = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9]{1,7}(\.[0-9]{1,3})?$"),
    AfterValidator(_plain),
    AfterValidator(_more_than_nothing),
]
"""A decimal string with at most three places (goods by weight)."""


def _at_most_hundred(text: str) -> str:
    if Decimal(text) > 100:
        raise ValueError("must be at most 100")
    return text


Percentage = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9]{1,3}(\.[0-9]{1,4})?$"),
    AfterValidator(_plain),
    AfterValidator(_at_most_hundred),
]
"""A decimal string: `19` is nineteen of a hundred; at most four places."""


class Tax(Part):
    """A tax on one line or charge: a rate, or an amount that the caller worked out."""

    name: Text
    percentage: Percentage | None = None
    amount_minor: AmountMinor | None = None
    inclusive: bool = False
    """Whether the price already holds it."""

    @model_validator(mode="after")
    def _one_of_both(self) -> "Tax":
        if (self.percentage is None) == (self.amount_minor is None):
            raise ValueError("give either percentage or an amount")
        return self


Taxes = Annotated[tuple[Tax, ...], Field(max_length=10)]


class LineItem(Part):
    """Goods or a service on the order; its total is computed, never given."""

    line_item_id: Identifier
    name: Text
    sku: Reference | None = None
    quantity: Quantity = "1"
    unit_price_minor: AmountMinor
    taxes: Taxes = ()
    metadata: Annotated[Metadata, Field(max_length=50, default_factory=dict)]


class Charge(Part):
    """Something on top of the lines: shipping, a service charge."""

    charge_id: Identifier
    name: Text
    type: ChargeType = "other"
    amount_minor: AmountMinor
    taxes: Taxes = ()


class Discount(Part):
    """A percentage or an amount off all lines, or off the named ones; never more than what is left of them."""

    discount_id: Identifier
    name: Text
    percentage: Percentage | None = None
    amount_minor: PositiveMinor | None = None
    line_item_ids: Annotated[tuple[Identifier, ...], Field(min_length=1, max_length=MAX_LINES)] | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> "Discount":
        if (self.percentage is None) == (self.amount_minor is None):
            raise ValueError("give either percentage or an amount")
        return self


class Holder(Part):
    """Who holds a lease: a checkout session, a device, a payment intent …"""

    type: Annotated[str, StringConstraints(pattern=r"^[a-z_]{1,40}$")]
    id: Reference


class Method(Part):
    """How a buyer paid. Never a full card number: only what receipts show."""

    type: MethodType
    brand: Annotated[str, StringConstraints(max_length=40), Clean] | None = None
    last4: Annotated[str, StringConstraints(pattern=r"^[0-9]{4}$")] | None = None


class Tender(Part):
    """Where and how one payment leg was taken."""

    source: Source | None = None
    method: Method | None = None
    channel_id: Identifier | None = None
    payment_intent_id: Identifier | None = None
    location_id: Identifier | None = None
    device_id: Identifier | None = None
    operator_id: Reference | None = None


class Allocation(Part):
    """The part of a refund that one payment leg bears."""

    payment_id: Identifier
    amount_minor: PositiveMinor


class Context(Part):
    """Where an order was made and for whom; every field may change later."""

    location_id: Identifier | None = None
    device_id: Identifier | None = None
    operator_id: Reference | None = None
    customer_id: Identifier | None = None
    external_reference: Reference | None = None
