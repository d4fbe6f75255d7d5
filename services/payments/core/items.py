"""How unmatched items come into being, and change. An id follows from what its item is about."""

from datetime import datetime
from typing import Literal

from services.payments.core.identities import derived_id
from services.payments.core.state import Arrival, Item, KeptEvent
from shared.contracts.channels import CHANNEL_EVENTS, ChannelEvent
from shared.contracts.model import Actor, Money
from shared.contracts.payments import UnmatchedKind, UnmatchedMoney
from shared.immutable import replace
from shared.money import format_money


def item_id(channel_event_id: str, kind: UnmatchedKind, content: str | None = None) -> str:
    """One item per event and kind; of conflicts, one per differing content."""
    return derived_id("um", channel_event_id, kind, content)


def unknown_order(kept: KeptEvent, now: datetime) -> Item:
    """Nobody knows the order; or, where the event is held, several answer to its name."""
    several = kept.status == "held"
    detail = "Several orders have this reference." if several else "There is no order of this name yet."
    return item_for(kept, "unknown_order", detail, now)


def conflict(arrival: Arrival, kept: KeptEvent, detail: str, now: datetime) -> Item:
    """What the arrival says against what stands."""
    event = arrival.event
    return Item(
        kept.merchant_id,
        kept.environment,
        kept.channel_event_id,
        UnmatchedMoney(
            unmatched_money_id=item_id(kept.channel_event_id, "conflict", content_of(event)),
            kind="conflict",
            status="open",
            detail=detail,
            amount_money=_money(event),
            channel_id=kept.channel_id,
            event_type=event.wire_type,
            event_id=arrival.event_id,
            event=body_of(event),
            payment_id=kept.payment_id,
            payment_reference=event.payment_reference,
            order_id=event.order_id,
            external_reference=event.external_reference,
            created_at=now,
        ),
    )


def item_for(
    kept: KeptEvent, kind: UnmatchedKind, detail: str, now: datetime, amount_money: Money | None = None
) -> Item:
    """An item about a kept event, with all of its money unless another amount is given."""
    return Item(
        kept.merchant_id,
        kept.environment,
        kept.channel_event_id,
        UnmatchedMoney(
            unmatched_money_id=item_id(kept.channel_event_id, kind),
            kind=kind,
            status="open",
            detail=detail,
            amount_money=amount_money or _money(kept.event),
            channel_id=kept.channel_id,
            event_type=kept.event.wire_type,
            event_id=kept.event_id,
            event=body_of(kept.event),
            payment_id=kept.payment_id,
            payment_reference=kept.event.payment_reference,
            order_id=kept.order_id or kept.event.order_id,
            order_version=kept.order_version,
            external_reference=kept.event.external_reference,
            created_at=now,
        ),
    )


def asked(
    item: Item, status: Literal["attaching", "returning"], by: Actor, note: str | None, now: datetime, **more: object
) -> Item:
    """The item of which an order is asked something from now on."""
    told = replace(item, attempt=item.attempt + 1, asked_at=now)
    return changed(told, status=status, resolved_by=by, note=note, refusal=None, **more)


def changed(item: Item, **changes: object) -> Item:
    """Its next version."""
    return replace(item, money=item.money.model_copy(update={"version": item.money.version + 1} | changes))


def event_of(item: Item) -> ChannelEvent:
    """What the channel told."""
    return CHANNEL_EVENTS[item.money.event_type].model_validate(item.money.event, strict=False)


def body_of(event: ChannelEvent) -> dict[str, object]:
    """The event's body as plain JSON, without what it did not say."""
    return event.model_dump(mode="json", exclude_none=True)


def content_of(event: ChannelEvent) -> str:
    """What two events with one reference must agree on, as one text. How a buyer paid and when is only description."""
    money = event.amount_money
    amount = None if money is None else f"{money.amount} {money.currency}"
    return repr((event.order_id, event.external_reference, amount))


def amount_text(event: ChannelEvent) -> str:
    """For people."""
    money = event.amount_money
    return "no amount" if money is None else format_money(money.amount, money.currency)


def _money(event: ChannelEvent) -> Money | None:
    money = event.amount_money
    return None if money is None else Money(amount=money.amount, currency=money.currency)
