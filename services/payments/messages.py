"""What the payment service sends: commands to orders, and events about channel events and unmatched money."""

from collections.abc import Iterable
from datetime import datetime

from services.payments.core.commands import command_for
from services.payments.core.state import Item, KeptEvent
from shared.contracts.model import Actor, Message
from shared.contracts.order_commands import MoneyFact, ReleaseRefund, ReserveRefund
from shared.contracts.payments import (
    ChannelEventApplied,
    ChannelEventRefused,
    UnmatchedMoneyAttached,
    UnmatchedMoneyDismissed,
    UnmatchedMoneyFound,
    UnmatchedMoneyReturned,
)
from shared.envelope import Envelope
from shared.outbox import OutboxMessage
from shared.telemetry import current_traceparent
from shared.topics import ORDERS_COMMANDS, PAYMENTS_EVENTS

SOURCE = "/services/payments"
_ENDS: dict[str, type[UnmatchedMoneyAttached | UnmatchedMoneyReturned | UnmatchedMoneyDismissed]] = {
    "attached": UnmatchedMoneyAttached,
    "returned": UnmatchedMoneyReturned,
    "dismissed": UnmatchedMoneyDismissed,
}
"""By the item's status."""


def command_message(kept: KeptEvent) -> OutboxMessage:
    """The command that a sent event is."""
    assert kept.command_id is not None, "a sent event has a command"
    assert kept.order_id is not None, "a sent event has an order"
    command = command_for(kept)
    return OutboxMessage(ORDERS_COMMANDS, _envelope(kept, kept.command_id, kept.order_id, command, kept.order_id))


def outcome_message(kept: KeptEvent, detail: str) -> OutboxMessage | None:
    """What the order made of an event: applied or refused; nothing while it waits."""
    about = {
        "channel_event_id": kept.channel_event_id,
        "channel_id": kept.channel_id,
        "event_type": kept.event.wire_type,
        "event_id": kept.event_id,
        "payment_id": kept.payment_id,
        "payment_reference": kept.event.payment_reference,
        "order_id": kept.order_id,
    }
    message: Message
    match kept.status:
        case "applied":
            message = ChannelEventApplied.model_validate({**about, "order_version": kept.order_version})
        case "refused":
            message = ChannelEventRefused.model_validate({**about, "code": kept.refusal, "detail": detail})
        case _:
            return None
    key = kept.order_id or kept.channel_event_id
    return OutboxMessage(
        PAYMENTS_EVENTS, _envelope(kept, f"{kept.channel_event_id}.{kept.status}", key, message, kept.order_id)
    )


def found_messages(items: Iterable[Item], now: datetime) -> list[OutboxMessage]:
    """Somebody must look at these, from now on: what is left of an item is as old as the item, and found only now."""
    return [_item_message(item, "found", UnmatchedMoneyFound(unmatched_money=item.money), now) for item in items]


def ended_messages(items: Iterable[Item]) -> list[OutboxMessage]:
    """Nobody needs to look any more at those of them that have ended; nothing is said of what another item tells
    better."""
    return [
        _item_message(item, item.money.status, end(unmatched_money=item.money), item.money.resolved_at)
        for item in items
        if (end := _ENDS.get(item.money.status)) is not None
    ]


def asking_message(item: Item, command: MoneyFact | ReserveRefund | ReleaseRefund, by: Actor | None) -> OutboxMessage:
    """What an order is told of an item's money, by whoever decided about it or found it out."""
    order_id = item.money.attaching_to or item.money.order_id
    assert item.command_id is not None, "an item that was asked for has a command"
    assert order_id is not None, "a command goes to an order"
    assert by is not None, "somebody decided"
    envelope = Envelope(
        id=item.command_id,
        type=command.wire_type,
        source=SOURCE,
        data=command.model_dump_json(exclude_none=True).encode(),
        key=order_id,
        subject=order_id,
        traceparent=current_traceparent(),
        correlation_id=item.channel_event_id,
        causation_id=item.money.unmatched_money_id,
        merchant_id=item.merchant_id,
        environment=item.environment,
        actor=told_by(by),
    )
    return OutboxMessage(ORDERS_COMMANDS, envelope)


def told_by(actor: Actor) -> str:
    """Who caused it, as envelopes say it."""
    return f"{actor.type}:{actor.id}"


def _item_message(item: Item, what: str, message: Message, at: datetime | None) -> OutboxMessage:
    money = item.money
    # The name of an order that nobody knows is only text from outside.
    order_known = money.status == "attached" or money.kind in ("closed_order", "currency", "surplus")
    envelope = Envelope(
        id=f"{money.unmatched_money_id}.{what}",
        type=message.wire_type,
        source=SOURCE,
        data=message.model_dump_json().encode(),
        key=money.order_id if order_known and money.order_id else money.unmatched_money_id,
        subject=money.unmatched_money_id,
        time=at,
        correlation_id=item.channel_event_id,
        causation_id=item.channel_event_id,
        merchant_id=item.merchant_id,
        environment=item.environment,
        actor=told_by(money.resolved_by) if money.resolved_by else f"channel:{money.channel_id}",
    )
    return OutboxMessage(PAYMENTS_EVENTS, envelope)


def _envelope(kept: KeptEvent, message_id: str, key: str, message: Message, subject: str | None) -> Envelope:
    return Envelope(
        id=message_id,
        type=message.wire_type,
        source=SOURCE,
        data=message.model_dump_json(exclude_none=True).encode(),
        key=key,
        subject=subject,
        traceparent=kept.traceparent,
        correlation_id=kept.correlation_id or kept.channel_event_id,
        causation_id=kept.channel_event_id,
        merchant_id=kept.merchant_id,
        environment=kept.environment,
        actor=f"channel:{kept.channel_id}",
    )
