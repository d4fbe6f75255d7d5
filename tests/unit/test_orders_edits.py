"""How many parts an order may have, whenever they come."""

from collections.abc import Callable

import pytest

from services.orders.core.evolve import evolve
from shared.contracts import order_commands as c
from shared.contracts.order_events import ChargeAdded
from shared.contracts.order_parts import Charge, Discount, LineItem
from tests.unit.test_orders_money import NOW, accepted, event_names, new_order, refused


def line(number: int) -> c.AddLineItem:
    return c.AddLineItem(line_item=LineItem(line_item_id=f"li_x{number}", name="Thing", unit_price_minor=1))


def charge(number: int) -> c.AddCharge:
    return c.AddCharge(charge=Charge(charge_id=f"chg_{number}", name="Shipping", amount_minor=1))


def discount(number: int) -> c.ApplyDiscount:
    return c.ApplyDiscount(discount=Discount(discount_id=f"dis_{number}", name="Coupon", amount_minor=1))


@pytest.mark.parametrize(
    ("added", "param", "room", "words"),
    [
        (line, "line_items", 499, "500 lines"),
        (charge, "charges", 50, "50 charges"),
        (discount, "discounts", 50, "50 discounts"),
    ],
)
def test_an_order_gets_no_more_parts_than_it_may_begin_with(
    added: Callable[[int], c.OrderCommand], param: str, room: int, words: str
) -> None:
    order = new_order()
    for number in range(room):
        order = accepted(order, added(number))
    refusal = refused(order, added(room))
    assert (refusal.code, refusal.param) == ("VALIDATION_FAILED", param)
    assert refusal.detail == f"An order has at most {words}."
    assert event_names(order, added(0)) == [], "a repeat of one that it has"


def test_an_order_that_has_more_parts_than_it_may_can_be_changed_and_lose_some() -> None:
    order = new_order()
    for number in range(60):
        order = evolve(order, ChargeAdded(charge=charge(number).charge), NOW)
    order = accepted(order, c.RemoveCharge(charge_id="chg_0"))
    order = accepted(order, c.UpdateCharge(charge_id="chg_1", name="Post"))
    order = accepted(order, c.SetTip(tip_minor=5))
    assert len(order.charges) == 59
    assert refused(order, charge(0)).param == "charges"
