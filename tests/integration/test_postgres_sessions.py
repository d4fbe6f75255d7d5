"""Sessions that the server ended while nobody looked."""

import asyncio
import time

import pytest
import uvloop

from shared.faults import Transient
from shared.postgres import connect, transient_errors
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
