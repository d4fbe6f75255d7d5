"""`evolve(order, event, at)`: the order after one more event. Never refuses; applies every event ever stored."""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import TypeVar, assert_never, get_args

from services.orders.core.pricing import price
from services.orders.core.state import Capture, Lease, Order, Payment, Refund, RefundLeg, Settlement
from shared.contracts.order_events import (
    AuthorizationExpired,
    ChargeAdded,
    ChargeRemoved,
    ChargeUpdated,
    DiscountApplied,
    DiscountRemoved,
    LeaseExpired,
    LeaseExtended,
    LeaseGranted,
    LeaseHandedOver,
    LeaseReleased,
    LineItemAdded,
    LineItemRemoved,
    LineItemUpdated,
    NoteAdded,
    OrderCanceled,
    OrderClosed,
    OrderCreated,
    OrderDetailsUpdated,
    OrderEvent,
    OrderOpened,
    OrderOverpaid,
    OrderPaid,
    OrderPartiallyPaid,
    PaymentAuthorized,
    PaymentCaptured,
    PaymentFailed,
    PaymentVoided,
    RefundRecorded,
    RefundReleased,
    RefundReserved,
    RefundReversed,
    TipSet,
)
from shared.contracts.order_parts import Tender
from shared.immutable import replace

T = TypeVar("T")


def fold(order: Order | None, order_id: str, version: int, events: Iterable[OrderEvent], at: datetime) -> Order:
    """The order after all events of one version, which was recorded at `at`."""
    for event in events:
        order = _create(order_id, event, at) if isinstance(event, OrderCreated) else evolve(_known(order), event, at)
    known = _known(order)
    return replace(known, version=version, updated_at=at, settlement=_settle(known.payments))


def follow(order: Order | None, order_id: str, version: int, events: Iterable[OrderEvent], at: datetime) -> Order:
    """As `fold`, but for the sums, which `summed` works out after the last version: there may be thousands."""
    for event in events:
        if isinstance(event, OrderCreated):
            order = _create(order_id, event, at)
        else:
            known = _known(order)
            order = _changed(_priced(known) if isinstance(event, OrderCanceled) else known, event, at)
    return replace(_known(order), version=version, updated_at=at)


def summed(order: Order) -> Order:
    """The order with its totals and its settlement, as `fold` would have left it."""
    return replace(_priced(order), settlement=_settle(order.payments))


def _settle(payments: Iterable[Payment]) -> Settlement:
    authorized = captured = refunded = 0
    for leg in payments:
        authorized += leg.open_authorization
        captured += leg.captured
        refunded += leg.refunded
    return Settlement(authorized, captured, refunded)


def _known(order: Order | None) -> Order:
    assert order is not None, "the first event of an order is OrderCreated"
    return order


def _create(order_id: str, event: OrderCreated, at: datetime) -> Order:
    return Order(
        order_id=order_id,
        merchant_id=event.merchant_id,
        environment=event.environment,
        number=event.number,
        version=0,
        status="draft" if event.draft else "open",
        source=event.source,
        currency=event.currency,
        created_at=at,
        updated_at=at,
        context=event.context,
        lines=event.line_items,
        charges=event.charges,
        discounts=event.discounts,
        tip=event.tip_minor,
        pricing=price(event.line_items, event.charges, event.discounts, event.tip_minor),
        metadata=event.metadata,
    )


def _priced(order: Order) -> Order:
    return replace(order, pricing=price(order.lines, order.charges, order.discounts, order.tip))


def evolve(order: Order, event: OrderEvent, at: datetime) -> Order:
    """The order after `event`, which was recorded at `at`."""
    after = _changed(order, event, at)
    return _priced(after) if isinstance(event, _EDITS) else after


def _changed(order: Order, event: OrderEvent, at: datetime) -> Order:
    """With the totals of before, where an edit changed the parts."""
    match event:
        case PaymentAuthorized():
            return _authorized(order, event, at)
        case PaymentCaptured():
            return _captured(order, event, at)
        case PaymentVoided():
            return _voided(order, event, at)
        case AuthorizationExpired():
            return _on_payment(order, event.payment_id, lambda leg: replace(leg, authorization_ended="expired"))
        case PaymentFailed():
            return _failed(order, event, at)
        case LeaseGranted() | LeaseExtended() | LeaseReleased() | LeaseExpired() | LeaseHandedOver():
            return replace(order, leases=_leases(order, event))
        case RefundReserved() | RefundReleased():
            return replace(order, refunds=_refunds(order, event))
        case RefundRecorded():
            return _refund_recorded(order, event, at)
        case RefundReversed():
            return _refund_reversed(order, event)
        case OrderDetailsUpdated():
            return replace(order, context=event.context, metadata=event.metadata)
        case OrderOpened():
            return replace(order, status="open")
        case OrderCanceled():
            # What is canceled is owed no more; money that arrives later is therefore a credit of the buyer.
            return replace(order, status="canceled", canceled_at=at, returned=order.pricing.total)
        case OrderClosed():
            return replace(order, status="closed", closed_at=at)
        case OrderCreated():
            return order
        case NoteAdded() | OrderPartiallyPaid() | OrderPaid() | OrderOverpaid():
            return order
        case _:
            return _edited(order, event)


