"""What a round is fed with: orders that are made, leased and paid, three commands each, spread over the partitions."""

from collections.abc import Iterator
from dataclasses import dataclass

from aiokafka import AIOKafkaProducer

from shared.contracts.model import Message
from shared.contracts.order_commands import AcquireLease, CreateOrder, RecordCapture
from shared.contracts.order_parts import Holder, LineItem, Method, Tender
from shared.envelope import Envelope
from shared.ids import new_id
from shared.relay import partition_of

MERCHANT = "mer_bench"
ENVIRONMENT = "test"
COMMANDS_PER_ORDER = 3


@dataclass(frozen=True, slots=True)
class Command:
    """One message for `orders.commands`."""

    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]


def commands(orders: int, *, only_create: bool = False) -> Iterator[Command]:
    """Creation, lease and capture of each of `orders` orders; neighbours of a hundred are interleaved."""
    for start in range(0, orders, 100):
        lives = [_life(number, only_create) for number in range(start, min(start + 100, orders))]
        for step in zip(*lives, strict=True):
            yield from step


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


def _life(number: int, only_create: bool) -> list[Command]:
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
        return [_command(order_id, made)]
    holder = Holder(type="checkout_session", id=new_id("cs"))
    leased = AcquireLease(lease_id=lease_id, holder=holder, amount_minor=total)
    paid = RecordCapture(
        payment_id=new_id("pay"),
        payment_reference=f"psp-{order_id}",
        amount_minor=total,
        currency="EUR",
        lease_id=lease_id,
        tender=Tender(source="checkout", method=Method(type="card", brand="visa", last4="4242")),
    )
    return [_command(order_id, made), _command(order_id, leased), _command(order_id, paid)]


def _command(order_id: str, message: Message) -> Command:
    envelope = Envelope(
        id=new_id("cmd"),
        type=message.wire_type,
        source="/services/bench",
        data=message.model_dump_json(exclude_unset=True).encode(),
        key=order_id,
        subject=order_id,
        merchant_id=MERCHANT,
        environment=ENVIRONMENT,
        correlation_id=order_id,
        actor="service:bench",
    )
    return Command(
        order_id.encode(), envelope.data, [(name, text.encode()) for name, text in envelope.headers().items()]
    )
