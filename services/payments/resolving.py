"""Unmatched money that somebody decides about: claimed in one transaction, ended by the order's reply."""

from collections.abc import Sequence
from datetime import datetime

from services.payments.core.resolving import Attach, Decision, Denied, Found, Wish, answered, decide
from services.payments.core.state import Item, Leg
from services.payments.messages import asking_message, ended_messages, found_messages
from services.payments.store import events, orders, unmatched
from shared import outbox
from shared.contracts.orders import CommandAccepted, CommandRefused
from shared.immutable import immutable
from shared.postgres import Connection


@immutable
class Place:
    """An item by its id, and whose it is."""

    unmatched_money_id: str
    merchant_id: str
    environment: str


async def resolve(
    connection: Connection, place: Place, wish: Wish, decision: Decision, now: datetime
) -> Item | Denied | None:
    """The item at its end, or with its order being told; `None` where the tenant has no such one.

    Whoever else wants the item, or has an answer about its event, waits until the transaction ends.
    """
    locked = await unmatched.lock_item(connection, place.unmatched_money_id, place.merchant_id, place.environment)
    if locked is None:
        return None
    item, event_status, told_otherwise = locked
    asked = decision.order_id if isinstance(decision, Attach) else item.money.order_id
    order = await orders.read_own(connection, place.merchant_id, place.environment, asked) if asked else None
    claimed = decide(Found(item, event_status, order, told_otherwise), wish, decision, now)
    if isinstance(claimed, Denied):
        return claimed
    if item.money.kind == "unknown_order":
        await events.take_over(connection, item.channel_event_id, now)
    await unmatched.change_items(connection, [claimed.item])
    rest = await unmatched.open_items(connection, [claimed.rest] if claimed.rest else [])
    asking = [asking_message(claimed.item, claimed.command)] if claimed.command else []
    await outbox.put(connection, [*asking, *ended_messages([claimed.item]), *found_messages(rest, now)])
    return claimed.item


async def settle_all(connection: Connection, replies: Sequence[CommandAccepted | CommandRefused], now: datetime) -> int:
    """How many items have their order's answer now; replies to anything else change nothing."""
    by_command = {reply.command_id: reply for reply in replies if reply.command_id.startswith("um_")}
    if not by_command:
        return 0
    asked = await unmatched.lock_asked(connection, sorted(by_command))
    items = [answered(item, by_command[command_id], now) for command_id, item in asked.items()]
    await unmatched.change_items(connection, items)
    await events.save_legs(connection, [_leg(item) for item in items if item.money.status == "attached"])
    await outbox.put(connection, ended_messages(items))
    return len(items)


def _leg(item: Item) -> Leg:
    """The payment is this order's from now on, if it was nobody's."""
    money = item.money
    currency = money.amount_money.currency if money.amount_money else None
    return Leg(money.payment_id, money.channel_id, money.payment_reference, money.order_id, currency)
