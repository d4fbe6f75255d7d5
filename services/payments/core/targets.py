"""Which order an event is for. None is ever guessed."""

import re

from services.payments.core.state import KnownOrder, KnownOrders
from shared.contracts.channels import ChannelEvent
from shared.immutable import immutable

_ORDER_ID = re.compile(r"ord_[A-Za-z0-9]{1,64}", re.ASCII)


@immutable
class Target:
    """The order to tell; `known` is what we know of it, if anything."""

    order_id: str
    known: KnownOrder | None = None


@immutable
class Nowhere:
    """No order answers to the name yet; or several do, and only a person can say which."""

    ambiguous: bool = False


def first_target(event: ChannelEvent, merchant_id: str, environment: str, orders: KnownOrders) -> Target | Nowhere:
    """An order id is believed: we may hear of an order after its money. Otherwise the one order of that reference."""
    order_id = event.order_id
    if order_id is not None and _ORDER_ID.fullmatch(order_id):
        return Target(order_id, orders.order(order_id, merchant_id, environment))
    return _by_reference(event, merchant_id, environment, orders)


def known_target(event: ChannelEvent, merchant_id: str, environment: str, orders: KnownOrders) -> Target | Nowhere:
    """For an event that no order took: one that is known by now, by id or else by reference."""
    known = orders.order(event.order_id, merchant_id, environment)
    if known is not None:
        return Target(known.order_id, known)
    return _by_reference(event, merchant_id, environment, orders)


def _by_reference(event: ChannelEvent, merchant_id: str, environment: str, orders: KnownOrders) -> Target | Nowhere:
    called = orders.called(event.external_reference, merchant_id, environment)
    choices = [order for order in called if not order.ended] or called
    if len(choices) == 1:
        return Target(choices[0].order_id, choices[0])
    return Nowhere(ambiguous=len(choices) > 1)
