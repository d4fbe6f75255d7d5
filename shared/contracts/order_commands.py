"""Commands that the order service takes, on `orders.commands` or from its HTTP routes.

A *request* (`AcquireLease`, `AddLineItem`) is accepted or refused. A *fact* (`RecordCapture`, `RecordRefund`) already
happened to money: it is applied whatever the order's state is; it is refused only where it cannot be about this order
(unknown order, another currency) or contradicts what the same reference said before.
Amounts are minor units of the order's currency.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from shared.contracts.model import (
    AmountMinor,
    Clean,
    Currency,
    Identifier,
    LongText,
    Message,
    Metadata,
    MetadataPatch,
    PositiveMinor,
    Reference,
    Text,
    Timestamp,
)
from shared.contracts.order_parts import (
    MAX_CHARGES,
    MAX_DISCOUNTS,
    MAX_LINES,
    Allocation,
    Charge,
    ChargeType,
    Context,
    Discount,
    Holder,
    LineItem,
    Quantity,
    RefundEffect,
    Source,
    Taxes,
    Tender,
)

LeaseSeconds = Annotated[int, Field(ge=1, le=24 * 60 * 60)]


class TenderedCommand(Message):
    """A command that says where and how money was taken."""

    tender: Tender = Tender()


class ReasonedCommand(Message):
    """A command that may say why, for the history."""

    reason: Text | None = None


class CreateOrder(Message):
    """A new order with its lines; the server computes every total and gives it a number."""

    wire_type: ClassVar[str] = "orders.create_order.v1"

    currency: Currency
    source: Source = "api"
    draft: bool = False
    line_items: Annotated[tuple[LineItem, ...], Field(max_length=MAX_LINES)] = ()
    charges: Annotated[tuple[Charge, ...], Field(max_length=MAX_CHARGES)] = ()
    discounts: Annotated[tuple[Discount, ...], Field(max_length=MAX_DISCOUNTS)] = ()
    tip_minor: AmountMinor = 0
    context: Context = Context()
    metadata: Annotated[Metadata, Field(max_length=50, default_factory=dict)]


class OpenOrder(Message):
    """A draft may be collected on from now on."""

    wire_type: ClassVar[str] = "orders.open_order.v1"


class AddLineItem(Message):
    wire_type: ClassVar[str] = "orders.add_line_item.v1"

    line_item: LineItem


class UpdateLineItem(Message):
    """Only the fields that are given change; metadata merges by key, `null` removes a key."""

    wire_type: ClassVar[str] = "orders.update_line_item.v1"

    line_item_id: Identifier
    name: Text | None = None
    sku: Reference | None = None
    quantity: Quantity | None = None
    unit_price_minor: AmountMinor | None = None
    taxes: Taxes | None = None
    metadata: MetadataPatch | None = None


class RemoveLineItem(Message):
    wire_type: ClassVar[str] = "orders.remove_line_item.v1"

    line_item_id: Identifier


class AddCharge(Message):
    wire_type: ClassVar[str] = "orders.add_charge.v1"

    charge: Charge


class UpdateCharge(Message):
    """Only the fields that are given change."""

    wire_type: ClassVar[str] = "orders.update_charge.v1"

    charge_id: Identifier
    name: Text | None = None
    type: ChargeType | None = None
    amount_minor: AmountMinor | None = None
    taxes: Taxes | None = None


class RemoveCharge(Message):
    wire_type: ClassVar[str] = "orders.remove_charge.v1"

    charge_id: Identifier


class ApplyDiscount(Message):
    wire_type: ClassVar[str] = "orders.apply_discount.v1"

    discount: Discount


class RemoveDiscount(Message):
    wire_type: ClassVar[str] = "orders.remove_discount.v1"

    discount_id: Identifier


class SetTip(Message):
    wire_type: ClassVar[str] = "orders.set_tip.v1"

    tip_minor: AmountMinor


class UpdateOrder(Message):
    """Details that change no amount; only the fields that are given change, `null` clears, metadata merges by key."""

    wire_type: ClassVar[str] = "orders.update_order.v1"

    location_id: Identifier | None = None
    device_id: Identifier | None = None
    operator_id: Reference | None = None
    customer_id: Identifier | None = None
    external_reference: Reference | None = None
    metadata: MetadataPatch | None = None


class AddNote(Message):
    wire_type: ClassVar[str] = "orders.add_note.v1"

    note_id: Identifier
    text: LongText


class CancelOrder(ReasonedCommand):
    """Refused while the order holds money. Ends all leases."""

    wire_type: ClassVar[str] = "orders.cancel_order.v1"


class CloseOrder(ReasonedCommand):
    """Nothing more is to be sold or collected. Ends all leases; refused while an authorization is open."""

    wire_type: ClassVar[str] = "orders.close_order.v1"


class AcquireLease(Message):
    """Reserve part of what is owed for one holder, before it starts to collect."""

    wire_type: ClassVar[str] = "orders.acquire_lease.v1"

    lease_id: Identifier
    holder: Holder
    amount_minor: PositiveMinor
    term_s: LeaseSeconds = 300
    charging: bool = False
    """Whether a processor is being called: such a lease cannot be handed over."""
    expected_outstanding_minor: AmountMinor | None = None


class ExtendLease(Message):
    """The lease ends `term_s` from now; an ended one cannot be brought back."""

    wire_type: ClassVar[str] = "orders.extend_lease.v1"

    lease_id: Identifier
    holder: Holder
    term_s: LeaseSeconds = 300
    charging: bool | None = None


class ReleaseLease(ReasonedCommand):
    wire_type: ClassVar[str] = "orders.release_lease.v1"

    lease_id: Identifier
    holder: Holder | None = None


class HandOverLease(Message):
    """Give what is left of a lease to another holder in one step; nobody can slip in between."""

    wire_type: ClassVar[str] = "orders.hand_over_lease.v1"

    lease_id: Identifier
    new_lease_id: Identifier
    to: Holder
    term_s: LeaseSeconds = 300


class ExpireLeases(Message):
    """Write down which leases have run out; they stopped counting at their time without this."""

    wire_type: ClassVar[str] = "orders.expire_leases.v1"


class RecordAuthorization(TenderedCommand):
    """Fact: money is held for us and may be captured."""

    wire_type: ClassVar[str] = "orders.record_authorization.v1"

    payment_id: Identifier
    payment_reference: Reference
    amount_minor: PositiveMinor
    currency: Currency
    lease_id: Identifier | None = None
    authorized_at: Timestamp | None = None


class RecordCapture(TenderedCommand):
    """Fact: money was collected: under a lease, of an authorization (same payment), or of neither.

    `capture_reference` tells several captures of one payment apart; without it a payment is captured once.
    """

    wire_type: ClassVar[str] = "orders.record_capture.v1"

    payment_id: Identifier
    payment_reference: Reference
    capture_reference: Reference | None = None
    amount_minor: PositiveMinor
    currency: Currency
    lease_id: Identifier | None = None
    captured_at: Timestamp | None = None


class RecordVoid(TenderedCommand):
    """Fact: an authorization, or `amount_minor` of it, will not be captured. Without an amount: all that is left."""

    wire_type: ClassVar[str] = "orders.record_void.v1"

    payment_id: Identifier
    payment_reference: Reference
    amount_minor: PositiveMinor | None = None
    currency: Currency


class RecordAuthorizationExpiry(Message):
    """Fact: what is left of an authorization ran out at the processor."""

    wire_type: ClassVar[str] = "orders.record_authorization_expiry.v1"

    payment_id: Identifier


class RecordPaymentFailure(TenderedCommand):
    """Fact: an attempt to collect came to nothing; no money moved."""

    wire_type: ClassVar[str] = "orders.record_payment_failure.v1"

    payment_id: Identifier
    payment_reference: Reference
    amount_minor: PositiveMinor | None = None
    currency: Currency
    code: Annotated[str, Field(max_length=100), Clean] = "failed"
    message: Annotated[str, Field(max_length=500), Clean] | None = None
    lease_id: Identifier | None = None


class ReserveRefund(ReasonedCommand):
    """Set money aside to give back, and propose which payments bear it.

    `policy` decides the proposal: the last payment first, gift cards first, cash last, or exactly `payments`.
    `only_credit` sets aside only what the order has beyond what it is owed.
    """

    wire_type: ClassVar[str] = "orders.reserve_refund.v1"

    refund_id: Identifier
    amount_minor: PositiveMinor
    effect: RefundEffect = "reduce_total"
    policy: Literal["reverse_order", "gift_card_first", "cash_last"] = "reverse_order"
    payments: Annotated[tuple[Allocation, ...], Field(max_length=100)] = ()
    only_credit: bool = False


class RecordRefund(TenderedCommand, ReasonedCommand):
    """Fact: money went back to the buyer, whether it was reserved or not."""

    wire_type: ClassVar[str] = "orders.record_refund.v1"

    refund_id: Identifier
    refund_reference: Reference
    payment_id: Identifier
    payment_reference: Reference | None = None
    amount_minor: PositiveMinor
    currency: Currency
    effect: RefundEffect = "reduce_total"
    refunded_at: Timestamp | None = None


class ReleaseRefund(ReasonedCommand):
    """What is left of a reservation will not be refunded."""

    wire_type: ClassVar[str] = "orders.release_refund.v1"

    refund_id: Identifier


class ReverseRefund(ReasonedCommand):
    """Fact: a refund that had been reported as done failed later; the money is ours again."""

    wire_type: ClassVar[str] = "orders.reverse_refund.v1"

    refund_id: Identifier
    refund_reference: Reference


OrderCommand = (
    CreateOrder
    | OpenOrder
    | AddLineItem
    | UpdateLineItem
    | RemoveLineItem
    | AddCharge
    | UpdateCharge
    | RemoveCharge
    | ApplyDiscount
    | RemoveDiscount
    | SetTip
    | UpdateOrder
    | AddNote
    | CancelOrder
    | CloseOrder
    | AcquireLease
    | ExtendLease
    | ReleaseLease
    | HandOverLease
    | ExpireLeases
    | RecordAuthorization
    | RecordCapture
    | RecordVoid
    | RecordAuthorizationExpiry
    | RecordPaymentFailure
    | ReserveRefund
    | RecordRefund
    | ReleaseRefund
    | ReverseRefund
)

MoneyFact = (
    RecordAuthorization
    | RecordCapture
    | RecordVoid
    | RecordAuthorizationExpiry
    | RecordPaymentFailure
    | RecordRefund
    | ReverseRefund
)
