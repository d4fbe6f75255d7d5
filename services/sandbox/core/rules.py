"""What the acquirer decides. Ids and the time are arguments; a repeat never comes this far."""

from datetime import datetime, timedelta
from typing import assert_never

from services.sandbox.core.payment import Change, LateRefund, Movement, Payment
from services.sandbox.core.tokens import BEHAVIOURS, DECLINES
from shared.contracts.sandbox import SandboxOutcome, SandboxRequest
from shared.immutable import immutable, replace

HOLD_LASTS = timedelta(days=7)
SHORT_HOLD_LASTS = timedelta(seconds=1)
CHALLENGE_LASTS = timedelta(minutes=15)
REFUND_FAILS_AFTER = timedelta(seconds=3)
_CARD = {"brand": "visa", "last4": "4242"}


@immutable
class Decision:
    """The answer to a request, and what it does; no change where nothing is known to the acquirer afterwards."""

    answer: SandboxOutcome
    change: Change | None = None
    late: LateRefund | None = None
    """A refund that is going to come back."""


def declined(code: str, message: str) -> SandboxOutcome:
    """No, and nothing moved."""
    return SandboxOutcome(status="declined", code=code, message=message)


CANCELED = declined("canceled", "The attempt was asked about before it arrived, and will never be done.")
UNKNOWN_PAYMENT = declined("unknown_payment", "There is no such payment.")


def authorize(request: SandboxRequest, payment_id: str, movement_id: str, now: datetime) -> Decision:
    """Hold the money or collect it, as the token says."""
    token = request.token
    if token is None or request.amount_minor == 0:
        return Decision(declined("invalid_request", "An authorization needs a token and more than nothing."))
    behaviour = BEHAVIOURS[token]
    if behaviour.decline is not None:
        return Decision(declined(behaviour.decline, DECLINES[behaviour.decline]))
    amount = request.amount_minor // 2 if behaviour.half else request.amount_minor
    if amount == 0 or (behaviour.half and not request.partial):
        return Decision(declined("insufficient_funds", DECLINES["insufficient_funds"]))
    payment = Payment(
        payment_id,
        request.merchant_id,
        request.environment,
        request.attempt_id,
        request.order_id,
        request.payment_intent_id,
        request.currency,
        token,
        amount,
        request.capture,
        request.return_url,
        now + CHALLENGE_LASTS,
        challenged=behaviour.challenge is not None,
    )
    if payment.challenged:
        asks = SandboxOutcome(status="action_required", reference=payment_id, ends_at=payment.ends_at)
        return Decision(asks, Change(payment))
    change = _collected(Change(payment), movement_id, now)
    return Decision(_approved(change.payment), change)


def settled(payment: Payment, now: datetime) -> Change:
    """What is due by now: a challenge or a hold runs out, a refund comes back."""
    change = Change(payment)
    if payment.ends_at <= now:
        if payment.challenged:
            message = "The buyer did not answer the challenge in time."
            change = _challenge_over(change, declined("challenge_expired", message))
        if payment.held_minor:
            change = _expired(change)
    for late in payment.late:
        if late.fails_at <= now:
            change = change.moved(_reversal(late))
            change = change.ended(late.attempt_id, declined("refund_failed", "The buyer's bank sent the refund back."))
    return change.with_payment(late=tuple(late for late in payment.late if late.fails_at > now))


def change_payment(change: Change, request: SandboxRequest, movement_id: str, now: datetime) -> Decision:
    """Capture, void or refund, where the payment lets it. `change` is what was due before."""
    if request.currency != change.payment.currency:
        return Decision(declined("currency_mismatch", "The payment is in another currency."), change)
    if request.amount_minor == 0 and request.operation != "void":
        return Decision(declined("invalid_request", "Nothing cannot be moved."), change)
    match request.operation:
        case "capture":
            return _capture(change, request, movement_id)
        case "void":
            return _void(change, request, movement_id)
        case "refund":
            return _refund(change, request, movement_id, now)
        case "authorize":
            raise AssertionError("an authorization makes its payment")
        case _:
            assert_never(request.operation)


