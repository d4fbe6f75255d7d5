"""A draft is not announced as paid, whatever it comes to: nobody is to send its goods."""

from services.orders.core.decide import Decision, decide_and_apply
from services.orders.core.state import Order
from shared.contracts import order_commands as c
from shared.contracts.order_parts import LineItem
from tests.unit.test_orders_money import CONTEXT, accepted, capture, event_names


def created(price: int, *, draft: bool = True) -> tuple[Order, list[str]]:
    line = LineItem(line_item_id="li_1", name="Sample", unit_price_minor=price)
    command = c.CreateOrder(currency="EUR", draft=draft, line_items=(line,))
    decided = decide_and_apply(None, command, CONTEXT)
    assert isinstance(decided, Decision)
    return decided.order, [type(event).__name__ for event in decided.events]


def test_a_free_draft_is_paid_when_it_opens() -> None:
    draft, events = created(0)
    assert (events, draft.payment_status) == (["OrderCreated"], "unpaid")
    assert event_names(draft, c.OpenOrder()) == ["OrderOpened", "OrderPaid"]
    assert accepted(draft, c.OpenOrder()).payment_status == "paid"


def test_a_free_draft_that_gets_a_price_is_announced_once_it_is_paid() -> None:
    draft, _ = created(0)
    priced = c.UpdateLineItem(line_item_id="li_1", unit_price_minor=500)
    assert event_names(draft, priced) == ["LineItemUpdated"]
    order = accepted(draft, priced)
    assert event_names(order, c.OpenOrder()) == ["OrderOpened"]
    assert event_names(accepted(order, c.OpenOrder()), capture(500)) == ["PaymentCaptured", "OrderPaid"]


def test_a_draft_that_becomes_free_is_paid_when_it_opens() -> None:
    draft, _ = created(500)
    free = c.UpdateLineItem(line_item_id="li_1", unit_price_minor=0)
    assert event_names(draft, free) == ["LineItemUpdated"]
    assert event_names(accepted(draft, free), c.OpenOrder()) == ["OrderOpened", "OrderPaid"]


def test_money_on_a_draft_is_told_and_that_it_is_paid_when_it_opens() -> None:
    draft, _ = created(500)
    assert event_names(draft, capture(200)) == ["PaymentCaptured", "OrderPartiallyPaid"]
    draft = accepted(draft, capture(200))
    assert event_names(draft, capture(300, 2)) == ["PaymentCaptured"]
    draft = accepted(draft, capture(300, 2))
    assert (draft.payment_status, draft.outstanding) == ("paid", 0)
    assert event_names(draft, capture(1, 3)) == ["PaymentCaptured", "OrderOverpaid"]
    assert event_names(draft, c.OpenOrder()) == ["OrderOpened", "OrderPaid"]


def test_a_free_order_that_is_open_is_paid_at_once() -> None:
    order, events = created(0, draft=False)
    assert (events, order.payment_status) == (["OrderCreated", "OrderPaid"], "paid")
