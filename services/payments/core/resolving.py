"""How unmatched money comes to its end by somebody's hand: what may be done with it, and what orders answer.

An item is attached, returned or dismissed once. Of a part, the rest becomes an item of its own, so that each has one
end.
"""

from datetime import datetime
from typing import Literal, assert_never

from services.payments.core import items, returning
from services.payments.core.commands import command_for
from services.payments.core.identities import derived_id
from services.payments.core.state import EventStatus, Item, KeptEvent, KnownOrder
from shared.contracts.channels import ChannelPaymentCaptured, ChannelPaymentRefunded
from shared.contracts.model import Actor, Money, PositiveMoney
from shared.contracts.order_commands import MoneyFact, ReserveRefund
from shared.contracts.orders import CommandAccepted, CommandRefused
from shared.immutable import immutable, replace
from shared.money import format_money

OPEN = ("open", "return_due")
_ON_ITS_ORDER = ("closed_order", "surplus")


@immutable
class Wish:
    """What somebody wants to be done with an item, or with a part of its money."""

    actor: Actor
    part: PositiveMoney | None = None
    """All of it, where this is not given."""
    expected_version: int | None = None
    note: str | None = None


@immutable
class Attach:
    """The money belongs to this order."""

    order_id: str


@immutable
class Return:
    """The money went back, in some way that is not ours."""

    reference: str
    returned_at: datetime | None = None


@immutable
class GiveBack:
    """The processor that collected the money is to give it back."""


@immutable
class Dismiss:
    """There is no money: the channel has corrected itself."""


Decision = Attach | Return | GiveBack | Dismiss


@immutable
class Found:
    """An item, and what else must be known to decide about it."""

    item: Item
    event_status: EventStatus | None
    """Of the event that counts for what it is about, where one does."""
    order: KnownOrder | None
    """For attaching: the order to attach to; else the one that the money is on."""
    told_otherwise: bool = False
    """Whether the event that counts says something else than the item."""


@immutable
class Claimed:
    """The item afterwards; `command` is what its order must be told, `rest` what is left of it."""

    item: Item
    rest: Item | None = None
    command: MoneyFact | ReserveRefund | None = None


@immutable
class Denied:
    """Why it cannot be done; nothing has changed."""

    code: str
    detail: str
    param: str | None = None
    current_version: int | None = None


def decide(found: Found, wish: Wish, decision: Decision, now: datetime) -> Claimed | Denied:
    """What becomes of an item by somebody's decision; an order that has a part in it must be told first."""
    denied = _not_open(found, wish) or _not_in_part(found.item, wish)
    if denied is not None:
        return denied
    match decision:
        case Attach(order_id=order_id):
            return _attach(found, wish, order_id, now)
        case Return():
            return _give_back(found, wish, decision, now)
        case GiveBack():
            return _through_its_processor(found, wish, now)
        case Dismiss():
            return _not_dismissible(found) or Claimed(_ended(found.item, "dismissed", wish, now))
        case _:
            assert_never(decision)


def _attach(found: Found, wish: Wish, order_id: str, now: datetime) -> Claimed | Denied:
    """The order is told of the money as of a payment that it had not heard of; what is on it already stays there."""
    denied = _not_attachable(found, order_id)
    if denied is not None:
        return denied
    item, rest = _divided(found.item, wish.part)
    if item.money.kind in _ON_ITS_ORDER:
        return Claimed(_ended(item, "attached", wish, now), rest)
    item = items.asked(item, "attaching", wish.actor, wish.note, now, attaching_to=order_id)
    return Claimed(item, rest, _command(item, order_id))


def _give_back(found: Found, wish: Wish, way: Return, now: datetime) -> Claimed | Denied:
    """It is noted that the money went back; an order that has it is told of the refund first."""
    denied = _not_returnable(found, wish)
    if denied is not None:
        return denied
    item, rest = _divided(found.item, wish.part)
    if item.money.kind not in _ON_ITS_ORDER:
        return Claimed(_ended(item, "returned", wish, now, return_reference=way.reference), rest)
    item = items.asked(item, "returning", wish.actor, wish.note, now, return_reference=way.reference)
    return Claimed(item, rest, returning.elsewhere(item, wish.note, way.reference, way.returned_at))


def _through_its_processor(found: Found, wish: Wish, now: datetime) -> Claimed | Denied:
    """The order is asked to set it aside, then the processor to give it back, and the order is told of what it did."""
    denied = _not_returnable(found, wish)
    if denied is not None:
        return denied
    if found.item.money.channel_id != returning.OUR_CHANNEL or found.item.money.kind not in _ON_ITS_ORDER:
        detail = "It was not collected by a payment intent: return it where it was, and say how that is called there."
        return Denied("UNMATCHED_MONEY_NOT_MOVABLE", detail, "reference")
    item, rest = _divided(found.item, wish.part)
    asked = items.asked(item, "returning", wish.actor, wish.note, now)
    return Claimed(asked, rest, returning.set_aside(asked))


def answered(item: Item, reply: CommandAccepted | CommandRefused, now: datetime) -> Item:
    """The item after the order's answer to its newest command: at its end, or open again."""
    money = item.money
    if isinstance(reply, CommandRefused):
        return returning.kept(item, reply.code)
    surplus = int(reply.facts.get("surplus_minor", 0))
    return items.changed(
        item,
        status="attached" if money.status == "attaching" else "returned",
        order_id=money.attaching_to or money.order_id,
        attaching_to=None,
        order_version=reply.order_version,
        surplus_money=_like(money.amount_money, surplus) if surplus else None,
        resolved_at=now,
    )


