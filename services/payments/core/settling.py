"""`settle(kept, reply)`: what the order's answer makes of a channel event, and who must look at it."""

from datetime import datetime

from services.payments.core import items
from services.payments.core.state import Item, KeptEvent
from shared.contracts.channels import ChannelPaymentCaptured
from shared.contracts.model import Money
from shared.contracts.orders import CommandAccepted, CommandRefused
from shared.contracts.payments import UnmatchedKind
from shared.immutable import immutable, replace

NOT_FOUND = "NOT_FOUND"
_KINDS: dict[str, UnmatchedKind] = {"CURRENCY_MISMATCH": "currency", "PAYMENT_REFERENCE_REUSED": "conflict"}


@immutable
class Settled:
    """The event afterwards, and the item that is opened for it, if any.

    `found_order`: whether an item about its unknown order has come to an end.
    """

    kept: KeptEvent
    item: Item | None = None
    found_order: bool = False


def settle(kept: KeptEvent, reply: CommandAccepted | CommandRefused, now: datetime) -> Settled:
    """For the reply to the event's newest command."""
    if isinstance(reply, CommandAccepted):
        applied = replace(kept, status="applied", order_version=reply.order_version)
        return Settled(applied, beyond_what_is_owed(applied, reply, now), found_order=True)
    if reply.code == NOT_FOUND:
        waiting = replace(kept, status="waiting", order_id=None)
        return Settled(waiting, items.unknown_order(waiting, now) if kept.moved_money else None)
    refused = replace(kept, status="refused", refusal=reply.code)
    detail = reply.detail or reply.code
    # Whatever else an order may come to refuse: money that moved is never only a refusal.
    kind = _KINDS.get(reply.code, "conflict")
    item = items.item_for(refused, kind, detail, now) if kept.moved_money else None
    return Settled(refused, item, found_order=True)


def beyond_what_is_owed(kept: KeptEvent, reply: CommandAccepted, now: datetime) -> Item | None:
    """Money that the order took and that somebody must look at."""
    status, surplus = reply.facts.get("order_status"), reply.facts.get("surplus_minor", 0)
    if status is not None and isinstance(kept.event, ChannelPaymentCaptured):
        return items.item_for(kept, "closed_order", f"The order was {status} when the money came.", now)
    if surplus and kept.currency is not None:
        money = Money(amount=surplus, currency=kept.currency)
        return items.item_for(kept, "surplus", "The order has more than it is owed.", now, money)
    return None
