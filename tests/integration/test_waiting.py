"""Requests that wait for an outcome, on a real PostgreSQL: woken by a commit, found without one, together."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import asyncpg
import pytest
from pydantic import SecretStr

from shared import watching
from shared.postgres import Pool
from shared.relay import notification_of
from shared.settings import Settings
from shared.waiting import Outcomes
from tests.schemas import schema_with
from tests.servers import Servers

pytestmark = pytest.mark.servers

PATIENCE_S = 60
NEVER_S = 3_600.0


@dataclass
class Scene:
    """Things whose outcome is known once they have a row."""

    pool: Pool
    service: str
    outcomes: Outcomes[bool]
    asked: list[list[str]] = field(default_factory=list)
    answered: asyncio.Event = field(default_factory=asyncio.Event)

    async def known(self, ids: Sequence[str]) -> dict[str, bool]:
        self.asked.append(list(ids))
        rows = await self.pool.fetch("SELECT id FROM things WHERE id = ANY($1::text[])", ids)
        self.answered.set()
        return {row["id"]: True for row in rows}

    async def happens(self, *ids: str, told: bool = True, by: str = "test") -> None:
        await self.pool.execute("INSERT INTO things SELECT * FROM unnest($1::text[])", ids)
        if told:
            await self.pool.execute(f"NOTIFY \"{notification_of(self.service)}\", '{by}'")

    async def listens(self) -> None:
        """Returns once whoever waits was asked about."""
        async with asyncio.timeout(PATIENCE_S):
            await self.answered.wait()


@pytest.fixture
async def scene(servers: Servers) -> AsyncIterator[Scene]:
    async with schema_with(servers.database_url, "CREATE TABLE things (id text)") as pool:
        service = str(await pool.fetchval("SELECT current_schema()"))
        settings = Settings(database_url=SecretStr(servers.database_url))

        async def known(ids: Sequence[str]) -> dict[str, bool]:
            return await made.known(ids)

        made = Scene(pool, service, Outcomes(settings, service, known, own="us"))
        yield made


async def test_a_commit_wakes_whoever_waits(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "_POLL_S", NEVER_S)
    waits = [asyncio.create_task(scene.outcomes.wait(f"t{number}", PATIENCE_S)) for number in range(100)]
    await scene.listens()
    await scene.happens(*(f"t{number}" for number in range(100)))
    assert await asyncio.gather(*waits) == [True] * 100
    assert len(scene.asked) < 20


async def test_what_nobody_told_of_is_found_after_a_while(scene: Scene) -> None:
    wait = asyncio.create_task(scene.outcomes.wait("t1", PATIENCE_S))
    await scene.listens()
    await scene.happens("t1", told=False)
    assert await wait


async def test_what_was_known_before_is_found_at_once(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "_POLL_S", NEVER_S)
    await scene.happens("t1")
    assert await scene.outcomes.wait("t1", PATIENCE_S)


async def test_who_does_not_wait_or_not_long_enough_is_told_so(scene: Scene) -> None:
    assert not await scene.outcomes.wait("t1", 0)
    assert scene.asked == []
    assert not await scene.outcomes.wait("t1", 0.05)


async def test_who_comes_while_others_wait_is_asked_about_at_once(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "_POLL_S", NEVER_S)
    first = asyncio.create_task(scene.outcomes.wait("t1", PATIENCE_S))
    await scene.listens()
    await scene.happens("t2", told=False)
    assert await scene.outcomes.wait("t2", PATIENCE_S)
    await scene.happens("t1")
    assert await first


async def test_a_connection_that_ends_is_made_anew(scene: Scene, servers: Servers) -> None:
    wait = asyncio.create_task(scene.outcomes.wait("t1", PATIENCE_S))
    await scene.listens()
    owner = await asyncpg.connect(servers.database_url)
    ended = await owner.fetchval(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
        "WHERE application_name = $1 AND query LIKE 'LISTEN%'",
        f"throughline-{scene.service}",
    )
    await owner.close()
    assert ended == 1
    await scene.happens("t1", told=False)
    assert await wait


async def test_what_is_told_in_this_process_is_not_looked_for(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "_POLL_S", NEVER_S)
    first = asyncio.create_task(scene.outcomes.wait("t1", PATIENCE_S))
    await scene.listens()
    second = asyncio.create_task(scene.outcomes.wait("t2", PATIENCE_S, just_begun=True))
    await scene.happens("t1", "t2", by="us")
    while not second.done():
        scene.outcomes.tell("t2", True)
        await asyncio.sleep(0)
    assert await second
    assert (scene.asked, first.done()) == ([["t1"]], False)
    await scene.happens("t3", by="another process")
    assert await first


async def test_what_was_brought_about_before_does_not_count() -> None:
    numbers = Outcomes[int](Settings(database_url=SecretStr("postgresql://nobody@127.0.0.1:1/none")), "none", _nothing)
    waits = [asyncio.create_task(numbers.wait("t1", PATIENCE_S, lambda found: found >= 3)) for _ in range(2)]
    await asyncio.sleep(0)
    for found in (1, 2, 3, 4):
        numbers.tell("t1", found)
    assert await asyncio.gather(*waits) == [3, 3]


async def _nothing(_: Sequence[str]) -> dict[str, int]:
    return {}
