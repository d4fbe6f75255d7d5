"""A channel that publishes what happened to its money."""

import json

from confluent_kafka import Consumer
from rich.box import SIMPLE
from rich.table import Table

from deploy.demo.kafka import header, next_with, reading
from deploy.demo.shop import Shop, tell_order
from deploy.demo.words import Json, console, euros, eventually, expect, money, say
from shared.topics import ORDERS_EVENTS, dead_letters


def a_channel_pays(shop: Shop) -> None:
    """A channel publishes payments to Kafka; then it repeats itself, contradicts itself and sends garbage."""
    with (
        reading(shop.status, shop.observer, ORDERS_EVENTS) as versions,
        reading(shop.status, shop.status["channel"], dead_letters(shop.topic.name)) as letters,
    ):
        order = shop.sell("Rain jacket", 9000)
        first = _two_payments(shop, order)
        before = shop.read(order)
        _repeats_contradiction_garbage(shop, order, first, letters)
        expect(shop.read(order), before, "The order")
        _what_a_consumer_saw(order, versions)
    past = shop.read(order, version=1)
    say(f"GET /v1/orders/{order['order_id']}?version=1, the order as it was:")
    expect(past["payment_status"], "unpaid", "The payment status at version 1")
    tell_order(past)
    shop.tell_end(order, "paid", 9000)


def _two_payments(shop: Shop, order: Json) -> Json:
    order_id = order["order_id"]
    first, second = (shop.capture_told(amount, order_id=order_id) for amount in (4000, 5000))
    shop.topic.publish(*shop.topic.captured(order_id, first))
    say(f"40.00 EUR as a CloudEvent in binary mode (confluent-kafka) -> {shop.topic.name}")
    tell_order(shop.wait_for(order, "partially_paid"))
    shop.topic.publish(*shop.topic.captured_structured(order_id, second))
    say("50.00 EUR in structured mode (made with the cloudevents library)")
    tell_order(shop.wait_for(order, "paid"))
    return first


def _repeats_contradiction_garbage(shop: Shop, order: Json, told: Json, letters: Consumer) -> None:
    order_id = order["order_id"]
    for _ in range(3):
        shop.topic.publish(*shop.topic.captured(order_id, told))
    shop.topic.publish(*shop.topic.captured(order_id, told | {"amount_money": euros(3000)}))
    shop.topic.publish(order_id, b"\x00 not a CloudEvent", [])
    # All of it has the same key, so whatever came before the last message has been read by the time that this is.
    coffee = shop.sell("Coffee", 450)
    shop.topic.publish(*shop.topic.captured(order_id, shop.capture_told(450, order_id=coffee["order_id"])))
    reason = header(next_with(letters, order_id), "tl_reason")
    expect(reason, "NOT_A_CLOUDEVENT", "The reason of the dead letter")
    shop.wait_for(coffee, "paid")
    [conflict] = _conflicts(shop, told["payment_reference"])
    say("the same payment three more times: nothing changed")
    say(f"the same reference with another amount: a conflict for somebody to look at. {conflict['detail']}")
    say(f"garbage: in the dead letters, with the reason [bold]{reason}[/bold]; the message after it was processed")


def _conflicts(shop: Shop, reference: str) -> list[Json]:
    def found() -> list[Json]:
        items = shop.get("/v1/unmatched-money", kind="conflict", page_size=100)
        return [item for item in items if item["payment_reference"] == reference]

    return eventually(found, "the conflict to be shown")


def _what_a_consumer_saw(order: Json, versions: Consumer) -> None:
    say("what another foreign client read from orders.events:")
    table = Table("version", "what happened", "by", "owed before", "after", box=SIMPLE)
    for expected in (1, 2, 3):
        value = json.loads(next_with(versions, order["order_id"]).value() or b"")
        expect(value["version"], expected, "The next version on orders.events")
        happened = ", ".join(event["type"].split(".")[1].replace("_", " ") for event in value["events"])
        actor = value["actor"]
        who = f"channel {actor['id']}" if actor["type"] == "channel" else "the shop's API key"
        table.add_row(
            str(value["version"]), happened, who, money(value["balance_before"]), money(value["balance_after"])
        )
    console.print(table)