def answer_challenge(payment: Payment, approves: bool, movement_id: str, now: datetime) -> Change:
    """The buyer pressed a button; a challenge that is over stays as it is."""
    change = settled(payment, now)
    if not change.payment.challenged:
        return change
    if approves and BEHAVIOURS[payment.token].challenge == "asks":
        change = _collected(change.with_payment(challenged=False), movement_id, now)
        return change.ended(payment.attempt_id, _approved(change.payment))
    return _challenge_over(change, declined("authentication_failed", "The buyer was not let through by the bank."))


def _capture(change: Change, request: SandboxRequest, movement_id: str) -> Decision:
    payment = change.payment
    if BEHAVIOURS[payment.token].expires and payment.held_minor:
        change = _expired(change)
    gone = _nothing_held(change.payment)
    if gone is not None:
        return Decision(gone, change)
    if request.amount_minor > payment.held_minor:
        return Decision(declined("exceeds_authorization", "Less is held than that."), change)
    return _done(change, Movement(movement_id, "capture", request.attempt_id, "held", "merchant", request.amount_minor))


def _void(change: Change, request: SandboxRequest, movement_id: str) -> Decision:
    payment = change.payment
    if payment.challenged:
        over = _challenge_over(change, declined("canceled", "It was canceled before the buyer answered."))
        return Decision(SandboxOutcome(status="approved", reference=payment.payment_id), over)
    gone = _nothing_held(payment)
    if gone is not None:
        return Decision(gone, change)
    amount = request.amount_minor or payment.held_minor
    if amount > payment.held_minor:
        return Decision(declined("exceeds_authorization", "Less is held than that."), change)
    return _done(change, Movement(movement_id, "void", request.attempt_id, "held", "holder", amount))


def _refund(change: Change, request: SandboxRequest, movement_id: str, now: datetime) -> Decision:
    payment, amount = change.payment, request.amount_minor
    if amount > payment.collected_minor:
        return Decision(declined("exceeds_captured", "Less was captured and not refunded than that."), change)
    movement = Movement(movement_id, "refund", request.attempt_id, "merchant", "holder", amount)
    if not BEHAVIOURS[payment.token].refund_fails:
        return _done(change, movement)
    late = LateRefund(request.attempt_id, movement_id, amount, now + REFUND_FAILS_AFTER)
    return replace(_done(change.with_payment(late=(*payment.late, late)), movement), late=late)


def _nothing_held(payment: Payment) -> SandboxOutcome | None:
    """Why there is nothing to capture or void, where there is nothing."""
    if payment.held_minor:
        return None
    if payment.voided:
        return declined("authorization_voided", "The authorization was voided.")
    if payment.expired:
        return declined("authorization_expired", "The authorization has run out.")
    return declined("nothing_held", "Nothing is held, or no longer.")


def _done(change: Change, movement: Movement) -> Decision:
    done = SandboxOutcome(status="approved", reference=movement.movement_id, amount_minor=movement.amount_minor)
    return Decision(done, change.moved(movement))


def _collected(change: Change, movement_id: str, now: datetime) -> Change:
    payment = change.payment
    lasts = SHORT_HOLD_LASTS if BEHAVIOURS[payment.token].expires else HOLD_LASTS
    change = change.with_payment(ends_at=now + lasts)
    if payment.capture:
        sale = Movement(movement_id, "sale", payment.attempt_id, "holder", "merchant", payment.amount_minor)
        return change.moved(sale)
    return change.moved(Movement(movement_id, "hold", payment.attempt_id, "holder", "held", payment.amount_minor))


def _approved(payment: Payment) -> SandboxOutcome:
    return SandboxOutcome(
        status="approved",
        reference=payment.payment_id,
        amount_minor=payment.amount_minor,
        captured=payment.capture,
        ends_at=None if payment.capture else payment.ends_at,
        **_CARD,
    )


def _reversal(late: LateRefund) -> Movement:
    named = f"{late.movement_id}_reversal"
    return Movement(named, "refund_reversal", late.attempt_id, "holder", "merchant", late.amount_minor)


def _expired(change: Change) -> Change:
    payment = change.payment
    return change.moved(Movement(f"{payment.payment_id}_expiry", "expiry", None, "held", "holder", payment.held_minor))


def _challenge_over(change: Change, outcome: SandboxOutcome) -> Change:
    return change.with_payment(challenged=False).ended(change.payment.attempt_id, outcome)
