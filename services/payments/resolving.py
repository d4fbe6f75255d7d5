"""Unmatched money that somebody decides about: claimed in one transaction, ended by the order's reply."""

from collections.abc import Mapping, Sequence
from dataclasses import astuple
from datetime import datetime

import structlog

from services.payments.core import returning
from services.payments.core.asking import Approved
from services.payments.core.intents.moves import Moves, intent_of
from services.payments.core.intents.state import Attempt
from services.payments.core.resolving import Attach, Decision, Denied, Found, GiveBack, Wish, answered, decide
from services.payments.core.returning import OUR_CHANNEL, CameBack
from services.payments.core.state import Item, Leg
from services.payments.messages import asking_message, ended_messages, found_messages
from services.payments.saving import save
from services.payments.store import events, intents, orders, unmatched
from services.payments.store.unmatched import Due
from shared import outbox
from shared.contracts.model import Actor
from shared.contracts.orders import CommandAccepted, CommandRefused
from shared.immutable import immutable
from shared.postgres import Connection

log = structlog.get_logger(__name__)

_OVERDUE = Actor(type="system", id="jobs.mark_overdue_money")
"""Who gives back what nobody has decided about in time."""
_WATCH = Actor(type="system", id="attempts.watched")
"""Who finds out that a refund came back."""


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
    asking = [asking_message(claimed.item, claimed.command, wish.actor)] if claimed.command else []
    await outbox.put(connection, [*asking, *ended_messages([claimed.item]), *found_messages(rest, now)])
    return claimed.item


async def return_overdue(connection: Connection, due: Due, now: datetime) -> bool:
    """Whether its money is to go back from now on; not where somebody has just decided about it.

    What cannot go back any more says why from now on, and waits for somebody.
    """
    place = Place(due.unmatched_money_id, due.merchant_id, due.environment)
    found = await resolve(connection, place, Wish(_OVERDUE, expected_version=due.version), GiveBack(), now)
    if isinstance(found, Denied) and found.code != "VERSION_CONFLICT":
        locked = await unmatched.lock_item(connection, *astuple(place))
        assert locked is not None, "it was found by its version"
        await unmatched.change_items(connection, [returning.kept(locked[0], found.code)])
    return isinstance(found, Item)


async def given_back(connection: Connection, refunds: Sequence[tuple[Approved | None, Attempt]], now: datetime) -> None:
    """What processors said of giving money back, each with what they had approved before: orders are told of what
    they did, and of what came back; the rest is open again."""
    for before, attempt in refunds:
        asked, answer = attempt.asked, attempt.answer
        assert asked.unmatched_money_id is not None, "a refund gives back an item's money"
        locked = await unmatched.lock_item(connection, asked.unmatched_money_id, asked.merchant_id, asked.environment)
        assert locked is not None, "the item is there for ever"
        code = getattr(answer, "code", "not_processed")
        if before is not None:
            await _came_back(connection, returning.came_back(locked[0], before.reference, code, now), now)
            continue
        item, command = (
            returning.given_back(locked[0], answer.reference, now)
            if isinstance(answer, Approved)
            else returning.not_given_back(locked[0], code)
        )
        await outbox.put(connection, [asking_message(item, command, locked[0].money.resolved_by)])
        await unmatched.change_items(connection, [item])


async def _came_back(connection: Connection, found: CameBack | None, now: datetime) -> None:
    if found is None:
        return
    log.warning("refund_came_back", unmatched_money_id=found.item.money.unmatched_money_id)
    await unmatched.change_items(connection, [found.item])
    again = await unmatched.open_items(connection, [found.again] if found.again else [])
    told = asking_message(found.item, found.command, _WATCH)
    await outbox.put(connection, [told, *found_messages(again, now)])


async def settle_all(connection: Connection, replies: Sequence[CommandAccepted | CommandRefused], now: datetime) -> int:
    """How many items have their order's answer now; replies to anything else change nothing.

    What an order has set aside its processor is asked for from now on.
    """
    by_command = {reply.command_id: reply for reply in replies if reply.command_id.startswith("um_")}
    if not by_command:
        return 0
    collected = await unmatched.collected_by(connection, sorted(by_command), OUR_CHANNEL)
    groups = await intents.lock_groups(connection, sorted(map(intent_of, collected))) if collected else {}
    moves = [Moves(group, now) for group in groups.values()]
    known = {name: each for each in moves for name in each.ids}
    asked = await unmatched.lock_asked(connection, sorted(by_command))
    items = [_settled(item, by_command[command_id], known, now) for command_id, item in asked.items()]
    await unmatched.change_items(connection, items)
    legs = [_leg(item) for item in items if item.money.status == "attached"]
    await save(connection, moves, (), events.changed_legs(legs), outbox.rows_of(ended_messages(items)))
    return len(items)


def _settled(item: Item, reply: CommandAccepted | CommandRefused, known: Mapping[str, Moves], now: datetime) -> Item:
    if isinstance(reply, CommandRefused) or not returning.is_set_aside(item):
        return answered(item, reply, now)
    assert item.money.amount_money is not None, "what is on an order has an amount"
    name = intent_of(item.channel_event_id)
    known[name].refund(known[name][name], item.money.amount_money.amount, item.money.unmatched_money_id)
    return returning.at_its_processor(item)


def _leg(item: Item) -> Leg:
    """The payment is this order's from now on, if it was nobody's."""
    money = item.money
    currency = money.amount_money.currency if money.amount_money else None
    return Leg(money.payment_id, money.channel_id, money.payment_reference, money.order_id, currency)
