"""Messages at a steady pace, whatever becomes of the ones before, through a foreign client (librdkafka)."""

import asyncio
import time
from collections.abc import Callable, Sequence

from confluent_kafka import Producer

from bench.machine import Machine
from bench.workload import Command

_TICK_S = 0.004


def client(here: Machine) -> dict[str, str | int]:
    """Settings of a producer that sends at once and puts keys where Kafka's own clients do."""
    servers = here.settings.kafka.bootstrap_servers
    return {
        "bootstrap.servers": servers,
        "partitioner": "murmur2_random",
        "linger.ms": 5,
        "acks": "all",
        "log_level": 0,
    }


async def publish_steadily(
    here: Machine,
    topic: str,
    messages: Sequence[Command],
    rate: float,
    sent: Callable[[int], None] = lambda number: None,
) -> None:
    """Hands each message over at its time, and calls `sent` with its number then; returns when Kafka has all."""
    sender = Producer(client(here) | {"queue.buffering.max.messages": 1_000_000})
    began, done = time.perf_counter(), 0
    while done < len(messages):
        due = min(len(messages), int((time.perf_counter() - began) * rate) + 1)
        for number in range(done, due):
            message = messages[number]
            sender.produce(topic, message.value, message.key, headers=list(message.headers))
            sent(number)
        done = due
        sender.poll(0)
        await asyncio.sleep(_TICK_S)
    await asyncio.to_thread(sender.flush)
