"""The reference for fan-out: aiokafka taking messages from one topic and writing each to others, with no rules.

    python -m bench.bare_copy --source bench.versions --publish batches --topics plugins.a.orders plugins.b.orders

A batch is acknowledged by Kafka, then its offsets are committed, once. The topics have three partitions each.
"""

import argparse
import asyncio
import signal
from collections.abc import Sequence
from contextlib import suppress

import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from bench.bare_pipe import PUBLISHERS, Publish
from shared.kafka import client_options
from shared.settings import Settings
from shared.topics import plugin_topic_spec

_GROUP = "bench.copy"
_PARTITIONS = plugin_topic_spec("").partitions
_COPIES_AT_ONCE = 5_000
"""aiokafka sends what is ready for all topics in one request, and Kafka closes connections over one of 100 MB."""


async def run(settings: Settings, source: str, topics: Sequence[str], publish: Publish) -> None:
    """Copy until cancelled."""
    options = client_options(settings.kafka)
    consumer = AIOKafkaConsumer(
        source, group_id=_GROUP, enable_auto_commit=False, auto_offset_reset="earliest", **options
    )
    sizes = {"max_batch_size": 900 * 1024, "max_request_size": 8 * 1024 * 1024}
    producer = AIOKafkaProducer(**options, acks="all", enable_idempotence=True, **sizes)
    at_once = min(settings.consumer_batch_size, _COPIES_AT_ONCE // len(topics))
    async with consumer, producer:
        while True:
            taken = await consumer.getmany(timeout_ms=200, max_records=at_once)
            if taken:
                records = [record for records in taken.values() for record in records]
                copies = [(topic, each.key, each.value, list(each.headers)) for each in records for topic in topics]
                await publish(producer, _PARTITIONS, copies)
                await consumer.commit({place: records[-1].offset + 1 for place, records in taken.items()})


def main() -> None:
    """One process until it is asked to stop."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--source", required=True)
    parser.add_argument("--publish", choices=PUBLISHERS, required=True)
    parser.add_argument("--topics", nargs="+", required=True)
    options = parser.parse_args()

    async def until_stopped() -> None:
        copying = run(Settings(), options.source, options.topics, PUBLISHERS[options.publish])
        task = asyncio.create_task(copying)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        with suppress(asyncio.CancelledError):
            await task

    uvloop.run(until_stopped())


if __name__ == "__main__":
    main()
