"""What a processor's answer changes."""

from datetime import datetime, timedelta
from typing import assert_never

from services.payments.core.asking import (
    ActionRequired,
    Approved,
    Declined,
    Found,
    NeverArrived,
    NotSent,
    Unknown,
)
from services.payments.core.intents import group
from services.payments.core.intents.moves import Moves
from services.payments.core.intents.state import NO_CALL_WITHIN, Attempt, AttemptStatus, Intent, may_have_been_sent
from services.payments.core.reconciling import AT_THE_ACQUIRER
from shared.contracts.payment_intents import (
    Decline,
    NextAction,
    PaymentIntentCanceled,
    PaymentIntentRequiresAction,
    PaymentIntentRequiresCapture,
    PaymentIntentSucceeded,
    PaymentIntentUnknown,
)
from shared.immutable import replace

_SOONEST = timedelta(seconds=1)
_LATEST = timedelta(minutes=10)
"""How long an attempt that is not answered is left alone, at least and at most."""
_WATCHED_EVERY = timedelta(seconds=5)
"""How often the outcome of a challenge is looked up without anybody asking, and when that of a refund first is."""
_WATCHED_FOR = timedelta(days=30)
"""How long after a refund was approved the buyer's bank may send it back, as card processors say."""


def answered(moves: Moves, attempt: Attempt, answer: Found) -> Attempt | None:
    """The attempt with its answer; `None` where it had its answer before. The group changes as follows from it."""
    intent = moves[attempt.asked.payment_intent_id]
    if intent.attempt_id != attempt.attempt_id:
        return None
    match answer:
        case Approved():
            _approved(moves, intent, attempt, answer)
        case Declined():
            _declined(moves, intent, attempt, answer)
        case ActionRequired():
            return _challenged(moves, intent, attempt, answer)
        case Unknown():
            return _unknown(moves, intent, attempt, answer)
        case NotSent():
            return _not_sent(moves, intent, attempt, answer)
        case NeverArrived():
            _never_arrived(moves, intent, attempt)
        case _:
            assert_never(answer)
    return _ended(moves, attempt, answer)


def gave_back(moves: Moves, attempt: Attempt, answer: Found) -> Attempt | None:
    """A refund's attempt with its answer; `None` where it had its answer before. What it means is its item's to say.

    One that is known never to have been done is asked for anew. What was given back at a processor may come back.
    """
    intent = moves[attempt.asked.payment_intent_id]
    if attempt.attempt_id in intent.watching:
        return _watched(moves, intent, attempt, answer)
    if attempt.attempt_id not in intent.refunding:
        return None
    pause = _pause(moves, attempt)
    if isinstance(answer, Unknown | ActionRequired) or (isinstance(answer, NotSent) and may_have_been_sent(attempt)):
        return _told(moves, attempt, answer, "unknown", moves.now + pause)
    if isinstance(answer, NotSent):
        return _told(moves, attempt, answer, "pending", moves.now + pause)
    open_still = tuple(each for each in intent.refunding if each != attempt.attempt_id)
    intent = moves.change(intent, refunding=open_still)
    if isinstance(answer, NeverArrived):
        asked = attempt.asked
        assert asked.unmatched_money_id is not None, "a refund gives back an item's money"
        intent = moves.change(intent, lost=intent.lost + 1)
        moves.refund(intent, asked.amount_minor, asked.unmatched_money_id, _after_losses(intent))
        return _told(moves, attempt, answer, "ended", moves.now)
    intent = moves.change(intent, lost=0)
    if isinstance(answer, Approved) and attempt.asked.means.type in AT_THE_ACQUIRER:
        moves.change(intent, watching=(*intent.watching, attempt.attempt_id))
        return _told(moves, attempt, answer, "watched", moves.now + _WATCHED_EVERY)
    return _told(moves, attempt, answer, "ended", moves.now)


def _watched(moves: Moves, intent: Intent, attempt: Attempt, answer: Found) -> Attempt | None:
    """Looked up less and less often while it stays approved; what was found before it was has nothing to say."""
    if attempt.status != "watched":
        return None
    age = moves.now - attempt.created_at
    if not isinstance(answer, Declined):
        assert attempt.answer is not None, "it was approved"
        answer = attempt.answer
        if age < _WATCHED_FOR:
            return _told(moves, attempt, answer, "watched", moves.now + max(_WATCHED_EVERY, age))
    moves.change(intent, watching=tuple(each for each in intent.watching if each != attempt.attempt_id))
    return _told(moves, attempt, answer, "ended", moves.now)


