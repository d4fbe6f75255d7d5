"""Idempotency keys."""

import asyncio
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from hashlib import sha256

import asyncpg
import pytest

from shared.faults import Transient
from shared.idempotency import (
    KEPT_FOR,
    LONGEST_ACT,
    Claim,
    Fresh,
    IdempotencyKey,
    InProgress,
    Reused,
    StoredResponse,
    claim,
    forget_expired,
    remember,
    under_way,
)
from shared.postgres import transaction
from tests.contract.stores.samples import NOW, SECOND
from tests.contract.stores.store import Store, rolled_back, waits
from tests.stack import eventually


def key(name: str, body: bytes = b"{}", scope: str = "mer_1:test") -> IdempotencyKey:
    return IdempotencyKey(scope, name, sha256(body).digest())


async def used(store: Store, *keys: IdempotencyKey, at: datetime = NOW, status: int = 201) -> None:
    async with transaction(store.pool) as connection:
        assert await claim(connection, keys, at) == [Fresh()] * len(keys)
        await remember(connection, [(item, status, item.key.encode()) for item in keys], at)


async def claimed(store: Store, *keys: IdempotencyKey | None, at: datetime = NOW) -> list[Claim]:
    async with transaction(store.pool) as connection:
        return await claim(connection, keys, at)


async def test_a_stored_answer_is_the_keys_for_its_time(either: Store) -> None:
    await used(either, key("a"), key("b"))
    found = await claimed(either, key("b"), None, key("a"), key("a", b"other"), key("a", scope="mer_1:live"), key("c"))
    assert found == [StoredResponse(201, b"b"), Fresh(), StoredResponse(201, b"a"), Reused(), Fresh(), Fresh()]
    assert await claimed(either, key("a"), at=NOW + KEPT_FOR - SECOND) == [StoredResponse(201, b"a")]
    assert await claimed(either, key("a"), at=NOW + KEPT_FOR) == [Fresh()]
    await used(either, key("a", b"other"), at=NOW + KEPT_FOR, status=200)
    assert await claimed(either, key("a", b"other"), at=NOW + KEPT_FOR) == [StoredResponse(200, b"a")]


async def test_a_key_is_one_transactions_until_it_ends(either: Store) -> None:
    async with transaction(either.pool) as first:
        assert await claim(first, [key("a")], NOW) == [Fresh()]
        assert await claim(first, [key("a")], NOW) == [Fresh()], "its own"
        async with asyncio.timeout(2):
            assert await claimed(either, key("a"), key("b")) == [InProgress(), Fresh()]
        await remember(first, [(key("a"), 201, b"done")], NOW)
        assert await claimed(either, key("a", b"other")) == [InProgress()]
    assert await claimed(either, key("a")) == [StoredResponse(201, b"done")]


async def test_after_a_rollback_or_the_end_of_the_session_a_key_is_free(either: Store) -> None:
    async with rolled_back(either) as first:
        await claim(first, [key("a")], NOW)
        await remember(first, [(key("a"), 201, b"done")], NOW)
    assert await claimed(either, key("a"), key("a")) == [Fresh(), InProgress()]
    session = await either.connect()
    opened = session.transaction()
    await opened.__aenter__()
    assert await claim(session, [key("a")], NOW) == [Fresh()]
    session.terminate()

    async def is_free() -> bool:
        return await claimed(either, key("a")) == [Fresh()]

    await eventually(is_free)


async def test_a_key_is_not_remembered_twice_at_once(either: Store) -> None:
    with pytest.raises(asyncpg.CardinalityViolationError):
        async with transaction(either.pool) as connection:
            await remember(connection, [(key("a"), 201, b"one"), (key("a"), 201, b"two")], NOW)
    assert await either.rows("idempotency_keys") == []


