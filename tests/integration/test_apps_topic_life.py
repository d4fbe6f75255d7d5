"""Topics of apps that are deleted while their topic is being made, and of apps that Kafka refuses."""

from collections.abc import AsyncIterator, Collection
from importlib import import_module

import pytest

from services.apps import fan_out
from services.apps.fan_out import FanOut
from services.apps.plugin_topics import TopicLife
from services.apps.store import plugin_topics
from shared.clock import utc_now
from shared.faults import Transient
from shared.outbox import OUTBOX_TABLE
from shared.postgres import Pool, transaction
from tests.schemas import schema_with
from tests.servers import Servers

pytestmark = pytest.mark.servers


class Topics:
    """Kafka, as far as there are topics; what an app's deletion does happens while its topic is being made."""

    sasl_mechanism = "SCRAM-SHA-256"

    def __init__(self, pool: Pool) -> None:
        self.there: set[str] = set()
        self.refused: set[str] = set()
        self.deleted_meanwhile: set[str] = set()
        self.removed_meanwhile: set[str] = set()
        self._pool = pool

    def username(self, app_id: str) -> str:
        return app_id

    async def provide(self, app_id: str) -> None:
        if app_id in self.refused:
            raise Transient("a quota")
        if app_id in self.deleted_meanwhile:
            async with transaction(self._pool) as connection:
                await fan_out.forget(connection, app_id, utc_now())
        if app_id in self.removed_meanwhile:
            await TopicLife(self._pool, self, FanOut(self._pool, utc_now, lambda: None), utc_now).work()
        self.deleted_meanwhile.discard(app_id)
        self.removed_meanwhile.discard(app_id)
        self.there.add(app_id)

    async def set_password(self, app_id: str, password: str) -> None:
        pass

    async def remove(self, app_id: str) -> None:
        self.there.discard(app_id)

    async def missing(self, app_ids: Collection[str]) -> list[str]:
        return sorted(set(app_ids) - self.there)


@pytest.fixture
async def pool(servers: Servers) -> AsyncIterator[Pool]:
    events, subjects = (
        import_module(f"services.apps.migrations.versions.{name}") for name in ("0003_events", "0005_subjects")
    )
    installs = import_module("services.apps.migrations.versions.0002_oauth").INSTALLS
    tables = (installs, events.EVENTS, events.PLUGIN_TOPICS, events.PLUGIN_REPLAYS, subjects.EVENTS, OUTBOX_TABLE)
    async with schema_with(servers.database_url, ";".join(each.strip().rstrip(";") for each in tables)) as made:
        yield made


@pytest.fixture
def topics(pool: Pool) -> Topics:
    return Topics(pool)


@pytest.fixture
def life(pool: Pool, topics: Topics) -> TopicLife:
    return TopicLife(pool, topics, FanOut(pool, utc_now, lambda: None), utc_now)


async def rows(pool: Pool) -> dict[str, str]:
    return {row["app_id"]: row["status"] for row in await pool.fetch("SELECT app_id, status FROM plugin_topics")}


@pytest.mark.parametrize("gone", [True, False], ids=["and was removed", "and waits to be removed"])
@pytest.mark.parametrize("repaired", [True, False], ids=["a topic that is repaired", "a new topic"])
async def test_of_an_app_that_was_deleted_meanwhile_nothing_is_left(
    pool: Pool, life: TopicLife, topics: Topics, repaired: bool, gone: bool
) -> None:
    await life.topic("app_1")
    if repaired:
        await life.work()
        topics.there.clear()
    topics.deleted_meanwhile.add("app_1")
    if gone:
        topics.removed_meanwhile.add("app_1")
    await (life.repair() if repaired else life.work())
    for _ in range(2):
        await life.work()
    assert topics.there == set()
    assert await rows(pool) == {}


async def test_whoever_removes_while_it_is_made_again_comes_again(pool: Pool, topics: Topics, life: TopicLife) -> None:
    await life.topic("app_1")
    async with transaction(pool) as connection:
        await fan_out.forget(connection, "app_1", utc_now())
    seen = await plugin_topics.read(pool, "app_1")
    assert seen is not None
    await plugin_topics.remove_again(pool, "app_1", seen.updated_at)
    await plugin_topics.delete(pool, seen)
    assert await rows(pool) == {"app_1": "deleting"}
    topics.there.add("app_1")
    await life.work()
    assert (topics.there, await rows(pool)) == (set(), {})


async def test_an_app_that_is_refused_holds_up_no_repair(life: TopicLife, topics: Topics) -> None:
    for number in range(3):
        await life.topic(f"app_{number}")
    await life.work()
    assert len(topics.there) == 3
    topics.there.clear()
    topics.refused.add("app_0")
    await life.repair()
    assert topics.there == {"app_1", "app_2"}
