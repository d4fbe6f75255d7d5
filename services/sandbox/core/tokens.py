"""What each token means."""

from typing import Literal, get_args

from shared.contracts.sandbox import Operation, Token
from shared.immutable import immutable

Fault = Literal["lost_reply", "lost_request", "duplicate_reply", "slow"]
_LOST: tuple[Fault, ...] = ("lost_reply", "lost_request")

DECLINES = {
    "insufficient_funds": "The account does not hold enough.",
    "lost_card": "The card was reported lost.",
    "expired_card": "The card has expired.",
    "do_not_honor": "The bank declined without saying why.",
    "incorrect_cvc": "The security code is wrong.",
}
"""Code → what a person reads."""


@immutable
class Behaviour:
    """How it goes with a token; without anything said, well."""

    decline: str | None = None
    half: bool = False
    """Only half of the amount is approved."""
    challenge: Literal["asks", "fails"] | None = None
    fault: Fault | None = None
    fault_on: Operation = "authorize"
    expires: bool = False
    """A hold ends after a second, and at the latest when it is first to be captured."""
    refund_fails: bool = False
    """A refund is approved, and comes back some seconds later."""


def fault_of(token: Token, operation: Operation) -> Fault | None:
    """What goes wrong between the acquirer and whoever asks it to do this."""
    behaviour = BEHAVIOURS[token]
    return behaviour.fault if behaviour.fault_on == operation else None


def _lost() -> dict[str, Behaviour]:
    named = {f"sandbox_{fault}": Behaviour(fault=fault) for fault in _LOST}
    later: tuple[Operation, ...] = ("capture", "void", "refund")
    return named | {f"sandbox_{fault}_on_{on}": Behaviour(fault=fault, fault_on=on) for fault in _LOST for on in later}


_NAMED = {
    "sandbox_approve": Behaviour(),
    **{f"sandbox_decline_{code}": Behaviour(decline=code) for code in DECLINES},
    "sandbox_partial_approval": Behaviour(half=True),
    "sandbox_challenge": Behaviour(challenge="asks"),
    "sandbox_challenge_fail": Behaviour(challenge="fails"),
    **_lost(),
    "sandbox_duplicate_reply": Behaviour(fault="duplicate_reply"),
    "sandbox_slow": Behaviour(fault="slow"),
    "sandbox_refund_fails_late": Behaviour(refund_fails=True),
    "sandbox_authorization_expires": Behaviour(expires=True),
}
BEHAVIOURS: dict[Token, Behaviour] = {token: _NAMED[token] for token in get_args(Token)}
