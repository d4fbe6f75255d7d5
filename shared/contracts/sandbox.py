"""What the simulated acquirer is asked and answers, by HTTP or within one process. See docs/concepts/sandbox.md."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal, Protocol, get_args

from shared.contracts.model import AmountMinor, Currency, Part, Reference

Operation = Literal["authorize", "capture", "void", "refund"]
Token = Literal[
    "sandbox_approve",
    "sandbox_decline_insufficient_funds",
    "sandbox_decline_lost_card",
    "sandbox_decline_expired_card",
    "sandbox_decline_do_not_honor",
    "sandbox_decline_incorrect_cvc",
    "sandbox_partial_approval",
    "sandbox_challenge",
    "sandbox_challenge_fail",
    "sandbox_lost_reply",
    "sandbox_lost_reply_on_capture",
    "sandbox_lost_reply_on_void",
    "sandbox_lost_reply_on_refund",
    "sandbox_lost_request",
    "sandbox_lost_request_on_capture",
    "sandbox_lost_request_on_void",
    "sandbox_lost_request_on_refund",
    "sandbox_duplicate_reply",
    "sandbox_slow",
    "sandbox_refund_fails_late",
    "sandbox_authorization_expires",
]
"""What the simulated buyer pays with; each says how it goes."""
TOKENS: frozenset[str] = frozenset(get_args(Token))

Status = Literal["approved", "declined", "action_required", "never_arrived"]
Account = Literal["holder", "held", "merchant"]
"""The buyer's money, what is held of it, and what the merchant has."""
MovementKind = Literal["hold", "sale", "capture", "void", "expiry", "refund", "refund_reversal"]


class Whose(Part):
    """A merchant's account with the acquirer. There is none for live money."""

    merchant_id: Reference
    environment: Literal["test"]


class SandboxRequest(Whose):
    """One thing to do. The same request again has the answer of the first and moves nothing."""

    attempt_id: Reference
    """The idempotency key; another request with the same one is refused."""
    operation: Operation
    amount_minor: AmountMinor
    """Of a `void`, 0 lets go of all that is left."""
    currency: Currency
    token: Token | None = None
    """Of an `authorize`."""
    capture: bool = True
    """Of an `authorize`: whether the money is collected in the same step."""
    partial: bool = False
    """Of an `authorize`: whether less will do."""
    reference: Reference | None = None
    """The payment that is captured, voided or refunded."""
    return_url: str | None = None
    """Where the buyer's browser goes after a challenge; only http and https lead anywhere."""
    order_id: Reference
    payment_intent_id: Reference


class SandboxLookUp(Whose):
    """What became of an attempt. One that was never seen is closed by this: it will never be done."""

    attempt_id: Reference


class SandboxOutcome(Part):
    """The answer to a request, or what became of it."""

    status: Status
    reference: str | None = None
    """Of an approved `authorize` or a challenge, the payment; of anything else that is approved, that movement."""
    amount_minor: int = 0
    """What was approved."""
    captured: bool = False
    brand: str | None = None
    last4: str | None = None
    ends_at: datetime | None = None
    """When a hold or a challenge runs out."""
    code: str | None = None
    message: str | None = None
    url: str | None = None
    """Where the buyer answers the challenge."""


class SandboxMovement(Whose):
    """One movement in the ledger: the amount went from one account to another, for ever."""

    movement_id: str
    kind: MovementKind
    payment_id: str
    order_id: str
    payment_intent_id: str
    attempt_id: str | None
    """The attempt that moved it; an expiry has none."""
    source: Account
    target: Account
    amount_minor: int
    currency: str
    made_at: datetime


class MovementPage(Part):
    """Some of a ledger's movements, oldest first; the next page's token where there are more."""

    movements: tuple[SandboxMovement, ...]
    next_page_token: str | None = None


class Acquirer(Protocol):
    """The simulated acquirer, wherever it runs.

    Its methods raise `OutcomeUnknown` when there is no answer, `Transient` when there was trouble on the way, and
    `Poison` for a request that contradicts an earlier one with the same attempt id. Whatever is raised says nothing
    of whether money moved.
    """

    async def ask(self, request: SandboxRequest) -> SandboxOutcome:
        """Do it, once."""
        ...

    async def look_up(self, wanted: SandboxLookUp) -> SandboxOutcome:
        """What became of an attempt: its outcome, or `never_arrived`, which it then stays."""
        ...

    async def movements(
        self,
        whose: Whose,
        page_token: str | None = None,
        *,
        made_from: datetime | None = None,
        order_ids: Sequence[str] = (),
    ) -> MovementPage:
        """A page of the ledger, with all that is due by now: from a moment on, or only of these orders."""
        ...
