"""The main job as a story: a channel's payment events pay an order, told through foreign Kafka clients.

Everything here is done from outside: HTTP with an API key, and librdkafka with the channel's own credentials.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from cloudevents.core.bindings.kafka import KafkaMessage, to_structured
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from confluent_kafka import Consumer, Message, Producer, TopicPartition
from rich.console import Console
from rich.table import Table

from deploy.local.problem import RuntimeProblem
from shared.clock import utc_now
from shared.ids import new_id
from shared.money import format_money
from shared.topics import ORDERS_EVENTS, dead_letters

Json = dict[str, Any]

_PATIENCE_S = 30.0
_CAPTURED = "channel.payment.captured.v1"

console = Console(highlight=False, soft_wrap=True)


def run(status: Json, observer: Json) -> None:
    """Tell the story against a running installation; raises a `RuntimeProblem` when it does not go as it should.

    `status` is what `throughline status --json` says; `observer` has a `username` and `password` that may read
    `orders.events`.
    """
    shop = _Shop(status)
    with (
        _reading(status, observer, ORDERS_EVENTS) as versions,
        _reading(status, status["channel"], dead_letters(status["channel"]["topic"])) as letters,
    ):
        order = _create(shop)
        last = _two_channels_pay(shop, order)
        _repeats_change_nothing(shop, order, last)
        _garbage_stops_nobody(shop, letters)
        _what_a_consumer_saw(order, versions)
        _as_it_was(shop, order)
    console.print("\n[bold green]Done.[/bold green] Every step above was checked, not only printed.")


class _Shop:
    """A channel and its back office: HTTP with an API key, Kafka with the channel's credentials."""

    def __init__(self, status: Json) -> None:
        headers = {"Authorization": f"Bearer {status['api_key']}"}
        self.http = httpx.Client(base_url=status["base_url"], headers=headers, timeout=_PATIENCE_S)
        self.channel = status["channel"]
        self._producer = Producer(_client(status, self.channel) | {"enable.idempotence": True})

    def create(self, name: str, amount: int, reference: str) -> Json:
        price = {"amount": amount, "currency": "EUR"}
        lines = [{"name": name, "quantity": 1, "unit_price_money": price}]
        body = {"source": "checkout", "currency": "EUR", "external_reference": reference, "line_items": lines}
        answer = self.http.post("/v1/orders", json=body, headers={"Idempotency-Key": new_id("idem")})
        return _data(answer)

    def read(self, order_id: str, **params: Any) -> Json:
        return _data(self.http.get(f"/v1/orders/{order_id}", params=params))

    def wait_for(self, order_id: str, payment_status: str) -> Json:
        """The order once it has that payment status."""

        def reached() -> Json | None:
            order = self.read(order_id)
            return order if order["payment_status"] == payment_status else None

        order: Json = _eventually(reached, f"the order to be {payment_status}")
        return order

    def publish(self, key: str, value: bytes, headers: list[tuple[str, str | bytes | None]]) -> None:
        """On the channel's topic; returns when the broker has it."""
        self._producer.produce(self.channel["topic"], key=key, value=value, headers=headers)
        if self._producer.flush(_PATIENCE_S):
            raise RuntimeProblem("Kafka did not take the channel's message. Is everything still running?")


def _data(answer: httpx.Response) -> Json:
    if not answer.is_success:
        raise RuntimeProblem(f"{answer.request.method} {answer.url} answered {answer.status_code}: {answer.text}")
    data: Json = answer.json()["data"]
    return data


def _client(status: Json, login: Json) -> dict[str, Any]:
    kafka = status["kafka"]
    return {
        "bootstrap.servers": kafka["bootstrap_servers"],
        "security.protocol": kafka["security_protocol"],
        "sasl.mechanism": kafka["sasl_mechanism"],
        "sasl.username": login["username"],
        "sasl.password": login["password"],
    }


@contextmanager
def _reading(status: Json, login: Json, topic: str) -> Iterator[Consumer]:
    """A foreign consumer without a group's rights to keep: it reads every partition from now on."""
    consumer = Consumer(_client(status, login) | {"group.id": f"{login['username']}.demo", "enable.auto.commit": False})
    try:
        partitions = consumer.list_topics(topic, timeout=_PATIENCE_S).topics[topic].partitions
        ends = [
            TopicPartition(topic, number, consumer.get_watermark_offsets(TopicPartition(topic, number))[1])
            for number in partitions
        ]
        consumer.assign(ends)
        yield consumer
    finally:
        consumer.close()


def _heading(text: str) -> None:
    console.print(f"\n[bold cyan]{text}[/bold cyan]")


def _money(money: Json) -> str:
    return format_money(money["amount"], money["currency"])


def _say_order(order: Json) -> None:
    settlement = order["settlement"]
    console.print(
        f"  order {order['number']}, version {order['version']}: [bold]{order['payment_status']}[/bold], "
        f"collected {_money(settlement['net_collected_money'])}, owed {_money(settlement['outstanding_money'])}"
    )


def _create(shop: _Shop) -> Json:
    _heading("1. A shop creates an order over HTTP")
    order = shop.create("Rain jacket", 9000, f"web-{new_id('demo')[-6:].lower()}")
    console.print(f"  POST /v1/orders -> {order['order_id']}")
    _say_order(order)
    return order


