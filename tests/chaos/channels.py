"""Channel clients: librdkafka with the channel's own credentials, which write down what Kafka acknowledged."""

import asyncio
import json
import threading
from datetime import UTC, datetime
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from shared.ids import new_id
from tests.chaos.journal import Journal, Json, Told

Header = tuple[str, str | bytes | None]

NO_EVENT = b"\xff\x00garbage"

KINDS = {
    "authorized": "channel.payment.authorized.v1",
    "captured": "channel.payment.captured.v1",
    "refunded": "channel.payment.refunded.v1",
}


class Channel:
    """One channel; `tell` returns once Kafka has acknowledged the event, told again until it did."""

    def __init__(self, made: Json, journal: Journal) -> None:
        self.channel_id: str = made["channel_id"]
        self.topic: str = made["topic"]
        self._access: Json = made["kafka"]
        self._journal = journal
        self._loop = asyncio.get_running_loop()
        self._producer = self._new_producer()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._poll, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()

    async def tell(self, told: Told, event_id: str | None = None) -> None:
        """Publish the event, under another event id where one is given."""
        if told.kind == "garbage":
            await self._publish(told, *_garbage(told, self.channel_id))
            return
        key = told.external_reference or told.order_id or told.reference
        await self._publish(told, key.encode(), json.dumps(body_of(told)).encode(), self._headers(told, event_id))

    def _headers(self, told: Told, event_id: str | None) -> list[Header]:
        headers = {
            "ce_specversion": "1.0",
            "ce_id": event_id or told.event_id,
            "ce_type": KINDS[told.kind],
            "ce_source": f"/channels/{self.channel_id}",
            "ce_time": datetime.now(UTC).isoformat(),
            "content-type": "application/json",
        }
        return [(name, value.encode()) for name, value in headers.items()]

    async def _publish(self, told: Told, key: bytes, value: bytes, headers: list[Header]) -> None:
        while True:
            acknowledged: asyncio.Future[tuple[int, int]] = self._loop.create_future()

            def delivered(
                error: KafkaError | None, message: Message, future: asyncio.Future[Any] = acknowledged
            ) -> None:
                self._loop.call_soon_threadsafe(_settle, future, error, (message.partition(), message.offset()))

            try:
                self._producer.produce(self.topic, value, key, headers=headers, on_delivery=delivered)
                told.positions.append(await acknowledged)
                told.accepted = True
            except (KafkaException, BufferError) as failure:
                self._journal.errors[f"channel: {failure}"] += 1
                await asyncio.sleep(0.2)
                self._renew_after(failure)
            else:
                return

    def _renew_after(self, failure: Exception) -> None:
        error = failure.args[0] if failure.args else None
        if isinstance(error, KafkaError) and error.fatal():
            self._producer = self._new_producer()

    def _new_producer(self) -> Producer:
        return Producer(
            {
                "bootstrap.servers": self._access["bootstrap_servers"],
                "security.protocol": self._access["security_protocol"],
                "sasl.mechanism": self._access["sasl_mechanism"],
                "sasl.username": self._access["username"],
                "sasl.password": self._access["password"],
                "enable.idempotence": True,
                "linger.ms": 1,
                "reconnect.backoff.ms": 50,
                "reconnect.backoff.max.ms": 200,
                "socket.timeout.ms": 10_000,
                "delivery.timeout.ms": 60_000,
                "log_level": 0,
            }
        )

    def _poll(self) -> None:
        while not self._ended.is_set():
            self._producer.poll(0.1)


def _settle(future: asyncio.Future[Any], error: KafkaError | None, position: tuple[int | None, int | None]) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(KafkaException(error))
    else:
        future.set_result(position)


def body_of(told: Told) -> Json:
    """The event as the channel tells it."""
    body: Json = {
        "payment_reference": told.reference,
        "amount_money": {"amount": told.amount, "currency": "EUR"},
        "method": {"type": "card", "brand": "visa", "last4": "4242"},
    }
    if told.order_id is not None and told.external_reference is None:
        body["order_id"] = told.order_id
    else:
        body["external_reference"] = told.external_reference or f"nowhere-{told.reference}"
    if told.refund_reference is not None:
        body["refund_reference"] = told.refund_reference
    return body


def _garbage(told: Told, channel_id: str) -> tuple[bytes, bytes, list[Header]]:
    """Something that can never be processed, one kind after another; `amount` says which."""
    good = {
        "ce_specversion": b"1.0",
        "ce_id": told.event_id.encode(),
        "ce_type": b"channel.payment.captured.v1",
        "ce_source": f"/channels/{channel_id}".encode(),
        "content-type": b"application/json",
    }
    fine = json.dumps(body_of(told)).encode()
    kinds: list[tuple[bytes, dict[str, bytes]]] = [
        (NO_EVENT, {}),
        (fine, good | {"ce_type": b"channel.payment.dreamt.v1"}),
        (b"{not json", good),
        (fine.replace(b'"EUR"', b'"euro"'), good),
        (fine, good | {"ce_source": b"/channels/chn_someone_else"}),
        (b"", good),
    ]
    value, headers = kinds[told.amount % len(kinds)]
    return new_id("key").encode(), value, list(headers.items())
