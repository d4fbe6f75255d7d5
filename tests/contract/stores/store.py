"""A service's database under test: the real one or the one in memory."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from random import Random
from typing import Any
from urllib.parse import urlsplit

import asyncpg
from pydantic import SecretStr

from shared.clock import utc_now
from shared.migrations import migrate
from shared.outside import Outside
from shared.postgres import Connection, Drivers, Pool, connect, transaction
from shared.relay import Relay, Wake
from shared.settings import Settings
from tests.simulation.network import Link
from tests.simulation.postgres.client import Handler, PostgresOf, Statements
from tests.simulation.postgres.schema import databases
from tests.simulation.postgres.statements import STATEMENTS
from tests.simulation.postgres.texts import joined_in, normal

EXECUTED: dict[str, set[str]] = {"memory": set(), "postgresql": set()}
"""The texts of all statements that the suites ran, by where."""

Rows = Callable[[str], Awaitable[list[dict[str, Any]]]]

_WHILE_S = 0.3
"""Long enough for whatever is not held up to end."""


@dataclass(frozen=True)
class Store:
    """With nothing in it when a test begins."""

    service: str
    url: str
    drivers: Drivers
    pool: Pool
    rows: Rows
    """All committed rows of a table."""

    async def connect(self, **limits: str) -> "asyncpg.Connection[asyncpg.Record]":
        """A connection of its own."""
        return await connect(self.url, self.service, self.drivers, **limits)

    def relay(self, wake: Wake | None = None, **outside: Any) -> Relay:
        """A relay of this schema's outbox."""
        settings = Settings(database_url=SecretStr(self.url))
        return Relay(settings, self.service, wake or Wake(), Outside(postgres=self.drivers, **outside))


async def waits(task: "asyncio.Task[Any]") -> bool:
    """Whether it is still held up after a while."""
    done, _ = await asyncio.wait([task], timeout=_WHILE_S)
    return not done


class _Undo(Exception):
    """Ends a transaction in a rollback."""


@asynccontextmanager
async def rolled_back(store: Store) -> AsyncIterator[Connection]:
    """A transaction that leaves nothing."""
    with suppress(_Undo):
        async with transaction(store.pool) as connection:
            yield connection
            raise _Undo


@asynccontextmanager
async def in_memory(service: str) -> AsyncIterator[Store]:
    """Empty tables in memory."""
    database = databases(utc_now)[service]
    link = Link(Random(1))
    postgres = PostgresOf({service: database}, {service: _Noted(STATEMENTS[service])}, link)
    pool = Pool("", service, 10, postgres.drivers())

    async def rows(table: str) -> list[dict[str, Any]]:
        return [dict(row) for row in database[table].rows.values()]

    await pool.open()
    try:
        yield Store(service, "postgresql://memory", postgres.drivers(), pool, rows)
    finally:
        await pool.close()


@asynccontextmanager
async def on_postgresql(service: str, url: str) -> AsyncIterator[Store]:
    """The server's tables as the migrations made them, empty."""
    drivers = Drivers(create_pool=_create_pool, connect=_connect)
    pool = Pool(url, service, 10, drivers)

    async def rows(table: str) -> list[dict[str, Any]]:
        return [dict(row) for row in await pool.fetch(f"SELECT * FROM {table}")]

    await pool.open()
    try:
        tables = await pool.fetch("SELECT tablename FROM pg_tables WHERE schemaname = $1", service)
        # What was noted in the audit log stays there.
        names = ", ".join(name for (name,) in tables if name != "alembic_version" and not name.startswith("audit_log"))
        await pool.execute(f"TRUNCATE {names} RESTART IDENTITY")
        yield Store(service, url, drivers, pool, rows)
    finally:
        await pool.close()


@asynccontextmanager
async def migrated(url: str) -> AsyncIterator[str]:
    """A database of its own on the server, with every service's schema; gone afterwards."""
    name = f"stores_{uuid.uuid4().hex[:8]}"
    owner = await asyncpg.connect(url)
    try:
        await owner.execute(f"CREATE DATABASE {name}")
        made = urlsplit(url)._replace(path=f"/{name}").geturl()
        for service in STATEMENTS:
            await migrate(made, service)
        await _let_the_ledger_be_emptied(made)
        yield made
    finally:
        await owner.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        await owner.close()


async def _let_the_ledger_be_emptied(url: str) -> None:
    """A ledger is only added to; here each test begins with nothing in it."""
    connection = await asyncpg.connect(url)
    await connection.execute("DROP TRIGGER only_added_to ON sandbox.entries")
    await connection.close()


class _Noted(Statements):
    """Writes down what was asked for."""

    def find(self, query: str) -> Handler:
        _execute("memory", query)
        return super().find(query)


def _execute(where: str, query: str) -> None:
    text = normal(query)
    EXECUTED[where] |= {text, *(statement for statement, _ in joined_in(text))}


def _note(query: Any) -> None:
    _execute("postgresql", query.query)


class _Noting(asyncpg.Connection):  # type: ignore[type-arg] # generic for type checkers only
    """Tells of what is prepared, of which asyncpg's loggers hear nothing."""

    async def prepare(self, query: str, **options: Any) -> Any:
        _execute("postgresql", query)
        return await super().prepare(query, **options)


async def _note_all(connection: Any) -> None:
    connection.add_query_logger(_note)


def _create_pool(*arguments: Any, **options: Any) -> Any:
    return asyncpg.create_pool(*arguments, init=_note_all, connection_class=_Noting, **options)


async def _connect(*arguments: Any, **options: Any) -> Any:
    connection = await asyncpg.connect(*arguments, **options)
    connection.add_query_logger(_note)
    return connection
