"""Collection leases: who may collect which part of the balance, until when.

Leases, held and collected money together never exceed what the order is worth at the moment a lease is granted.
A lease ends at its time without anyone's help.
"""

from datetime import datetime, timedelta

from services.orders.core.blockers import authorizations_in_the_way, lease_blocker, leases_in_the_way
from services.orders.core.refusal import Refusal
from services.orders.core.state import Lease, Order
from shared.contracts.order_commands import AcquireLease, ExtendLease, HandOverLease, ReleaseLease
from shared.contracts.order_events import (
    LeaseExpired,
    LeaseExtended,
    LeaseGranted,
    LeaseHandedOver,
    LeaseReleased,
    OrderEvent,
)
from shared.money import format_money


def acquire(order: Order, command: AcquireLease, now: datetime) -> list[OrderEvent] | Refusal:
    """Granted when the whole amount is available; a lease that is held already is granted again by saying nothing.

    It is never larger than it was granted: whoever asks for more under its id is refused.
    """
    held = order.lease(command.lease_id)
    if held is not None and held.live(now):
        if held.holder != command.holder:
            return Refusal("LEASE_NOT_HELD", "Somebody else holds this lease.", {}, (lease_blocker(order, held),))
        if command.amount_minor <= held.amount:
            return []
        detail = f"This lease is of {format_money(held.amount, order.currency)}: take another one for more."
        return Refusal("LEASE_NOT_HELD", detail, {}, (lease_blocker(order, held),), param="amount_money")
    return _not_available(order, command, now) or [
        LeaseGranted(
            lease_id=command.lease_id,
            holder=command.holder,
            amount_minor=command.amount_minor,
            expires_at=now + timedelta(seconds=command.term_s),
            charging=command.charging,
        )
    ]


def _not_available(order: Order, command: AcquireLease, now: datetime) -> Refusal | None:
    if order.status != "open":
        return Refusal("ORDER_NOT_OPEN", f"The order is {order.status}.", {"status": order.status})
    outstanding, available = order.outstanding, order.available(now)
    told = {"outstanding_minor": outstanding, "available_minor": available}
    if command.expected_outstanding_minor not in (None, outstanding):
        detail = f"{format_money(outstanding, order.currency)} is owed."
        return Refusal("OUTSTANDING_CHANGED", detail, told, param="expected_outstanding_money")
    if not outstanding:
        return Refusal("ORDER_ALREADY_PAID", "Nothing is owed on this order.", told)
    if command.amount_minor <= available:
        return None
    if command.amount_minor > outstanding:
        detail = f"Only {format_money(outstanding, order.currency)} is owed."
        return Refusal("OUTSTANDING_CHANGED", detail, told, param="amount_money")
    return Refusal(
        "ORDER_BALANCE_LEASED",
        f"{format_money(outstanding - available, order.currency)} of the "
        f"{format_money(outstanding, order.currency)} still owed is "
        "being collected elsewhere.",
        told,
        (*leases_in_the_way(order, now), *authorizations_in_the_way(order)),
        param="amount_money",
    )


def extend(order: Order, command: ExtendLease, now: datetime) -> list[OrderEvent] | Refusal:
    """The lease ends `term_s` from now."""
    lease = _held(order, command.lease_id, now)
    if isinstance(lease, Refusal):
        return lease
    if lease.holder != command.holder:
        return Refusal("LEASE_NOT_HELD", "Somebody else holds this lease.", {}, (lease_blocker(order, lease),))
    expires_at = now + timedelta(seconds=command.term_s)
    charging = lease.charging if command.charging is None else command.charging
    return [LeaseExtended(lease_id=lease.lease_id, expires_at=expires_at, charging=charging)]


def release(order: Order, command: ReleaseLease) -> list[OrderEvent] | Refusal:
    """Releasing what has ended or never was changes nothing."""
    lease = order.lease(command.lease_id)
    if lease is None:
        return []
    if command.holder not in (None, lease.holder):
        return Refusal("LEASE_NOT_HELD", "Somebody else holds this lease.", {}, (lease_blocker(order, lease),))
    return [LeaseReleased(lease_id=lease.lease_id, reason=command.reason)]


def hand_over(order: Order, command: HandOverLease, now: datetime) -> list[OrderEvent] | Refusal:
    """What is left of the lease goes to the new holder; refused while a processor is being called under it."""
    taken = order.lease(command.new_lease_id)
    if taken is not None:
        if not taken.live(now):
            return Refusal("LEASE_EXPIRED", "The new lease's id is that of one that has ended.", param="new_lease_id")
        same = taken.holder == command.to
        return [] if same else Refusal("LEASE_NOT_HELD", "Somebody else holds this lease.")
    lease = _held(order, command.lease_id, now)
    if isinstance(lease, Refusal):
        return lease
    if lease.charging:
        detail = "A charge under this lease is already at the processor."
        return Refusal("ORDER_BALANCE_LEASED", detail, {}, (lease_blocker(order, lease),))
    return [
        LeaseHandedOver(
            lease_id=lease.lease_id,
            new_lease_id=command.new_lease_id,
            to=command.to,
            amount_minor=lease.rest,
            expires_at=now + timedelta(seconds=command.term_s),
        )
    ]


def expired(order: Order, now: datetime) -> list[OrderEvent]:
    """The leases that have run out and are still written down."""
    return [LeaseExpired(lease_id=lease.lease_id) for lease in order.leases if not lease.live(now)]


def _held(order: Order, lease_id: str, now: datetime) -> Lease | Refusal:
    lease = order.lease(lease_id)
    if lease is None or not lease.live(now):
        return Refusal("LEASE_EXPIRED", "This lease has ended or never was.")
    return lease
