"""The lines of orders as JSON, worked out once: most versions of an order have the lines of the version before."""

from collections import OrderedDict

import orjson

from services.orders.core.state import Order, Pricing
from services.orders.core.view import lines_view
from shared.contracts.order_parts import LineItem


class LinesJson:
    """Of the orders that this process told of lately. The same lines at the same prices are the same JSON for ever."""

    def __init__(self, largest: int = 5_000) -> None:
        self._largest = largest
        self._known: OrderedDict[str, tuple[tuple[LineItem, ...], Pricing, orjson.Fragment]] = OrderedDict()

    def of(self, order: Order) -> orjson.Fragment:
        """The `line_items` of the order's view."""
        known = self._known.get(order.order_id)
        if known is not None and known[0] is order.lines and known[1] is order.pricing:
            return known[2]
        made = orjson.Fragment(orjson.dumps(lines_view(order)))
        self._known[order.order_id] = (order.lines, order.pricing, made)
        if len(self._known) > self._largest:
            self._known.popitem(last=False)
        return made
