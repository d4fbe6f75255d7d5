"""Which orders unmatched money may belong to, the likeliest first, and why. A person decides; nothing is attached."""

import re
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Literal

from services.payments.core.state import Item, KnownOrder
from shared.immutable import immutable
from shared.money import format_money

MOST = 5
"""Proposals for one item: more would be no help."""

ReasonCode = Literal["amount_equal", "reference_equal", "reference_alike", "same_customer", "near_in_time"]

_WEIGHTS: dict[ReasonCode, int] = {
    "reference_equal": 50,
    "amount_equal": 40,
    "reference_alike": 25,
    "same_customer": 20,
    "near_in_time": 10,
}
"""Any two of the first three outweigh one; nearness alone is no reason."""
_NEAR = timedelta(days=1)
_NUMBER = re.compile(r"\d+")
_SEPARATORS = re.compile(r"[\W_]+")
_SHORTEST_NUMBER = 3


@immutable
class Reason:
    """One thing that speaks for an order."""

    code: ReasonCode
    detail: str


@immutable
class Proposal:
    """An order that the money may belong to."""

    order: KnownOrder
    score: int
    """The sum of its reasons' weights."""
    reasons: tuple[Reason, ...]


@immutable
class Clues:
    """What is known of the money that orders can be found by."""

    currency: str
    amount_minor: int | None
    """None where no order can be owed it: money that went out."""
    names: tuple[str, ...]
    customer_id: str | None

    @property
    def reference_keys(self) -> list[str]:
        """What names alike to its own have in common with them."""
        return sorted({key for name in self.names if (key := reference_key(name))})


def reference_key(name: str) -> str | None:
    """What names that are alike share: their last number (`web-8812`, `WEB 08812`, `8812`), or else their letters."""
    numbers: list[str] = _NUMBER.findall(name)
    last = numbers[-1].lstrip("0") if numbers else ""
    if len(last) >= _SHORTEST_NUMBER:
        return last
    return _letters(name) or None


def clues_of(item: Item, customer_id: str | None) -> Clues | None:
    """What an item is matched by; None where it cannot be attached elsewhere, or is no money."""
    money = item.money
    if money.amount_money is None or money.kind in ("closed_order", "surplus"):
        return None
    owed = None if money.event_type.startswith("channel.payment.refunded.") else money.amount_money.amount
    named = (money.external_reference, money.event.get("order_id"), money.payment_reference)
    return Clues(money.amount_money.currency, owed, tuple(name for name in named if name), customer_id)


def rank(item: Item, clues: Clues, candidates: Iterable[KnownOrder]) -> list[Proposal]:
    """The likeliest orders first; of equally likely ones that which was made nearest to the money's time.

    Orders in another currency are none: they could not take the money. Canceled ones owe nothing.
    """
    fitting = [order for order in candidates if order.currency == clues.currency and order.status != "canceled"]
    proposals = [_proposal(item, clues, order) for order in fitting]
    likely = [each for each in proposals if any(reason.code != "near_in_time" for reason in each.reasons)]
    return sorted(likely, key=lambda each: (-each.score, _apart(item, each.order), each.order.order_id))[:MOST]


def _proposal(item: Item, clues: Clues, order: KnownOrder) -> Proposal:
    reasons = tuple(_reasons(item, clues, order))
    return Proposal(order, sum(_WEIGHTS[reason.code] for reason in reasons), reasons)


def _reasons(item: Item, clues: Clues, order: KnownOrder) -> Iterator[Reason]:
    called = order.external_reference
    if called is not None and any(_letters(name) == _letters(called) != "" for name in clues.names):
        yield Reason("reference_equal", f"The order is called {called}, as the money says.")
    elif called is not None and reference_key(called) in clues.reference_keys:
        yield Reason("reference_alike", f"The order is called {called}, which is alike.")
    if clues.amount_minor is not None and clues.amount_minor == order.outstanding_minor:
        yield Reason(
            "amount_equal", f"The order is still owed {format_money(order.outstanding_minor, order.currency)}."
        )
    if clues.customer_id is not None and clues.customer_id == order.customer_id:
        yield Reason("same_customer", "The payment has to do with another order of the same customer.")
    if _apart(item, order) <= _NEAR:
        yield Reason("near_in_time", "The order was made within a day of the money.")


def _apart(item: Item, order: KnownOrder) -> timedelta:
    return abs(item.money.created_at - order.placed_at)


def _letters(name: str) -> str:
    """Without what people leave out or add: case, spaces, dashes."""
    return _SEPARATORS.sub("", name).casefold()
