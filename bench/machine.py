"""What a benchmark runs on: servers of its own, workers in processes of their own, and a look at what they left."""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import asyncpg
import psutil
from aiokafka import AIOKafkaConsumer, TopicPartition
from confluent_kafka import TopicPartition as Place
from confluent_kafka.admin import AdminClient

from deploy.local.runtime import LocalServers
from deploy.prepare import prepare_database, prepare_topics
from shared.kafka import client_options
from shared.settings import KafkaSettings, Settings

Ends = dict[TopicPartition, int]
"""Where each partition of a topic ends."""

_STATEMENT = re.compile(r"duration: [\d.]+ ms  (execute|statement)")
_STOP_S = 30


@dataclass(frozen=True)
class Machine:
    """Running servers."""

    settings: Settings
    directory: Path
    """Holds the servers' data, and what else is of no use afterwards."""

    def environment(self, batch_size: int = 500) -> dict[str, str]:
        """What a worker needs to know."""
        return {
            **os.environ,
            "DATABASE_URL": self.settings.database_url.get_secret_value(),
            "KAFKA_BOOTSTRAP_SERVERS": self.settings.kafka.bootstrap_servers,
            "CONSUMER_BATCH_SIZE": str(batch_size),
        }

    async def execute(self, *statements: str) -> None:
        """Each statement in a transaction of its own."""
        connection = await asyncpg.connect(self.settings.database_url.get_secret_value())
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    async def value(self, query: str) -> float:
        """One number."""
        connection = await asyncpg.connect(self.settings.database_url.get_secret_value())
        try:
            return float(await connection.fetchval(query))
        finally:
            await connection.close()

    async def rows(self, query: str, *arguments: Any) -> list[asyncpg.Record]:
        """All rows of one statement."""
        connection = await asyncpg.connect(self.settings.database_url.get_secret_value())
        try:
            return await connection.fetch(query, *arguments)
        finally:
            await connection.close()

    def empty(self, topics: Sequence[str]) -> None:
        """Nothing is left in these topics."""
        admin = AdminClient({"bootstrap.servers": self.settings.kafka.bootstrap_servers})
        known = admin.list_topics(timeout=10).topics
        places = [Place(topic, number, -1) for topic in topics for number in known[topic].partitions]
        for future in admin.delete_records(places).values():
            future.result()

    async def ends(self, topic: str) -> Ends:
        """Where each partition of the topic ends."""
        async with AIOKafkaConsumer(topic, **client_options(self.settings.kafka)) as consumer:
            ends: Ends = await consumer.end_offsets(list(consumer.assignment()))
            return ends

    async def times(
        self, topic: str, since: Ends, count: int, within_s: float, at_first: Callable[[], None] = lambda: None
    ) -> list[int]:
        """Milliseconds at which the next `count` records of the topic were written, as soon as all are there.

        `at_first` is called when the first is.
        """
        found: list[int] = []
        consumer = AIOKafkaConsumer(**client_options(self.settings.kafka))
        consumer.assign(list(since))
        async with consumer:
            for place, offset in since.items():
                consumer.seek(place, offset)
            until = time.monotonic() + within_s
            while len(found) < count:
                if time.monotonic() > until:
                    raise TimeoutError(f"{len(found)} of {count} in {topic}")
                taken = await consumer.getmany(timeout_ms=500)
                if taken and not found:
                    at_first()
                found += [record.timestamp for records in taken.values() for record in records]
        return sorted(found)

    def statements_logged(self) -> int:
        """Statements that the server has written to its log so far; it must have been told to."""
        return len(_STATEMENT.findall((self.directory / "postgres.log").read_text(errors="replace")))


@asynccontextmanager
async def machine(postgres: Mapping[str, str] = MappingProxyType({})) -> AsyncIterator[Machine]:
    """Servers of the benchmark's own, ready for services, on free ports, in a directory that is gone afterwards.

    `postgres` are settings that the server needs from its start on.
    """
    with tempfile.TemporaryDirectory(prefix="throughline-bench-") as directory:
        if postgres:
            with LocalServers(Path(directory)) as local:
                changes = (f"ALTER SYSTEM SET {name} = '{value}'" for name, value in postgres.items())
                await _machine(local, Path(directory)).execute(*changes)
        with LocalServers(Path(directory)) as local:
            here = _machine(local, Path(directory))
            await prepare_database(here.settings)
            await prepare_topics(here.settings)
            yield here


def _machine(local: LocalServers, directory: Path) -> Machine:
    kafka = KafkaSettings(bootstrap_servers=local.kafka_bootstrap_servers)
    return Machine(Settings(database_url=local.database_url, kafka=kafka), directory)


@contextmanager
def worker(module: str, *arguments: str, environment: dict[str, str]) -> Iterator[psutil.Process]:
    """A module running in a process of its own."""
    process = subprocess.Popen([sys.executable, "-m", module, *arguments], env=environment)
    try:
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(_STOP_S)