Edit = (
    LineItemAdded
    | LineItemUpdated
    | LineItemRemoved
    | ChargeAdded
    | ChargeUpdated
    | ChargeRemoved
    | DiscountApplied
    | DiscountRemoved
    | TipSet
)
_EDITS = get_args(Edit)


def _edited(order: Order, event: Edit) -> Order:
    """Edits change the parts of an order and, with them, every total."""
    lines, charges, discounts, tip = order.lines, order.charges, order.discounts, order.tip
    match event:
        case LineItemAdded():
            lines = (*lines, event.line_item)
        case LineItemUpdated():
            new_line = event.line_item
            lines = tuple(new_line if line.line_item_id == new_line.line_item_id else line for line in lines)
        case LineItemRemoved():
            lines = tuple(line for line in lines if line.line_item_id != event.line_item_id)
        case ChargeAdded():
            charges = (*charges, event.charge)
        case ChargeUpdated():
            new = event.charge
            charges = tuple(new if charge.charge_id == new.charge_id else charge for charge in charges)
        case ChargeRemoved():
            charges = tuple(charge for charge in charges if charge.charge_id != event.charge_id)
        case DiscountApplied():
            discounts = (*discounts, event.discount)
        case DiscountRemoved():
            discounts = tuple(discount for discount in discounts if discount.discount_id != event.discount_id)
        case TipSet():
            tip = event.tip_minor
        case _:
            assert_never(event)
    return replace(order, lines=lines, charges=charges, discounts=discounts, tip=tip)


def _swap(items: tuple[T, ...], old: T | None, new: T) -> tuple[T, ...]:
    if old is None:
        return (*items, new)
    return tuple(new if item is old else item for item in items)


def _on_payment(order: Order, payment_id: str, change: Callable[[Payment], Payment]) -> Order:
    leg = order.payment(payment_id)
    return order if leg is None else replace(order, payments=_swap(order.payments, leg, change(leg)))


def _leg(order: Order, payment_id: str, reference: str, tender: Tender, at: datetime) -> tuple[Payment | None, Payment]:
    """The leg that an event is about: as it stands (`None` if this is its first event), and to go on from."""
    known = order.payment(payment_id, reference, tender.channel_id)
    return known, known or Payment(payment_id, reference, tender, created_at=at)


def _merged(old: Tender, new: Tender) -> Tender:
    """Later facts fill in what earlier ones left open."""
    if old is new or old == new:
        return old
    return old.model_copy(update={name: value for name, value in new if value is not None})


def _authorized(order: Order, event: PaymentAuthorized, at: datetime) -> Order:
    known, old = _leg(order, event.payment_id, event.payment_reference, event.tender, at)
    leg = replace(
        old,
        authorized=old.authorized + event.amount_minor,
        tender=_merged(old.tender, event.tender),
        lease_id=event.lease_id or old.lease_id,
    )
    leases = _used(order, event.lease_id, _newly_taken(old, leg, event))
    return replace(order, payments=_swap(order.payments, known, leg), leases=leases)


def _captured(order: Order, event: PaymentCaptured, at: datetime) -> Order:
    known, old = _leg(order, event.payment_id, event.payment_reference, event.tender, at)
    leg = replace(
        old,
        captured=old.captured + event.amount_minor,
        captures=(*old.captures, Capture(event.capture_reference, event.amount_minor)),
        tender=_merged(old.tender, event.tender),
        lease_id=event.lease_id or old.lease_id,
        captured_at=event.captured_at or at,
    )
    leases = _used(order, event.lease_id, _newly_taken(old, leg, event))
    return replace(order, payments=_swap(order.payments, known, leg), leases=leases)


def _newly_taken(old: Payment, new: Payment, event: PaymentAuthorized | PaymentCaptured) -> int:
    """What an event takes of its lease: money that was held under the same lease before has taken its part already."""
    if old.lease_id != event.lease_id:
        return event.amount_minor
    return max(0, new.open_authorization + new.captured - old.open_authorization - old.captured)


