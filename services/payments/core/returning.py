"""How unmatched money goes back: set aside on its order, given back by its processor, and back again from the bank.

An item's money goes back as one refund, after which the order is as it was before the money came.
"""

from datetime import datetime

from services.payments.core import items
from services.payments.core.identities import derived_id
from services.payments.core.reconciling import AT_THE_ACQUIRER
from services.payments.core.state import Item
from shared.contracts.order_commands import RecordRefund, ReleaseRefund, ReserveRefund, ReverseRefund
from shared.contracts.order_parts import Allocation, Method, RefundEffect, Tender
from shared.immutable import immutable, replace

OUR_CHANNEL = "chn_payment_intents"
"""The channel of what payment intents collect, in items about it; nobody else may have this id."""
_OPEN_AGAIN: dict[str, object] = {
    "status": "open",
    "attaching_to": None,
    "overdue_at": None,
    "resolved_by": None,
    "return_reference": None,
    "note": None,
}
_EFFECT: RefundEffect = "reopen_balance"
"""The order's total stays."""


@immutable
class CameBack:
    """The item afterwards, what its order is told, and the item that the money is from now on where it is another."""

    item: Item
    command: ReverseRefund
    again: Item | None = None


def set_aside(item: Item) -> ReserveRefund:
    """What its order is asked for before its processor is, so that nobody else gives the same money back."""
    assert item.money.amount_money is not None, "what is on an order has an amount"
    amount = item.money.amount_money.amount
    return ReserveRefund(
        refund_id=_refund_id(item),
        amount_minor=amount,
        effect=_EFFECT,
        payments=(Allocation(payment_id=item.money.payment_id, amount_minor=amount),),
        only_credit=item.money.kind == "surplus",
        reason=item.money.note,
    )


def is_set_aside(item: Item) -> bool:
    """Whether its order's answer is that to `ReserveRefund`: its processor is asked after it, and names the refund."""
    return item.money.status == "returning" and item.money.return_reference is None


def at_its_processor(item: Item) -> Item:
    """The item of which its order has set the money aside: it waits for its processor, not for its order."""
    return replace(item, asked_at=None)


def given_back(item: Item, reference: str, now: datetime) -> tuple[Item, RecordRefund]:
    """The item whose money its processor has given back, and what its order is told."""
    assert item.money.resolved_by is not None, "somebody decided"
    by, note = item.money.resolved_by, item.money.note
    asked = items.asked(item, "returning", by, note, now, return_reference=reference)
    return asked, _refund(asked, note, reference)


def kept(item: Item, code: str) -> Item:
    """The item whose money does not go back: open again."""
    return items.changed(item, **_OPEN_AGAIN, refusal=code)


def not_given_back(item: Item, code: str) -> tuple[Item, ReleaseRefund]:
    """The item whose money its processor does not give back: open again; its order need not set it aside any more."""
    told = replace(kept(item, code), attempt=item.attempt + 1)
    return told, ReleaseRefund(refund_id=_refund_id(item), reason=code)


def came_back(item: Item, reference: str, code: str, now: datetime) -> CameBack | None:
    """What its processor had given back under this name, and what the buyer's bank has sent back since.

    The order is told after the refund. An item that had not ended by then is open again, one that had stays as it
    ended, and the money is an item of its own; `None` where the money is in another item's hands already.
    """
    if item.money.return_reference != reference or item.money.replaced_by is not None:
        return None
    told = replace(item, attempt=item.attempt + 1)
    command = ReverseRefund(refund_id=_refund_id(item), refund_reference=reference, reason=code)
    if item.money.status == "returning":
        return CameBack(kept(told, code), command)
    anew = {
        "unmatched_money_id": derived_id("um", item.money.unmatched_money_id, "came_back"),
        "split_from": item.money.unmatched_money_id,
        "refusal": code,
        "created_at": now,
        "version": 1,
        "order_version": None,
        "resolved_at": None,
    }
    again = replace(item, money=item.money.model_copy(update=_OPEN_AGAIN | anew), attempt=0, asked_at=None)
    return CameBack(items.changed(told, replaced_by=again.money.unmatched_money_id), command, again)


def elsewhere(item: Item, note: str | None, reference: str, at: datetime | None) -> RecordRefund:
    """What its order is told of what a person gave back: where a processor had collected it, its ledger has nothing of
    that."""
    command = _refund(item, note, reference, at)
    method = command.tender.method
    if item.money.channel_id != OUR_CHANNEL or method is None or method.type not in AT_THE_ACQUIRER:
        return command
    tender = command.tender.model_copy(update={"method": Method(type="external")})
    return command.model_copy(update={"tender": tender})


def _refund(item: Item, note: str | None, reference: str, at: datetime | None = None) -> RecordRefund:
    money, event = item.money, items.event_of(item)
    assert money.amount_money is not None, "what is on an order has an amount"
    return RecordRefund(
        refund_id=_refund_id(item),
        refund_reference=reference,
        payment_id=money.payment_id,
        payment_reference=money.payment_reference,
        amount_minor=money.amount_money.amount,
        currency=money.amount_money.currency,
        tender=Tender(source=event.source, method=event.method, channel_id=money.channel_id),
        effect=_EFFECT,
        refunded_at=at,
        reason=note,
    )


def _refund_id(item: Item) -> str:
    """An item's money goes back as one refund."""
    return derived_id("ref", item.money.unmatched_money_id)
