"""What stands in the way, in the form in which people and programs are told."""

from datetime import datetime

from services.orders.core.state import Lease, Order, Payment
from shared.contracts.model import Blocker, Money


def lease_blocker(order: Order, lease: Lease) -> Blocker:
    return Blocker(
        type="lease",
        id=lease.lease_id,
        holder={"type": lease.holder.type, "id": lease.holder.id},
        amount_money=Money(amount=lease.rest, currency=order.currency),
        expires_at=lease.expires_at,
    )


def payment_blocker(order: Order, payment: Payment) -> Blocker:
    held = payment.open_authorization + max(0, payment.captured - payment.refunded)
    return Blocker(type="payment", id=payment.payment_id, amount_money=Money(amount=held, currency=order.currency))


def money_in_the_way(order: Order) -> tuple[Blocker, ...]:
    """The payments that hold money, authorized or collected."""
    held = (leg for leg in order.payments if leg.open_authorization or leg.refundable)
    return tuple(payment_blocker(order, leg) for leg in held)


def leases_in_the_way(order: Order, now: datetime) -> tuple[Blocker, ...]:
    return tuple(lease_blocker(order, lease) for lease in order.live_leases(now))


def authorizations_in_the_way(order: Order) -> tuple[Blocker, ...]:
    return tuple(payment_blocker(order, leg) for leg in order.payments if leg.open_authorization)