async def test_who_remembers_a_key_that_is_being_remembered_waits_and_replaces_only_what_was_no_outcome(
    either: Store,
) -> None:
    async def again() -> None:
        async with transaction(either.pool) as connection:
            await remember(connection, [(key("a"), 200, b"two"), (key("b"), 200, b"two")], NOW + SECOND)

    async with transaction(either.pool) as first:
        await remember(first, [(key("a"), 202, b"one"), (key("b"), 201, b"one")], NOW)
        second = asyncio.create_task(again())
        assert await waits(second)
    await second
    rows = {
        row["key"]: (row["status"], row["body"], row["created_at"]) for row in await either.rows("idempotency_keys")
    }
    assert rows == {"a": (200, b"two", NOW + SECOND), "b": (201, b"one", NOW)}


async def test_while_something_is_done_elsewhere_its_key_is_in_progress(either: Store) -> None:
    async with under_way(either.pool, key("a"), lambda: NOW) as known:
        assert known is None
        assert await claimed(either, key("a"), key("a", b"other"), key("b")) == [InProgress(), Reused(), Fresh()]
        assert await claimed(either, key("a"), at=NOW + LONGEST_ACT - SECOND) == [InProgress()]
        async with transaction(either.pool) as connection:
            await remember(connection, [(key("a"), 200, b"done")], NOW + SECOND)
        assert await claimed(either, key("a")) == [StoredResponse(200, b"done")]
    async with under_way(either.pool, key("a"), lambda: NOW) as known:
        assert known is not None
    assert await claimed(either, key("a")) == [StoredResponse(200, b"done")]
    async with under_way(either.pool, None, lambda: NOW) as known:
        assert known is None


async def test_what_came_to_nothing_elsewhere_leaves_its_key_free(either: Store) -> None:
    with pytest.raises(Transient):
        async with under_way(either.pool, key("a"), lambda: NOW):
            raise Transient("it is away")
    assert await claimed(either, key("a", b"other")) == [Fresh()]


async def test_what_a_process_left_behind_can_be_begun_anew(either: Store) -> None:
    async with under_way(either.pool, key("a"), lambda: NOW):
        later = NOW + LONGEST_ACT
        async with under_way(either.pool, key("a"), lambda: later) as known:
            assert known is None
            assert await claimed(either, key("a"), at=later) == [InProgress()]


async def test_whoever_was_slow_ends_nobody_elses_act(either: Store) -> None:
    later = NOW + LONGEST_ACT
    async with AsyncExitStack() as first, AsyncExitStack() as second:
        await first.enter_async_context(under_way(either.pool, key("a"), lambda: NOW))
        await second.enter_async_context(under_way(either.pool, key("a"), lambda: later))
        await first.aclose()
        assert await claimed(either, key("a"), at=later) == [InProgress()]
    assert await claimed(either, key("a"), at=later) == [Fresh()]


async def test_a_key_that_is_over_is_remembered_anew(either: Store) -> None:
    await used(either, key("a"), key("b"))
    for name, later in (("a", KEPT_FOR - SECOND), ("b", KEPT_FOR)):
        async with transaction(either.pool) as connection:
            await remember(connection, [(key(name), 200, b"anew")], NOW + later)
    rows = {row["key"]: (row["status"], row["body"]) for row in await either.rows("idempotency_keys")}
    assert rows == {"a": (201, b"a"), "b": (200, b"anew")}


async def test_the_oldest_keys_are_forgotten_first_without_those_that_somebody_has(either: Store) -> None:
    for number in range(4):
        await used(either, key(str(number)), at=NOW + number * SECOND)

    async def left() -> list[str]:
        return sorted(row["key"] for row in await either.rows("idempotency_keys"))

    async def forget(seconds: int, limit: int) -> int:
        async with transaction(either.pool) as connection:
            return await forget_expired(connection, NOW + KEPT_FOR + seconds * SECOND, limit)

    assert (await forget(-1, 9), await left()) == (0, ["0", "1", "2", "3"])
    async with transaction(either.pool) as first:
        assert await forget_expired(first, NOW + KEPT_FOR + timedelta(hours=1), 1) == 1
        assert (await forget(2, 1), await left()) == (1, ["0", "2", "3"]), "the first is taken, the second was next"
    assert (await forget(2, 9), await left()) == (1, ["3"])
