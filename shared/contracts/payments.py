"""What the payment service tells: what became of channel events, and money that fits no order.

`payments.events`, key = the order's id where one is known, else the id of what the event is about.
"""

from datetime import datetime
from typing import ClassVar, Literal

from shared.contracts.model import Identifier, JsonObject, Message, Money, Part

UnmatchedKind = Literal["unknown_order", "closed_order", "currency", "surplus", "conflict"]
"""Why money needs somebody's attention:

`unknown_order` no order, or several, answer to the name that was given; the event is kept and applied when one appears
`closed_order` the order had ended; the money is on it
`currency` the order is in another currency; the money is not on it
`surplus` the order was paid already, or this was more than it owed; the money is on it (`overpaid`)
`conflict` the same reference said something else before; what was said first stands
"""
UnmatchedStatus = Literal["open", "attached", "replaced"]
"""`open` waits for somebody; `attached` found its order; `replaced` is known better by now, by another item."""


class UnmatchedMoney(Part):
    """Money, or a word about money, that fits no order; see `UnmatchedKind`."""

    unmatched_money_id: Identifier
    kind: UnmatchedKind
    status: UnmatchedStatus
    detail: str
    amount_money: Money | None = None
    channel_id: Identifier
    event_type: str
    event_id: str
    """The `ce_id` that the channel gave."""
    event: JsonObject
    """The event's body as it was understood."""
    payment_id: Identifier
    payment_reference: str
    order_id: str | None = None
    external_reference: str | None = None
    replaced_by: Identifier | None = None
    created_at: datetime
    resolved_at: datetime | None = None


class UnmatchedMoneyFound(Message):
    """There is money that needs somebody's attention."""

    wire_type: ClassVar[str] = "payments.unmatched_money_found.v1"

    unmatched_money: UnmatchedMoney


class UnmatchedMoneyAttached(Message):
    """The money found its order."""

    wire_type: ClassVar[str] = "payments.unmatched_money_attached.v1"

    unmatched_money: UnmatchedMoney


class ChannelEventApplied(Message):
    """The order took what a channel told."""

    wire_type: ClassVar[str] = "payments.channel_event_applied.v1"

    channel_event_id: Identifier
    channel_id: Identifier
    event_type: str
    event_id: str
    payment_id: Identifier
    payment_reference: str
    order_id: Identifier
    order_version: int


class ChannelEventRefused(Message):
    """The order said no to what a channel told; where money had moved, an unmatched item says so too."""

    wire_type: ClassVar[str] = "payments.channel_event_refused.v1"

    channel_event_id: Identifier
    channel_id: Identifier
    event_type: str
    event_id: str
    payment_id: Identifier
    payment_reference: str
    order_id: Identifier
    code: str
    detail: str
