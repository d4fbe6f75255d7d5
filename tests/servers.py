"""The real PostgreSQL and Kafka that tests run against: one pair for the whole test run.

In order of preference: the ones that DATABASE_URL, KAFKA_BOOTSTRAP_SERVERS and KAFKA_CLIENT_BOOTSTRAP_SERVERS name;
containers, with THROUGHLINE_TEST_SERVERS=containers; otherwise servers from packages, started for this run in a
temporary directory on free ports and gone after it.
"""

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.local.datadir import REPOSITORY
from deploy.local.ports import HOST, Ports
from deploy.local.runtime import LocalServers
from tests.leaks import LEAKS


@dataclass(frozen=True)
class Servers:
    """Where the tests find their servers."""

    database_url: str
    kafka_bootstrap_servers: str
    kafka_client_bootstrap_servers: str


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """Servers that answer. They are shared, so a test uses topics, ids and rows of its own."""
    if "DATABASE_URL" in os.environ and "KAFKA_BOOTSTRAP_SERVERS" in os.environ:
        yield Servers(
            database_url=os.environ["DATABASE_URL"],
            kafka_bootstrap_servers=os.environ["KAFKA_BOOTSTRAP_SERVERS"],
            kafka_client_bootstrap_servers=os.environ["KAFKA_CLIENT_BOOTSTRAP_SERVERS"],
        )
    elif os.environ.get("THROUGHLINE_TEST_SERVERS") == "containers":
        yield from _containers()
    else:
        with tempfile.TemporaryDirectory(prefix="throughline-") as directory, LocalServers(Path(directory)) as local:
            found = Servers(local.database_url, local.kafka_bootstrap_servers, local.kafka_client_bootstrap_servers)
            yield found
            LEAKS.search_files(Path(directory))
            LEAKS.search_topics(found.kafka_bootstrap_servers)
            LEAKS.search_tables(found.database_url)


def _containers() -> Iterator[Servers]:
    from testcontainers.compose import DockerCompose

    # The same images, settings and published ports as `docker compose up`, so those are tested too.
    ports = Ports()
    with DockerCompose(REPOSITORY, services=["postgres", "kafka"], wait=True):
        yield Servers(
            database_url=f"postgresql://throughline:throughline@{HOST}:{ports.postgres}/throughline",
            kafka_bootstrap_servers=f"{HOST}:{ports.kafka}",
            kafka_client_bootstrap_servers=f"{HOST}:{ports.kafka_client}",
        )
