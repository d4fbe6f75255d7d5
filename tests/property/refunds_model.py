"""Two refunds of the same two payments: reserved, sent, let go and reserved anew, with books of what is set aside."""

from collections import Counter
from dataclasses import dataclass, field

from hypothesis import strategies as st

from services.orders.core.state import Order
from shared.contracts import order_commands as c
from shared.contracts.order_events import (
    OrderEvent,
    RefundRecorded,
    RefundReleased,
    RefundReserved,
)
from shared.contracts.order_parts import Allocation, LineItem
from tests.property.orders_model import Story

_COLLECTED = 100
"""On each of the payments."""

_refunds = st.sampled_from(["ref_1", "ref_1", "ref_2"])
_payments = st.sampled_from(["pay_1", "pay_2"])
_amounts = st.sampled_from([20, 30, 50, 70])


def _reservation(refund_id: str, amount: int, payment_id: str | None) -> c.ReserveRefund:
    """Of one payment, or of whichever bear it."""
    named = (Allocation(payment_id=payment_id, amount_minor=amount),) if payment_id else ()
    return c.ReserveRefund(refund_id=refund_id, amount_minor=amount, payments=named)


def _sent(refund_id: str, payment_id: str, amount: int) -> c.RecordRefund:
    return c.RecordRefund(
        refund_id=refund_id, refund_reference="?", payment_id=payment_id, amount_minor=amount, currency="EUR"
    )


def _told_apart(steps: list[c.OrderCommand]) -> list[c.OrderCommand]:
    """Each that is sent with a reference of its own: its place."""
    return [
        step.model_copy(update={"refund_reference": str(place)}) if isinstance(step, c.RecordRefund) else step
        for place, step in enumerate(steps)
    ]


_commands: st.SearchStrategy[c.OrderCommand] = st.one_of(
    st.builds(_reservation, _refunds, _amounts, st.one_of(st.none(), _payments)),
    st.builds(_sent, _refunds, _payments, _amounts),
    st.builds(c.ReleaseRefund, refund_id=_refunds),
    st.builds(c.ReverseRefund, refund_id=_refunds, refund_reference=st.integers(0, 4).map(str)),
)
refund_steps = st.lists(_commands, min_size=4, max_size=12).map(_told_apart)


def collected_twice() -> Story:
    """An order that two payments paid."""
    line = LineItem(line_item_id="li_1", name="Thing", unit_price_minor=2 * _COLLECTED)
    story = Story.begun(c.CreateOrder(currency="EUR", line_items=(line,)))
    for number in (1, 2):
        story.tell(
            c.RecordCapture(
                payment_id=f"pay_{number}",
                payment_reference=f"psp-{number}",
                amount_minor=_COLLECTED,
                currency="EUR",
            )
        )
    return story


@dataclass
class Book:
    """What is set aside for each refund, and how much of it each payment is still to bear."""

    open: Counter[str] = field(default_factory=Counter)
    planned: dict[str, Counter[str]] = field(default_factory=dict)

    def note(self, event: OrderEvent) -> None:
        """Money that came back is no longer set aside, so that a reversal changes nothing here."""
        match event:
            case RefundReserved(refund_id=refund_id):
                self.open[refund_id] = event.amount_minor
                self.planned[refund_id] = Counter({part.payment_id: part.amount_minor for part in event.allocation})
            case RefundRecorded(refund_id=refund_id):
                self.open[refund_id] = max(0, self.open[refund_id] - event.amount_minor)
                self.planned.setdefault(refund_id, Counter())[event.payment_id] -= event.amount_minor
            case RefundReleased(refund_id=refund_id):
                self.open[refund_id] -= event.amount_minor

    def set_aside(self, payment_id: str) -> int:
        return sum(max(0, min(plan[payment_id], self.open[name])) for name, plan in self.planned.items())


def assert_set_aside(order: Order, book: Book) -> None:
    assert {refund.refund_id: refund.open for refund in order.refunds} == {
        refund.refund_id: book.open[refund.refund_id] for refund in order.refunds
    }
