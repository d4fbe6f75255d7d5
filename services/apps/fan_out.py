"""Events on their way to the topics of installed apps: as they happen, once a topic is ready, and again on demand.

A merchant's event goes to the apps that the merchant lets read orders at that moment. Whoever puts something in the
outbox shares a lock; whoever takes an app's rights or topic holds it alone, drops what waits, and so knows that nothing
comes after it. Events that find no topic wait where they are kept: the topic's row says from where on.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime

import structlog

from services.apps.core.event_types import READ_SCOPE, Reader, may_read
from services.apps.core.events import PublicEvent
from services.apps.core.plugin_topics import (
    REPLAY_HEADER,
    Publication,
    Replay,
    ReplayStatus,
    TopicStatus,
    publications,
)
from services.apps.grants import SOURCE
from services.apps.store import events as store
from services.apps.store import partitions, plugin_replays, plugin_topics
from services.apps.store.events import Tenant
from services.apps.store.installs import InstalledApp, installed, installs_of
from shared import outbox
from shared.clock import Clock
from shared.envelope import Envelope
from shared.ids import new_id
from shared.outbox import OutboxMessage
from shared.postgres import Connection, Pool, transaction
from shared.topics import plugin_topic
from shared.writes import NewRows

log = structlog.get_logger(__name__)

_AT_ONCE = 500
_WINDOW = 20_000
"""Positions that one step looks at: an app whose merchants are quiet among many must not read them all at once."""
_MOST_WAITING = 5_000
"""Messages in the outbox above which nothing old is added: what happens now goes first."""
_REPLAYS_AT_ONCE = 20

Committed = Callable[[], None]


class FanOut:
    """Puts messages for apps' topics in the outbox."""

    def __init__(self, pool: Pool, clock: Clock, committed: Committed) -> None:
        self._pool, self._clock, self._committed = pool, clock, committed

    async def follow(self, connection: Connection, events: Sequence[PublicEvent]) -> NewRows | None:
        """New events go to the topics of those who may read them; an app without a topic will have one."""
        await plugin_topics.share_fan_out(connection)
        tenants = list({(event.merchant_id, event.environment) for event in events})
        apps = [app for app in await installed(connection, tenants) if may_read(app.scopes, READ_SCOPE)]
        if not apps:
            return None
        statuses = await plugin_topics.statuses(connection, {app.app_id for app in apps})
        without = {app.app_id for app in apps} - set(statuses)
        if without:
            newest = await store.newest_position(connection)
            await plugin_topics.begin(connection, without, newest, self._clock())
        ready = [app for app in apps if statuses.get(app.app_id) == "ready"]
        return outbox.rows_of(map(_message, publications(events, _readers(ready))))

    async def fill(self, app_id: str) -> bool:
        """One step towards a topic that has all its events; True when it is ready, or not ours to fill.

        The last step holds everybody else's events for a moment, so that none is missed and none comes twice.
        """
        async with transaction(self._pool) as connection:
            await plugin_topics.share_fan_out(connection)
            if await _is_full(connection):
                return False
            after = await plugin_topics.lock_pending(connection, app_id)
            if after is None:
                return True
            newest = await store.newest_position(connection)
            if newest - after > _AT_ONCE:
                to, _ = await self._copy(connection, app_id, after, newest)
                await plugin_topics.filled(connection, app_id, to, "pending", self._clock())
                self._committed()
                return False
        return await self._fill_rest(app_id)

    async def _fill_rest(self, app_id: str) -> bool:
        async with transaction(self._pool) as connection:
            await plugin_topics.hold_fan_out(connection)
            to = await plugin_topics.lock_pending(connection, app_id)
            if to is None:
                return True
            newest = await store.newest_position(connection)
            for _ in range(_AT_ONCE):
                if to >= newest:
                    break
                to, _ = await self._copy(connection, app_id, to, newest)
            status: TopicStatus = "ready" if to >= newest else "pending"
            await plugin_topics.filled(connection, app_id, to, status, self._clock())
        self._committed()
        if status == "ready":
            log.info("plugin_topic_ready", app_id=app_id)
        return status == "ready"

    async def replay(self) -> None:
        """One step of each replay that runs."""
        for replay_id in await plugin_replays.running(self._pool, _REPLAYS_AT_ONCE):
            async with transaction(self._pool) as connection:
                await plugin_topics.share_fan_out(connection)
                if await _is_full(connection):
                    return
                await self._advance(connection, replay_id)
            self._committed()

    async def _advance(self, connection: Connection, replay_id: str) -> None:
        replay = await plugin_replays.lock(connection, replay_id)
        if replay is None:
            return
        to, published = await self._replayed(connection, replay)
        status: ReplayStatus = "finished" if to >= replay.ends_at else "running"
        await plugin_replays.advance(
            connection, replay_id, done_to=to, published=published, status=status, now=self._clock()
        )

    async def _replayed(self, connection: Connection, replay: Replay) -> tuple[int, int]:
        """How far it is after one step, and how many events that published.

        Before there is a topic nothing may be put in the outbox for it: the relay would wait for it with everything.
        """
        match (await plugin_topics.statuses(connection, {replay.app_id})).get(replay.app_id):
            case "ready":
                return await self._copy(connection, replay.app_id, replay.done_to, replay.ends_at, replay)
            case "pending":
                return replay.done_to, 0
            case _:
                return replay.ends_at, 0

    async def _copy(
        self, connection: Connection, app_id: str, after: int, up_to: int, replay: Replay | None = None
    ) -> tuple[int, int]:
        """Kept events for one app, from a position on: how far it came, and how many it put in the outbox."""
        places = [app for app in await installs_of(connection, app_id) if may_read(app.scopes, READ_SCOPE)]
        if replay is not None:
            places = [app for app in places if _concerns(replay, app)]
        if not places:
            return up_to, 0
        end = min(up_to, after + _WINDOW)
        tenants = [(app.merchant_id, app.environment) for app in places]
        created_from = replay.created_from if replay else None
        found = await store.between(connection, tenants, after, end, limit=_AT_ONCE, created_from=created_from)
        told = publications([placed.event for placed in found], _readers(places))
        headers = _marked(replay.replay_id if replay else None)
        await outbox.put(connection, [_message(each, headers) for each in told])
        return found[-1].position if found else end, len(told)


