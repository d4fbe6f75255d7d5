"""Events that no order took are sent again when their order appears, under a new command id."""

from collections.abc import Sequence
from datetime import datetime

from services.payments.core.state import KeptEvent, KnownOrder, Leg
from services.payments.core.taking import sent_again
from services.payments.messages import command_message
from services.payments.store import events, orders
from shared import outbox
from shared.postgres import Connection
from shared.writes import write

_AT_ONCE = 500
"""More than that are left to the job."""


async def orders_appeared(connection: Connection, seen: Sequence[KnownOrder], now: datetime) -> int:
    """Send what waited for these orders; how many commands are under way when the transaction commits."""
    return await _send(connection, await events.lock_waiting_for(connection, seen, _AT_ONCE), now)


async def match_waiting(connection: Connection, now: datetime) -> int:
    """Send what waits although its order is known by now.

    An order may appear at the very moment in which its event begins to wait: neither transaction sees the other.
    """
    return await _send(connection, await events.lock_matchable(connection, _AT_ONCE), now)


async def _send(connection: Connection, waiting: Sequence[KeptEvent], now: datetime) -> int:
    if not waiting:
        return 0
    legs = await events.read_legs(connection, sorted({kept.payment_id for kept in waiting}))
    ids = [kept.event.order_id for kept in waiting if kept.event.order_id is not None]
    references = [
        (kept.merchant_id, kept.environment, kept.event.external_reference)
        for kept in waiting
        if kept.event.external_reference is not None
    ]
    known = await orders.find_orders(connection, ids, references)
    changed = [(kept, sent_again(kept, _leg(kept, legs), known)) for kept in waiting]
    moved = [after for before, after in changed if after != before]
    sent = [kept for kept in moved if kept.status == "sent"]
    await write(connection, events.changed_events(moved, now), outbox.rows_of(map(command_message, sent)))
    return len(sent)


def _leg(kept: KeptEvent, legs: dict[str, Leg]) -> Leg:
    return legs.get(kept.payment_id) or Leg(kept.payment_id, kept.channel_id, kept.event.payment_reference)