def _captured(order: Json, reference: str, amount: int) -> Json:
    return {
        "order_id": order["order_id"],
        "payment_reference": reference,
        "amount_money": {"amount": amount, "currency": "EUR"},
        "method": {"type": "card", "brand": "visa", "last4": "4242"},
        "source": "checkout",
        "captured_at": utc_now().isoformat(),
    }


_Published = tuple[str, bytes, list[tuple[str, str | bytes | None]]]


def _two_channels_pay(shop: _Shop, order: Json) -> _Published:
    _heading("2. The channel publishes what it captured, with its own Kafka credentials")
    source = f"/channels/{shop.channel['channel_id']}"
    first = _binary(order, source, _captured(order, f"psp-{new_id('p')[-6:]}", 4000))
    shop.publish(*first)
    console.print(f"  40.00 EUR as a CloudEvent in binary mode (confluent-kafka) -> {shop.channel['topic']}")
    _say_order(shop.wait_for(order["order_id"], "partially_paid"))
    second = _structured(order, source, _captured(order, f"psp-{new_id('p')[-6:]}", 5000))
    shop.publish(*second)
    console.print("  50.00 EUR in structured mode (made with the cloudevents library)")
    _say_order(shop.wait_for(order["order_id"], "paid"))
    return first


def _binary(order: Json, source: str, body: Json) -> _Published:
    headers: list[tuple[str, str | bytes | None]] = [
        ("ce_specversion", "1.0"),
        ("ce_id", new_id("evt")),
        ("ce_type", _CAPTURED),
        ("ce_source", source),
        ("ce_subject", order["order_id"]),
        ("ce_time", utc_now().isoformat()),
        ("content-type", "application/json"),
    ]
    return order["order_id"], json.dumps(body).encode(), headers


def _structured(order: Json, source: str, body: Json) -> _Published:
    attributes = {
        "id": new_id("evt"),
        "type": _CAPTURED,
        "source": source,
        "specversion": "1.0",
        "subject": order["order_id"],
        "time": utc_now(),
        "datacontenttype": "application/json",
    }
    message: KafkaMessage = to_structured(CloudEvent(attributes=attributes, data=body), JSONFormat())
    return order["order_id"], message.value, [(name, value) for name, value in message.headers.items()]


def _repeats_change_nothing(shop: _Shop, order: Json, published: _Published) -> None:
    _heading("3. The same event, three more times")
    before = shop.read(order["order_id"])
    for _ in range(3):
        shop.publish(*published)
    time.sleep(2)
    after = shop.read(order["order_id"])
    if after != before:
        raise RuntimeProblem("A repeated event changed the order. That is a defect of Throughline.")
    console.print(f"  nothing changed: still version {after['version']}, still one payment for each reference")


def _garbage_stops_nobody(shop: _Shop, letters: Consumer) -> None:
    _heading("4. A message that nobody can read, and a good one after it")
    order = shop.create("Coffee", 450, "counter-7")
    shop.publish(order["order_id"], b"\x00 not a CloudEvent", [])
    shop.publish(*_binary(order, f"/channels/{shop.channel['channel_id']}", _captured(order, new_id("psp"), 450)))
    letter = _next(letters, order["order_id"])
    reason = _text(dict(_headers(letter))["tl_reason"])
    console.print(f"  the garbage is in {letter.topic()} with the reason [bold]{reason}[/bold]")
    _say_order(shop.wait_for(order["order_id"], "paid"))


def _what_a_consumer_saw(order: Json, versions: Consumer) -> None:
    _heading("5. What another foreign consumer read from orders.events")
    table = Table("version", "what happened", "by", "balance before", "balance after")
    for expected in (1, 2, 3):
        value = json.loads(_next(versions, order["order_id"]).value() or b"")
        if value["version"] != expected:
            raise RuntimeProblem(f"Version {expected} was expected, {value['version']} came.")
        happened = ", ".join(event["type"].split(".")[1].replace("_", " ") for event in value["events"])
        actor = value["actor"]
        who = f"channel {actor['id']}" if actor["type"] == "channel" else "the shop's API key"
        before, after = _money(value["balance_before"]), _money(value["balance_after"])
        table.add_row(str(value["version"]), happened, who, before, after)
    console.print(table)


def _as_it_was(shop: _Shop, order: Json) -> None:
    _heading("6. The order as it was at version 1")
    past = shop.read(order["order_id"], version=1)
    console.print(f"  GET /v1/orders/{order['order_id']}?version=1")
    _say_order(past)


def _next(consumer: Consumer, key: str) -> Message:
    """The next message with this key."""

    def found() -> Message | None:
        message = consumer.poll(0.2)
        return message if message and not message.error() and message.key() == key.encode() else None

    message: Message = _eventually(found, "a message about the order")
    return message


def _headers(message: Message) -> list[tuple[str, str | bytes | None]]:
    headers: Any = message.headers() or []
    return list(headers)


def _eventually(look: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.02)
    raise RuntimeProblem(f"Waited {_PATIENCE_S:.0f} s in vain for {what}. Look at: throughline status")


def _text(value: str | bytes | None) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
