"""A channel: tells Throughline what happened to a payment, through Kafka. Needs only confluent-kafka.

python channel.py captured ord_01K… psp-77 9000 EUR
"""

import json
import os
import sys
import uuid
from datetime import UTC, datetime
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

USAGE = "usage: channel.py authorized|captured|failed|voided|refunded ORDER PAYMENT_REFERENCE AMOUNT CURRENCY"
CHANNEL_ID = os.environ["CHANNEL_ID"]
TOPIC = f"channels.{CHANNEL_ID}.payments"


def stop(error: KafkaError) -> None:
    """A wrong password does not get better by trying again; of everything else the client takes care itself."""
    if error.code() in (KafkaError._AUTHENTICATION, KafkaError._ALL_BROKERS_DOWN):
        raise KafkaException(error)


# What POST /v1/channels answered in `kafka`. Idempotent: what is retried is not written twice, nor out of order.
PRODUCER = Producer(
    {
        "bootstrap.servers": os.environ["KAFKA_BOOTSTRAP_SERVERS"],
        "security.protocol": os.environ.get("KAFKA_SECURITY_PROTOCOL", "SASL_PLAINTEXT"),
        "sasl.mechanism": "SCRAM-SHA-256",
        "sasl.username": os.environ["KAFKA_USERNAME"],
        "sasl.password": os.environ["KAFKA_PASSWORD"],
        "enable.idempotence": True,
        "error_cb": stop,
        "log_level": 0,
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
        raise KafkaException(error)
    print(f"delivered to {message.topic()}, partition {message.partition()}, offset {message.offset()}")


def main() -> None:
    if len(sys.argv) != 6:
        sys.exit(USAGE)
    kind, order, reference, amount, currency = sys.argv[1:]
    event: dict[str, Any] = {
        "order_id" if order.startswith("ord_") else "external_reference": order,
        "payment_reference": reference,
        "amount_money": {"amount": int(amount), "currency": currency},
        "method": {"type": "card", "brand": "visa", "last4": "4242"},
    }
    if kind == "refunded":
        event["refund_reference"] = f"{reference}-refund"
    tell(kind, event)
    try:
        for _second in range(30):
            if PRODUCER.flush(1) == 0:
                return
    except KafkaException as problem:
        sys.exit(f"not delivered: {problem.args[0].str()}")
    sys.exit("not delivered: Kafka did not answer within 30 s")


if __name__ == "__main__":
    main()