def _voided(order: Order, event: PaymentVoided, at: datetime) -> Order:
    known, leg = _leg(order, event.payment_id, event.payment_reference, event.tender, at)
    if event.amount_minor is None:
        leg = replace(leg, authorization_ended="voided", voided=leg.voided + leg.open_authorization)
    else:
        leg = replace(leg, voided=leg.voided + event.amount_minor)
    return replace(order, payments=_swap(order.payments, known, leg))


def _failed(order: Order, event: PaymentFailed, at: datetime) -> Order:
    known, leg = _leg(order, event.payment_id, event.payment_reference, event.tender, at)
    return replace(order, payments=_swap(order.payments, known, replace(leg, failure_code=event.code)))


def _used(order: Order, lease_id: str | None, amount: int) -> tuple[Lease, ...]:
    """Money taken under a lease uses it up; one that is used up is gone."""
    lease = order.lease(lease_id) if lease_id else None
    if lease is None:
        return order.leases
    used = replace(lease, used=lease.used + min(amount, lease.rest))
    return tuple(used if other is lease else other for other in order.leases if other is not lease or used.rest)


def _leases(
    order: Order, event: LeaseGranted | LeaseExtended | LeaseReleased | LeaseExpired | LeaseHandedOver
) -> tuple[Lease, ...]:
    others = tuple(lease for lease in order.leases if lease.lease_id != event.lease_id)
    fence = order.version + 1
    match event:
        case LeaseGranted():
            lease = Lease(
                event.lease_id, event.holder, event.amount_minor, fence, event.expires_at, charging=event.charging
            )
            return (*others, lease)
        case LeaseExtended():
            old = order.lease(event.lease_id)
            if old is None:
                return others
            return (*others, replace(old, expires_at=event.expires_at, charging=event.charging))
        case LeaseHandedOver():
            return (*others, Lease(event.new_lease_id, event.to, event.amount_minor, fence, event.expires_at))
        case LeaseReleased() | LeaseExpired():
            return others
        case _:
            assert_never(event)


def _refunds(order: Order, event: RefundReserved | RefundReleased) -> tuple[Refund, ...]:
    known = order.refund(event.refund_id)
    if isinstance(event, RefundReserved):
        refund = known or Refund(event.refund_id, event.effect)
        if event.anew:
            refund = replace(refund, reserved=0, released=0, sent_before=len(refund.legs))
        reserved = refund.reserved + event.amount_minor
        refund = replace(refund, reserved=reserved, allocation=event.allocation, reason=event.reason)
        return _swap(order.refunds, known, refund)
    if known is None:
        return order.refunds
    return _swap(order.refunds, known, replace(known, released=known.released + event.amount_minor))


def _refund_recorded(order: Order, event: RefundRecorded, at: datetime) -> Order:
    known, leg = _leg(order, event.payment_id, event.payment_reference or event.payment_id, event.tender, at)
    leg = replace(leg, refunded=leg.refunded + event.amount_minor)
    known_refund = order.refund(event.refund_id)
    refund = known_refund or Refund(event.refund_id, event.effect, reason=event.reason)
    method = event.tender.method.type if event.tender.method else None
    sent = RefundLeg(event.refund_reference, leg.payment_id, event.amount_minor, event.returned_minor, method=method)
    refund = replace(refund, legs=(*refund.legs, sent))
    return replace(
        order,
        payments=_swap(order.payments, known, leg),
        refunds=_swap(order.refunds, known_refund, refund),
        returned=order.returned + event.returned_minor,
    )


def _refund_reversed(order: Order, event: RefundReversed) -> Order:
    refund = order.refund(event.refund_id)
    sent = next((leg for leg in refund.legs if leg.reference == event.refund_reference), None) if refund else None
    if refund is None or sent is None or sent.reversed:
        return order
    undone = replace(refund, legs=_swap(refund.legs, sent, replace(sent, reversed=True)))
    # The money is ours again and no longer set aside: whoever still wants to refund it reserves it anew.
    undone = replace(undone, released=undone.released + max(0, undone.open - refund.open))
    # A canceled order stays worth nothing: what came back to us is a credit of the buyer again.
    returned = order.returned if order.status == "canceled" else order.returned - sent.returned
    order = replace(order, refunds=_swap(order.refunds, refund, undone), returned=returned)
    return _on_payment(order, sent.payment_id, lambda leg: replace(leg, refunded=leg.refunded - sent.amount))
