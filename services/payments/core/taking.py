"""`take(arrival, …)`: whether a channel event counts, and what is done with it.

The first of a reference counts; a repeat changes nothing; one that contradicts it is refused and shown.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal

from services.payments.core import items
from services.payments.core.state import Arrival, Item, KeptEvent, KnownOrders, Leg
from services.payments.core.targets import Nowhere, Target, first_target, known_target
from shared.immutable import immutable, replace

Outcome = Literal["accepted", "duplicate", "conflict", "unmatched"]


@immutable
class Taken:
    """What became of an arrival: `kept` is new where the event counted, `item` is what somebody must see."""

    arrival: Arrival
    outcome: Outcome
    leg: Leg
    kept: KeptEvent | None = None
    item: Item | None = None


def take_all(
    arrivals: Sequence[Arrival],
    known: Mapping[str, KeptEvent],
    legs: Mapping[str, Leg],
    orders: KnownOrders,
    now: datetime,
) -> list[Taken]:
    """One decision per arrival, in order; an earlier one of the batch counts as known for a later one."""
    kept, current = dict(known), dict(legs)
    results = []
    for arrival in arrivals:
        channel, reference = arrival.channel.channel_id, arrival.event.payment_reference
        leg = current.get(arrival.payment_id) or Leg(arrival.payment_id, channel, reference)
        taken = take(arrival, kept.get(arrival.channel_event_id), leg, orders, now)
        current[taken.leg.payment_id] = taken.leg
        if taken.kept is not None:
            kept[taken.kept.channel_event_id] = taken.kept
        results.append(taken)
    return results


def take(arrival: Arrival, first: KeptEvent | None, leg: Leg, orders: KnownOrders, now: datetime) -> Taken:
    """`first` is what counted for the same reference before, if anything did."""
    channel = arrival.channel
    target = first_target(arrival.event, channel.merchant_id, channel.environment, orders)
    if first is not None:
        return _again(arrival, first, leg, target, now)
    contradiction = _other_order(leg, target)
    if contradiction is not None:
        item = items.conflict(arrival, _kept(arrival, "refused"), contradiction, now)
        return Taken(arrival, "conflict", leg, item=item)
    return _first(arrival, leg, target, now)


def _first(arrival: Arrival, leg: Leg, target: Target | Nowhere, now: datetime) -> Taken:
    money = arrival.event.amount_money
    leg = leg if money is None or leg.currency else replace(leg, currency=money.currency)
    kept = sent(_kept(arrival, "waiting"), target, leg)
    if kept.status == "sent":
        return Taken(arrival, "accepted", leg, kept)
    item = items.unknown_order(kept, now) if kept.moved_money else None
    return Taken(arrival, "unmatched", leg, kept, item)


def sent(kept: KeptEvent, target: Target | Nowhere, leg: Leg) -> KeptEvent:
    """The event with a command under way to its order; or still waiting, where there is none to send it to."""
    if isinstance(target, Nowhere):
        return replace(kept, status="held" if target.ambiguous else "waiting")
    currency = _currency(kept, target, leg)
    if currency is None:
        return replace(kept, status="waiting")
    return replace(kept, status="sent", order_id=target.order_id, currency=currency, attempt=kept.attempt + 1)


def sent_again(kept: KeptEvent, leg: Leg, orders: KnownOrders) -> KeptEvent:
    """A waiting event with a new command under way, if its order is known by now; else as it was."""
    target = known_target(kept.event, kept.merchant_id, kept.environment, orders)
    return kept if isinstance(target, Nowhere) and not target.ambiguous else sent(kept, target, leg)


def _currency(kept: KeptEvent, target: Target, leg: Leg) -> str | None:
    """Of the money; a void without an amount is in the currency of what it voids, or of its order."""
    if kept.money is not None:
        return kept.money.currency
    return leg.currency or (target.known.currency if target.known else None)


def _again(arrival: Arrival, first: KeptEvent, leg: Leg, target: Target | Nowhere, now: datetime) -> Taken:
    if _same_money(arrival, first) and _same_order(arrival, first, target):
        return Taken(arrival, "duplicate", leg)
    reference = arrival.event.payment_reference
    detail = f"{reference} was told of before with {items.amount_text(first.event)}, {_order_text(first)}."
    return Taken(arrival, "conflict", leg, item=items.conflict(arrival, first, detail, now))


def _same_money(arrival: Arrival, first: KeptEvent) -> bool:
    return arrival.event.amount_money == first.event.amount_money


def _same_order(arrival: Arrival, first: KeptEvent, target: Target | Nowhere) -> bool:
    """Names of the same kind must be equal; an id against a reference, what they lead to."""
    said, before = arrival.event, first.event
    pairs = ((said.order_id, before.order_id), (said.external_reference, before.external_reference))
    comparable = [(one, other) for one, other in pairs if one is not None and other is not None]
    if comparable:
        return all(one == other for one, other in comparable)
    return isinstance(target, Nowhere) or first.order_id is None or target.order_id == first.order_id


def _other_order(leg: Leg, target: Target | Nowhere) -> str | None:
    if leg.order_id is None or isinstance(target, Nowhere) or target.order_id == leg.order_id:
        return None
    return f"{leg.payment_reference} is a payment of the order {leg.order_id}."


def _order_text(kept: KeptEvent) -> str:
    order_id = kept.order_id or kept.event.order_id
    return f"for the order {order_id}" if order_id else f"for the order called {kept.event.external_reference}"


def _kept(arrival: Arrival, status: Literal["waiting", "refused"]) -> KeptEvent:
    channel, event = arrival.channel, arrival.event
    return KeptEvent(
        channel_event_id=arrival.channel_event_id,
        channel_id=channel.channel_id,
        merchant_id=channel.merchant_id,
        environment=channel.environment,
        event_id=arrival.event_id,
        event=event if event.source else event.model_copy(update={"source": channel.source}),
        payment_id=arrival.payment_id,
        status=status,
        correlation_id=arrival.correlation_id,
        traceparent=arrival.traceparent,
    )
