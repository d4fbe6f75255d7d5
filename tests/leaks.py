"""A pytest plugin: the run fails where a secret that it made comes out: in output, in logs, on topics, in tables.

Known are what `secrets` gave in this process, what tests `note`, and whatever has the form of one of our secrets. Those
that came out are named by their first characters.
"""

import asyncio
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from itertools import chain
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from aiokafka import ConsumerRecord, TopicPartition
from confluent_kafka.admin import AdminClient

from shared.kafka.reader import Reader

_SHORTEST = 20
"""Characters: what is shorter is no secret, such as the name of a sender."""
_SHOWN = 12
_PATIENCE_S = 60
_FORMS = re.compile(
    r"tl_(?:test|live)_[0-9A-Za-z]{38}"
    r"|tl_(?:client|code|refresh|invitation|session|form|oidc)_[\w-]{43}"
    r"|whsec_[0-9A-Za-z+/]{32,}"
    r"|eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{43,}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----"
)
_WORD = re.compile(rf"[\w+/-]{{{_SHORTEST},}}", re.ASCII)
_MAKERS = ("token_urlsafe", "token_hex")


class Leaks:
    """The secrets that are known, and where some were found."""

    def __init__(self) -> None:
        self._secrets: dict[str, str] = {}
        self.found: list[str] = []

    def note(self, *made: str) -> None:
        """These are secrets."""
        self._secrets |= {secret[:_SHORTEST]: secret for secret in made if len(secret) >= _SHORTEST}

    def search(self, where: str, text: str | bytes) -> None:
        """No secret may be in the text."""
        text = text if isinstance(text, str) else text.decode("latin-1")
        self.found += [f"{where}: {secret[:_SHOWN]}…" for secret in {*_FORMS.findall(text), *self._known_in(text)}]

    def _known_in(self, text: str) -> Iterator[str]:
        for word in _WORD.findall(text):
            for start in range(len(word) - _SHORTEST + 1):
                secret = self._secrets.get(word[start : start + _SHORTEST])
                if secret is not None and word.startswith(secret, start):
                    yield secret

    def search_files(self, directory: Path) -> None:
        """No secret may be in any log below the directory."""
        for log in directory.rglob("*.log"):
            self.search(log.name, log.read_bytes())

    def search_topics(self, bootstrap_servers: str) -> None:
        """No secret may be in a key, a value or a header on any topic."""
        with ThreadPoolExecutor(1) as thread:
            thread.submit(asyncio.run, _read_all(bootstrap_servers, self._search_record)).result()

    def _search_record(self, record: ConsumerRecord) -> None:
        for part in (record.key, record.value, *chain.from_iterable(record.headers)):
            self.search(f"topic {record.topic}", part or b"")

    def search_tables(self, database_url: str) -> None:
        """No secret may be in any table."""
        with ThreadPoolExecutor(1) as thread:
            for table, row in thread.submit(asyncio.run, _rows(database_url)).result():
                for column, value in row.items():
                    self.search(f"table {table}, column {column}", value if isinstance(value, bytes) else str(value))


LEAKS = Leaks()


def pytest_configure() -> None:
    for name in _MAKERS:
        setattr(secrets, name, _noted(getattr(secrets, name)))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    for name, text in report.sections:
        LEAKS.search(f"{report.nodeid}, {name}", text)


def pytest_sessionfinish(session: pytest.Session) -> None:
    factory: pytest.TempPathFactory = session.config._tmp_path_factory  # type: ignore[attr-defined]
    LEAKS.search_files(factory.getbasetemp())
    if LEAKS.found:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if LEAKS.found:
        terminalreporter.section("secrets came out", red=True, bold=True)
        for line in dict.fromkeys(LEAKS.found):
            terminalreporter.line(line)


def _noted(make: Callable[..., str]) -> Callable[..., str]:
    @wraps(make)
    def noting(*arguments: Any) -> str:
        made = make(*arguments)
        LEAKS.note(made)
        return made

    return noting


async def _read_all(bootstrap_servers: str, read: Callable[[ConsumerRecord], None]) -> None:
    """Everything on every topic of ours, with our own client, which any record can be read with."""
    topics = AdminClient({"bootstrap.servers": bootstrap_servers}).list_topics(timeout=_PATIENCE_S).topics
    places = [
        TopicPartition(topic, number)
        for topic, found in topics.items()
        if not topic.startswith("__")
        for number in found.partitions
    ]
    if not places:
        return
    async with asyncio.timeout(_PATIENCE_S), Reader(bootstrap_servers=bootstrap_servers) as reader:
        reader.assign(places)
        await reader.seek_to_beginning(*places)
        # An end need not be a record: a transaction's mark is none.
        ends = await reader.end_offsets(places)
        while ends:
            for records in (await reader.getmany(timeout_ms=500, max_records=1_000)).values():
                for record in records:
                    read(record)
            ends = {place: end for place, end in ends.items() if await reader.position(place) < end}


async def _rows(database_url: str) -> list[tuple[str, Mapping[str, Any]]]:
    connection = await asyncpg.connect(database_url)
    try:
        tables: Iterable[asyncpg.Record] = await connection.fetch(
            "SELECT schemaname, tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        )
        return [
            (f"{schema}.{table}", dict(row))
            for schema, table in tables
            for row in await connection.fetch(f'SELECT * FROM "{schema}"."{table}"')
        ]
    finally:
        await connection.close()
