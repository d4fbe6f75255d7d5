"""What channels tell about money, on `channels.<channel_id>.payments` or by HTTP.

These come from outside: types and limits are strict, fields that are not named here are ignored. An event names its
order by `order_id` or by the merchant's `external_reference`. A `payment_reference` names one payment for ever; what
is said twice about it counts once.
"""

from typing import Annotated, ClassVar, get_args

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from shared.contracts import order_parts
from shared.contracts.model import Clean, Message, PositiveMoney, Reference, Text, Timestamp
from shared.contracts.order_parts import Source

ChannelId = Annotated[str, StringConstraints(pattern=r"^chn_[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
"""Unique across all merchants, because it names a topic."""


class Method(order_parts.Method):
    """How a buyer paid. Never a full card number: only what receipts show."""

    brand: Annotated[str, StringConstraints(max_length=40), Clean] | None = None


class _AboutPayment(Message):
    """What all channel events share: which order, which payment, and where and how it was taken."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    order_id: Reference | None = None
    external_reference: Reference | None = None
    """The order as the merchant's own system names it (`web-8812`)."""
    payment_reference: Reference
    amount_money: PositiveMoney | None = None
    method: Method | None = None
    source: Source | None = None
    """Without it, the channel's default."""

    @model_validator(mode="after")
    def _names_an_order(self) -> "_AboutPayment":
        if self.order_id is None and self.external_reference is None:
            raise ValueError("give order_id or external_reference")
        return self


class ChannelPaymentAuthorized(_AboutPayment):
    """Money is held for the merchant and may be captured."""

    wire_type: ClassVar[str] = "channel.payment.authorized.v1"

    amount_money: PositiveMoney
    authorized_at: Timestamp | None = None


class ChannelPaymentCaptured(_AboutPayment):
    """Money was collected, of an authorization with the same `payment_reference` or without one.

    `capture_reference` tells several captures of one payment apart; without it a payment is captured once.
    """

    wire_type: ClassVar[str] = "channel.payment.captured.v1"

    amount_money: PositiveMoney
    capture_reference: Reference | None = None
    captured_at: Timestamp | None = None


class ChannelPaymentFailed(_AboutPayment):
    """An attempt to collect came to nothing; no money moved."""

    wire_type: ClassVar[str] = "channel.payment.failed.v1"

    code: Annotated[str, Field(min_length=1, max_length=100), Clean] = "failed"
    message: Annotated[str, Field(max_length=500), Clean] | None = None
    failed_at: Timestamp | None = None


class ChannelPaymentVoided(_AboutPayment):
    """An authorization, or `amount_money` of it, will not be captured. Without an amount: all that is left."""

    wire_type: ClassVar[str] = "channel.payment.voided.v1"

    reason: Text | None = None
    voided_at: Timestamp | None = None


class ChannelPaymentRefunded(_AboutPayment):
    """Money of the named payment went back to the buyer."""

    wire_type: ClassVar[str] = "channel.payment.refunded.v1"

    amount_money: PositiveMoney
    refund_reference: Reference
    reason: Text | None = None
    refunded_at: Timestamp | None = None


ChannelEvent = (
    ChannelPaymentAuthorized
    | ChannelPaymentCaptured
    | ChannelPaymentFailed
    | ChannelPaymentVoided
    | ChannelPaymentRefunded
)

CHANNEL_EVENTS: dict[str, type[ChannelEvent]] = {event.wire_type: event for event in get_args(ChannelEvent)}
"""Wire type → event."""
