"""An order as the fold of its events, and the numbers that follow from it. Amounts are minor units."""

from dataclasses import field
from datetime import datetime
from typing import Literal

from shared.contracts.model import Metadata
from shared.contracts.order_parts import (
    Allocation,
    Charge,
    Context,
    Discount,
    Holder,
    LineItem,
    MethodType,
    PaymentStatus,
    RefundEffect,
    RefundStatus,
    Source,
    Status,
    Tender,
)
from shared.immutable import immutable


@immutable
class PricedPart:
    """What a line or a charge comes to; `taxes` follow the order of the part's own taxes."""

    subtotal: int
    discount: int
    taxes: tuple[int, ...]
    total: int


@immutable
class Pricing:
    """total = subtotal - discount + charge + (tax not included in prices) + tip."""

    subtotal: int = 0
    discount: int = 0
    charge: int = 0
    tax: int = 0
    tip: int = 0
    total: int = 0
    lines: tuple[PricedPart, ...] = ()
    charges: tuple[PricedPart, ...] = ()
    discounts: tuple[int, ...] = ()


@immutable
class Capture:
    """One collection of money on a payment; the reference tells repeats from further captures."""

    reference: str | None
    amount: int


@immutable
class Payment:
    """One leg of the settlement. The sums are independent of the order in which facts arrive."""

    payment_id: str
    reference: str
    tender: Tender
    created_at: datetime
    authorized: int = 0
    captured: int = 0
    captures: tuple[Capture, ...] = ()
    refunded: int = 0
    voided: int = 0
    authorization_ended: Literal["voided", "expired"] | None = None
    failure_code: str | None = None
    lease_id: str | None = None
    captured_at: datetime | None = None

    @property
    def open_authorization(self) -> int:
        """Held for us: neither captured, voided nor expired."""
        if self.authorization_ended:
            return 0
        return max(0, self.authorized - self.captured - self.voided)

    @property
    def refundable(self) -> int:
        return max(0, self.captured - self.refunded)

    @property
    def status(self) -> str:
        """`authorized`, `captured`, `partially_refunded`, `refunded`, `voided`, `expired` or `failed`."""
        if self.captured:
            if not self.refunded:
                return "captured"
            return "refunded" if self.refunded >= self.captured else "partially_refunded"
        if self.refunded:
            return "refunded"
        if self.open_authorization:
            return "authorized"
        if self.authorization_ended or self.voided:
            return self.authorization_ended or "voided"
        return "failed" if self.failure_code else "authorized"


@immutable
class Lease:
    """A part of the balance that one holder alone may collect until `expires_at`; `fence` is the granting version."""

    lease_id: str
    holder: Holder
    amount: int
    fence: int
    expires_at: datetime
    used: int = 0
    charging: bool = False

    @property
    def rest(self) -> int:
        return max(0, self.amount - self.used)

    def live(self, now: datetime) -> bool:
        return self.rest > 0 and now < self.expires_at


@immutable
class RefundLeg:
    """Money that went back; `returned` of it also lowered what the order is worth."""

    reference: str
    payment_id: str
    amount: int
    returned: int
    reversed: bool = False
    method: MethodType | None = None
    """How it went back, where that was said."""


@immutable
class Refund:
    """A reservation of money to give back, and what became of it: the newest one, where it was reserved anew."""

    refund_id: str
    effect: RefundEffect
    reserved: int = 0
    released: int = 0
    allocation: tuple[Allocation, ...] = ()
    legs: tuple[RefundLeg, ...] = ()
    reason: str | None = None
    sent_before: int = 0
    """How many of the legs are older than the reservation."""

    @property
    def recorded(self) -> int:
        return sum(leg.amount for leg in self.legs if not leg.reversed)

    @property
    def sent(self) -> tuple[RefundLeg, ...]:
        """What went back, and did not come again, since the money was reserved."""
        return tuple(leg for leg in self.legs[self.sent_before :] if not leg.reversed)

    @property
    def open(self) -> int:
        """Still set aside: neither sent nor released."""
        return max(0, self.reserved - self.released - sum(leg.amount for leg in self.sent))