def ended_challenge(moves: Moves, attempt: Attempt, answer: Found) -> Attempt | None:
    """The attempt to end a challenge, with its answer; `None` where it had it before. The payment is looked up then."""
    intent = moves[attempt.asked.payment_intent_id]
    if intent.ending != attempt.attempt_id:
        return None
    pause = _pause(moves, attempt)
    if isinstance(answer, NotSent) and not may_have_been_sent(attempt):
        return _told(moves, attempt, answer, "pending", moves.now + pause)
    if isinstance(answer, Unknown | NotSent | ActionRequired):
        return _told(moves, attempt, answer, "unknown", moves.now + pause)
    intent = moves.change(intent, ending=None)
    if isinstance(answer, NeverArrived) and intent.step == "challenged":
        intent = moves.change(intent, lost=intent.lost + 1)
        moves.end_challenge(intent, _after_losses(intent))
    return _told(moves, attempt, answer, "ended", moves.now)


def may_call(intent: Intent, now: datetime) -> bool:
    """Whether the lease lasts for a call, and nobody has thought better of it."""
    return intent.lease_until is not None and intent.lease_until > now + NO_CALL_WITHIN and not intent.cancel_requested


def too_late(moves: Moves, attempt: Attempt) -> Attempt | None:
    """An authorization that was never sent and may not be any more: a new lease is asked for, or it is canceled."""
    intent = moves[attempt.asked.payment_intent_id]
    if intent.attempt_id != attempt.attempt_id:
        return None
    if intent.cancel_requested:
        _canceled(moves, moves.release(intent, "payment_canceled"))
    else:
        moves.lease(moves.release(intent, "lease_ran_out"))
    return _ended(moves, attempt, NotSent("It was too late for it."))


def _approved(moves: Moves, intent: Intent, attempt: Attempt, answer: Approved) -> None:
    intent = moves.change(intent, lost=0)
    match attempt.operation:
        case "authorize":
            _authorized(moves, intent, answer)
        case "capture":
            rest = intent.authorized_minor - answer.amount_minor
            intent = moves.change(
                intent,
                authorized_minor=max(0, rest),
                captured_minor=intent.captured_minor + answer.amount_minor,
                last_decline=None,
            )
            _after_capture(moves, moves.captured(intent, answer.amount_minor, attempt.attempt_id))
        case "void":
            rest = intent.authorized_minor - answer.amount_minor
            intent = moves.change(
                intent, authorized_minor=max(0, rest), voided_minor=intent.voided_minor + answer.amount_minor
            )
            _canceled(moves, moves.voided(intent, None))
        case "refund":
            raise AssertionError("intents give nothing back")


def _authorized(moves: Moves, intent: Intent, answer: Approved) -> None:
    intent = moves.change(
        intent, reference=answer.reference, shown_brand=answer.brand, shown_last4=answer.last4, next_action=None
    )
    amount = answer.amount_minor
    if answer.captured:
        intent = moves.captured(moves.change(intent, captured_minor=amount), amount, None)
    else:
        intent = moves.change(intent, authorized_minor=amount, authorization_ends_at=answer.ends_at)
        intent = moves.authorized(intent, amount)
    if amount < intent.amount_minor:
        intent = moves.release(intent, "partial_approval")
    intent = moves.change(intent, lease_until=None)
    if answer.captured:
        _after_capture(moves, intent)
        return
    intent = moves.change(intent, step="held")
    if intent.cancel_requested:
        group.void(moves, intent)
    else:
        group.advance(moves)
    _tell_if_held(moves, intent)


def _after_capture(moves: Moves, intent: Intent) -> None:
    if not intent.authorized_minor:
        moves.tell(moves.change(intent, step="ended", end="succeeded"), PaymentIntentSucceeded)
        group.advance(moves)
        return
    intent = moves.change(intent, step="held")
    if intent.cancel_requested:
        group.void(moves, intent)
    group.advance(moves)
    _tell_if_held(moves, intent)


def _tell_if_held(moves: Moves, intent: Intent) -> None:
    """The public hears what is held, and what still is; unless more is done with it at once."""
    if moves[intent.payment_intent_id].step == "held":
        moves.tell(intent, PaymentIntentRequiresCapture)


def _canceled(moves: Moves, intent: Intent) -> None:
    """Nothing is held any more: it is over, with what was collected before."""
    if intent.captured_minor:
        moves.tell(moves.change(intent, step="ended", end="succeeded"), PaymentIntentSucceeded)
    else:
        moves.tell(moves.change(intent, step="ended", end="canceled"), PaymentIntentCanceled)
    group.advance(moves)


def _declined(moves: Moves, intent: Intent, attempt: Attempt, answer: Declined) -> None:
    decline = Decline(code=answer.code, message=answer.message)
    intent = moves.change(intent, last_decline=decline, next_action=None)
    if attempt.operation != "authorize":
        _held_still(moves, intent, answer)
        return
    intent = moves.release(moves.failed(intent, attempt.attempt_id, answer.code, answer.message), "payment_declined")
    if intent.cancel_requested:
        _canceled(moves, intent)
        return
    group.fell(moves, moves.change(intent, step="idle", means=None))


