"""The channel's side of Kafka, by foreign libraries only: librdkafka, and CloudEvents' own."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cloudevents.core.bindings.kafka import KafkaMessage, to_structured
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from confluent_kafka import Consumer, Message, Producer, TopicPartition

from deploy.demo.words import PATIENCE_S, Json, eventually
from deploy.local.problem import RuntimeProblem
from shared.clock import utc_now
from shared.ids import new_id

Headers = list[tuple[str, str | bytes | None]]
Published = tuple[str, bytes, Headers]
"""Key, value and headers."""


class ChannelTopic:
    """The topic that only this channel writes to, and the letters that nobody could read."""

    def __init__(self, status: Json) -> None:
        channel = status["channel"]
        self.name, self.source = channel["topic"], f"/channels/{channel['channel_id']}"
        self._producer = Producer(_client(status, channel) | {"enable.idempotence": True})

    def publish(self, key: str, value: bytes, headers: Headers) -> None:
        """Returns when the broker has it."""
        self._producer.produce(self.name, key=key, value=value, headers=headers)
        if self._producer.flush(PATIENCE_S):
            raise RuntimeProblem("Kafka did not take the channel's message. Is everything still running?")

    def captured(self, key: str, body: Json) -> Published:
        """A capture as a CloudEvent in binary mode."""
        headers: Headers = [*((f"ce_{name}", value) for name, value in self._attributes().items())]
        return key, json.dumps(body).encode(), [*headers, ("content-type", "application/json")]

    def captured_structured(self, key: str, body: Json) -> Published:
        """The same in structured mode."""
        attributes = self._attributes() | {"time": utc_now(), "datacontenttype": "application/json"}
        message: KafkaMessage = to_structured(CloudEvent(attributes=attributes, data=body), JSONFormat())
        return key, message.value, list(message.headers.items())

    def _attributes(self) -> dict[str, Any]:
        return {
            "specversion": "1.0",
            "id": new_id("evt"),
            "type": "channel.payment.captured.v1",
            "source": self.source,
            "time": utc_now().isoformat(),
        }


@contextmanager
def reading(status: Json, login: Json, topic: str) -> Iterator[Consumer]:
    """A foreign consumer without a group's rights to keep: it reads every partition from now on."""
    consumer = Consumer(_client(status, login) | {"group.id": f"{login['username']}.demo", "enable.auto.commit": False})
    try:
        partitions = consumer.list_topics(topic, timeout=PATIENCE_S).topics[topic].partitions
        ends = [
            TopicPartition(topic, number, consumer.get_watermark_offsets(TopicPartition(topic, number))[1])
            for number in partitions
        ]
        consumer.assign(ends)
        yield consumer
    finally:
        consumer.close()


def next_with(consumer: Consumer, key: str) -> Message:
    """The next message with this key."""

    def found() -> Message | None:
        message = consumer.poll(0.2)
        return message if message and not message.error() and message.key() == key.encode() else None

    return eventually(found, "a message about the order")


def header(message: Message, name: str) -> str:
    """One of its headers, as text."""
    headers: Any = message.headers() or []
    value: str | bytes | None = dict(headers)[name]
    return value.decode() if isinstance(value, bytes) else str(value)


def _client(status: Json, login: Json) -> dict[str, Any]:
    kafka = status["kafka"]
    return {
        "bootstrap.servers": kafka["bootstrap_servers"],
        "security.protocol": kafka["security_protocol"],
        "sasl.mechanism": kafka["sasl_mechanism"],
        "sasl.username": login["username"],
        "sasl.password": login["password"],
    }
