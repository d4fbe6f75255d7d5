"""Patience with those who guess, and the end of sessions, on a real database and a clock that a test turns."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from importlib import import_module
from threading import Event
from typing import Any, Literal

import pytest
from argon2 import PasswordHasher

from services.apps.core.audit import By
from services.apps.core.staff import ACCOUNT, ADDRESS, INVITATION_LASTS, SESSION_LASTS
from services.apps.staff import SignedIn, Staff, TooManyAttempts
from services.apps.store import staff as store
from services.apps.store.staff import StaffUser
from shared.contracts.model import Actor
from shared.postgres import Pool, transaction
from tests.schemas import schema_with
from tests.servers import Servers

pytestmark = pytest.mark.servers

START = datetime(2026, 11, 21, 10, tzinfo=UTC)
QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
RIGHT = "quiet rivers carry boats"


class World:
    """Staff on a clock."""

    def __init__(self, pool: Pool) -> None:
        self.pool, self.now = pool, START
        self.staff = Staff(pool, lambda: self.now, QUICK)

    async def person(self, name: str, hasher: PasswordHasher = QUICK) -> None:
        user = StaffUser(f"usr_{name}", f"{name}@shop.example", name, hasher.hash(RIGHT))
        async with transaction(self.pool) as connection:
            await store.insert_user(connection, user, self.now)

    async def sign_in(
        self, name: str, password: str = RIGHT, address: str = "192.0.2.1"
    ) -> SignedIn | TooManyAttempts | None:
        return await self.staff.sign_in(f"{name}@shop.example", password, address, None, "req_12345678")


@pytest.fixture
async def world(servers: Servers) -> AsyncIterator[World]:
    access = import_module("services.apps.migrations.versions.0001_access")
    oauth = import_module("services.apps.migrations.versions.0002_oauth")
    oidc = import_module("services.apps.migrations.versions.0006_oidc")
    tables = f"{access.MERCHANTS};{access.AUDIT_LOG};{oauth.STAFF};{oidc.OIDC}"
    async with schema_with(servers.database_url, tables) as pool:
        yield World(pool)


async def test_guesses_at_once_are_no_better_than_one_after_another(world: World) -> None:
    await world.person("ada")
    answers = await asyncio.gather(*(world.sign_in("ada", f"guess {number}") for number in range(20)))
    looked_at = [answer for answer in answers if answer is None]
    assert len(looked_at) == ACCOUNT.free + 1
    assert isinstance(await world.sign_in("ada"), TooManyAttempts)
    world.now += ACCOUNT.first_wait
    assert isinstance(await world.sign_in("ada"), SignedIn)


async def test_whoever_comes_in_starts_anew(world: World) -> None:
    await world.person("ada")
    for _ in range(3):
        for _ in range(ACCOUNT.free):
            assert await world.sign_in("ada", "guess") is None
        assert isinstance(await world.sign_in("ada"), SignedIn)


async def test_one_address_cannot_go_through_all_accounts(world: World) -> None:
    await world.person("ada")
    for number in range(ADDRESS.free + 1):
        assert await world.sign_in(f"nobody{number}", "guess") is None
    waiting = await world.sign_in("ada")
    assert isinstance(waiting, TooManyAttempts)
    assert waiting.retry_after_s == ADDRESS.first_wait.total_seconds() + 1
    assert isinstance(await world.sign_in("ada", address="192.0.2.2"), SignedIn)


async def test_a_session_ends(world: World) -> None:
    await world.person("ada")
    session = await world.sign_in("ada")
    assert isinstance(session, SignedIn)
    assert await world.staff.signed_in(session.secret) is not None
    assert await world.staff.signed_in(session.secret + "x") is None
    world.now += SESSION_LASTS
    assert await world.staff.signed_in(session.secret) is None
    await world.staff.tidy()
    assert await world.pool.fetchval("SELECT count(*) FROM staff_sessions") == 0


async def test_a_new_sign_in_ends_the_browsers_session_of_before(world: World) -> None:
    await world.person("ada")
    first = await world.sign_in("ada")
    assert isinstance(first, SignedIn)
    await world.staff.sign_in("ada@shop.example", RIGHT, "192.0.2.1", first.secret, "req_12345678")
    assert await world.staff.signed_in(first.secret) is None


async def test_a_hash_of_another_day_is_made_anew(world: World) -> None:
    await world.person("ada", PasswordHasher(time_cost=2, memory_cost=16, parallelism=1))
    before = await world.pool.fetchval("SELECT password_hash FROM staff_users")
    assert isinstance(await world.sign_in("ada"), SignedIn)
    after = await world.pool.fetchval("SELECT password_hash FROM staff_users")
    assert before != after
    assert after.startswith("$argon2id$")
    assert not QUICK.check_needs_rehash(after)


class Waiting(PasswordHasher):
    """Takes its time over a password."""

    def __init__(self) -> None:
        super().__init__(time_cost=2, memory_cost=16, parallelism=1)
        self.looking, self.go_on = Event(), Event()

    def verify(self, *given: Any) -> Literal[True]:
        self.looking.set()
        self.go_on.wait(10)
        return super().verify(*given)


async def test_who_is_reset_while_signing_in_is_not_let_in(world: World) -> None:
    await world.person("ada")
    hasher = Waiting()
    world.staff = Staff(world.pool, lambda: world.now, hasher)
    coming = asyncio.create_task(world.sign_in("ada"))
    await asyncio.to_thread(hasher.looking.wait, 10)
    async with transaction(world.pool) as connection:
        by = By(Actor(type="platform", id="key_1"), world.now)
        assert await world.staff.reset_password(connection, by, "ada@shop.example") is not None
    hasher.go_on.set()
    assert await coming is None
    assert await world.pool.fetchval("SELECT count(*) FROM staff_sessions") == 0
    assert await world.pool.fetchval("SELECT password_hash FROM staff_users") is None


async def test_who_was_invited_and_has_not_come_cannot_sign_in(world: World) -> None:
    async with transaction(world.pool) as connection:
        await store.insert_user(connection, StaffUser("usr_new", "new@shop.example", "New", None), world.now)
    for password in ("", "None", RIGHT):
        assert await world.sign_in("new", password) is None


async def test_old_failures_and_invitations_are_forgotten(world: World) -> None:
    await world.sign_in("nobody", "guess")
    world.now += INVITATION_LASTS + timedelta(days=1)
    await world.staff.tidy()
    assert await world.pool.fetchval("SELECT count(*) FROM sign_in_failures") == 0