@immutable
class Settlement:
    """Sums over the payments, worked out once per version."""

    authorized: int = 0
    captured: int = 0
    refunded: int = 0


@immutable
class Order:
    """One durable order. `version` counts accepted changes; a past version is the fold of the events up to it."""

    order_id: str
    merchant_id: str
    environment: str
    number: str
    version: int
    status: Status
    source: Source
    currency: str
    created_at: datetime
    updated_at: datetime
    context: Context = Context()
    lines: tuple[LineItem, ...] = ()
    charges: tuple[Charge, ...] = ()
    discounts: tuple[Discount, ...] = ()
    tip: int = 0
    pricing: Pricing = Pricing()
    returned: int = 0
    payments: tuple[Payment, ...] = ()
    settlement: Settlement = Settlement()
    leases: tuple[Lease, ...] = ()
    refunds: tuple[Refund, ...] = ()
    metadata: Metadata = field(default_factory=dict)
    closed_at: datetime | None = None
    canceled_at: datetime | None = None

    @property
    def net_total(self) -> int:
        return self.pricing.total - self.returned

    @property
    def authorized(self) -> int:
        return self.settlement.authorized

    @property
    def captured(self) -> int:
        return self.settlement.captured

    @property
    def refunded(self) -> int:
        return self.settlement.refunded

    @property
    def net_collected(self) -> int:
        return self.settlement.captured - self.settlement.refunded

    @property
    def balance(self) -> int:
        """Positive is still owed to the merchant, negative is owed back to the buyer."""
        return self.pricing.total - self.returned - self.net_collected

    @property
    def outstanding(self) -> int:
        return max(0, self.balance)

    @property
    def credit(self) -> int:
        return max(0, -self.balance)

    @property
    def refund_reserved(self) -> int:
        return sum(refund.open for refund in self.refunds)

    def live_leases(self, now: datetime) -> tuple[Lease, ...]:
        return tuple([lease for lease in self.leases if lease.live(now)]) if self.leases else ()

    def leased(self, now: datetime) -> int:
        return sum([lease.rest for lease in self.live_leases(now)])

    def available(self, now: datetime) -> int:
        """What a new holder could lease."""
        return self.beside(self.leased(now))

    def beside(self, leased: int) -> int:
        """What a new holder could lease when others hold so much."""
        return max(0, self.balance - self.authorized - leased)

    @property
    def payment_status(self) -> PaymentStatus:
        balance = self.balance
        if balance < 0:
            return "overpaid"
        if self.net_collected > 0:
            return "partially_paid" if balance else "paid"
        if self.authorized:
            return "authorized"
        free = self.lines and self.status != "draft"
        settled = self.status != "canceled" and not balance and (self.captured or free)
        return "paid" if settled else "unpaid"

    @property
    def refund_status(self) -> RefundStatus:
        if not self.refunded:
            return "none"
        return "refunded" if self.refunded >= self.captured else "partially_refunded"

    def payment(self, payment_id: str, reference: str | None = None, channel_id: str | None = None) -> Payment | None:
        """The leg with that id, else the one that the same channel gave the same reference.

        Without a channel the id alone says which payment it is: two tills may both say `cash`.
        """
        for payment in self.payments:
            if payment.payment_id == payment_id:
                return payment
        if reference is None or channel_id is None:
            return None
        same = (leg for leg in self.payments if leg.reference == reference and leg.tender.channel_id == channel_id)
        return next(same, None)

    def lease(self, lease_id: str) -> Lease | None:
        return next((lease for lease in self.leases if lease.lease_id == lease_id), None)

    def refund(self, refund_id: str) -> Refund | None:
        return next((refund for refund in self.refunds if refund.refund_id == refund_id), None)
