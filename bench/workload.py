"""What a round is fed with: orders that are made, leased and paid, three commands each, spread over the partitions."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from aiokafka import AIOKafkaProducer

from shared.contracts.channels import ChannelPaymentCaptured
from shared.contracts.model import Message
from shared.contracts.order_commands import (
    AcquireLease,
    AddNote,
    CancelOrder,
    CloseOrder,
    CreateOrder,
    RecordCapture,
)
from shared.contracts.order_parts import Context, Holder, LineItem, Method, Source, Tender
from shared.envelope import Envelope
from shared.ids import new_id
from shared.relay import partition_of

MERCHANT = "mer_bench"
ENVIRONMENT = "test"
COMMANDS_PER_ORDER = 3


@dataclass(frozen=True, slots=True)
class Command:
    """One message for `orders.commands`, or a channel's."""

    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]


def commands(orders: int, *, only_create: bool = False, merchants: Sequence[str] = (MERCHANT,)) -> Iterator[Command]:
    """Creation, lease and capture of each of `orders` orders; neighbours of a hundred are interleaved.

    The merchants take turns.
    """
    for start in range(0, orders, 100):
        numbers = range(start, min(start + 100, orders))
        lives = [_life(number, only_create, merchants[number % len(merchants)]) for number in numbers]
        for step in zip(*lives, strict=True):
            yield from step


def capture(channel_id: str, order_id: str, total_minor: int) -> Command:
    """What a channel tells of a payment."""
    body = {
        "order_id": order_id,
        "payment_reference": f"psp-{order_id}",
        "amount_money": {"amount": total_minor, "currency": "EUR"},
        "method": {"type": "card", "brand": "visa", "last4": "4242"},
    }
    envelope = Envelope(
        id=new_id("evt"),
        type=ChannelPaymentCaptured.wire_type,
        source=f"/channels/{channel_id}",
        data=json.dumps(body).encode(),
        key=order_id,
    )
    return Command(
        order_id.encode(), envelope.data, [(name, text.encode()) for name, text in envelope.headers().items()]
    )


async def publish(producer: AIOKafkaProducer, topic: str, partitions: int, messages: Iterator[Command]) -> int:
    """All messages are in the topic afterwards; gives their number."""
    count, batches = 0, {number: producer.create_batch() for number in range(partitions)}
    for message in messages:
        count += 1
        partition = partition_of(message.key, partitions)
        if _append(batches[partition], message) is None:
            await producer.send_batch(batches[partition], topic, partition=partition)
            batches[partition] = producer.create_batch()
            _append(batches[partition], message)
    for partition, batch in batches.items():
        await producer.send_batch(batch, topic, partition=partition)
    await producer.flush()
    return count


def _append(batch: object, message: Command) -> object:
    return batch.append(key=message.key, value=message.value, timestamp=None, headers=message.headers)  # type: ignore[attr-defined]


def notes(orders: Sequence[tuple[str, str]]) -> Iterator[Command]:
    """A note on each of these orders (merchant and order id)."""
    for merchant, order_id in orders:
        yield _command(order_id, AddNote(note_id=new_id("nt"), text="Called; wants it on Friday"), merchant)


def _life(number: int, only_create: bool, merchant: str) -> list[Command]:
    order_id, lease_id = new_id("ord"), new_id("ls")
    lines = tuple(
        LineItem.model_validate(
            {"line_item_id": new_id("li"), "name": name, "sku": f"SKU-{number % 97}-{place}", "unit_price_minor": price}
        )
        for place, (name, price) in enumerate((("Rain jacket, blue", 4500), ("Walking boots", 12900), ("Socks", 990)))
    )
    total = 4500 + 12900 + 990
    made = CreateOrder(currency="EUR", source="checkout", line_items=lines, metadata={"basket": str(number)})
    if only_create:
        return [_command(order_id, made, merchant)]
    holder = Holder(type="checkout_session", id=new_id("cs"))
    leased = AcquireLease(lease_id=lease_id, holder=holder, amount_minor=total)
    paid = _payment(order_id, lease_id, total)
    return [_command(order_id, message, merchant) for message in (made, leased, paid)]


_THINGS = "jacket boots socks shirt scarf tent lamp stove bottle map compass rope axe kettle mug".split()
_COLOURS = "blue red green black white yellow grey brown".split()


def kinds(count: int) -> Iterator[Command]:
    """The lives of orders of all kinds: 1 to 3 lines, paid or not, open or ended, with and without a customer."""
    for number in range(count):
        order_id, lease_id, price = new_id("ord"), new_id("ls"), 500 + 37 * number
        lines = tuple(
            LineItem.model_validate(
                {
                    "line_item_id": new_id("li"),
                    "name": f"{_COLOURS[(number + place) % 8]} {_THINGS[(number * 7 + place * 3) % 15]}".title(),
                    "sku": f"SKU{number}-{place}",
                    "unit_price_minor": price,
                }
            )
            for place in range(1 + number % 3)
        )
        pos = number % 2 == 1
        context = Context(
            customer_id="cus_template" if number % 3 == 0 else None,
            external_reference="web-template" if number % 2 == 0 else None,
            location_id=f"loc_{number % 50}" if pos else None,
            device_id=f"dev_{number % 200}" if pos else None,
        )
        source: Source = "pos" if pos else "checkout"
        yield _command(
            order_id, CreateOrder(currency="EUR", source=source, line_items=lines, context=context, metadata={})
        )
        if number % 10 == 0:
            continue
        if number % 10 == 1:
            yield _command(order_id, CancelOrder(reason="changed their mind"))
            continue
        total = price * len(lines)
        holder = Holder(type="checkout_session", id=new_id("cs"))
        yield _command(order_id, AcquireLease(lease_id=lease_id, holder=holder, amount_minor=total))
        yield _command(order_id, _payment(order_id, lease_id, total))
        if number % 10 > 4:
            yield _command(order_id, CloseOrder())


def _payment(order_id: str, lease_id: str, total: int) -> RecordCapture:
    return RecordCapture(
        payment_id=new_id("pay"),
        payment_reference=f"psp-{order_id}",
        amount_minor=total,
        currency="EUR",
        lease_id=lease_id,
        tender=Tender(source="checkout", method=Method(type="card", brand="visa", last4="4242")),
    )


def _command(order_id: str, message: Message, merchant: str = MERCHANT) -> Command:
    envelope = Envelope(
        id=new_id("cmd"),
        type=message.wire_type,
        source="/services/bench",
        data=message.model_dump_json(exclude_unset=True).encode(),
        key=order_id,
        subject=order_id,
        merchant_id=merchant,
        environment=ENVIRONMENT,
        correlation_id=order_id,
        actor="service:bench",
    )
    return Command(
        order_id.encode(), envelope.data, [(name, text.encode()) for name, text in envelope.headers().items()]
    )
