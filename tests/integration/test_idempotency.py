"""Idempotency keys on a real database: one effect for a key, whatever the repeats, and no waiting."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest

from shared.http.problems import Problem
from shared.idempotency import (
    IDEMPOTENCY_TABLE,
    Fresh,
    IdempotencyKey,
    InProgress,
    Reused,
    StoredResponse,
    claim,
    forget_expired,
    problem_for,
    remember,
    run_idempotent,
)
from shared.postgres import Connection, Pool, transaction
from tests.schemas import schema_with
from tests.servers import Servers

pytestmark = pytest.mark.servers

NOW = datetime(2026, 11, 21, 10, tzinfo=UTC)
LATER = NOW + timedelta(hours=24)


@pytest.fixture
async def pool(servers: Servers) -> AsyncIterator[Pool]:
    async with schema_with(servers.database_url, IDEMPOTENCY_TABLE + "CREATE TABLE effects (name text);") as pool:
        yield pool


def key(name: str, body: bytes = b"{}", scope: str = "mer_1:test") -> IdempotencyKey:
    return IdempotencyKey(scope, name, sha256(body).digest())


async def used(pool: Pool, *keys: IdempotencyKey, at: datetime = NOW) -> None:
    async with transaction(pool) as connection:
        assert await claim(connection, keys, at) == [Fresh()] * len(keys)
        await remember(connection, [(item, 201, item.key.encode()) for item in keys], at)


async def claimed(pool: Pool, *keys: IdempotencyKey | None, at: datetime = NOW) -> list[object]:
    async with transaction(pool) as connection:
        return list(await claim(connection, keys, at))


async def effects(pool: Pool) -> int:
    return int(await pool.fetchval("SELECT count(*) FROM effects"))


async def test_the_same_request_gets_the_first_answer_and_another_is_refused(pool: Pool) -> None:
    await used(pool, key("a"), key("b"))
    found = await claimed(pool, key("b"), None, key("a"), key("a", b"other"), key("a", scope="mer_1:live"), key("c"))
    assert found == [StoredResponse(201, b"b"), Fresh(), StoredResponse(201, b"a"), Reused(), Fresh(), Fresh()]


async def test_a_key_is_used_once_in_a_batch(pool: Pool) -> None:
    assert await claimed(pool, key("a"), key("a"), key("b"), key("a", b"other")) == [
        Fresh(),
        InProgress(),
        Fresh(),
        InProgress(),
    ]


async def test_while_the_first_runs_the_second_is_told_so_at_once(pool: Pool) -> None:
    async with transaction(pool) as first:
        assert await claim(first, [key("a")], NOW) == [Fresh()]
        async with asyncio.timeout(2):
            assert await claimed(pool, key("a"), key("b")) == [InProgress(), Fresh()]
            assert await claimed(pool, key("a", b"other")) == [InProgress()]
        await remember(first, [(key("a"), 201, b"done")], NOW)
    assert await claimed(pool, key("a")) == [StoredResponse(201, b"done")]


async def test_a_request_that_failed_leaves_its_key_unused(pool: Pool) -> None:
    async def fail(connection: Connection) -> tuple[int, bytes]:
        await save(connection)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await run_idempotent(pool, key("a"), NOW, fail)
    assert await effects(pool) == 0
    assert await claimed(pool, key("a", b"corrected")) == [Fresh()]


async def test_keys_are_kept_for_24_hours(pool: Pool) -> None:
    await used(pool, key("a"), key("b"))
    assert await claimed(pool, key("a"), at=LATER - timedelta(seconds=1)) == [StoredResponse(201, b"a")]
    await used(pool, key("a", b"another day"), at=LATER)
    assert await claimed(pool, key("a"), at=LATER) == [Reused()]
    async with transaction(pool) as connection:
        assert await forget_expired(connection, LATER, limit=10) == 1
        assert await forget_expired(connection, LATER, limit=10) == 0
    assert await pool.fetchval("SELECT array_agg(key) FROM idempotency_keys") == ["a"]


async def test_forgetting_is_bounded(pool: Pool) -> None:
    await used(pool, *(key(str(number)) for number in range(7)))
    async with transaction(pool) as connection:
        assert [await forget_expired(connection, LATER, limit=3) for _ in range(4)] == [3, 3, 1, 0]


async def test_many_keys_take_few_statements(pool: Pool) -> None:
    keys = [key(str(number)) for number in range(500)]
    async with transaction(pool) as connection:
        await claim(connection, [key("first")], NOW)
        await remember(connection, [(key("first"), 201, b"so that the connection knows the types")], NOW)
        queries: list[str] = []
        connection.add_query_logger(lambda record: queries.append(record.query))
        await claim(connection, keys, NOW)
        await remember(connection, [(item, 201, b"x") for item in keys], NOW)
        await asyncio.sleep(0)  # The logger is called from the event loop.
        assert len(queries) == 3
    assert await claimed(pool, *keys) == [StoredResponse(201, b"x")] * 500


async def save(connection: Connection) -> tuple[int, bytes]:
    await connection.execute("INSERT INTO effects VALUES ('done')")
    return 201, b'{"data": 1}'


async def test_a_simple_write_takes_effect_once(pool: Pool) -> None:
    first = await run_idempotent(pool, key("a"), NOW, save)
    again = await run_idempotent(pool, key("a"), NOW, save)
    assert (first.status_code, first.content) == (again.status_code, again.content) == (201, b'{"data": 1}')
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    assert await effects(pool) == 1
    with pytest.raises(Problem) as reused:
        await run_idempotent(pool, key("a", b"other"), NOW, save)
    assert (reused.value.status, reused.value.code) == (409, "IDEMPOTENCY_KEY_REUSED")
    assert await effects(pool) == 1


async def test_of_many_at_once_one_takes_effect(pool: Pool) -> None:
    async def slowly(connection: Connection) -> tuple[int, bytes]:
        answer = await save(connection)
        await asyncio.sleep(0.2)
        return answer

    found = await asyncio.gather(
        *(run_idempotent(pool, key("a"), NOW, slowly) for _ in range(8)), return_exceptions=True
    )
    codes = [item.code if isinstance(item, Problem) else "DONE" for item in found]
    assert sorted(codes) == ["DONE"] + ["IDEMPOTENCY_KEY_IN_PROGRESS"] * 7
    assert await effects(pool) == 1


async def test_without_a_key_every_request_takes_effect(pool: Pool) -> None:
    await run_idempotent(pool, None, NOW, save)
    await run_idempotent(pool, None, NOW, save)
    assert await effects(pool) == 2


def test_each_refusal_has_its_code() -> None:
    assert problem_for(InProgress()).code == "IDEMPOTENCY_KEY_IN_PROGRESS"
    assert problem_for(InProgress()).headers["Retry-After"] == "1"
    assert problem_for(Reused()).code == "IDEMPOTENCY_KEY_REUSED"
