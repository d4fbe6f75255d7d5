"""Errors of a real database: which of them pause a consumer, and which are a message's own."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from shared.faults import Transient
from shared.postgres import Pool, transaction, transient_errors
from tests.schemas import schema_with
from tests.servers import Servers

pytestmark = pytest.mark.servers

_OWN = (asyncpg.PostgresError, asyncpg.InterfaceError, ValueError, TypeError, OverflowError)


@pytest.fixture
async def pool(servers: Servers) -> AsyncIterator[Pool]:
    async with schema_with(
        servers.database_url, "CREATE TABLE things (name text PRIMARY KEY, amount integer);"
    ) as pool:
        yield pool


@pytest.mark.parametrize(
    "statements",
    [
        ["SET TRANSACTION READ ONLY", "INSERT INTO things VALUES ('a', 1)"],
        ["SET LOCAL statement_timeout = '50ms'", "SELECT pg_sleep(1)"],
        ["SELECT * FROM not_migrated_yet"],
        ["SELECT not_migrated_yet FROM things"],
        ["SELECT * FROM pg_authid"],
    ],
    ids=["standby", "statement timeout", "table", "column", "rights"],
)
async def test_what_no_message_is_to_blame_for_is_tried_again(pool: Pool, statements: list[str]) -> None:
    async def run() -> None:
        async with transaction(pool) as connection:
            for statement in statements:
                await connection.execute(statement)

    with pytest.raises(Transient):
        await run()


async def test_a_transaction_that_took_too_long_is_tried_again(pool: Pool) -> None:
    async with pool.acquire() as connection:
        await connection.execute("SET transaction_timeout = '50ms'")
        with pytest.raises(Transient):
            async with transient_errors():
                await connection.execute("SELECT pg_sleep(1)")


@pytest.mark.parametrize(
    "values",
    [("nul\x00", 1), ("a", 2**40), ("a", "many"), ("lone \ud800 surrogate", 1)],
    ids=["NUL", "too large", "wrong type", "surrogate"],
)
async def test_what_a_message_says_is_not_tried_again(pool: Pool, values: tuple[object, object]) -> None:
    """Neither as a statement's argument nor in a copy: it would hold up its partition for ever."""
    with pytest.raises(_OWN):
        await pool.execute("INSERT INTO things VALUES ($1, $2)", *values)
    with pytest.raises(_OWN):
        async with transaction(pool) as connection:
            await connection.copy_records_to_table("things", records=[values])
