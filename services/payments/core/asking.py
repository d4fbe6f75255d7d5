"""What a processor is asked, and what it answers: connectors translate both, the rules know nothing else of them."""

from datetime import datetime
from typing import Literal

from shared.contracts.order_parts import MethodType
from shared.immutable import immutable

Operation = Literal["authorize", "capture", "void", "refund"]


@immutable
class Means:
    """What the buyer pays with, as far as a processor or a drawer needs to know."""

    type: MethodType
    token: str | None = None
    """What the processor knows the buyer's card or wallet by; never a card number."""
    tendered_minor: int | None = None
    """Cash that was handed over; what it is more than the amount is change."""
    reference: str | None = None
    """The payment as it is called where it was taken: a cheque's number, a terminal's slip."""
    brand: str | None = None
    last4: str | None = None


@immutable
class Asked:
    """One question to a processor. Asking again with the same `attempt_id` moves no more money than asking once."""

    attempt_id: str
    """The idempotency key, and what the processor can be asked about afterwards."""
    operation: Operation
    amount_minor: int
    currency: str
    means: Means
    merchant_id: str
    environment: str
    order_id: str
    payment_intent_id: str
    capture: bool = True
    """Of an `authorize`: whether the money is collected in the same step."""
    partial: bool = False
    """Of an `authorize`: whether less than the amount will do."""
    reference: str | None = None
    """The processor's own name for the payment that is captured, voided or refunded."""
    return_url: str | None = None
    """Where the buyer's browser goes after a challenge."""
    unmatched_money_id: str | None = None
    """Of a `refund`: the item whose money goes back."""


@immutable
class Approved:
    """It is done, for this much; of an `authorize`, less than was asked where part would do."""

    reference: str
    """The payment as the processor calls it; of a capture or refund, that operation."""
    amount_minor: int
    captured: bool = False
    """Of an `authorize`: whether the money was collected in the same step."""
    brand: str | None = None
    last4: str | None = None
    ends_at: datetime | None = None
    """When an authorization that nobody captures runs out."""


@immutable
class Declined:
    """The processor says no; no money moved. `code` is stable: `insufficient_funds`, `lost_card` …"""

    code: str
    message: str


@immutable
class ActionRequired:
    """The buyer has to do something at `url` first; the outcome is then to be looked up."""

    reference: str
    url: str
    ends_at: datetime


@immutable
class Unknown:
    """Asked, and no answer that can be understood: money may have moved."""

    reason: str


@immutable
class NotSent:
    """Nothing left this process, so nothing moved: no connection could be made, or none was tried any more."""

    reason: str


@immutable
class NeverArrived:
    """Of a look-up: nothing was done under this attempt's id, and nothing will be, even if the request still arrives.

    A connector says so only where its processor promises it.
    """


Answer = Approved | Declined | ActionRequired | Unknown | NotSent
Found = Approved | Declined | ActionRequired | Unknown | NotSent | NeverArrived
