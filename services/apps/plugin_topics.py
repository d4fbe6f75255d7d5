"""The life of an app's topic: a row here; a topic, a user and its rights in Kafka.

Kafka is never called inside a transaction. A row says what is to be, a job makes it so and tries again until it is.
Passwords are kept nowhere: an app gets its first one, and every later one, by rotating.
"""

import secrets
from collections.abc import Collection
from typing import Protocol

import structlog

from services.apps.core.plugin_topics import PluginTopic
from services.apps.fan_out import FanOut
from services.apps.store import events as store
from services.apps.store import plugin_topics
from shared.clock import Clock
from shared.faults import Transient
from shared.postgres import Pool, transaction

log = structlog.get_logger(__name__)

_PASSWORD_BYTES = 32
_AT_ONCE = 50
_STEPS_AT_ONCE = 20


class TopicAdmin(Protocol):
    """Whatever makes topics and users; each call is true afterwards however often it is made, or raises `Transient`."""

    @property
    def sasl_mechanism(self) -> str:
        """How apps log in."""

    def username(self, app_id: str) -> str:
        """Who the app is to Kafka."""

    async def provide(self, app_id: str) -> None:
        """The topic takes messages; the app's user, once it has a password, may read it and nothing else."""

    async def set_password(self, app_id: str, password: str) -> None:
        """The app logs in with this password, and with no earlier one."""

    async def remove(self, app_id: str) -> None:
        """Topic, user and rights are gone."""

    async def missing(self, app_ids: Collection[str]) -> list[str]:
        """Those of the apps whose topics do not exist."""


def new_password() -> str:
    """256 bits, in characters that need no quoting anywhere."""
    return secrets.token_urlsafe(_PASSWORD_BYTES)


class TopicLife:
    """Topics come when an app first has something to read or asks, and go when it is deleted."""

    def __init__(self, pool: Pool, admin: TopicAdmin, fan_out: FanOut, clock: Clock) -> None:
        self._pool, self.admin, self._fan_out, self._clock = pool, admin, fan_out, clock

    async def topic(self, app_id: str) -> PluginTopic:
        """The app's topic, which begins to be made when there was none."""
        found = await plugin_topics.read(self._pool, app_id)
        if found is not None:
            return found
        async with transaction(self._pool) as connection:
            newest = await store.newest_position(connection)
            await plugin_topics.begin(connection, [app_id], newest, self._clock())
            made = await plugin_topics.read(connection, app_id)
        assert made is not None, "a row that was inserted, or was there, can be read"
        return made

    async def rotate(self, app_id: str, password: str) -> PluginTopic | None:
        """The app logs in with this password only, also while its topic is still being made; `None` when it goes."""
        topic = await self.topic(app_id)
        if topic.status == "deleting":
            return None
        await self.admin.set_password(app_id, password)
        async with transaction(self._pool) as connection:
            if await plugin_topics.credentials_made(connection, app_id, self._clock()):
                return await plugin_topics.read(connection, app_id)
        await self.admin.remove(app_id)
        return None

    async def work(self) -> None:
        """A step for each topic that is to come or to go; one that cannot be done now does not hold others up."""
        for topic in await plugin_topics.unfinished(self._pool, _AT_ONCE):
            try:
                await self._step(topic)
            except Transient as reason:
                await plugin_topics.tried(self._pool, topic.app_id, self._clock())
                log.warning("plugin_topic_postponed", app_id=topic.app_id, reason=str(reason))

    async def repair(self) -> None:
        """Topics that somebody deleted are there again: what is published on them must not wait for ever.

        One that cannot be made now does not hold others up.
        """
        for app_id in await self.admin.missing(await plugin_topics.ready_apps(self._pool)):
            log.error("plugin_topic_was_missing", app_id=app_id)
            try:
                await self._provide(app_id)
            except Transient as reason:
                log.warning("plugin_topic_postponed", app_id=app_id, reason=str(reason))

    async def _step(self, topic: PluginTopic) -> None:
        if topic.status == "deleting":
            await self.admin.remove(topic.app_id)
            await plugin_topics.delete(self._pool, topic)
            return
        if not await self._provide(topic.app_id):
            return
        for _ in range(_STEPS_AT_ONCE):
            if await self._fan_out.fill(topic.app_id):
                return

    async def _provide(self, app_id: str) -> bool:
        """The topic takes messages; False when the app was deleted meanwhile, and its topic will be removed again."""
        try:
            await self.admin.provide(app_id)
        finally:
            # Half of it may be there.
            status = (await plugin_topics.statuses(self._pool, [app_id])).get(app_id)
            gone = status in (None, "deleting")
            if gone:
                await plugin_topics.remove_again(self._pool, app_id, self._clock())
        return not gone
