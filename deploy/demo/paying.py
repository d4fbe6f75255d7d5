"""Paying as it mostly goes."""

from deploy.demo.shop import Shop, card
from deploy.demo.words import euros, expect, money, say


def in_one_call(shop: Shop) -> None:
    """Pay in one call."""
    order = shop.sell("Rain jacket", 9000)
    paid = shop.pay(order, method=card(), source="checkout")
    expect(paid["status"], "succeeded", "The outcome")
    say("POST /v1/orders/{id}/pay with a card")
    shop.tell_end(order, "paid", 9000)


def another_card(shop: Shop) -> None:
    """A card is declined, and another one pays."""
    order = shop.sell("Umbrella", 5000, "pos")
    intent = shop.intend(order, method=card("decline_insufficient_funds"), confirm=True, source="pos")
    expect(intent["status"], "requires_payment_method", "The intent's status")
    say(f"the first card: {intent['last_decline']['message']} The intent goes on with the next one")
    intent = shop.act(intent, "confirm", method=card())
    expect(intent["status"], "succeeded", "The intent's status")
    shop.tell_end(order, "paid", 5000)


def capture_in_parts(shop: Shop) -> None:
    """Authorize now, capture in two parts as they are sent, let go of the rest."""
    order = shop.sell("Three books", 5000)
    intent = shop.intend(order, method=card(), capture_method="manual", confirm=True, source="checkout")
    expect((intent["status"], intent["authorized_money"]), ("requires_capture", euros(5000)), "The authorization")
    for part in (2000, 1500):
        intent = shop.act(intent, "capture", amount_money=euros(part))
    intent = shop.act(intent, "cancel")
    said = (intent["status"], intent["captured_money"], intent["voided_money"])
    expect(said, ("succeeded", euros(3500), euros(1500)), "The intent in the end")
    say("one authorization of 50.00 EUR, captures of 20.00 and 15.00 EUR, and a cancel")
    shop.tell_end(order, "partially_paid", 3500)


def from_three_sources(shop: Shop) -> None:
    """One order from three sources: cash with change, a card that covers only half, and a channel's event."""
    order = shop.sell("Bicycle lock", 10_000, "pos")
    part = {"source": "pos", "completion_behavior": "partial_payment"}
    cash = {"type": "cash", "tendered_money": euros(5000)}
    paid = shop.pay(order, method=cash, amount_money=euros(4000), expected_outstanding_money=euros(10_000), **part)
    expect(paid["change_money"], euros(1000), "The change")
    say(f"cash at the register: 50.00 EUR handed over, {money(paid['change_money'])} change")
    half = shop.pay(order, method=card("partial_approval"), **part)
    expect((half["status"], half["captured_money"]), ("partially_succeeded", euros(3000)), "The card")
    say("a card for the 60.00 EUR that are left: its bank approves half")
    rest = shop.capture_told(3000, order_id=order["order_id"])
    shop.topic.publish(*shop.topic.captured(order["order_id"], rest))
    say("the rest in the web shop, which tells of it on its topic")
    shop.wait_for(order, "paid")
    shop.tell_end(order, "paid", 10_000)
