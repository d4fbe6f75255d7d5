"""What the apps service keeps, on a real database: what nobody can change, and what comes into being once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from services.apps import keys, merchants
from services.apps.audit import By, note
from services.apps.core.merchants import Merchant
from services.apps.keys import AdmitPlatformKey
from services.apps.store import api_keys
from services.apps.store import merchants as merchant_rows
from services.apps.store.api_keys import Reach
from shared.auth.keys import hash_credential, new_api_key
from shared.auth.uses import Uses
from shared.clock import utc_now
from shared.contracts.model import Actor
from shared.ids import new_id
from shared.postgres import Connection, Pool, transaction
from tests.stack import Stack, eventually

pytestmark = pytest.mark.servers

BY = By(Actor(type="platform", id="key_tests"), utc_now())


@asynccontextmanager
async def pool_of(stack: Stack, service: str) -> AsyncIterator[Pool]:
    pool = Pool(stack.settings.database_url.get_secret_value(), service, 4)
    await pool.open()
    yield pool
    await pool.close()


@pytest.fixture
async def pool(stack: Stack) -> AsyncIterator[Pool]:
    async with pool_of(stack, "apps") as pool:
        yield pool


def new_merchant() -> Merchant:
    now = utc_now()
    return Merchant(new_id("mer"), new_id("env"), new_id("env"), "Rain", None, None, None, {}, now, now)


def new_key(merchant_id: str) -> keys.ApiKey:
    return keys.ApiKey(new_id("key"), "api_key", merchant_id, "test", "K", ("orders.read",), (), None, utc_now())


@pytest.mark.parametrize(
    "change", ["UPDATE audit_log SET action = 'nothing'", "DELETE FROM audit_log", "TRUNCATE audit_log"]
)
async def test_the_audit_log_can_only_grow(pool: Pool, change: str) -> None:
    target_id = new_id("key")
    async with transaction(pool) as connection:
        await note(connection, BY.did("api_key.created", target_id, merchant_id=None))
    with pytest.raises(asyncpg.RestrictViolationError, match="audit_log is append-only"):
        await pool.execute(change)
    assert await pool.fetchval("SELECT count(*) FROM audit_log WHERE target_id = $1", target_id) == 1


async def test_an_act_that_fails_is_not_noted(pool: Pool) -> None:
    merchant = new_merchant()

    async def act() -> None:
        async with transaction(pool) as connection:
            await merchants.create(connection, BY, merchant)
            raise KeyError

    with pytest.raises(KeyError):
        await act()
    assert await pool.fetchval("SELECT count(*) FROM audit_log WHERE target_id = $1", merchant.merchant_id) == 0


async def test_a_platform_key_is_admitted_once_by_however_many_processes(pool: Pool) -> None:
    credential_hash = hash_credential(new_api_key("live"))
    woken: list[None] = []
    admit = AdmitPlatformKey(pool, utc_now, lambda: woken.append(None), credential_hash)
    await asyncio.gather(*(admit() for _ in range(4)))
    assert len(woken) == 1
    [key_id] = await ids_of(pool, credential_hash)
    assert credential_hash[:26] not in key_id
    entries = await pool.fetch("SELECT action, actor_type FROM audit_log WHERE target_id = $1", key_id)
    assert [tuple(entry) for entry in entries] == [("api_key.created", "system")]


async def test_a_platform_key_that_was_rotated_or_revoked_does_not_come_back(pool: Pool) -> None:
    credential_hash = hash_credential(new_api_key("live"))
    admit = AdmitPlatformKey(pool, utc_now, lambda: None, credential_hash)
    await admit()
    [key_id] = await ids_of(pool, credential_hash)
    async with transaction(pool) as connection:
        key = await api_keys.lock(connection, Reach(), key_id)
        assert key is not None
        key, fresh = await keys.rotate(connection, By(BY.actor, utc_now()), key, timedelta(0))
    # An installation whose setting names the newest secret, and one whose setting was left as it was.
    await AdmitPlatformKey(pool, utc_now, lambda: None, hash_credential(fresh))()
    await admit()
    assert await ids_of(pool, credential_hash) == [key_id]
    assert await ids_of(pool, hash_credential(fresh)) == [key_id]
    assert await pool.fetchval("SELECT ends_at FROM api_key_secrets WHERE credential_hash = $1", credential_hash)
    async with transaction(pool) as connection:
        await keys.revoke(connection, By(BY.actor, utc_now()), key)
    await admit()
    assert await pool.fetchval("SELECT revoked_at FROM api_keys WHERE api_key_id = $1", key_id) is not None


async def ids_of(pool: Pool, credential_hash: str) -> list[str]:
    rows = await pool.fetch("SELECT api_key_id FROM api_key_secrets WHERE credential_hash = $1", credential_hash)
    return [row["api_key_id"] for row in rows]


async def test_a_key_that_is_revoked_while_its_merchant_is_reactivated_stays_revoked(stack: Stack, pool: Pool) -> None:
    merchant = new_merchant()
    async with transaction(pool) as connection:
        await merchants.create(connection, BY, merchant)
        key, secret = await keys.create(connection, By(BY.actor, utc_now()), new_key(merchant.merchant_id))
    async with transaction(pool) as connection:
        await become(connection, merchant.merchant_id, "suspended")

    async def revoke() -> None:
        async with transaction(pool) as connection:
            locked = await api_keys.lock(connection, Reach(), key.api_key_id)
            assert locked is not None
            await keys.revoke(connection, By(BY.actor, utc_now()), locked)

    async with transaction(pool) as connection:
        await become(connection, merchant.merchant_id, "active")
        revoking = asyncio.create_task(revoke())
        # It waits: its word about the key has to be the later one.
        assert not (await asyncio.wait([revoking], timeout=0.5))[0]
    await revoking
    assert await status(stack, pool, secret) == "revoked"


async def become(connection: Connection, merchant_id: str, status: str) -> None:
    before = await merchant_rows.lock(connection, merchant_id)
    assert before is not None
    await merchants.change(connection, By(BY.actor, utc_now()), before, {"status": status})


async def status(stack: Stack, pool: Pool, secret: str) -> str:
    """What the order service holds of the key once it has read all that was ever said of it."""

    async def all_published() -> bool:
        return bool(await pool.fetchval("SELECT NOT EXISTS (SELECT FROM outbox)"))

    await eventually(all_published)
    # There is one partition: who knows a newer grant has read the ones before it.
    marker = await stack.tenant()
    await marker.http.aclose()
    async with pool_of(stack, "orders") as orders:
        query = "SELECT status FROM grants WHERE credential_hash = $1"
        return str(await orders.fetchval(query, hash_credential(secret)))


async def test_a_last_use_reaches_the_key_by_the_service_that_saw_it(stack: Stack, pool: Pool) -> None:
    merchant = new_merchant()
    async with transaction(pool) as connection:
        await merchants.create(connection, BY, merchant)
        made = [await keys.create(connection, By(BY.actor, utc_now()), new_key(merchant.merchant_id)) for _ in "ab"]
    first, second = (key.api_key_id for key, _ in made)
    latest = datetime(2026, 11, 21, 12, tzinfo=UTC)
    await report(stack, latest, first, "grt_somebody_else")
    await eventually(lambda: was_used(pool, first, latest))
    # A report that comes late says nothing new.
    await report(stack, latest - timedelta(minutes=5), first, second)
    await eventually(lambda: was_used(pool, second, latest - timedelta(minutes=5)))
    assert await was_used(pool, first, latest)


async def report(stack: Stack, used_at: datetime, *grant_ids: str) -> None:
    uses = Uses("orders", lambda: used_at)
    for grant_id in grant_ids:
        uses.note(grant_id)
    async with pool_of(stack, "orders") as orders:
        assert await uses.report(orders)


async def was_used(pool: Pool, api_key_id: str, at: datetime) -> bool:
    found = await api_keys.read(pool, Reach(), api_key_id)
    return found is not None and found.last_used_at == at
