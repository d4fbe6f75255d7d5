"""Payment intents: somebody collects on an order through a processor or at a drawer.

Events on `payments.events`, key = the order's id, `ce_subject` = the intent's; each carries the intent as it then is.
"""

from datetime import datetime
from typing import ClassVar, Literal

from pydantic import Field

from shared.contracts.model import Actor, Blocker, Identifier, Message, Metadata, Money, Part, Reference
from shared.contracts.order_parts import MethodType, Source

IntentStatus = Literal[
    "requires_payment_method",
    "requires_confirmation",
    "requires_action",
    "processing",
    "requires_capture",
    "succeeded",
    "canceled",
    "failed",
    "expired",
    "unknown",
]
"""`requires_payment_method` there is none yet, or it was declined; `requires_confirmation` it can be confirmed;
`requires_action` the buyer has to do something on a page (`next_action`); `processing` a lease, a processor or the
order is being waited for; `requires_capture` the money is held and may be captured; `succeeded` the money is collected;
`canceled` nothing will be collected any more; `failed` the order did not let it be collected, and it cannot be tried
again; `expired` an authorization ran out; `unknown` a processor was asked and has not answered: it is being asked
what happened."""

ENDED: tuple[IntentStatus, ...] = ("succeeded", "canceled", "failed", "expired")

CaptureMethod = Literal["automatic", "manual"]
CompletionBehavior = Literal["complete_order", "partial_payment"]
"""`complete_order` the order must be paid by it; `partial_payment` less will do."""


class PaymentMethodShown(Part):
    """How a buyer pays, as far as it may be shown."""

    type: MethodType
    brand: str | None = None
    last4: str | None = None
    reference: Reference | None = None
    tendered_money: Money | None = None
    """Cash that was handed over."""
    change_money: Money | None = None
    """What of it goes back to the buyer."""


class Decline(Part):
    """Why a processor said no."""

    code: str
    message: str


class NextAction(Part):
    """What the buyer has to do: open this page."""

    type: Literal["redirect"] = "redirect"
    url: str
    expires_at: datetime


class IntentRefusal(Part):
    """Why the order did not let it be collected when it was last asked."""

    code: str
    detail: str
    blockers: tuple[Blocker, ...] = ()
    outstanding_money: Money | None = None
    """What was owed then."""
    available_money: Money | None = None
    """What of it nobody was collecting."""


class PaymentIntent(Part):
    """One source of money for one order: from the wish to collect to the money, or to its end."""

    payment_intent_id: Identifier
    order_id: Identifier
    status: IntentStatus
    version: int
    amount_money: Money
    """What is to be collected; less may be approved."""
    authorized_money: Money
    """Held and neither captured nor voided."""
    captured_money: Money
    voided_money: Money
    capture_method: CaptureMethod
    source: Source
    method: PaymentMethodShown | None = None
    connector: str | None = None
    payment_id: Identifier | None = None
    """The payment on the order that this is, or was when it was last tried."""
    payment_reference: str | None = None
    """The payment as its processor calls it."""
    lease_id: Identifier | None = None
    group_id: Identifier | None = None
    """The first of the intents that pay together, where there are several."""
    last_decline: Decline | None = None
    last_refusal: IntentRefusal | None = None
    next_action: NextAction | None = None
    cancel_requested: bool = False
    """Whether it is to be canceled as soon as it is known what happened; a completed payment beats it."""
    order_version: int | None = None
    """The newest version of the order that knows what this did."""
    location_id: Identifier | None = None
    device_id: Identifier | None = None
    operator_id: Reference | None = None
    metadata: Metadata = Field(default_factory=dict)
    return_url: str | None = None
    authorization_expires_at: datetime | None = None
    created_by: Actor
    created_at: datetime
    updated_at: datetime


class IntentEvent(Message):
    """Something happened to an intent; this is how it is now."""

    payment_intent: PaymentIntent


class PaymentIntentProcessing(IntentEvent):
    """Money is being collected."""

    wire_type: ClassVar[str] = "payments.payment_intent_processing.v1"


class PaymentIntentRequiresAction(IntentEvent):
    """The buyer has to do something on a page."""

    wire_type: ClassVar[str] = "payments.payment_intent_requires_action.v1"


class PaymentIntentRequiresCapture(IntentEvent):
    """The money is held."""

    wire_type: ClassVar[str] = "payments.payment_intent_requires_capture.v1"


class PaymentIntentSucceeded(IntentEvent):
    """The money is collected."""

    wire_type: ClassVar[str] = "payments.payment_intent_succeeded.v1"


class PaymentIntentFailed(IntentEvent):
    """A try came to nothing: the processor declined, or the order refused; see `last_decline` and `last_refusal`."""

    wire_type: ClassVar[str] = "payments.payment_intent_failed.v1"


class PaymentIntentCanceled(IntentEvent):
    """Nothing will be collected any more."""

    wire_type: ClassVar[str] = "payments.payment_intent_canceled.v1"


class PaymentIntentUnknown(IntentEvent):
    """A processor was asked and has not answered."""

    wire_type: ClassVar[str] = "payments.payment_intent_unknown.v1"


INTENT_EVENTS: dict[str, type[IntentEvent]] = {
    event.wire_type: event
    for event in (
        PaymentIntentProcessing,
        PaymentIntentRequiresAction,
        PaymentIntentRequiresCapture,
        PaymentIntentSucceeded,
        PaymentIntentFailed,
        PaymentIntentCanceled,
        PaymentIntentUnknown,
    )
}
"""Wire type → event."""
