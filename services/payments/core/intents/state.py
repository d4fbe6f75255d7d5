"""Payment intents and the attempts that they make."""

from collections.abc import Sequence
from dataclasses import field
from datetime import datetime, timedelta
from typing import Literal

from services.payments.core.asking import Asked, Found, Means, Operation
from services.payments.core.identities import derived_id
from shared.contracts.model import Actor, Metadata
from shared.contracts.order_parts import Source
from shared.contracts.payment_intents import (
    CaptureMethod,
    CompletionBehavior,
    Decline,
    IntentRefusal,
    IntentStatus,
    NextAction,
)
from shared.immutable import immutable

LEASE_S = 300
"""How long a lease is taken for. A call to a processor takes seconds; whatever takes longer extends it."""
NO_CALL_WITHIN = timedelta(seconds=30)
"""A processor is not called when the lease ends sooner than this, longer than any call may take."""

Step = Literal["idle", "leasing", "leased", "calling", "finding_out", "challenged", "held", "ended"]
"""`idle` nothing is under way; `leasing` the order is asked; `leased` it waits for the others of its group; `calling` a
processor is asked; `finding_out` it did not answer; `challenged` the buyer is on a page; `held` money is authorized;
`ended` nothing more happens."""
End = Literal["succeeded", "canceled", "failed", "expired"]

AttemptStatus = Literal["pending", "unknown", "challenged", "watched", "ended"]
"""`pending` to be sent, or sent by whoever claimed it; `unknown` sent and not answered; `challenged` answered when the
buyer has done something; `watched` a refund that was approved, and that the buyer's bank may send back; `ended`
answered."""


@immutable
class Intent:
    """One source of money for one order."""

    payment_intent_id: str
    merchant_id: str
    environment: str
    order_id: str
    amount_minor: int
    currency: str
    created_by: Actor
    created_at: datetime
    updated_at: datetime
    version: int = 1
    group_id: str = ""
    """The first of the intents that pay together; its own id where it is alone."""
    ordinal: int = 0
    """Its place in the group: what comes first is tried first."""
    legs: int = 1
    """How many intents the group has."""
    step: Step = "idle"
    status_since: datetime | None = None
    """When it came into its status; `None` while it has only been made."""
    end: End | None = None
    capture_method: CaptureMethod = "automatic"
    completion: CompletionBehavior = "partial_payment"
    keep_successful_legs: bool = False
    one_shot: bool = False
    """Whether it ends when the order does not let it be collected: nobody holds it to try again."""
    source: Source = "api"
    means: Means | None = None
    location_id: str | None = None
    device_id: str | None = None
    operator_id: str | None = None
    metadata: Metadata = field(default_factory=dict)
    return_url: str | None = None
    follows: bool = False
    """Whether the amount is whatever is owed, since nobody named one."""
    expected_outstanding_minor: int | None = None
    """What its client says is owed, be it when it was made or confirmed."""
    tries: int = 0
    """How often it was confirmed."""
    leases: int = 0
    lease_id: str | None = None
    lease_until: datetime | None = None
    """At the earliest; `None` while there is no lease."""
    attempts: int = 0
    lost: int = 0
    """How many in a row never arrived: the next one waits the longer."""
    attempt_id: str | None = None
    """The attempt that is under way."""
    ending: str | None = None
    """The attempt that ends the buyer's challenge, since nobody wants it any more."""
    refunding: tuple[str, ...] = ()
    """The attempts that give something of it back, and are not answered."""
    watching: tuple[str, ...] = ()
    """The attempts that gave something of it back, and whose money may come back."""
    connector: str | None = None
    reference: str | None = None
    authorized_minor: int = 0
    captured_minor: int = 0
    voided_minor: int = 0
    authorization_ends_at: datetime | None = None
    shown_brand: str | None = None
    shown_last4: str | None = None
    last_decline: Decline | None = None
    last_refusal: IntentRefusal | None = None
    next_action: NextAction | None = None
    cancel_requested: bool = False
    commands: int = 0
    unanswered: tuple[str, ...] = ()
    """Commands that the order has not answered."""
    collected: tuple[tuple[str, int], ...] = ()
    """Of these the ones that tell of money, each with how much that is."""
    order_version: int | None = None

    @property
    def status(self) -> IntentStatus:
        """As clients see it."""
        if self.end is not None:
            return self.end
        match self.step:
            case "idle":
                ready = self.means is not None
                return "requires_confirmation" if ready else "requires_payment_method"
            case "finding_out":
                return "unknown"
            case "challenged":
                return "requires_action"
            case "held":
                return "requires_capture"
            case _:
                return "processing"

    @property
    def settled(self) -> bool:
        """Whether nothing is under way that a client should wait for."""
        at_rest = self.step in ("idle", "held", "ended") or (self.step == "challenged" and not self.cancel_requested)
        return at_rest and not self.unanswered

    @property
    def payment_id(self) -> str | None:
        """The payment on the order: each try is one."""
        return derived_id("pay", self.payment_intent_id, str(self.tries)) if self.tries else None

    @property
    def guard_minor(self) -> int | None:
        """What the order must owe for a lease; `None` where that does not matter."""
        if self.expected_outstanding_minor is not None:
            return self.expected_outstanding_minor
        return self.amount_minor if self.follows or self.completion == "complete_order" else None

    @property
    def uncaptured(self) -> bool:
        return self.captured_minor == 0


@immutable
class Attempt:
    """One question to a processor, and what became of it."""

    asked: Asked
    connector: str
    created_at: datetime
    updated_at: datetime
    due_at: datetime
    """When somebody should send it or look it up."""
    status: AttemptStatus = "pending"
    answer: Found | None = None
    """The newest."""
    claims: int = 0
    """How often somebody set about it; more than once means that the first may have sent it and died."""
    looks: int = 0
    """How often its outcome was looked up."""

    @property
    def attempt_id(self) -> str:
        return self.asked.attempt_id

    @property
    def operation(self) -> Operation:
        return self.asked.operation


def may_have_been_sent(attempt: Attempt) -> bool:
    """Whether whoever set about it before may have sent it: then its processor is asked what became of it first, and
    a question that could not be asked says nothing about it."""
    return attempt.status != "pending" or attempt.claims > 1


@immutable
class Refused:
    """Why a wish cannot be fulfilled: `code` is one of the API's."""

    code: str
    detail: str
    param: str | None = None


def ends_challenge(attempt: Attempt) -> bool:
    """Whether it is there to end a challenge; every other one is about an amount."""
    return attempt.operation == "void" and not attempt.asked.amount_minor


def in_order(intents: Sequence[Intent]) -> tuple[Intent, ...]:
    """Those of one group, as they are tried."""
    return tuple(sorted(intents, key=lambda intent: (intent.ordinal, intent.payment_intent_id)))
