"""Topics of apps, and what is on its way to them."""

from collections.abc import Sequence
from datetime import datetime
from itertools import islice
from operator import itemgetter

import orjson

from services.apps.fan_out import _MOST_WAITING
from services.apps.store import plugin_replays
from services.apps.store.plugin_topics import _BEGIN, _LOCK_PENDING, _NAMES
from shared.outbox import _DROP, topics_in, topics_together
from tests.simulation.postgres.client import Rows, Statements
from tests.simulation.postgres.engine import Transaction
from tests.simulation.postgres.statements.rows import picked, there
from tests.simulation.postgres.table import Values

statement = Statements()

_TOPIC = tuple(_NAMES.split(", "))
_REPLAY = tuple(plugin_replays._NAMES.split(", "))


@statement("SELECT pg_advisory_xact_lock_shared($1)")
async def share_lock(t: Transaction, number: int) -> Rows:
    await t.advisory_lock(number, shared=True)
    return [{"pg_advisory_xact_lock_shared": ""}]


@statement("SELECT app_id, status FROM plugin_topics WHERE app_id = ANY($1::text[])")
def statuses(t: Transaction, app_ids: list[str]) -> Rows:
    return picked(there(t, "plugin_topics", app_ids), ("app_id", "status"))


@statement(_BEGIN)
async def begin(t: Transaction, app_ids: list[str], filled_to: int, now: datetime) -> str:
    made = 0
    for app_id in app_ids:
        row = {"app_id": app_id, "status": "pending", "filled_to": filled_to, "has_credentials": False}
        made += (
            await t.insert_new(t.database["plugin_topics"], row | {"created_at": now, "updated_at": now}) is not None
        )
    return f"INSERT 0 {made}"


@statement(f"SELECT {_NAMES} FROM plugin_topics WHERE status <> 'ready' ORDER BY updated_at LIMIT $1")
def unfinished(t: Transaction, limit: int) -> Rows:
    rows = (row for row in t.scan(t.database["plugin_topics"]) if row["status"] != "ready")
    return picked(sorted(rows, key=itemgetter("updated_at"))[:limit], _TOPIC)


@statement("SELECT app_id FROM plugin_topics WHERE status = 'ready'")
def ready(t: Transaction) -> Rows:
    return picked((row for row in t.scan(t.database["plugin_topics"]) if row["status"] == "ready"), ("app_id",))


async def _change(t: Transaction, app_id: str, **values: object) -> str:
    table = t.database["plugin_topics"]
    rows = await t.lock_rows(table, [app_id])
    for row in rows:
        await t.put(table, row | values)
    return f"UPDATE {len(rows)}"


@statement("UPDATE plugin_topics SET updated_at = $2 WHERE app_id = $1")
async def tried(t: Transaction, app_id: str, now: datetime) -> str:
    return await _change(t, app_id, updated_at=now)


@statement("UPDATE plugin_topics SET filled_to = $2, status = $3, updated_at = $4 WHERE app_id = $1")
async def filled(t: Transaction, app_id: str, to: int, status: str, now: datetime) -> str:
    return await _change(t, app_id, filled_to=to, status=status, updated_at=now)


@statement(_LOCK_PENDING)
async def lock_pending(t: Transaction, app_id: str) -> Rows:
    table = t.database["plugin_topics"]
    rows = await t.lock_rows(table, [app_id], lambda row: bool(row["status"] == "pending"), skip=True)
    return picked(rows, ("filled_to",))


@statement(f"SELECT count(*) FROM (SELECT FROM outbox LIMIT {_MOST_WAITING}) AS waiting")
def waiting(t: Transaction) -> Rows:
    return [{"count": sum(1 for _ in islice(t.scan(t.database["outbox"]), _MOST_WAITING))}]


@statement(_DROP)
async def drop_from_outbox(
    t: Transaction, topic: str, merchants: Sequence[str] | None, environments: Sequence[str] | None
) -> Rows:
    table = t.database["outbox"]
    tenants = None if merchants is None else set(zip(merchants, environments or (), strict=True))

    def concerned(row: Values) -> bool:
        headers = orjson.loads(row["headers"])
        theirs = tenants is None or (headers.get("ce_merchantid"), headers.get("ce_environment")) in tenants
        return theirs and topic in topics_in(row["aggregatetype"])

    rows = await t.lock_rows(table, [row["seq"] for row in t.scan(table)], concerned)
    for row in rows:
        others = [other for other in topics_in(row["aggregatetype"]) if other != topic]
        if others:
            await t.put(table, row | {"aggregatetype": topics_together(others)})
        else:
            t.remove(table, row["seq"])
    return picked(sorted(rows, key=itemgetter("seq")), ("id", "headers"))


@statement(plugin_replays._INSERT)
async def insert_replay(t: Transaction, *values: object) -> str:
    table, row = t.database["plugin_replays"], dict(zip(_REPLAY, values, strict=True))
    if t.find(table, "running", row["app_id"]):
        return "INSERT 0 0"
    return f"INSERT 0 {int(await t.insert_new(table, row) is not None)}"


@statement(plugin_replays._LOCK)
async def lock_replay(t: Transaction, replay_id: str) -> Rows:
    table = t.database["plugin_replays"]
    rows = await t.lock_rows(table, [replay_id], lambda row: bool(row["status"] == "running"), skip=True)
    return picked(rows, _REPLAY)


@statement(plugin_replays._ADVANCE)
async def advance_replay(
    t: Transaction, replay_id: str, done_to: int, published: int, status: str, now: datetime
) -> str:
    table = t.database["plugin_replays"]
    rows = await t.lock_rows(table, [replay_id])
    for row in rows:
        further = {"done_to": done_to, "published": row["published"] + published}
        await t.put(table, row | further | {"status": status, "updated_at": now})
    return f"UPDATE {len(rows)}"


@statement(plugin_replays._RUNNING)
def running_replays(t: Transaction, limit: int) -> Rows:
    rows = (row for row in t.scan(t.database["plugin_replays"]) if row["status"] == "running")
    return picked(sorted(rows, key=itemgetter("updated_at"))[:limit], ("replay_id",))
