"""The plugin's reader of its own topic: librdkafka with the plugin's own login, in a thread."""

import asyncio
import json
import threading
import time
from collections import Counter
from collections.abc import Callable

from confluent_kafka import Consumer, KafkaException, Message

from tests.chaos.journal import Json

Note = Callable[[int, int, Json], None]
"""Told of each event with its partition and offset, in the loop's thread."""


class TopicReader:
    """Reads from the beginning until it is stopped, through whatever happens to the broker."""

    def __init__(self, topic: Json, errors: Counter[str], note: Note) -> None:
        security = topic["security"]
        self._name, self._errors, self._note = topic["topic"], errors, note
        self._consumer = Consumer(
            {
                "bootstrap.servers": topic["bootstrap_servers"],
                "security.protocol": security["protocol"],
                "sasl.mechanism": security["mechanism"],
                "sasl.username": security["username"],
                "sasl.password": security["password"],
                "group.id": f"{topic['group_prefix']}chaos",
                "auto.offset.reset": "earliest",
                "auto.commit.interval.ms": 1_000,
                "reconnect.backoff.ms": 50,
                "reconnect.backoff.max.ms": 200,
                "log_level": 0,
            }
        )
        self._loop = asyncio.get_running_loop()
        self._assigned, self._ended = asyncio.Event(), threading.Event()
        self._thread = threading.Thread(target=self._poll, daemon=True)

    async def start(self) -> float:
        """Reads from now on; gives the moment, in seconds since 1970."""
        self._thread.start()
        await self._assigned.wait()
        return time.time()

    async def stop(self) -> None:
        self._ended.set()
        await asyncio.to_thread(self._thread.join)

    def _poll(self) -> None:
        self._consumer.subscribe([self._name], on_assign=lambda *_: self._call(self._assigned.set))
        while not self._ended.is_set():
            message = self._consumer.poll(0.2)
            if message is None:
                continue
            if error := message.error():
                self._call(lambda error=error: self._count(f"topic: {error.name()}"))
            else:
                self._call(lambda message=message: self._read(message))
        try:
            self._consumer.close()
        except KafkaException as error:
            self._count(f"topic: {error}")

    def _call(self, do: Callable[[], None]) -> None:
        self._loop.call_soon_threadsafe(do)

    def _count(self, what: str) -> None:
        self._errors[what] += 1

    def _read(self, message: Message) -> None:
        self._note(message.partition() or 0, message.offset() or 0, json.loads(message.value() or b"null"))
