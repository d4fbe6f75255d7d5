"""The life of the keys that sign access tokens, on a real database and a clock that a test turns."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any

import orjson
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet
from pydantic import SecretStr

from services.apps.signing_keys import ANNOUNCED_BEFORE, COUNTS_AFTER, KEY_SIGNS_FOR, TokenSigner
from shared.outbox import OUTBOX_TABLE
from shared.postgres import Pool
from shared.sealing import Sealer, new_sealing_key
from tests.schemas import schema_with
from tests.servers import Servers

pytestmark = pytest.mark.servers

START = datetime(2026, 11, 21, 10, tzinfo=UTC)
SEALING_KEY = new_sealing_key()


class World:
    """Processes that share a database and a clock."""

    def __init__(self, pool: Pool) -> None:
        self.pool, self.now = pool, START

    def signer(self, sealing_key: str = SEALING_KEY) -> TokenSigner:
        return TokenSigner(self.pool, Sealer(SecretStr(sealing_key)), lambda: self.now, lambda: None)

    async def announced(self) -> list[tuple[str, str]]:
        """What every service was told: key and status, in order."""
        rows = await self.pool.fetch("SELECT payload FROM outbox ORDER BY seq")
        found = [orjson.loads(row["payload"]) for row in rows]
        return [(each["kid"], each["status"]) for each in found]


async def signed(signer: TokenSigner) -> tuple[str, str]:
    """A token, and the key that signed it."""
    await signer.ready()
    token = signer.sign({"iss": "us"})
    return token, str(jwt.decode(token, await known_to(signer), algorithms=["ES256"]).header["kid"])


async def known_to(signer: TokenSigner) -> KeySet:
    keys: Any = await signer.jwks()
    return KeySet.import_key_set(keys)


@pytest.fixture
async def world(servers: Servers) -> AsyncIterator[World]:
    migration = import_module("services.apps.migrations.versions.0002_oauth")
    async with schema_with(servers.database_url, f"{migration.OAUTH};{OUTBOX_TABLE}") as pool:
        yield World(pool)


async def test_processes_that_start_at_once_make_one_key(world: World) -> None:
    signers = [world.signer() for _ in range(4)]
    made = await asyncio.gather(*(signed(signer) for signer in signers))
    assert len({kid for _, kid in made}) == 1
    assert await world.announced() == [(made[0][1], "active")]


async def test_a_key_is_announced_signs_retires_and_is_forgotten(world: World) -> None:
    signer, other = world.signer(), world.signer()
    token, first = await signed(signer)
    world.now = START + KEY_SIGNS_FOR
    await signer.keep()
    assert len((await signer.jwks())["keys"]) == 2
    assert (await signed(signer))[1] == (await signed(other))[1] == first, "the new one is not known everywhere yet"
    world.now += ANNOUNCED_BEFORE
    _, second = await signed(signer)
    assert second != first
    await signer.keep()
    assert jwt.decode(token, await known_to(signer), algorithms=["ES256"])
    world.now += COUNTS_AFTER
    await signer.keep()
    await signer.keep()
    assert [key["kid"] for key in (await signer.jwks())["keys"]] == [second]
    assert await world.announced() == [(first, "active"), (second, "active"), (first, "retired")]
    rows = await world.pool.fetch("SELECT kid, sealed_jwk IS NULL AS gone FROM private_signing_keys")
    assert {row["kid"]: row["gone"] for row in rows} == {first: True, second: False}


async def test_another_process_notices_within_a_minute(world: World) -> None:
    signer, other = world.signer(), world.signer()
    await signed(other)
    world.now = START + KEY_SIGNS_FOR + timedelta(minutes=2)
    await signer.keep()
    assert len((await other.jwks())["keys"]) == 2


async def test_the_database_alone_signs_nothing(world: World) -> None:
    await signed(world.signer())
    sealed = await world.pool.fetchval("SELECT sealed_jwk FROM private_signing_keys")
    assert b'"d"' not in sealed
    with pytest.raises(ValueError, match="SEALING_KEY"):
        await signed(world.signer(new_sealing_key()))
    with pytest.raises(ValueError, match="SEALING_KEY"):
        await signed(world.signer(""))
    assert await signed(world.signer(f"{new_sealing_key()},{SEALING_KEY}")), "a new key is put in front of the old"
