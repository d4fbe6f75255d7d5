"""The order's replies: events are applied or refused, and items are opened and ended, in one transaction per batch."""

from collections.abc import Sequence
from datetime import datetime

from services.payments.core.items import item_id
from services.payments.core.settling import Settled, settle
from services.payments.core.state import Leg
from services.payments.messages import ended_messages, found_messages, outcome_message
from services.payments.store import events, unmatched
from services.payments.store.unmatched import End
from shared import outbox
from shared.contracts.orders import CommandAccepted, CommandRefused
from shared.postgres import Connection
from shared.writes import write

Reply = CommandAccepted | CommandRefused


async def settle_all(connection: Connection, replies: Sequence[Reply], now: datetime) -> int:
    """How many events have an outcome now. Replies to older commands, or to ones that were not ours, change nothing.

    Outcomes are told in the order of the replies, so those of one order in the order of its versions.
    """
    by_command = {reply.command_id: reply for reply in replies}
    asked = await events.lock_answered(connection, sorted(by_command))
    answered = [
        (settle(asked[command_id], reply, now), reply)
        for command_id, reply in by_command.items()
        if command_id in asked
    ]
    if not answered:
        return 0
    settled = [each for each, _ in answered]
    opened = await unmatched.open_items(connection, [each.item for each in settled if each.item])
    ended = await unmatched.end_items(connection, [_end(each) for each in settled if each.found_order], now)
    outcomes = [outcome_message(each.kept, getattr(reply, "detail", "")) for each, reply in answered]
    told = [message for message in outcomes if message is not None]
    await write(
        connection,
        events.changed_events([each.kept for each in settled], now),
        events.changed_legs([_leg(each) for each in settled if each.kept.status == "applied"]),
        outbox.rows_of([*told, *found_messages(opened, now), *ended_messages(ended)]),
    )
    return len(settled)


def _leg(settled: Settled) -> Leg:
    """The payment is this order's from now on."""
    kept = settled.kept
    return Leg(kept.payment_id, kept.channel_id, kept.event.payment_reference, kept.order_id, kept.currency)


def _end(settled: Settled) -> End:
    """Of the item about the event's unknown order, if there was one."""
    kept, item = settled.kept, settled.item
    about = item_id(kept.channel_event_id, "unknown_order")
    if kept.status == "applied":
        return End(about, "attached", kept.order_id)
    return End(about, "replaced", kept.order_id, item.money.unmatched_money_id if item else None)
