"""What happened to an order. Written once, applied for ever: fields are only added, with defaults."""

from datetime import datetime
from typing import Annotated, ClassVar

from pydantic import Field

from shared.contracts.model import Currency, Identifier, Message, Metadata
from shared.contracts.order_parts import (
    Allocation,
    Charge,
    Context,
    Discount,
    Holder,
    LineItem,
    RefundEffect,
    Source,
    Tender,
)


class OrderCreated(Message):
    wire_type: ClassVar[str] = "orders.order_created.v1"

    merchant_id: Identifier
    environment: str
    number: str
    currency: Currency
    source: Source
    draft: bool = False
    line_items: tuple[LineItem, ...] = ()
    charges: tuple[Charge, ...] = ()
    discounts: tuple[Discount, ...] = ()
    tip_minor: int = 0
    context: Context = Context()
    metadata: Metadata = Field(default_factory=dict)


class OrderOpened(Message):
    wire_type: ClassVar[str] = "orders.order_opened.v1"


class LineItemAdded(Message):
    wire_type: ClassVar[str] = "orders.line_item_added.v1"

    line_item: LineItem


class LineItemUpdated(Message):
    wire_type: ClassVar[str] = "orders.line_item_updated.v1"

    line_item: LineItem


class LineItemRemoved(Message):
    wire_type: ClassVar[str] = "orders.line_item_removed.v1"

    line_item_id: Identifier


class ChargeAdded(Message):
    wire_type: ClassVar[str] = "orders.charge_added.v1"

    charge: Charge


class ChargeUpdated(Message):
    wire_type: ClassVar[str] = "orders.charge_updated.v1"

    charge: Charge


class ChargeRemoved(Message):
    wire_type: ClassVar[str] = "orders.charge_removed.v1"

    charge_id: Identifier


class DiscountApplied(Message):
    wire_type: ClassVar[str] = "orders.discount_applied.v1"

    discount: Discount


class DiscountRemoved(Message):
    wire_type: ClassVar[str] = "orders.discount_removed.v1"

    discount_id: Identifier


class TipSet(Message):
    wire_type: ClassVar[str] = "orders.tip_set.v1"

    tip_minor: int


class OrderDetailsUpdated(Message):
    """Details and metadata as they are from now on, whole."""

    wire_type: ClassVar[str] = "orders.order_details_updated.v1"

    context: Context
    metadata: Metadata = Field(default_factory=dict)


class NoteAdded(Message):
    wire_type: ClassVar[str] = "orders.note_added.v1"

    note_id: Identifier
    text: str


class OrderCanceled(Message):
    """Nothing is owed any more: the whole net total counts as returned."""

    wire_type: ClassVar[str] = "orders.order_canceled.v1"

    reason: str | None = None


class OrderClosed(Message):
    wire_type: ClassVar[str] = "orders.order_closed.v1"

    reason: str | None = None


class LeaseGranted(Message):
    wire_type: ClassVar[str] = "orders.lease_granted.v1"

    lease_id: Identifier
    holder: Holder
    amount_minor: int
    expires_at: datetime
    charging: bool = False


class LeaseExtended(Message):
    wire_type: ClassVar[str] = "orders.lease_extended.v1"

    lease_id: Identifier
    expires_at: datetime
    charging: bool = False


class LeaseReleased(Message):
    wire_type: ClassVar[str] = "orders.lease_released.v1"

    lease_id: Identifier
    reason: str | None = None


class LeaseExpired(Message):
    wire_type: ClassVar[str] = "orders.lease_expired.v1"

    lease_id: Identifier


class LeaseHandedOver(Message):
    wire_type: ClassVar[str] = "orders.lease_handed_over.v1"

    lease_id: Identifier
    new_lease_id: Identifier
    to: Holder
    amount_minor: int
    expires_at: datetime


class PaymentAuthorized(Message):
    wire_type: ClassVar[str] = "orders.payment_authorized.v1"

    payment_id: Identifier
    payment_reference: str
    amount_minor: int
    tender: Tender = Tender()
    lease_id: Identifier | None = None
    authorized_at: datetime | None = None


class PaymentCaptured(Message):
    wire_type: ClassVar[str] = "orders.payment_captured.v1"

    payment_id: Identifier
    payment_reference: str
    capture_reference: str | None = None
    amount_minor: int
    tender: Tender = Tender()
    lease_id: Identifier | None = None
    captured_at: datetime | None = None


class PaymentVoided(Message):
    wire_type: ClassVar[str] = "orders.payment_voided.v1"

    payment_id: Identifier
    payment_reference: str
    amount_minor: int | None = None
    tender: Tender = Tender()


class AuthorizationExpired(Message):
    wire_type: ClassVar[str] = "orders.authorization_expired.v1"

    payment_id: Identifier


class PaymentFailed(Message):
    wire_type: ClassVar[str] = "orders.payment_failed.v1"

    payment_id: Identifier
    payment_reference: str
    code: str
    message: str | None = None
    amount_minor: int | None = None
    tender: Tender = Tender()


class RefundReserved(Message):
    wire_type: ClassVar[str] = "orders.refund_reserved.v1"

    refund_id: Identifier
    amount_minor: int
    effect: RefundEffect
    allocation: tuple[Allocation, ...]
    reason: str | None = None
    anew: bool = False
    """The refund was known: nothing that was reserved, sent or released of it before counts for this reservation."""


class RefundRecorded(Message):
    """Money went back; `returned_minor` of it also lowered what the order is worth."""

    wire_type: ClassVar[str] = "orders.refund_recorded.v1"

    refund_id: Identifier
    refund_reference: str
    payment_id: Identifier
    payment_reference: str | None = None
    amount_minor: int
    returned_minor: Annotated[int, Field(ge=0)]
    effect: RefundEffect
    tender: Tender = Tender()
    refunded_at: datetime | None = None
    reason: str | None = None


class RefundReleased(Message):
    wire_type: ClassVar[str] = "orders.refund_released.v1"

    refund_id: Identifier
    amount_minor: int
    reason: str | None = None


class RefundReversed(Message):
    wire_type: ClassVar[str] = "orders.refund_reversed.v1"

    refund_id: Identifier
    refund_reference: str
    reason: str | None = None


class OrderPartiallyPaid(Message):
    """Follows from the event before it in the same version: part of what is owed is collected."""

    wire_type: ClassVar[str] = "orders.order_partially_paid.v1"


class OrderPaid(Message):
    """Follows from the event before it in the same version: nothing is owed any more. Of a draft it is told when it
    opens."""

    wire_type: ClassVar[str] = "orders.order_paid.v1"


class OrderOverpaid(Message):
    """Follows from the event before it in the same version: more was collected than is owed."""

    wire_type: ClassVar[str] = "orders.order_overpaid.v1"

    credit_minor: int


OrderEvent = (
    OrderCreated
    | OrderOpened
    | LineItemAdded
    | LineItemUpdated
    | LineItemRemoved
    | ChargeAdded
    | ChargeUpdated
    | ChargeRemoved
    | DiscountApplied
    | DiscountRemoved
    | TipSet
    | OrderDetailsUpdated
    | NoteAdded
    | OrderCanceled
    | OrderClosed
    | LeaseGranted
    | LeaseExtended
    | LeaseReleased
    | LeaseExpired
    | LeaseHandedOver
    | PaymentAuthorized
    | PaymentCaptured
    | PaymentVoided
    | AuthorizationExpired
    | PaymentFailed
    | RefundReserved
    | RefundRecorded
    | RefundReleased
    | RefundReversed
    | OrderPartiallyPaid
    | OrderPaid
    | OrderOverpaid
)
