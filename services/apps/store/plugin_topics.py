"""Topics of apps: how far each is, and which events were published on it before it was ready."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from services.apps.core.plugin_topics import REPLAY_HEADER, PluginTopic, TopicStatus
from shared import outbox
from shared.postgres import Connection, Pool
from shared.topics import plugin_topic

_NAMES = "app_id, status, has_credentials, created_at, updated_at"
_FAN_OUT_LOCK = 728_405


async def share_fan_out(connection: Connection) -> None:
    """What this transaction reads of topics and installations stays so until it ends; many may share this."""
    await connection.execute("SELECT pg_advisory_xact_lock_shared($1)", _FAN_OUT_LOCK)


async def hold_fan_out(connection: Connection) -> None:
    """Whatever was put in the outbox for any topic can be seen, and nothing is put there until this transaction ends.

    For as short a time as can be.
    """
    await connection.execute("SELECT pg_advisory_xact_lock($1)", _FAN_OUT_LOCK)


async def statuses(connection: Connection | Pool, app_ids: Collection[str]) -> dict[str, TopicStatus]:
    """How far the topics of these apps are; an app that has none is not in the answer."""
    rows = await connection.fetch(
        "SELECT app_id, status FROM plugin_topics WHERE app_id = ANY($1::text[])", list(app_ids)
    )
    return {row["app_id"]: row["status"] for row in rows}


async def begin(connection: Connection, app_ids: Collection[str], filled_to: int, now: datetime) -> None:
    """Each of the apps has a topic, or will have one with every event above this position."""
    await connection.execute(_BEGIN, sorted(app_ids), filled_to, now)


async def read(database: Connection | Pool, app_id: str) -> PluginTopic | None:
    """The app's topic, `None` when it has none."""
    return _topic(await database.fetchrow(f"SELECT {_NAMES} FROM plugin_topics WHERE app_id = $1", app_id))


async def unfinished(pool: Pool, limit: int) -> list[PluginTopic]:
    """Topics that are not there yet or not gone yet; the one that was not tried for longest comes first."""
    rows = await pool.fetch(
        f"SELECT {_NAMES} FROM plugin_topics WHERE status <> 'ready' ORDER BY updated_at LIMIT $1", limit
    )
    return [PluginTopic(**row) for row in rows]


async def ready_apps(pool: Pool) -> list[str]:
    """The apps whose topics must be there."""
    return [row["app_id"] for row in await pool.fetch("SELECT app_id FROM plugin_topics WHERE status = 'ready'")]


async def tried(pool: Pool, app_id: str, now: datetime) -> None:
    """It did not work out this time: others come first."""
    await pool.execute("UPDATE plugin_topics SET updated_at = $2 WHERE app_id = $1", app_id, now)


async def lock_pending(connection: Connection, app_id: str) -> int | None:
    """The position up to which a pending topic is filled, locked; `None` when it is not pending or not ours."""
    filled_to: int | None = await connection.fetchval(_LOCK_PENDING, app_id)
    return filled_to


async def filled(connection: Connection, app_id: str, to: int, status: TopicStatus, now: datetime) -> None:
    """The topic has its events up to this position."""
    await connection.execute(
        "UPDATE plugin_topics SET filled_to = $2, status = $3, updated_at = $4 WHERE app_id = $1",
        app_id,
        to,
        status,
        now,
    )


async def credentials_made(connection: Connection, app_id: str, now: datetime) -> bool:
    """Noted that the app was given a password; False when its topic is being deleted."""
    done = await connection.execute(_CREDENTIALS, app_id, now)
    return bool(done == "UPDATE 1")


async def begin_deletion(connection: Connection, app_id: str, now: datetime) -> None:
    """Nothing is published on the topic any more, and what waits for it is dropped; then it is deleted."""
    await hold_fan_out(connection)
    await connection.execute(
        "UPDATE plugin_topics SET status = 'deleting', updated_at = $2 WHERE app_id = $1", app_id, now
    )
    await connection.execute("UPDATE plugin_replays SET status = 'finished' WHERE app_id = $1", app_id)
    await outbox.drop(connection, plugin_topic(app_id))


async def delete(pool: Pool, topic: PluginTopic) -> None:
    """Nothing is left of the topic as it was seen; one that must be removed again meanwhile stays."""
    await pool.execute(
        "DELETE FROM plugin_topics WHERE app_id = $1 AND status = 'deleting' AND updated_at = $2",
        topic.app_id,
        topic.updated_at,
    )


async def remove_again(pool: Pool, app_id: str, now: datetime) -> None:
    """The topic of an app that was deleted is removed once more, also when its row is gone."""
    await pool.execute(_REMOVE_AGAIN, app_id, now)


async def drop_waiting(
    connection: Connection, app_id: str, tenants: Sequence[tuple[str, str]]
) -> list[tuple[str, str | None]]:
    """Nothing of these tenants that waits for the app's topic is published: the events' ids and those of their
    replays, in the order in which they would have been.

    In the transaction that takes the app's rights.
    """
    await hold_fan_out(connection)
    dropped = await outbox.drop(connection, plugin_topic(app_id), tenants)
    return [(message_id, headers.get(REPLAY_HEADER)) for message_id, headers in dropped]


_BEGIN = """
INSERT INTO plugin_topics (app_id, status, filled_to, has_credentials, created_at, updated_at)
SELECT app_id, 'pending', $2, false, $3, $3 FROM unnest($1::text[]) AS new (app_id)
ON CONFLICT (app_id) DO NOTHING
"""
_LOCK_PENDING = """
SELECT filled_to FROM plugin_topics WHERE app_id = $1 AND status = 'pending' FOR UPDATE SKIP LOCKED
"""
_REMOVE_AGAIN = """
INSERT INTO plugin_topics (app_id, status, filled_to, has_credentials, created_at, updated_at)
VALUES ($1, 'deleting', 0, false, $2, $2)
ON CONFLICT (app_id) DO UPDATE SET
    updated_at = greatest(excluded.updated_at, plugin_topics.updated_at + interval '1 microsecond')
WHERE plugin_topics.status = 'deleting'
"""
_CREDENTIALS = """
UPDATE plugin_topics SET has_credentials = true, updated_at = $2 WHERE app_id = $1 AND status <> 'deleting'
"""


def _topic(row: Any) -> PluginTopic | None:
    return None if row is None else PluginTopic(**row)
