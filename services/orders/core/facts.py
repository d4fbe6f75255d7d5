"""What already happened to money. Always applied, whatever the order's state; what does not fit becomes a credit.

A fact is refused only where it cannot be about this order (another currency) or where the same reference said
something else before: both are then somebody's to look at, as unmatched money.
"""

from services.orders.core.refusal import Refusal
from services.orders.core.state import Order
from shared.contracts.order_commands import (
    RecordAuthorization,
    RecordAuthorizationExpiry,
    RecordCapture,
    RecordPaymentFailure,
    RecordVoid,
)
from shared.contracts.order_events import (
    AuthorizationExpired,
    OrderEvent,
    PaymentAuthorized,
    PaymentCaptured,
    PaymentFailed,
    PaymentVoided,
)
from shared.money import format_money

UsesLease = PaymentAuthorized | PaymentCaptured


def other_currency(order: Order, currency: str) -> Refusal | None:
    if currency == order.currency:
        return None
    detail = f"The order is in {order.currency}, the money in {currency}."
    return Refusal("CURRENCY_MISMATCH", detail, {"order_currency": order.currency, "currency": currency})


def reused(order: Order, reference: str, said_before: int) -> Refusal:
    detail = f"{reference} was recorded with {format_money(said_before, order.currency)} before."
    return Refusal("PAYMENT_REFERENCE_REUSED", detail, {"recorded_minor": said_before})


def record_authorization(order: Order, command: RecordAuthorization) -> list[OrderEvent] | Refusal:
    """Once per payment; again with another amount is a contradiction."""
    mismatch = other_currency(order, command.currency)
    if mismatch:
        return mismatch
    leg = order.payment(command.payment_id, command.payment_reference, command.tender.channel_id)
    if leg is not None and leg.authorized:
        same = leg.authorized == command.amount_minor
        return [] if same else reused(order, command.payment_reference, leg.authorized)
    return [
        PaymentAuthorized(
            payment_id=command.payment_id,
            payment_reference=command.payment_reference,
            amount_minor=command.amount_minor,
            tender=command.tender,
            lease_id=command.lease_id,
            authorized_at=command.authorized_at,
        )
    ]


def record_capture(order: Order, command: RecordCapture) -> list[OrderEvent] | Refusal:
    """Once per payment and capture reference; again with another amount is a contradiction."""
    mismatch = other_currency(order, command.currency)
    if mismatch:
        return mismatch
    leg = order.payment(command.payment_id, command.payment_reference, command.tender.channel_id)
    for capture in leg.captures if leg else ():
        if capture.reference == command.capture_reference:
            same = capture.amount == command.amount_minor
            return [] if same else reused(order, command.payment_reference, capture.amount)
    return [
        PaymentCaptured(
            payment_id=command.payment_id,
            payment_reference=command.payment_reference,
            capture_reference=command.capture_reference,
            amount_minor=command.amount_minor,
            tender=command.tender,
            lease_id=command.lease_id,
            captured_at=command.captured_at,
        )
    ]


def record_void(order: Order, command: RecordVoid) -> list[OrderEvent] | Refusal:
    """Also before its authorization arrived: the hold then never counts."""
    mismatch = other_currency(order, command.currency)
    if mismatch:
        return mismatch
    leg = order.payment(command.payment_id, command.payment_reference, command.tender.channel_id)
    if leg is not None and leg.authorization_ended == "voided":
        return []
    return [
        PaymentVoided(
            payment_id=command.payment_id,
            payment_reference=command.payment_reference,
            amount_minor=command.amount_minor,
            tender=command.tender,
        )
    ]


def record_authorization_expiry(order: Order, command: RecordAuthorizationExpiry) -> list[OrderEvent] | Refusal:
    """What is left of a hold ended at the processor."""
    leg = order.payment(command.payment_id)
    if leg is None:
        return Refusal("NOT_FOUND", "The order has no such payment.")
    return [] if leg.authorization_ended else [AuthorizationExpired(payment_id=leg.payment_id)]


def record_failure(order: Order, command: RecordPaymentFailure) -> list[OrderEvent] | Refusal:
    """No money moved; the attempt is kept for whoever asks."""
    mismatch = other_currency(order, command.currency)
    if mismatch:
        return mismatch
    leg = order.payment(command.payment_id, command.payment_reference, command.tender.channel_id)
    if leg is not None and leg.failure_code == command.code:
        return []
    return [
        PaymentFailed(
            payment_id=command.payment_id,
            payment_reference=command.payment_reference,
            code=command.code,
            message=command.message,
            amount_minor=command.amount_minor,
            tender=command.tender,
        )
    ]
