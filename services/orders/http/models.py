"""What clients get about orders, as the API reference shows it."""

from datetime import datetime

from services.orders.http import examples
from shared.contracts import order_parts as parts
from shared.contracts.model import JsonObject, Money
from shared.http.answers import AnswerModel
from shared.http.bodies import shown


class TaxView(AnswerModel):
    name: str
    percentage: str | None
    inclusive: bool
    tax_money: Money


class LineItemView(AnswerModel):
    line_item_id: str
    name: str
    sku: str | None
    quantity: str
    unit_price_money: Money
    subtotal_money: Money
    discount_money: Money
    taxes: list[TaxView]
    total_money: Money
    metadata: dict[str, str]


class ChargeView(AnswerModel):
    charge_id: str
    name: str
    type: parts.ChargeType
    amount_money: Money
    taxes: list[TaxView]
    total_money: Money


class DiscountView(AnswerModel):
    discount_id: str
    name: str
    percentage: str | None
    amount_money: Money
    line_item_ids: list[str] | None


class PricingView(AnswerModel):
    """total = subtotal - discount + charge + (tax not included in prices) + tip; net total = total - returned."""

    subtotal_money: Money
    discount_money: Money
    charge_money: Money
    tax_money: Money
    tip_money: Money
    total_money: Money
    returned_money: Money
    net_total_money: Money


class SettlementView(AnswerModel):
    """outstanding = what is still owed; available = what of it nobody holds or is collecting."""

    authorized_money: Money
    captured_money: Money
    refunded_money: Money
    net_collected_money: Money
    leased_money: Money
    outstanding_money: Money
    available_money: Money
    credit_money: Money


class MethodView(AnswerModel):
    type: parts.MethodType
    brand: str | None
    last4: str | None


class PaymentView(AnswerModel):
    payment_id: str
    reference: str
    status: str
    source: parts.Source | None
    method: MethodView | None
    authorized_money: Money
    captured_money: Money
    refunded_money: Money
    voided_money: Money
    failure_code: str | None
    channel_id: str | None
    payment_intent_id: str | None
    device_id: str | None
    location_id: str | None
    operator_id: str | None
    lease_id: str | None
    captured_at: datetime | None


class HolderView(AnswerModel):
    type: str
    id: str


class LeaseView(AnswerModel):
    lease_id: str
    holder: HolderView
    amount_money: Money
    charging: bool
    fence: int
    expires_at: datetime


class AllocationView(AnswerModel):
    payment_id: str
    amount_money: Money


class RefundLegView(AnswerModel):
    refund_reference: str
    payment_id: str
    amount_money: Money
    status: str
    method: parts.MethodType | None
    """How it went back, where that was said: `external` by no processor that is known here."""


class RefundView(AnswerModel):
    refund_id: str
    effect: parts.RefundEffect
    reason: str | None
    reserved_money: Money
    refunded_money: Money
    allocation: list[AllocationView]
    legs: list[RefundLegView]


class CustomerView(AnswerModel):
    model_config = shown(examples.CUSTOMER)

    customer_id: str
    version: int
    name: str | None
    email: str | None
    phone: str | None
    external_reference: str | None
    metadata: dict[str, str]
    created_at: datetime
    updated_at: datetime


class OrderView(AnswerModel):
    """One durable order, with everything that happened to its money."""

    model_config = shown(examples.ORDER)

    order_id: str
    number: str
    merchant_id: str
    environment: str
    version: int
    status: parts.Status
    payment_status: parts.PaymentStatus
    refund_status: parts.RefundStatus
    fulfillment_status: str
    source: parts.Source
    location_id: str | None
    device_id: str | None
    operator_id: str | None
    customer_id: str | None
    external_reference: str | None
    currency: str
    line_items: list[LineItemView]
    charges: list[ChargeView]
    discounts: list[DiscountView]
    pricing: PricingView
    settlement: SettlementView
    payments: list[PaymentView]
    leases: list[LeaseView]
    refunds: list[RefundView]
    customer: CustomerView | None
    metadata: dict[str, str]
    created_at: datetime
    updated_at: datetime
    closed_at: datetime | None
    canceled_at: datetime | None


class ActorView(AnswerModel):
    type: str
    id: str


class EventView(AnswerModel):
    type: str
    data: JsonObject


class ActivityView(AnswerModel):
    """One version in an order's history. The balance is the net total less what was collected."""

    order_id: str
    version: int
    previous_version: int
    type: str
    """The first of `events`."""
    summary: str
    """What happened, as a sentence."""
    recorded_at: datetime
    events: list[EventView]
    actor: ActorView
    channel: str | None
    reason: str | None
    command_id: str
    balance_before: Money
    balance_after: Money


class NoteView(AnswerModel):
    note_id: str
    order_id: str
    version: int
    text: str
