"""Replays of apps: each remembers how far it is, so that it goes on after a restart."""

from datetime import datetime
from typing import Any

from services.apps.core.plugin_topics import Replay, ReplayStatus
from shared.postgres import Connection, Pool

_NAMES = (
    "replay_id, app_id, environment, merchant_id, created_from, begins_after, done_to, ends_at, published, status, "
    "created_at, updated_at"
)

_INSERT = f"""
INSERT INTO plugin_replays ({_NAMES}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
ON CONFLICT (app_id) WHERE status = 'running' DO NOTHING
"""
_RUNNING = "SELECT replay_id FROM plugin_replays WHERE status = 'running' ORDER BY updated_at LIMIT $1"
_LOCK = f"SELECT {_NAMES} FROM plugin_replays WHERE replay_id = $1 AND status = 'running' FOR UPDATE SKIP LOCKED"
_ADVANCE = """
UPDATE plugin_replays SET done_to = $2, published = published + $3, status = $4, updated_at = $5 WHERE replay_id = $1
"""


async def insert(connection: Connection, replay: Replay) -> bool:
    """The new replay; False when another one of the app runs."""
    done = await connection.execute(_INSERT, *(getattr(replay, name) for name in _NAMES.split(", ")))
    return bool(done == "INSERT 0 1")


async def read(pool: Pool, app_id: str, environment: str, replay_id: str) -> Replay | None:
    """The app's replay in an environment; another's reads as not there."""
    return _replay(
        await pool.fetchrow(
            f"SELECT {_NAMES} FROM plugin_replays WHERE replay_id = $1 AND app_id = $2 AND environment = $3",
            replay_id,
            app_id,
            environment,
        )
    )


async def running(pool: Pool, limit: int) -> list[str]:
    """The replays that are not finished; the one that waits for longest comes first."""
    return [row["replay_id"] for row in await pool.fetch(_RUNNING, limit)]


async def lock(connection: Connection, replay_id: str) -> Replay | None:
    """A replay that runs, locked; `None` when it has ended or somebody else is at it."""
    return _replay(await connection.fetchrow(_LOCK, replay_id))


async def advance(
    connection: Connection, replay_id: str, *, done_to: int, published: int, status: ReplayStatus, now: datetime
) -> None:
    """It has come so far."""
    await connection.execute(_ADVANCE, replay_id, done_to, published, status, now)


def _replay(row: Any) -> Replay | None:
    return None if row is None else Replay(**row)
