"""A channel: tells Throughline what happened to a payment, through Kafka. Needs only confluent-kafka.

python channel.py captured ord_01K… psp-77 9000 EUR
"""

import json
import os
import sys
import uuid
from datetime import UTC, datetime
from typing import Any

from confluent_kafka import KafkaError, Message, Producer

CHANNEL_ID = os.environ["CHANNEL_ID"]
TOPIC = f"channels.{CHANNEL_ID}.payments"

# What POST /v1/channels answered in `kafka`. Idempotent: what is retried is not written twice, nor out of order.
PRODUCER = Producer(
    {
        "bootstrap.servers": os.environ["KAFKA_BOOTSTRAP_SERVERS"],
        "security.protocol": os.environ.get("KAFKA_SECURITY_PROTOCOL", "SASL_PLAINTEXT"),
        "sasl.mechanism": "SCRAM-SHA-256",
        "sasl.username": os.environ["KAFKA_USERNAME"],
        "sasl.password": os.environ["KAFKA_PASSWORD"],
        "enable.idempotence": True,
    }
)


def tell(kind: str, body: dict[str, Any]) -> None:
    """Publish one CloudEvent in binary mode; `kind` is authorized, captured, failed, voided or refunded."""
    headers = {
        "ce_specversion": "1.0",
        "ce_id": str(uuid.uuid4()),
        "ce_type": f"channel.payment.{kind}.v1",
        "ce_source": f"/channels/{CHANNEL_ID}",
        "ce_time": datetime.now(UTC).isoformat(),
        "content-type": "application/json",
    }
    # One order's events in order: they share a key.
    key = body.get("order_id") or body["external_reference"]
    PRODUCER.produce(TOPIC, json.dumps(body).encode(), key.encode(), headers=headers, on_delivery=delivered)


def delivered(error: KafkaError | None, message: Message) -> None:
    """Only now the event is safe; one that failed is to be told again, which is harmless even if it did arrive."""
    if error is not None:
        sys.exit(f"not delivered: {error}")
    print(f"delivered to {message.topic()}, partition {message.partition()}, offset {message.offset()}")


def main() -> None:
    kind, order, reference, amount, currency = sys.argv[1:6]
    event: dict[str, Any] = {
        "order_id" if order.startswith("ord_") else "external_reference": order,
        "payment_reference": reference,
        "amount_money": {"amount": int(amount), "currency": currency},
        "method": {"type": "card", "brand": "visa", "last4": "4242"},
    }
    if kind == "refunded":
        event["refund_reference"] = f"{reference}-refund"
    tell(kind, event)
    PRODUCER.flush(30)


if __name__ == "__main__":
    main()
