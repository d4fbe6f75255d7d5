"""What takes an app's rights away at the same moment waits for each other, and never in a circle."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import asyncpg
import httpx
import pytest

from services.apps.store.plugin_topics import share_fan_out
from tests.integration.test_apps_partner_apps import APPS, install
from tests.people import Town
from tests.stack import Stack, eventually

pytestmark = pytest.mark.servers


@pytest.fixture
async def town(stack: Stack) -> AsyncIterator[Town]:
    async with AsyncExitStack() as exits:
        yield Town(stack, exits)


class Gate:
    """Holds everybody back who wants the fan-out's lock alone, and sees who waits."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        self._connection = connection

    async def waiting(self, count: int) -> None:
        """So many wait, for that lock or for a row of one another's."""

        async def enough() -> bool:
            return bool(await self._connection.fetchval(_WAITING) >= count)

        await eventually(enough)


_WAITING = """
SELECT count(DISTINCT pid) FROM pg_locks
WHERE NOT granted AND (locktype IN ('transactionid', 'tuple') OR (locktype = 'advisory' AND mode = 'ExclusiveLock'))
"""


@asynccontextmanager
async def gate(stack: Stack) -> AsyncIterator[Gate]:
    connection = await asyncpg.connect(stack.settings.database_url.get_secret_value())
    try:
        async with connection.transaction():
            await share_fan_out(connection)
            yield Gate(connection)
    finally:
        await connection.close()


@pytest.mark.parametrize("deleted_first", [True, False])
@pytest.mark.parametrize("act", ["revoke", "suspend"])
async def test_an_app_is_deleted_while_a_merchant_takes_it_out(
    stack: Stack, town: Town, act: str, *, deleted_first: bool
) -> None:
    """Of two installs the deletion reaches the merchant's last, when it has begun with the other."""
    developer = await town.key(await town.merchant())
    app = await town.app_of(developer)
    merchants = [await town.merchant(), await town.merchant()]
    tokens = [await install(town, await town.person_of(merchant), app, "test") for merchant in merchants]
    installs = sorted((token["partner_app_install_id"], token["merchant_id"]) for token in tokens)
    install_id, merchant_id = installs[-1]
    key = await town.key(merchant_id)

    async def delete() -> httpx.Response:
        return await developer.delete(f"{APPS}/{app['partner_app_id']}")

    async def take_out() -> httpx.Response:
        if act == "suspend":
            return await stack.platform.patch(f"/v1/merchants/{merchant_id}", json={"status": "suspended"})
        return await key.post(f"{APPS}/{app['partner_app_id']}/installs/{install_id}/revoke")

    async with gate(stack) as held:
        first = asyncio.create_task(delete() if deleted_first else take_out())
        await held.waiting(1)
        second = asyncio.create_task(take_out() if deleted_first else delete())
        await held.waiting(2)
    answers = [await first, await second]
    assert [answer.status_code for answer in answers] == ([204, 200] if deleted_first else [200, 204]), answers
    for token in tokens:
        client = await town.client(token["access_token"])

        async def shut(client: httpx.AsyncClient = client) -> bool:
            return (await client.get("/v1/orders/ord_none")).status_code == 401

        await eventually(shut)
