"""What is told of the questions that processors were asked."""

import pytest

from tests.integration.test_payment_intents import Json, attempts, card, money, order_of, pay
from tests.stack import Stack

pytestmark = pytest.mark.servers


async def test_attempts_say_what_was_paid_with(stack: Stack) -> None:
    shop = await stack.tenant()
    order_id = await order_of(shop)
    cash = {"type": "cash", "tendered_money": money(2500)}
    legs = [{"method": cash, "amount_money": money(2000)}, {"method": card(), "amount_money": money(3000)}]
    await pay(shop, order_id, legs=legs)
    found = await attempts(shop, order_id)
    by_hand = {"type": "cash", "tendered_money": money(2500)}
    assert {each["operation"]: said(each) for each in found if each["connector"] == "manual"} == {
        "authorize": by_hand,
        "capture": by_hand,
    }
    assert {each["operation"]: said(each) for each in found if each["connector"] == "sandbox"} == {
        "authorize": {"type": "card", "brand": "visa", "last4": "4242"},
        "capture": {"type": "card"},
    }
    declined = await order_of(shop)
    await pay(shop, declined, method=card("sandbox_decline_lost_card"))
    [attempt] = await attempts(shop, declined)
    assert said(attempt) == {"type": "card"}
    assert "token" not in str(found + [attempt])


def said(attempt: Json) -> Json:
    """What it was paid with, as far as anything is said of it."""
    return {name: value for name, value in attempt["method"].items() if value is not None}
