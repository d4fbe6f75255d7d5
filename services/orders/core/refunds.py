"""Giving money back: reserved first, so that concurrent refunds never exceed what was collected; then recorded."""

from collections.abc import Iterable

from services.orders.core.blockers import payment_blocker
from services.orders.core.facts import other_currency, reused
from services.orders.core.refusal import Refusal
from services.orders.core.state import Order, Payment, RefundLeg
from shared.contracts.order_commands import RecordRefund, ReleaseRefund, ReserveRefund, ReverseRefund
from shared.contracts.order_events import OrderEvent, RefundRecorded, RefundReleased, RefundReserved, RefundReversed
from shared.contracts.order_parts import Allocation
from shared.money import format_money


def reserve(order: Order, command: ReserveRefund) -> list[OrderEvent] | Refusal:
    """Set aside the whole amount, with a proposal which payments bear it, or nothing.

    What was released is no longer set aside: the same refund has to set it aside anew, if it still can.
    """
    known = order.refund(command.refund_id)
    if known is not None and known.reserved and (known.open or not known.released):
        stands = known.open if known.released else known.reserved
        return [] if stands == command.amount_minor else reused(order, command.refund_id, stands)
    free = max(0, order.net_collected - order.refund_reserved)
    if command.amount_minor > free:
        return _too_much(order, free)
    left = max(0, order.credit - order.refund_reserved)
    if command.only_credit and command.amount_minor > left:
        detail = f"The order has {format_money(left, order.currency)} more than it is owed."
        return Refusal("SURPLUS_GONE", detail, {"refundable_minor": left}, param="amount_money")
    allocation = allocate(order, command)
    if sum(part.amount_minor for part in allocation) != command.amount_minor:
        detail = "The named payments cannot bear the refund."
        return Refusal("REFUND_EXCEEDS_COLLECTED", detail, {"refundable_minor": free}, param="payments")
    return [
        RefundReserved(
            refund_id=command.refund_id,
            amount_minor=command.amount_minor,
            effect=command.effect,
            allocation=allocation,
            reason=command.reason,
            anew=known is not None,
        )
    ]


def _too_much(order: Order, free: int) -> Refusal:
    detail = f"At most {format_money(free, order.currency)} can be refunded."
    blockers = tuple(payment_blocker(order, leg) for leg in order.payments if leg.refundable)
    return Refusal("REFUND_EXCEEDS_COLLECTED", detail, {"refundable_minor": free}, blockers, param="amount_money")


def allocate(order: Order, command: ReserveRefund) -> tuple[Allocation, ...]:
    """Which payments bear how much: exactly the named ones, else by policy until the amount is reached."""
    free = {leg.payment_id: _free(order, leg) for leg in order.payments}
    if command.payments:
        fits = all(part.amount_minor <= free.get(part.payment_id, 0) for part in command.payments)
        once = len({part.payment_id for part in command.payments}) == len(command.payments)
        return command.payments if fits and once else ()
    left = command.amount_minor
    parts = []
    for leg in _by_policy(order.payments, command.policy):
        part = min(left, free[leg.payment_id])
        if part:
            parts.append(Allocation(payment_id=leg.payment_id, amount_minor=part))
            left -= part
    return tuple(parts)


def _free(order: Order, leg: Payment) -> int:
    """What of a payment is neither refunded nor set aside for a refund that is under way."""
    set_aside = 0
    for refund in order.refunds:
        if refund.open:
            planned = sum(part.amount_minor for part in refund.allocation if part.payment_id == leg.payment_id)
            sent = sum(out.amount for out in refund.sent if out.payment_id == leg.payment_id)
            set_aside += min(refund.open, max(0, planned - sent))
    return max(0, leg.refundable - set_aside)


def _by_policy(payments: Iterable[Payment], policy: str) -> list[Payment]:
    latest_first = list(reversed(list(payments)))

    def of_type(leg: Payment, method_type: str) -> bool:
        return leg.tender.method is not None and leg.tender.method.type == method_type

    match policy:
        case "gift_card_first":
            return sorted(latest_first, key=lambda leg: not of_type(leg, "gift_card"))
        case "cash_last":
            return sorted(latest_first, key=lambda leg: of_type(leg, "cash"))
        case _:
            return latest_first


def record(order: Order, command: RecordRefund) -> list[OrderEvent] | Refusal:
    """A refund first pays back what the buyer has too much with us; only the rest lowers what the order is worth."""
    mismatch = other_currency(order, command.currency)
    if mismatch:
        return mismatch
    sent = _find_sent(order, command.refund_id, command.refund_reference)
    if sent is not None:
        return [] if sent.amount == command.amount_minor else reused(order, command.refund_reference, sent.amount)
    known = order.refund(command.refund_id)
    effect = known.effect if known else command.effect
    beyond_credit = max(0, command.amount_minor - order.credit)
    returned = min(beyond_credit, order.net_total) if effect == "reduce_total" else 0
    return [
        RefundRecorded(
            refund_id=command.refund_id,
            refund_reference=command.refund_reference,
            payment_id=command.payment_id,
            payment_reference=command.payment_reference,
            amount_minor=command.amount_minor,
            returned_minor=returned,
            effect=effect,
            tender=command.tender,
            refunded_at=command.refunded_at,
            reason=command.reason,
        )
    ]


def _find_sent(order: Order, refund_id: str, reference: str) -> RefundLeg | None:
    refund = order.refund(refund_id)
    legs = refund.legs if refund else ()
    return next((leg for leg in legs if leg.reference == reference), None)


def release(order: Order, command: ReleaseRefund) -> list[OrderEvent] | Refusal:
    """What is still set aside is free again."""
    refund = order.refund(command.refund_id)
    if refund is None:
        return Refusal("NOT_FOUND", "The order has no such refund.")
    if not refund.open:
        return []
    return [RefundReleased(refund_id=refund.refund_id, amount_minor=refund.open, reason=command.reason)]


def reverse(order: Order, command: ReverseRefund) -> list[OrderEvent] | Refusal:
    """The money never left: it is on the order again."""
    sent = _find_sent(order, command.refund_id, command.refund_reference)
    if sent is None:
        return Refusal("NOT_FOUND", "The order has no such refund.")
    if sent.reversed:
        return []
    return [
        RefundReversed(refund_id=command.refund_id, refund_reference=command.refund_reference, reason=command.reason)
    ]