def _held_still(moves: Moves, intent: Intent, answer: Declined) -> None:
    """A hold that the processor neither captures nor lets go: it has ended there, or a person must see why."""
    if answer.code == "authorization_expired":
        run_out(moves, intent)
    elif answer.code == "authorization_voided":
        voided = intent.voided_minor + intent.authorized_minor
        intent = moves.change(intent, authorized_minor=0, voided_minor=voided)
        _canceled(moves, moves.voided(intent, None))
    else:
        _tell_if_held(moves, moves.change(intent, step="held", cancel_requested=False))


def run_out(moves: Moves, intent: Intent) -> None:
    """The hold has ended by itself."""
    intent = moves.ran_out(moves.change(intent, authorized_minor=0))
    if intent.captured_minor:
        moves.tell(moves.change(intent, step="ended", end="succeeded"), PaymentIntentSucceeded)
    else:
        moves.tell(moves.change(intent, step="ended", end="expired"), PaymentIntentCanceled)
    group.advance(moves)


def _challenged(moves: Moves, intent: Intent, attempt: Attempt, answer: ActionRequired) -> Attempt:
    if intent.step != "challenged":
        action = NextAction(url=answer.url, expires_at=answer.ends_at)
        intent = moves.change(intent, step="challenged", reference=answer.reference, next_action=action)
        intent = moves.extend(intent, answer.ends_at)
        if intent.cancel_requested:
            moves.end_challenge(intent)
        else:
            _keep_waiting(moves, answer.ends_at)
            moves.tell(intent, PaymentIntentRequiresAction)
    return _told(moves, attempt, answer, "challenged", moves.now + _WATCHED_EVERY)


def _unknown(moves: Moves, intent: Intent, attempt: Attempt, answer: Unknown) -> Attempt:
    if attempt.status == "challenged":
        # It may have been looked at often, and answered: one answer that is missing now says nothing about the next.
        return _told(moves, attempt, answer, "challenged", moves.now + _WATCHED_EVERY)
    pause = _pause(moves, attempt)
    if intent.step != "finding_out":
        intent = moves.change(intent, step="finding_out")
        moves.tell(intent, PaymentIntentUnknown)
    _keep_lease(moves, intent, moves.now + pause)
    _keep_waiting(moves, moves.now + pause)
    return _told(moves, attempt, answer, "unknown", moves.now + pause)


def _keep_lease(moves: Moves, intent: Intent, next_look: datetime) -> None:
    """While it is not known whether money moved, nobody else may collect it."""
    if intent.lease_until is not None and intent.lease_until < next_look + NO_CALL_WITHIN:
        moves.extend(intent, next_look)


def _keep_waiting(moves: Moves, until: datetime) -> None:
    """The others of a group hold their parts until it is their turn."""
    for leg in moves.group:
        if leg.step == "leased":
            _keep_lease(moves, leg, until)


def _not_sent(moves: Moves, intent: Intent, attempt: Attempt, answer: NotSent) -> Attempt:
    """A look-up that was not sent says nothing; an authorization is given up, whatever must be done is tried again."""
    if may_have_been_sent(attempt):
        return _unknown(moves, intent, attempt, Unknown(answer.reason))
    if attempt.operation != "authorize":
        return _told(moves, attempt, answer, "pending", moves.now + _pause(moves, attempt))
    unavailable = Declined("processor_unavailable", "The processor cannot be reached; nothing was charged.")
    _declined(moves, intent, attempt, unavailable)
    return _ended(moves, attempt, answer)


def _never_arrived(moves: Moves, intent: Intent, attempt: Attempt) -> None:
    """Nothing moved, and nothing will: what was sent and lost is given up, whatever must be done is asked for anew."""
    if attempt.operation != "authorize":
        intent = moves.change(intent, lost=intent.lost + 1)
        asked, pause = attempt.asked, _after_losses(intent)
        moves.call(intent, attempt.operation, asked.amount_minor, attempt.connector, pause=pause)
    elif attempt.status == "pending":
        # Whoever claimed it died, most likely before it was sent.
        group.authorize(moves, intent)
    else:
        lost = Declined("not_processed", "The processor never received the request; nothing was charged.")
        _declined(moves, intent, attempt, lost)


def _pause(moves: Moves, attempt: Attempt) -> timedelta:
    """Half as long as it has been open: whoever asks out of turn does not put off the next look of the job."""
    return max(_SOONEST, min(_LATEST, (moves.now - attempt.created_at) / 2))


def _after_losses(intent: Intent) -> timedelta:
    return min(_LATEST, _SOONEST * (1 << min(intent.lost - 1, 12)))


def _ended(moves: Moves, attempt: Attempt, answer: Found) -> Attempt:
    intent = moves[attempt.asked.payment_intent_id]
    if intent.attempt_id == attempt.attempt_id:
        moves.change(intent, attempt_id=None)
    return _told(moves, attempt, answer, "ended", moves.now)


def _told(moves: Moves, attempt: Attempt, answer: Found, status: AttemptStatus, due_at: datetime) -> Attempt:
    return replace(attempt, answer=answer, status=status, due_at=due_at, updated_at=moves.now)
