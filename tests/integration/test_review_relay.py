"""What the relay reads and whom it shares with, on a real database."""

import uuid
from collections.abc import AsyncIterator

import asyncpg
import pytest
from pydantic import SecretStr

from shared.envelope import Envelope
from shared.outbox import OUTBOX_TABLE, SHARDS, OutboxMessage, put
from shared.postgres import Pool, connect
from shared.relay import _FLOOR_AGE_S, _MEMBERS_LOCK, Relay, Wake, _Floor, _number, _running
from shared.settings import Settings
from tests.schemas import schema_with
from tests.servers import Servers

pytestmark = pytest.mark.servers

MESSAGE = OutboxMessage("t", Envelope("evt_1", "t.v1", "/tests", b"{}", key="ord_1"))


@pytest.fixture
async def pool(servers: Servers) -> AsyncIterator[Pool]:
    async with schema_with(servers.database_url, OUTBOX_TABLE) as pool:
        yield pool


async def test_the_relays_of_another_database_on_the_server_take_no_share(servers: Servers, pool: Pool) -> None:
    service = await pool.fetchval("SELECT current_schema()")
    other = f"other_{uuid.uuid4().hex[:8]}"
    owner = await asyncpg.connect(servers.database_url)
    await owner.execute(f"CREATE DATABASE {other}")
    stranger = await asyncpg.connect(servers.database_url, database=other)
    settings = Settings(database_url=SecretStr(servers.database_url))
    mine = await connect(servers.database_url, service)
    try:
        for connection in (stranger, mine):
            await connection.execute("SELECT pg_advisory_lock_shared($1, $2)", _MEMBERS_LOCK, _number(service))
        relay = Relay(settings, service, Wake())
        await relay._share(mine)
        assert relay._shards == set(range(SHARDS))
    finally:
        await mine.close()
        await stranger.close()
        await owner.execute(f"DROP DATABASE {other} WITH (FORCE)")
        await owner.close()


async def test_the_floor_does_not_pass_a_transaction_that_still_runs(servers: Servers, pool: Pool) -> None:
    """However long it takes: a commit that waits for a synchronous replica is ended by no timeout."""
    service = await pool.fetchval("SELECT current_schema()")
    relay = Relay(Settings(database_url=SecretStr(servers.database_url)), service, Wake())
    relay._shards = set(range(SHARDS))
    reader = await connect(servers.database_url, service)
    floor, now = _Floor(0.0), 0.0
    read: list[int] = []

    async def turn() -> None:
        nonlocal now
        now += _FLOOR_AGE_S
        assert floor.due(now)
        floor.looked(*await _running(reader), now)
        rows = await relay._read(reader, floor.value)
        read.extend(row.seq for row in rows)
        floor.reached(rows[-1].seq if rows else floor.newest)

    try:
        async with pool.acquire() as slow:
            waiting = slow.transaction()
            await waiting.start()
            await put(slow, [MESSAGE])
            async with pool.acquire() as quick:
                await put(quick, [MESSAGE])
            for _ in range(4):
                await turn()
            assert 1 not in read
            assert floor.value < 1, "number 1 may still appear"
            await waiting.commit()
        await turn()
        assert 1 in read
        for _ in range(3):
            await turn()
        assert floor.value == 2
    finally:
        await reader.close()
