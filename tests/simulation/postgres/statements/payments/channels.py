"""The statements on channels."""

from datetime import datetime
from operator import itemgetter
from typing import Any

from services.payments.store import channels
from tests.simulation.postgres.client import Rows, Statements
from tests.simulation.postgres.engine import Transaction
from tests.simulation.postgres.statements.rows import is_mine, picked, there

statement = Statements()

_CHANNEL = channels._NAMES.split(", ")


@statement(
    f"INSERT INTO channels ({channels._NAMES}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) "
    "ON CONFLICT (channel_id) DO NOTHING"
)
async def insert_channel(t: Transaction, *values: Any) -> str:
    new = await t.insert_new(t.database["channels"], dict(zip(_CHANNEL, values, strict=True)))
    return f"INSERT 0 {int(new is not None)}"


@statement(
    f"UPDATE channels SET name = $4, updated_at = $5 WHERE {channels._MINE} AND channel_id = $3 "
    f"RETURNING {channels._NAMES}"
)
async def rename_channel(
    t: Transaction, merchant_id: str, environment: str, channel_id: str, name: str, now: datetime
) -> Rows:
    table = t.database["channels"]
    rows = await t.lock_rows(table, [channel_id], lambda row: is_mine(row, merchant_id, environment))
    renamed = [row | {"name": name, "updated_at": now} for row in rows]
    for row in renamed:
        await t.put(table, row)
    return picked(renamed, _CHANNEL)


@statement(
    "UPDATE channels SET status = $3, updated_at = $4 WHERE channel_id = $1 AND status = ANY($2::text[]) "
    f"RETURNING {channels._NAMES}"
)
async def move_channel(t: Transaction, channel_id: str, before: list[str], after: str, now: datetime) -> Rows:
    table = t.database["channels"]
    rows = await t.lock_rows(table, [channel_id], lambda row: row["status"] in before)
    moved = [row | {"status": after, "updated_at": now} for row in rows]
    for row in moved:
        await t.put(table, row)
    return picked(moved, _CHANNEL)


@statement(f"SELECT {channels._NAMES} FROM channels WHERE {channels._MINE} AND channel_id = $3")
def read_channel(t: Transaction, merchant_id: str, environment: str, channel_id: str) -> Rows:
    rows = there(t, "channels", [channel_id])
    return picked((row for row in rows if is_mine(row, merchant_id, environment)), _CHANNEL)


@statement(
    f"""
    SELECT {channels._NAMES} FROM channels
    WHERE {channels._MINE} AND ($3::timestamptz IS NULL OR (created_at, channel_id) < ($3, $4))
    ORDER BY created_at DESC, channel_id DESC LIMIT $5
    """
)
def page_of_channels(
    t: Transaction, merchant_id: str, environment: str, created: datetime | None, channel_id: str | None, limit: int
) -> Rows:
    place = itemgetter("created_at", "channel_id")
    rows = t.find(t.database["channels"], "tenant", (merchant_id, environment))
    after = [row for row in rows if created is None or place(row) < (created, channel_id)]
    return picked(sorted(after, key=place, reverse=True)[:limit], _CHANNEL)


@statement(
    f"""
    SELECT {channels._NAMES} FROM channels WHERE status IN ('provisioning', 'disabling') AND updated_at < $1
    ORDER BY updated_at LIMIT $2
    """
)
def unfinished_channels(t: Transaction, before: datetime, limit: int) -> Rows:
    rows = [row for row in t.find(t.database["channels"], "unfinished", True) if row["updated_at"] < before]
    return picked(sorted(rows, key=itemgetter("updated_at"))[:limit], _CHANNEL)


@statement(
    "SELECT channel_id, merchant_id, environment, status, source FROM channels WHERE channel_id = ANY($1::text[])"
)
def channels_by_id(t: Transaction, ids: list[str]) -> Rows:
    return picked(there(t, "channels", ids), ("channel_id", "merchant_id", "environment", "status", "source"))
