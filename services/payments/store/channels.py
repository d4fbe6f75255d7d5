"""Channels: plain rows; what a channel may do in Kafka is kept by Kafka."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.payments.core.state import Channel, ChannelStatus
from shared.contracts.order_parts import Source
from shared.postgres import Connection, Pool

_NAMES = "channel_id, merchant_id, environment, name, source, status, created_at, updated_at"
_MINE = "merchant_id = $1 AND environment = $2"


@dataclass(frozen=True, slots=True)
class ChannelRow:
    """A channel as its owner sees it."""

    channel_id: str
    merchant_id: str
    environment: str
    name: str
    source: Source | None
    status: ChannelStatus
    created_at: datetime
    updated_at: datetime


async def insert(connection: Connection, row: ChannelRow) -> bool:
    """The new channel; False when somebody has its id already."""
    done = await connection.execute(
        f"INSERT INTO channels ({_NAMES}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (channel_id) DO NOTHING",
        row.channel_id,
        row.merchant_id,
        row.environment,
        row.name,
        row.source,
        row.status,
        row.created_at,
        row.updated_at,
    )
    return bool(done == "INSERT 0 1")


async def rename(
    connection: Connection, merchant_id: str, environment: str, channel_id: str, *, name: str, now: datetime
) -> ChannelRow | None:
    """The channel under its new name; `None` when the tenant has no such one."""
    return _row(
        await connection.fetchrow(
            f"UPDATE channels SET name = $4, updated_at = $5 WHERE {_MINE} AND channel_id = $3 RETURNING {_NAMES}",
            merchant_id,
            environment,
            channel_id,
            name,
            now,
        )
    )


async def move(
    connection: Connection, channel_id: str, before: Iterable[ChannelStatus], after: ChannelStatus, now: datetime
) -> ChannelRow | None:
    """The channel in its new status; `None` when it was in none of the statuses before."""
    return _row(
        await connection.fetchrow(
            f"UPDATE channels SET status = $3, updated_at = $4 WHERE channel_id = $1 AND status = ANY($2::text[]) "
            f"RETURNING {_NAMES}",
            channel_id,
            list(before),
            after,
            now,
        )
    )


async def read(pool: Pool, merchant_id: str, environment: str, channel_id: str) -> ChannelRow | None:
    """The channel; another tenant's reads as not there."""
    query = f"SELECT {_NAMES} FROM channels WHERE {_MINE} AND channel_id = $3"
    return _row(await pool.fetchrow(query, merchant_id, environment, channel_id))


async def page(
    pool: Pool, merchant_id: str, environment: str, after: tuple[datetime, str] | None, limit: int
) -> list[ChannelRow]:
    """At most `limit` channels, newest first, that come after the position."""
    rows = await pool.fetch(
        f"""
        SELECT {_NAMES} FROM channels
        WHERE {_MINE} AND ($3::timestamptz IS NULL OR (created_at, channel_id) < ($3, $4))
        ORDER BY created_at DESC, channel_id DESC LIMIT $5
        """,
        merchant_id,
        environment,
        *(after or (None, None)),
        limit,
    )
    return [ChannelRow(**row) for row in rows]


async def unfinished(pool: Pool, before: datetime, limit: int) -> list[ChannelRow]:
    """Channels whose last step with Kafka was not finished by then, oldest first."""
    rows = await pool.fetch(
        f"""
        SELECT {_NAMES} FROM channels WHERE status IN ('provisioning', 'disabling') AND updated_at < $1
        ORDER BY updated_at LIMIT $2
        """,
        before,
        limit,
    )
    return [ChannelRow(**row) for row in rows]


async def channels_by_id(pool: Pool, channel_ids: Iterable[str]) -> dict[str, Channel]:
    """Those of the channels that exist, whosever they are."""
    rows = await pool.fetch(
        "SELECT channel_id, merchant_id, environment, status, source FROM channels WHERE channel_id = ANY($1::text[])",
        sorted(set(channel_ids)),
    )
    return {row["channel_id"]: Channel(**row) for row in rows}


def _row(row: Any) -> ChannelRow | None:
    return None if row is None else ChannelRow(**row)
