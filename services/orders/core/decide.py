"""`decide(order, command, ctx)`: the events that follow from a command, or the reason for refusing it."""

from datetime import datetime
from typing import assert_never

from services.orders.core import details, edits, facts, leases, refunds
from services.orders.core.evolve import fold
from services.orders.core.refusal import Refusal
from services.orders.core.state import Order
from shared.contracts.model import MAX_MINOR
from shared.contracts.order_commands import (
    AcquireLease,
    AddCharge,
    AddLineItem,
    AddNote,
    ApplyDiscount,
    CancelOrder,
    CloseOrder,
    CreateOrder,
    ExpireLeases,
    ExtendLease,
    HandOverLease,
    OpenOrder,
    OrderCommand,
    RecordAuthorization,
    RecordAuthorizationExpiry,
    RecordCapture,
    RecordPaymentFailure,
    RecordRefund,
    RecordVoid,
    ReleaseLease,
    ReleaseRefund,
    RemoveCharge,
    RemoveDiscount,
    RemoveLineItem,
    ReserveRefund,
    ReverseRefund,
    SetTip,
    UpdateCharge,
    UpdateLineItem,
    UpdateOrder,
)
from shared.contracts.order_events import (
    LeaseExpired,
    OrderCreated,
    OrderEvent,
    OrderOverpaid,
    OrderPaid,
    OrderPartiallyPaid,
)
from shared.contracts.order_parts import PaymentStatus
from shared.immutable import immutable
from shared.money import format_money


@immutable
class DecisionContext:
    """What a decision needs to know that is neither in the order nor in the command."""

    order_id: str
    merchant_id: str
    environment: str
    now: datetime
    number: str | None = None
    """A free order number, given only with `CreateOrder`."""
    expected_version: int | None = None


@immutable
class Decision:
    """A command was accepted: what happened and the order after it; no events means that it was already so."""

    order: Order
    events: tuple[OrderEvent, ...]


def decide_and_apply(order: Order | None, command: OrderCommand, ctx: DecisionContext) -> Decision | Refusal:
    """Decide, and fold what follows: the requested events, leases that ran out meanwhile, a changed payment status."""
    decided = decide(order, command, ctx)
    if isinstance(decided, Refusal):
        return decided
    if not decided:
        assert order is not None, "only an order that exists can already be so"
        return Decision(order, ())
    version = order.version + 1 if order else 1
    events = decided if order is None else [*decided, *_expiries(order, decided, ctx.now)]
    after = fold(order, ctx.order_id, version, events, ctx.now)
    if after.pricing.total > MAX_MINOR:
        return Refusal("AMOUNT_TOO_LARGE", f"An order comes to at most {format_money(MAX_MINOR, after.currency)}.")
    return Decision(after, (*events, *_announcement(order, after)))


def decide(order: Order | None, command: OrderCommand, ctx: DecisionContext) -> list[OrderEvent] | Refusal:
    """Return the events that follow, or the reason for refusing.

    An empty list means it was already so: a repeated command is not an error.
    """
    if isinstance(command, CreateOrder):
        return _create(order, command, ctx)
    if order is None or (order.merchant_id, order.environment) != (ctx.merchant_id, ctx.environment):
        return Refusal("NOT_FOUND", "There is no such order.")
    if ctx.expected_version not in (None, order.version):
        detail = f"The order is at version {order.version}, not {ctx.expected_version}."
        return Refusal("VERSION_CONFLICT", detail, {"current_version": order.version}, param="expected_version")
    return _decide_known(order, command, ctx.now)


def _decide_known(order: Order, command: OrderCommand, now: datetime) -> list[OrderEvent] | Refusal:
    match command:
        case RecordCapture():
            return facts.record_capture(order, command)
        case AcquireLease():
            return leases.acquire(order, command, now)
        case ExtendLease():
            return leases.extend(order, command, now)
        case ReleaseLease():
            return leases.release(order, command)
        case HandOverLease():
            return leases.hand_over(order, command, now)
        case ExpireLeases():
            return leases.expired(order, now)
        case RecordAuthorization():
            return facts.record_authorization(order, command)
        case RecordVoid():
            return facts.record_void(order, command)
        case RecordAuthorizationExpiry():
            return facts.record_authorization_expiry(order, command)
        case RecordPaymentFailure():
            return facts.record_failure(order, command)
        case ReserveRefund():
            return refunds.reserve(order, command)
        case RecordRefund():
            return refunds.record(order, command)
        case ReleaseRefund():
            return refunds.release(order, command)
        case ReverseRefund():
            return refunds.reverse(order, command)
        case OpenOrder():
            return details.open_order(order)
        case UpdateOrder():
            return details.update(order, command)
        case AddNote():
            return details.add_note(command)
        case CancelOrder():
            return details.cancel(order, command, now)
        case CloseOrder():
            return details.close(order, command, now)
        case (
            AddLineItem()
            | UpdateLineItem()
            | RemoveLineItem()
            | AddCharge()
            | UpdateCharge()
            | RemoveCharge()
            | ApplyDiscount()
            | RemoveDiscount()
            | SetTip()
        ):
            return edits.edit(order, command, now)
        case CreateOrder():
            raise AssertionError("decided before")
        case _:
            assert_never(command)


def _create(order: Order | None, command: CreateOrder, ctx: DecisionContext) -> list[OrderEvent] | Refusal:
    if order is not None:
        return Refusal("ORDER_EXISTS", "There is an order with this id already.")
    fault = edits.fault_in(command.line_items, command.charges, command.discounts)
    if fault:
        return fault
    assert ctx.number is not None, "whoever creates an order brings a number"
    return [
        OrderCreated(
            merchant_id=ctx.merchant_id,
            environment=ctx.environment,
            number=ctx.number,
            currency=command.currency,
            source=command.source,
            draft=command.draft,
            line_items=command.line_items,
            charges=command.charges,
            discounts=command.discounts,
            tip_minor=command.tip_minor,
            context=command.context,
            metadata=command.metadata,
        )
    ]


def _expiries(order: Order, events: list[OrderEvent], now: datetime) -> list[OrderEvent]:
    """Leases that had run out before this command and that it says nothing about."""
    if not order.leases:
        return []
    said = {getattr(event, "lease_id", None) for event in events if not isinstance(event, facts.UsesLease)}
    ended = (lease for lease in order.leases if not lease.live(now) and lease.lease_id not in said)
    return [LeaseExpired(lease_id=lease.lease_id) for lease in ended]


def _announcement(before: Order | None, after: Order) -> tuple[OrderEvent, ...]:
    """The payment status that was reached; a further surplus is announced as well."""
    was, status = _told_status(before), _told_status(after)
    if status == "overpaid" and after.credit > (before.credit if before else 0):
        return (OrderOverpaid(credit_minor=after.credit),)
    if status == was:
        return ()
    match status:
        case "paid":
            return (OrderPaid(),)
        case "partially_paid":
            return (OrderPartiallyPaid(),)
        case _:
            return ()


def _told_status(order: Order | None) -> PaymentStatus:
    """A draft is not announced as paid: its goods would be sent. That is told when it opens."""
    if order is None or (order.status == "draft" and order.payment_status == "paid"):
        return "unpaid"
    return order.payment_status


def outcome_facts(before: Order | None, after: Order) -> dict[str, int | str]:
    """What the sender of an accepted command may have to follow up: money beyond what is owed, an ended order."""
    told: dict[str, int | str] = {}
    surplus = after.credit - (before.credit if before else 0)
    if surplus > 0:
        told["surplus_minor"] = surplus
    if after.status in ("closed", "canceled"):
        told["order_status"] = after.status
    return told