def _not_open(found: Found, wish: Wish) -> Denied | None:
    money = found.item.money
    if wish.expected_version not in (None, money.version):
        detail = f"The item is at version {money.version}, not {wish.expected_version}."
        return Denied("VERSION_CONFLICT", detail, "expected_version", money.version)
    if money.status not in OPEN:
        return Denied("UNMATCHED_MONEY_NOT_OPEN", f"The item is {money.status}.")
    if money.kind == "unknown_order" and found.event_status == "sent":
        return Denied("UNMATCHED_MONEY_NOT_OPEN", "Its order has appeared and is being told of the money.")
    return None


def _not_in_part(item: Item, wish: Wish) -> Denied | None:
    part, whole = wish.part, item.money.amount_money
    if part is None or whole is None:
        return None
    if part.currency != whole.currency:
        return Denied("VALIDATION_FAILED", f"The money is in {whole.currency}.", "amount_money.currency")
    if part.amount > whole.amount:
        detail = f"The item comes to {format_money(whole.amount, whole.currency)}."
        return Denied("VALIDATION_FAILED", detail, "amount_money.amount")
    if part.amount < whole.amount and not isinstance(items.event_of(item), ChannelPaymentCaptured):
        return Denied("VALIDATION_FAILED", "Only money that was captured can be divided.", "amount_money")
    return None


def _not_attachable(found: Found, order_id: str) -> Denied | None:
    money, order = found.item.money, found.order
    if money.kind in _ON_ITS_ORDER:
        detail = f"The money is on the order {money.order_id}."
        return None if order_id == money.order_id else Denied("MONEY_IS_ON_AN_ORDER", detail, "order_id")
    if not _moves(found.item):
        return Denied("UNMATCHED_MONEY_NOT_MOVABLE", "No money moved when this happened.")
    if order is None:
        return Denied("NOT_FOUND", "There is no such order; a new one may take a moment to be known here.", "order_id")
    if money.amount_money is not None and money.amount_money.currency != order.currency:
        detail = f"The order is in {order.currency}, the money in {money.amount_money.currency}."
        return Denied("CURRENCY_MISMATCH", detail, "order_id")
    return None


def _not_returnable(found: Found, wish: Wish) -> Denied | None:
    item, money = found.item, found.item.money
    if not _moves(item) or isinstance(items.event_of(item), ChannelPaymentRefunded):
        return Denied("UNMATCHED_MONEY_NOT_MOVABLE", "This is not money that came in.")
    if money.kind not in _ON_ITS_ORDER or found.order is None or found.order.version < (money.order_version or 0):
        return None
    if money.kind == "closed_order" and found.order.status != "canceled":
        # A closed order may be owed what came; a canceled one has nothing but credit.
        return None
    wanted = wish.part or money.amount_money
    if wanted is not None and wanted.amount > found.order.credit_minor:
        left = format_money(found.order.credit_minor, found.order.currency)
        return Denied("SURPLUS_GONE", f"The order has {left} more than it is owed by now.", "amount_money")
    return None


def _not_dismissible(found: Found) -> Denied | None:
    """What counts for the same reference has its money elsewhere; where nothing else counts, this may be all of it."""
    if found.item.money.kind != "conflict":
        return Denied("MONEY_TO_PLACE", "There is money: attach it to its order, or return it.")
    if _moves(found.item) and not found.told_otherwise:
        return Denied("MONEY_TO_PLACE", "Nothing else was told that counts: this money is nowhere else.")
    return None


def _moves(item: Item) -> bool:
    """Whether money was held, came or went."""
    return item.money.event_type.split(".")[2] in ("authorized", "captured", "refunded")


def _divided(item: Item, part: PositiveMoney | None) -> tuple[Item, Item | None]:
    """The item with the part only, and the rest as an item of its own."""
    money, whole = item.money, item.money.amount_money
    if part is None or whole is None or part.amount == whole.amount:
        return item, None
    rest = {
        "unmatched_money_id": derived_id("um", money.unmatched_money_id, "rest", str(money.version)),
        "amount_money": _like(whole, whole.amount - part.amount),
        "split_from": money.unmatched_money_id,
        "version": 1,
    }
    left = replace(item, money=money.model_copy(update=rest), attempt=0, asked_at=None)
    return replace(item, money=money.model_copy(update={"amount_money": _like(whole, part.amount)})), left


def _ended(
    item: Item, status: Literal["attached", "returned", "dismissed"], wish: Wish, now: datetime, **more: object
) -> Item:
    more |= {"resolved_by": wish.actor, "note": wish.note, "refusal": None, "resolved_at": now}
    return items.changed(item, status=status, **more)


def _command(item: Item, order_id: str) -> MoneyFact:
    """What the channel told, for this order. A capture is one of its own: other parts may be on other orders, or on
    this one."""
    money, event = item.money, items.event_of(item)
    assert money.amount_money is not None, "what moved has an amount"
    if isinstance(event, ChannelPaymentCaptured):
        part = PositiveMoney(amount=money.amount_money.amount, currency=money.amount_money.currency)
        event = event.model_copy(update={"amount_money": part, "capture_reference": money.unmatched_money_id})
    return command_for(
        KeptEvent(
            channel_event_id=item.channel_event_id,
            channel_id=money.channel_id,
            merchant_id=item.merchant_id,
            environment=item.environment,
            event_id=money.event_id,
            event=event,
            payment_id=money.payment_id,
            status="by_hand",
            order_id=order_id,
            currency=money.amount_money.currency,
        )
    )


def _like(money: Money | None, amount: int) -> Money:
    assert money is not None, "what is divided or taken has an amount"
    return Money(amount=amount, currency=money.currency)
