"""Intents that pay together: all of them hold a lease before any processor is asked, and one is asked after the other.

What fails is made good: what the others hold is let go, unless `keep_successful_legs` says that it is to be collected.
Nothing is collected before everything is held. An intent that is alone collects in one step.
"""

from services.payments.core.intents.moves import Moves
from services.payments.core.intents.state import Intent
from shared.contracts.payment_intents import PaymentIntentCanceled, PaymentIntentFailed

_UNDER_WAY = ("leasing", "calling", "finding_out", "challenged")


def under_way(moves: Moves) -> bool:
    """Whether any of the group still waits for something."""
    return any(leg.step == "leased" or leg.step in _UNDER_WAY for leg in moves.group)


def advance(moves: Moves) -> None:
    """The next step of a group, after one of its intents changed."""
    legs = moves.group
    if any(_fallen(leg) for leg in legs):
        _wind_up(moves)
    elif all(leg.step not in _UNDER_WAY for leg in legs):
        waiting = [leg for leg in legs if leg.step == "leased"]
        if waiting:
            authorize(moves, waiting[0])
        else:
            _collect(moves)


def authorize(moves: Moves, intent: Intent) -> None:
    """Ask the processor for the money; in one step where nothing else depends on it."""
    assert intent.connector is not None, "a confirmed intent has a connector"
    at_once = intent.legs == 1 and intent.capture_method == "automatic"
    moves.call(intent, "authorize", intent.amount_minor, intent.connector, capture=at_once)


def capture(moves: Moves, intent: Intent, amount_minor: int) -> None:
    """Collect this much of what is held."""
    assert intent.connector is not None, "a confirmed intent has a connector"
    moves.call(intent, "capture", amount_minor, intent.connector)


def void(moves: Moves, intent: Intent) -> None:
    """Let go of what is held."""
    assert intent.connector is not None, "a confirmed intent has a connector"
    moves.call(intent, "void", intent.authorized_minor, intent.connector)


def fell(moves: Moves, intent: Intent) -> None:
    """The intent will not bring its part: of several, it ends, and the others follow."""
    if intent.legs > 1:
        moves.tell(moves.change(intent, step="ended", end="failed"), PaymentIntentFailed)
    else:
        moves.tell(intent, PaymentIntentFailed)
    advance(moves)


def _fallen(leg: Intent) -> bool:
    return leg.legs > 1 and leg.end in ("failed", "canceled", "expired")


def _wind_up(moves: Moves) -> None:
    for leg in moves.group:
        if leg.step == "leased":
            released = moves.release(leg, "another_leg_failed")
            moves.tell(moves.change(released, step="ended", end="canceled"), PaymentIntentCanceled)
        elif leg.step == "held" and leg.keep_successful_legs and not leg.cancel_requested:
            if leg.capture_method == "automatic":
                capture(moves, leg, leg.authorized_minor)
        elif leg.step == "held":
            void(moves, moves.change(leg, cancel_requested=True))
        elif leg.step in _UNDER_WAY and not leg.keep_successful_legs and leg.uncaptured and not leg.cancel_requested:
            unwanted = moves.change(leg, cancel_requested=True)
            if leg.step == "challenged":
                moves.end_challenge(unwanted)


def _collect(moves: Moves) -> None:
    for leg in moves.group:
        if leg.step == "held" and leg.capture_method == "automatic" and not leg.cancel_requested:
            capture(moves, leg, leg.authorized_minor)
