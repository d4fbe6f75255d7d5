"""What the payment service tells: what became of channel events, and money that fits no order.

`payments.events`, key = the order's id where one is known, else the id of what the event is about.
"""

from datetime import datetime
from typing import ClassVar, Literal

from shared.contracts.model import Actor, Identifier, JsonObject, Message, Money, Part

UnmatchedKind = Literal["unknown_order", "closed_order", "currency", "surplus", "conflict"]
"""Why money needs somebody's attention:

`unknown_order` no order, or several, answer to the name that was given; the event is kept and applied when one appears
`closed_order` the order had ended; the money is on it
`currency` the order is in another currency; the money is not on it
`surplus` the order was paid already, or this was more than it owed; the money is on it (`overpaid`)
`conflict` the same reference said something else before; what was said first stands
"""
UnmatchedStatus = Literal[
    "open", "return_due", "attaching", "returning", "attached", "returned", "dismissed", "replaced"
]
"""`open` and `return_due` wait for somebody, the latter to give the money back, since its time is over; `attaching` and
`returning` wait for the order to take it or to let it go. Each item ends once: `attached` found its order, by itself or
by somebody's hand; `returned` went back; `dismissed` stands for no money, as somebody said; `replaced` is known better
by now, by another item."""


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
    split_from: Identifier | None = None
    """The item whose rest this is, since only a part of that one was attached or returned; or the one that was returned
    and came back."""
    version: int = 1
    attaching_to: Identifier | None = None
    """The order that has been told, while it has not answered."""
    order_version: int | None = None
    """The order's version that took the money, or that let it go."""
    surplus_money: Money | None = None
    """What of it the order was not owed when it was attached: the order is overpaid."""
    overdue_at: datetime | None = None
    """When its time was found to be over."""
    resolved_by: Actor | None = None
    """Who attached, returned or dismissed it; nobody did where it found its order by itself."""
    return_reference: str | None = None
    """The return as it is called where it was made."""
    note: str | None = None
    refusal: str | None = None
    """Why the order did not take it, or its processor did not give it back, when it was last asked."""
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


class UnmatchedMoneyReturned(Message):
    """The money went back to where it came from."""

    wire_type: ClassVar[str] = "payments.unmatched_money_returned.v1"

    unmatched_money: UnmatchedMoney


class UnmatchedMoneyDismissed(Message):
    """There is no such money: what was said first stands, and the channel has corrected itself."""

    wire_type: ClassVar[str] = "payments.unmatched_money_dismissed.v1"

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