async def begin_replay(
    connection: Connection,
    app_id: str,
    environment: str,
    now: datetime,
    *,
    created_from: datetime,
    merchant_id: str | None = None,
) -> Replay | None:
    """From a moment up to now, of one merchant or all that let the app in; `None` while another one of it runs.

    An app without a topic will have one.
    """
    newest = await store.newest_position(connection)
    await plugin_topics.begin(connection, [app_id], newest, now)
    week = partitions.beginning_of(partitions.week_of(created_from))
    begins_after = await store.position_before(connection, week)
    replay = Replay(
        replay_id=new_id("rpl"),
        app_id=app_id,
        environment=environment,
        merchant_id=merchant_id,
        created_from=created_from,
        begins_after=begins_after,
        done_to=begins_after,
        ends_at=newest,
        published=0,
        status="running",
        created_at=now,
        updated_at=now,
    )
    return replay if await plugin_replays.insert(connection, replay) else None


async def stop(connection: Connection, app_id: str, tenants: Sequence[Tenant]) -> None:
    """The app's topic gets nothing more of these tenants; in the transaction that takes its rights, after they are
    taken."""
    if tenants:
        await plugin_topics.drop_waiting(connection, app_id, tenants)


async def narrow(connection: Connection, app: InstalledApp) -> None:
    """What waits for the app's topic says no more than the app may read now; in the transaction that takes a right."""
    waiting = await plugin_topics.drop_waiting(connection, app.app_id, [(app.merchant_id, app.environment)])
    reader = Reader(app.scopes, app.grant_id)
    begin = 0
    while begin < len(waiting):
        some = waiting[begin : begin + _AT_ONCE]
        kept, unread = await store.several(connection, list(dict.fromkeys(event_id for event_id, _ in some)))
        read = next((number for number, (event_id, _) in enumerate(some) if event_id in unread), len(some))
        await outbox.put(
            connection,
            [
                _message(Publication((app.app_id,), event, event.body(reader.scopes)), _marked(replay_id))
                for event_id, replay_id in some[:read]
                if (event := kept.get(event_id)) and event.is_for(reader)
            ],
        )
        begin += read


async def forget(connection: Connection, app_id: str, now: datetime) -> None:
    """The app is deleted: its topic gets nothing more from the commit on, and is gone soon after."""
    await plugin_topics.begin_deletion(connection, app_id, now)


def _concerns(replay: Replay, app: InstalledApp) -> bool:
    return app.environment == replay.environment and replay.merchant_id in (None, app.merchant_id)


def _marked(replay_id: str | None) -> tuple[tuple[str, str], ...]:
    return ((REPLAY_HEADER, replay_id),) if replay_id else ()


def _readers(apps: Sequence[InstalledApp]) -> dict[Tenant, list[tuple[str, Reader]]]:
    readers: dict[Tenant, list[tuple[str, Reader]]] = defaultdict(list)
    for app in apps:
        readers[app.merchant_id, app.environment].append((app.app_id, Reader(app.scopes, app.grant_id)))
    return readers


def _message(publication: Publication, headers: tuple[tuple[str, str], ...] = ()) -> OutboxMessage:
    event = publication.event
    envelope = Envelope(
        id=event.event_id,
        type=event.type,
        source=SOURCE,
        data=publication.body,
        key=event.key,
        subject=event.about.id,
        time=event.created_at,
        merchant_id=event.merchant_id,
        environment=event.environment,
        order_version=event.order_version,
    )
    return OutboxMessage(outbox.topics_together(map(plugin_topic, publication.app_ids)), envelope, headers)


async def _is_full(connection: Connection) -> bool:
    waiting = await connection.fetchval(f"SELECT count(*) FROM (SELECT FROM outbox LIMIT {_MOST_WAITING}) AS waiting")
    return bool(waiting >= _MOST_WAITING)
