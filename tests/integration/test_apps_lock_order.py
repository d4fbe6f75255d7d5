"""What takes an app's rights away at the same moment waits for each other, and never in a circle."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from services.apps import fan_out, installing
from services.apps.audit import By
from services.apps.store import installs
from services.apps.store.plugin_topics import share_fan_out
from shared.clock import utc_now
from shared.contracts.model import Actor
from shared.ids import new_id
from shared.migrations import migrate
from shared.postgres import Connection, Pool, transaction
from tests.servers import Servers
from tests.stack import eventually

pytestmark = pytest.mark.servers

BY = By(Actor(type="key", id="key_1"), utc_now())
Act = Callable[[Connection], Awaitable[None]]


@pytest.fixture
async def pool(servers: Servers) -> AsyncIterator[Pool]:
    await migrate(servers.database_url, "apps")
    made = Pool(servers.database_url, "apps", 6)
    await made.open()
    yield made
    await made.close()


async def let_in(pool: Pool, app_id: str) -> tuple[str, str, str]:
    """The app is installed at a merchant: the install, its grant, and the merchant."""
    install_id, grant_id, merchant_id = new_id("ins"), new_id("grt"), new_id("mer")
    await pool.execute(
        "INSERT INTO installs VALUES ($1, $2, $3, 'active', now(), now(), NULL)", install_id, app_id, merchant_id
    )
    await pool.execute(
        "INSERT INTO environment_grants "
        "VALUES ($1, $2, $3, $4, 'test', '{}', '{orders.read}', 'active', 'usr_1', now(), now())",
        grant_id,
        install_id,
        app_id,
        merchant_id,
    )
    return install_id, grant_id, merchant_id


class Gate:
    """Holds everybody back who wants the fan-out's lock alone, and sees who waits."""

    def __init__(self, pool: Pool, connection: Connection) -> None:
        self._pool, self._connection = pool, connection

    async def begin(self, act: Act, waiting: int) -> "asyncio.Task[None]":
        """The act in a transaction of its own, once so many wait: for that lock, or for rows of one another's."""

        async def run() -> None:
            async with transaction(self._pool) as connection:
                await act(connection)

        async def enough() -> bool:
            return bool(await self._connection.fetchval(_WAITING) >= waiting)

        task = asyncio.create_task(run())
        await eventually(enough)
        return task


_WAITING = """
SELECT count(DISTINCT pid) FROM pg_locks
WHERE NOT granted AND (locktype IN ('transactionid', 'tuple') OR (locktype = 'advisory' AND mode = 'ExclusiveLock'))
"""


@asynccontextmanager
async def gate(pool: Pool) -> AsyncIterator[Gate]:
    async with transaction(pool) as connection:
        await share_fan_out(connection)
        yield Gate(pool, connection)


@pytest.mark.parametrize("deleted_first", [True, False])
@pytest.mark.parametrize("act", ["revoke", "suspend"])
async def test_an_app_is_deleted_while_a_merchant_takes_it_out(pool: Pool, act: str, *, deleted_first: bool) -> None:
    """Of three installs the merchant's is the last, which the deletion reaches when it has begun with the others."""
    app_id = new_id("app")
    made = sorted([await let_in(pool, app_id) for _ in range(3)])
    install_id, grant_id, merchant_id = made[-1]

    async def delete(connection: Connection) -> None:
        await installing.revoke_all(connection, BY, app_id)
        await fan_out.forget(connection, app_id, BY.at)

    async def take_out(connection: Connection) -> None:
        if act == "suspend":
            await installing.announce(connection, merchant_id, merchant_active=False)
        elif held := await installs.lock(connection, install_id):
            await installing.revoke(connection, BY, *held, [grant_id])

    async with gate(pool) as held_back:
        first = await held_back.begin(delete if deleted_first else take_out, waiting=1)
        second = await held_back.begin(take_out if deleted_first else delete, waiting=2)
    # A circle would end one of them with `Transient`: the request would be answered with 503.
    await asyncio.gather(first, second)
    rows = await pool.fetch("SELECT DISTINCT status FROM environment_grants WHERE app_id = $1", app_id)
    assert [row["status"] for row in rows] == ["revoked"]
