"""What an order's reply to an intent's command changes."""

from services.payments.core.intents import group
from services.payments.core.intents.moves import Moves, kind_of
from services.payments.core.intents.state import Intent
from shared.contracts.model import Money
from shared.contracts.orders import CommandAccepted, CommandRefused
from shared.contracts.payment_intents import IntentRefusal, PaymentIntentCanceled, PaymentIntentFailed

_MOST_LEASES = 4
"""As often an amount that nobody named is followed before its client is told."""

Reply = CommandAccepted | CommandRefused


def replied(moves: Moves, payment_intent_id: str, reply: Reply) -> bool:
    """Whether the reply was waited for; a repeat changes nothing."""
    intent = moves[payment_intent_id]
    if reply.command_id not in intent.unanswered:
        return False
    unanswered = tuple(each for each in intent.unanswered if each != reply.command_id)
    collected = tuple(each for each in intent.collected if each[0] != reply.command_id)
    intent = moves.change(intent, unanswered=unanswered, collected=collected)
    if isinstance(reply, CommandAccepted):
        newest = max(intent.order_version or 0, reply.order_version)
        intent = moves.change(intent, order_version=newest)
    if kind_of(reply.command_id) == "lease":
        if isinstance(reply, CommandAccepted):
            _leased(moves, intent)
        else:
            _not_leased(moves, intent, reply)
    elif kind_of(reply.command_id) == "extend" and isinstance(reply, CommandRefused) and intent.step == "leased":
        # It ended before it was extended: another one is asked for when its turn comes.
        moves.change(intent, lease_until=moves.now)
    return True


def _leased(moves: Moves, intent: Intent) -> None:
    intent = moves.change(intent, step="leased")
    if intent.cancel_requested:
        intent = moves.release(intent, "payment_canceled")
        moves.tell(moves.change(intent, step="ended", end="canceled"), PaymentIntentCanceled)
    group.advance(moves)


def _not_leased(moves: Moves, intent: Intent, reply: CommandRefused) -> None:
    owed = reply.facts.get("outstanding_minor")
    if owed and _changed_unseen(intent, reply) and _pays(intent, owed) and intent.leases < _MOST_LEASES:
        moves.lease(moves.change(intent, amount_minor=owed))
        return
    # Whoever cancels gets what was asked for.
    refusal = None if intent.cancel_requested else _refusal(intent, reply)
    intent = moves.change(intent, step="idle", lease_id=None, lease_until=None, last_refusal=refusal)
    if intent.cancel_requested:
        moves.tell(moves.change(intent, step="ended", end="canceled"), PaymentIntentCanceled)
        group.advance(moves)
    elif intent.one_shot or intent.legs > 1:
        moves.tell(moves.change(intent, step="ended", end="failed"), PaymentIntentFailed)
        group.advance(moves)
    else:
        moves.tell(intent, PaymentIntentFailed)


def _changed_unseen(intent: Intent, reply: CommandRefused) -> bool:
    """Whether nobody named an amount that could have changed: it is whatever is owed, and we knew an older version."""
    return intent.follows and intent.expected_outstanding_minor is None and reply.code == "OUTSTANDING_CHANGED"


def _pays(intent: Intent, amount_minor: int) -> bool:
    """Whether what was handed over is enough, where something was."""
    tendered = None if intent.means is None else intent.means.tendered_minor
    return tendered is None or tendered >= amount_minor


def _refusal(intent: Intent, reply: CommandRefused) -> IntentRefusal:
    code, detail = reply.code, reply.detail
    if _changed_unseen(intent, reply) and reply.facts.get("outstanding_minor") == 0:
        code, detail = "ORDER_ALREADY_PAID", "Nothing is owed on this order."
    return IntentRefusal(
        code=code,
        detail=detail,
        blockers=reply.blockers,
        outstanding_money=_money(intent, reply.facts.get("outstanding_minor")),
        available_money=_money(intent, reply.facts.get("available_minor")),
    )


def _money(intent: Intent, amount_minor: int | None) -> Money | None:
    return None if amount_minor is None else Money(amount=amount_minor, currency=intent.currency)
