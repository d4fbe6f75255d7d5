"""Channel events become commands to orders, once per reference, in one transaction for the whole batch.

What comes by Kafka and by HTTP takes this one path. A constant number of statements, whatever the batch's size.
"""

from collections.abc import Sequence
from datetime import datetime

from services.payments.core.state import Arrival, KnownOrders
from services.payments.core.taking import Taken, take_all
from services.payments.messages import command_message, found_messages
from services.payments.store import events, orders, unmatched
from shared import outbox
from shared.postgres import Connection
from shared.writes import write


async def take_in(connection: Connection, arrivals: Sequence[Arrival], now: datetime) -> list[Taken]:
    """One result per arrival, in order; everything that follows is saved when the transaction commits."""
    if not arrivals:
        return []
    legs = await events.lock_legs(connection, arrivals)
    known = await events.read_events(connection, sorted({arrival.channel_event_id for arrival in arrivals}))
    results = take_all(arrivals, known, legs, await _orders_for(connection, arrivals), now)
    kept = [taken.kept for taken in results if taken.kept is not None]
    last = {taken.leg.payment_id: taken.leg for taken in results}
    opened = await unmatched.open_items(connection, [taken.item for taken in results if taken.item is not None])
    commands = [command_message(event) for event in kept if event.status == "sent"]
    await write(
        connection,
        events.changed_legs([leg for leg in last.values() if leg != legs[leg.payment_id]]),
        events.new_events(kept, now),
        outbox.rows_of([*commands, *found_messages(opened, now)]),
    )
    return results


async def _orders_for(connection: Connection, arrivals: Sequence[Arrival]) -> KnownOrders:
    ids = [arrival.event.order_id for arrival in arrivals if arrival.event.order_id is not None]
    references = [
        (arrival.channel.merchant_id, arrival.channel.environment, arrival.event.external_reference)
        for arrival in arrivals
        if arrival.event.external_reference is not None
    ]
    return await orders.find_orders(connection, ids, references)
