"""A consumer of topics in a process of its own, which writes down when it saw what.

    python -m bench.observer --bootstrap-servers 127.0.0.1:9092 --file seen orders.events

The file exists once it reads from the ends of the topics, and holds `<nanoseconds> <ce_id>` lines once it was stopped.
A foreign client (librdkafka): what it sees, any consumer sees.
"""

import argparse
import signal
import time
from pathlib import Path
from typing import cast

from confluent_kafka import Consumer, TopicPartition

_PATIENCE_S = 20


def main() -> None:
    """Observe until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--bootstrap-servers", required=True)
    parser.add_argument("--file", type=Path, required=True)
    parser.add_argument("topics", nargs="+")
    options = parser.parse_args()
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopped.append(number))
    consumer = Consumer({"bootstrap.servers": options.bootstrap_servers, "group.id": "bench.observer"})
    consumer.assign([end for topic in options.topics for end in _ends(consumer, topic)])
    options.file.touch()
    seen: list[tuple[int, bytes]] = []
    while not stopped:
        message = consumer.poll(0.1)
        if message is not None and message.error() is None:
            seen.append((time.time_ns(), cast(bytes, dict(message.headers() or ())["ce_id"])))
    consumer.close()
    options.file.write_text("".join(f"{at} {name.decode()}\n" for at, name in seen))


def _ends(consumer: Consumer, topic: str) -> list[TopicPartition]:
    partitions = consumer.list_topics(topic, timeout=_PATIENCE_S).topics[topic].partitions
    places = [TopicPartition(topic, number) for number in partitions]
    return [
        TopicPartition(topic, place.partition, consumer.get_watermark_offsets(place, timeout=_PATIENCE_S)[1])
        for place in places
    ]


if __name__ == "__main__":
    main()
