"""What a client may ask of an intent. Each is refused where its state does not allow it; a repeat changes nothing."""

from services.payments.core.asking import Means
from services.payments.core.intents import group
from services.payments.core.intents.moves import Moves
from services.payments.core.intents.state import Intent, Refused
from shared.contracts.payment_intents import PaymentIntentCanceled, PaymentIntentProcessing
from shared.immutable import replace
from shared.money import format_money


def confirm(
    moves: Moves,
    intent: Intent,
    means: Means | None,
    connector: str | None,
    expected_outstanding_minor: int | None = None,
) -> Refused | None:
    """Collect: the order is asked for a lease first. `connector` takes the means. What is not given here may have been
    given before."""
    if intent.step != "idle":
        return _not_in_state(intent, "confirmed")
    means = means or intent.means
    if means is None:
        return Refused("VALIDATION_FAILED", "There is nothing to pay with yet.", "method")
    if expected_outstanding_minor is not None:
        intent = expecting(intent, expected_outstanding_minor)
    if intent.legs == 1 and intent.completion == "complete_order" and intent.guard_minor != intent.amount_minor:
        detail = does_not_pay(intent.amount_minor, intent.expected_outstanding_minor or 0, intent.currency)
        return Refused("VALIDATION_FAILED", detail, "expected_outstanding_money")
    if means.tendered_minor is not None and means.tendered_minor < intent.amount_minor:
        owed = format_money(intent.amount_minor, intent.currency)
        return Refused("VALIDATION_FAILED", f"{owed} is to be paid, and less was handed over.", "method.tendered_money")
    intent = moves.change(
        intent,
        means=means,
        connector=connector or intent.connector,
        tries=intent.tries + 1,
        reference=None,
        last_decline=None,
        shown_brand=None,
        shown_last4=None,
    )
    moves.tell(moves.lease(intent), PaymentIntentProcessing)
    return None


def expecting(intent: Intent, outstanding_minor: int) -> Intent:
    """The intent of a client who says that this much is owed, which is what it collects where no amount was named."""
    amount_minor = outstanding_minor if intent.follows else intent.amount_minor
    return replace(intent, amount_minor=amount_minor, expected_outstanding_minor=outstanding_minor)


def does_not_pay(amount_minor: int, expected_minor: int, currency: str) -> str:
    """Why this amount is none for an order that is to be paid whole."""
    return (
        f"{format_money(amount_minor, currency)} does not pay the {format_money(expected_minor, currency)} that you "
        "expect to be owed; `completion_behavior: partial_payment` collects a part."
    )


def nothing_owed() -> Refused:
    """There is nothing to collect."""
    return Refused("ORDER_ALREADY_PAID", "Nothing is owed on this order.")


def not_open(status: str) -> Refused:
    """The order has ended; what it does not owe any more was not paid."""
    return Refused("ORDER_NOT_OPEN", f"The order is {status}.")


def capture(moves: Moves, intent: Intent, amount_minor: int | None) -> Refused | None:
    """Collect what is held, or a part of it; the rest stays held."""
    if intent.step != "held" or intent.cancel_requested:
        return _not_in_state(intent, "captured")
    if intent.capture_method == "automatic" and group.under_way(moves):
        return Refused("INTENT_NOT_IN_STATE", "It is captured by itself when the others of its group hold their part.")
    held = intent.authorized_minor
    amount = held if amount_minor is None else amount_minor
    if amount > held:
        detail = f"{format_money(held, intent.currency)} is held, and no more can be captured."
        return Refused("CAPTURE_EXCEEDS_AUTHORIZED", detail, "amount_money")
    group.capture(moves, intent, amount)
    return None


def cancel(moves: Moves, intent: Intent) -> Refused | None:
    """Collect nothing more; what is held is let go. A payment that is completed meanwhile beats it."""
    if intent.end == "canceled":
        return None
    if intent.end is not None:
        return _not_in_state(intent, "canceled")
    if intent.cancel_requested:
        return None
    intent = moves.change(intent, cancel_requested=True)
    match intent.step:
        case "idle":
            moves.tell(moves.change(intent, step="ended", end="canceled"), PaymentIntentCanceled)
        case "leased":
            intent = moves.release(intent, "payment_canceled")
            moves.tell(moves.change(intent, step="ended", end="canceled"), PaymentIntentCanceled)
        case "held":
            group.void(moves, intent)
        case "challenged":
            moves.end_challenge(intent)
        case _:
            return None
    group.advance(moves)
    return None


def _not_in_state(intent: Intent, done: str) -> Refused:
    if intent.cancel_requested and intent.end is None:
        return Refused("INTENT_NOT_IN_STATE", f"The intent is being canceled: it cannot be {done}.")
    return Refused("INTENT_NOT_IN_STATE", f"The intent is in the state {intent.status}: it cannot be {done}.")
