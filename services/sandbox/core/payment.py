"""A payment as the acquirer knows it: whose it is, and what the ledger's sums say of it."""

from datetime import datetime
from typing import Any, Literal

from shared.contracts.sandbox import Account, MovementKind, SandboxOutcome, Token
from shared.immutable import immutable, replace


@immutable
class Movement:
    """An amount goes from one account to another."""

    movement_id: str
    kind: MovementKind
    attempt_id: str | None
    source: Account
    target: Account
    amount_minor: int


@immutable
class LateRefund:
    """A refund that was approved and is going to come back."""

    attempt_id: str
    movement_id: str
    amount_minor: int
    fails_at: datetime


@immutable
class Payment:
    """One authorization or sale, or the challenge before it."""

    payment_id: str
    merchant_id: str
    environment: Literal["test"]
    attempt_id: str
    """That of its `authorize`."""
    order_id: str
    payment_intent_id: str
    currency: str
    token: Token
    amount_minor: int
    capture: bool
    return_url: str | None
    ends_at: datetime
    """When the challenge runs out, and later the hold."""
    challenged: bool = False
    """Whether the buyer still has to answer."""
    held_minor: int = 0
    collected_minor: int = 0
    """Captured and not refunded."""
    voided: bool = False
    expired: bool = False
    late: tuple[LateRefund, ...] = ()

    @property
    def due_at(self) -> datetime | None:
        """When something happens to it by itself."""
        own = [self.ends_at] if self.challenged or self.held_minor else []
        return min([*own, *(late.fails_at for late in self.late)], default=None)


@immutable
class Change:
    """A payment after something happened, what moved, and which attempts ended in another way than they began."""

    payment: Payment
    movements: tuple[Movement, ...] = ()
    outcomes: tuple[tuple[str, SandboxOutcome], ...] = ()
    """Attempt id → what a look-up finds from now on."""

    def moved(self, movement: Movement) -> "Change":
        """And this movement."""
        return replace(self, payment=_after(self.payment, movement), movements=(*self.movements, movement))

    def with_payment(self, **changes: Any) -> "Change":
        """And the payment is otherwise."""
        return replace(self, payment=replace(self.payment, **changes))

    def ended(self, attempt_id: str, outcome: SandboxOutcome) -> "Change":
        """And this attempt came to this."""
        return replace(self, outcomes=(*self.outcomes, (attempt_id, outcome)))


def _after(payment: Payment, movement: Movement) -> Payment:
    amount = movement.amount_minor
    sign = {movement.source: -amount, movement.target: amount}
    return replace(
        payment,
        held_minor=payment.held_minor + sign.get("held", 0),
        collected_minor=payment.collected_minor + sign.get("merchant", 0),
        voided=payment.voided or movement.kind == "void",
        expired=payment.expired or movement.kind == "expiry",
    )
