"""Sessions that the server ended while nobody looked."""

import asyncio
import time

import asyncpg
import pytest
import uvloop

from shared.faults import Transient
from shared.postgres import Pool, connect, transient_errors
from tests.stack import Stack

pytestmark = pytest.mark.servers


async def test_a_statement_on_a_session_that_the_server_has_just_ended_is_transient(stack: Stack) -> None:
    """A process that was frozen finds out at its next statement, whose first try may meet the client half-way."""

    async def frozen_and_continued() -> None:
        url = stack.settings.database_url.get_secret_value()
        connection = await connect(url, "orders", idle_session_timeout="100ms")
        try:
            await connection.fetchval("SELECT 1")
            time.sleep(0.3)  # noqa: ASYNC251 - this is the freeze
            await asyncio.sleep(0)  # the server's last words are read, the end of the socket is not
            async with transient_errors():
                await connection.fetchval("SELECT 1")
        finally:
            connection.terminate()

    # Services run on uvloop, which reads the two in different turns.
    with pytest.raises(Transient):
        await asyncio.to_thread(uvloop.run, frozen_and_continued())


async def test_a_connection_goes_back_to_the_pool_without_a_statement_but_never_in_a_transaction(stack: Stack) -> None:
    url = stack.settings.database_url.get_secret_value()
    pool, watcher = Pool(url, "orders", 2), await asyncpg.connect(url)
    await pool.open()

    async def last(pid: int) -> tuple[str, str]:
        row = await watcher.fetchrow("SELECT query, state FROM pg_stat_activity WHERE pid = $1", pid)
        assert row is not None
        return row["query"], row["state"]

    try:
        pid = await pool.fetchval("SELECT pg_backend_pid()")
        assert await last(pid) == ("SELECT pg_backend_pid()", "idle")
        async with pool.acquire() as connection:
            pid = await connection.fetchval("SELECT pg_backend_pid()")
            await connection.execute("BEGIN")
        assert await last(pid) == ("ROLLBACK", "idle")
    finally:
        await pool.close()
        await watcher.close()
