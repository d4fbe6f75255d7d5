"""What a benchmark runs on: servers of its own, workers in processes of their own, and a look at what they left."""

import asyncio
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
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
from shared.settings import UNLIMITED, KafkaSettings, Settings

Ends = dict[TopicPartition, int]
"""Where each partition of a topic ends."""

_STATEMENT = re.compile(r"duration: [\d.]+ ms  (execute|statement)")
_STOP_S = 30
_LOOK_EVERY_S = 0.1


@dataclass(frozen=True)
class Machine:
    """Running servers."""

    settings: Settings
    directory: Path
    """Holds the servers' data, and what else is of no use afterwards."""
    postgres: psutil.Process
    kafka: psutil.Process

    def environment(self, batch_size: int = 500) -> dict[str, str]:
        """What a worker needs to know."""
        return {
            **os.environ,
            "DATABASE_URL": self.settings.database_url.get_secret_value(),
            "KAFKA_BOOTSTRAP_SERVERS": self.settings.kafka.bootstrap_servers,
            "CONSUMER_BATCH_SIZE": str(batch_size),
            "RATE_LIMITS": UNLIMITED.model_dump_json(),
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

    async def ends(self, *topics: str) -> Ends:
        """Where each partition of the topics ends."""
        async with AIOKafkaConsumer(*topics, **client_options(self.settings.kafka)) as consumer:
            ends: Ends = await consumer.end_offsets(list(consumer.assignment()))
            return ends

    async def times(
        self, topic: str, since: Ends, count: int, within_s: float, note: Callable[[], None] = lambda: None
    ) -> list[int]:
        """Milliseconds at which the next `count` records of the topic were written, once all are there.

        `note` is called when the first is there and when the last is. Nothing is read before then: that would take
        time from whoever is measured.
        """
        consumer = AIOKafkaConsumer(**client_options(self.settings.kafka))
        async with consumer:
            until, there = time.monotonic() + within_s, 0
            while there < count:
                if time.monotonic() > until:
                    raise TimeoutError(f"{there} of {count} in {topic}")
                before, ends = there, await consumer.end_offsets(list(since))
                there = sum(ends[place] - offset for place, offset in since.items())
                if there and not before:
                    note()
                await asyncio.sleep(_LOOK_EVERY_S)
            note()
            consumer.assign(list(since))
            for place, offset in since.items():
                consumer.seek(place, offset)
            found: list[int] = []
            while len(found) < count:
                taken = await consumer.getmany(timeout_ms=500)
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
        with LocalServers(Path(directory), lasting=True) as local:
            here = _machine(local, Path(directory))
            await prepare_database(here.settings)
            await prepare_topics(here.settings)
            yield here


def _machine(local: LocalServers, directory: Path) -> Machine:
    kafka = KafkaSettings(bootstrap_servers=local.kafka_bootstrap_servers)
    servers = {child.name(): child for child in psutil.Process().children()}
    settings = Settings(database_url=local.database_url, kafka=kafka)
    return Machine(settings, directory, servers["postgres"], servers["java"])


def cpu_us(process: psutil.Process) -> float:
    """Processor time of a process and of those that it started, ended ones included."""
    times = process.cpu_times()
    used = times.user + times.system + times.children_user + times.children_system
    for child in process.children():
        with suppress(psutil.NoSuchProcess):
            times = child.cpu_times()
            used += times.user + times.system
    return float(used) * 1_000_000


@contextmanager
def worker(module: str, *arguments: str, environment: dict[str, str]) -> Iterator[psutil.Process]:
    """A module running in a process of its own."""
    process = subprocess.Popen([sys.executable, "-m", module, *arguments], env=environment)
    try:
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
