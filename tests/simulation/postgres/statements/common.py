"""The statements of `shared`: new rows of any table, inbox, relay, idempotency keys, grants, probes."""

import re
from datetime import datetime
from itertools import takewhile
from operator import itemgetter
from typing import Any

from shared.auth import table as grants
from shared.idempotency import _END, _FORGET, _LOCK, _REMEMBER, _STORED
from shared.outbox import _REMOVE, topics_in, topics_together
from shared.outbox_age import _LOOK, _MOST
from tests.simulation.postgres.client import Rows, Statements
from tests.simulation.postgres.engine import Transaction
from tests.simulation.postgres.statements.rows import picked, rows_of, there
from tests.simulation.postgres.table import Table, Values

statement = Statements()


@statement("SELECT 1")
def one(t: Transaction) -> Rows:
    return [{"?column?": 1}]


# New rows, wherever they are copied if they are many


@statement(re.compile(r"INSERT INTO (\w+) \(([\w, ]+)\) SELECT \* FROM unnest\([^()]*\) AS new \(\2\)"))
async def new_rows(t: Transaction, *columns: list[Any], match: re.Match[str]) -> str:
    rows = rows_of(match[2].split(", "), *columns)
    for row in rows:
        await t.insert(t.database[match[1]], row)
    return f"INSERT 0 {len(rows)}"


# The inbox


@statement(
    """
    SELECT aggregate_id, command_id, outcome::text AS outcome
    FROM unnest($1::text[], $2::text[]) AS asked(aggregate_id, command_id)
    JOIN inbox USING (aggregate_id, command_id)
    """
)
def recall(t: Transaction, aggregates: list[str], commands: list[str]) -> Rows:
    return picked(there(t, "inbox", zip(aggregates, commands, strict=True)), ("aggregate_id", "command_id", "outcome"))


# The relay


@statement("SELECT pg_advisory_lock_shared($1, $2)")
def join_members(t: Transaction, group: int, number: int) -> Rows:
    t.database.shared_advisory.setdefault((group, number), set()).add(t.session)
    return [{"pg_advisory_lock_shared": ""}]


@statement(
    """
    SELECT count(*) FROM pg_locks
    WHERE locktype = 'advisory' AND classid = $1 AND objid = $2 AND objsubid = 2 AND granted
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    """
)
def count_members(t: Transaction, group: int, number: int) -> Rows:
    return [{"count": len(t.database.shared_advisory.get((group, number), ()))}]


@statement("SELECT pg_try_advisory_lock($1, $2)")
def try_shard(t: Transaction, group: int, number: int) -> Rows:
    holder = t.database.advisory.setdefault((group, number), t.session)
    return [{"pg_try_advisory_lock": holder is t.session}]


@statement("SELECT pg_advisory_unlock($1, $2)")
def leave_shard(t: Transaction, group: int, number: int) -> Rows:
    held = t.database.advisory.get((group, number)) is t.session
    if held:
        del t.database.advisory[group, number]
    return [{"pg_advisory_unlock": held}]


@statement(
    """
    SELECT seq, aggregatetype, aggregateid, headers, payload FROM (
        SELECT *, sum(size) OVER (ORDER BY seq ROWS UNBOUNDED PRECEDING) - size AS before FROM (
            SELECT seq, aggregatetype, aggregateid, headers, payload,
                octet_length(payload) * cardinality(string_to_array(aggregatetype, ' ')) AS size
            FROM outbox WHERE seq > $1 AND shard = ANY($2::smallint[])
                AND ($5::text[] = '{}' OR NOT string_to_array(aggregatetype, ' ') <@ $5)
            ORDER BY seq LIMIT $3
        ) AS next
    ) AS summed WHERE before < $4 ORDER BY seq
    """
)
def read_outbox(t: Transaction, floor: int, shards: list[int], limit: int, most_bytes: int, held: list[str]) -> Rows:
    mine = frozenset(shards)
    wanted = [row for row in t.scan(t.database["outbox"]) if row["shard"] in mine and row["seq"] > floor]
    if held:
        wanted = [row for row in wanted if not set(topics_in(row["aggregatetype"])) <= set(held)]
    before = 0

    def fits(row: Values) -> bool:
        nonlocal before
        fitting, before = before < most_bytes, before + len(row["payload"]) * len(topics_in(row["aggregatetype"]))
        return fitting

    rows = takewhile(fits, sorted(wanted, key=itemgetter("seq"))[:limit])
    return picked(rows, ("seq", "aggregatetype", "aggregateid", "headers", "payload"))


@statement("DELETE FROM outbox WHERE seq = ANY($1::bigint[])")
async def remove_from_outbox(t: Transaction, numbers: list[int]) -> str:
    rows = await t.lock_rows(t.database["outbox"], numbers)
    for row in rows:
        t.remove(t.database["outbox"], row["seq"])
    return f"DELETE {len(rows)}"


@statement(_REMOVE)
async def remove_published(t: Transaction, numbers: list[int], published: list[str]) -> str:
    for row in await t.lock_rows(t.database["outbox"], numbers):
        waiting = [topic for topic in topics_in(row["aggregatetype"]) if topic not in published]
        if waiting:
            await t.put(t.database["outbox"], row | {"aggregatetype": topics_together(waiting)})
        else:
            t.remove(t.database["outbox"], row["seq"])
    return "UPDATE"


@statement(_LOOK)
def measure_outbox(t: Transaction) -> Rows:
    there = sorted(row["seq"] for row in t.scan(t.database["outbox"]))
    oldest, newest = (there[0], there[-1]) if there else (None, None)
    return [{"oldest": oldest, "newest": newest, "waiting": min(len(there), _MOST)}]


@statement("SELECT pg_current_xact_id()::text::bigint, pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
def newest_and_oldest(t: Transaction) -> Rows:
    return [{"pg_current_xact_id": t.number(), "pg_snapshot_xmin": min(t.database.running)}]


@statement("SELECT")
def nothing(t: Transaction) -> Rows:
    return [{}]


@statement(re.compile(r"NOTIFY \"([a-z_]+)\", '(\w+)'"))
def notify(t: Transaction, match: re.Match[str]) -> str:
    t.notifications.append((match[1], match[2]))
    return "NOTIFY"


# Idempotency keys


@statement(_LOCK)
def claim_keys(t: Transaction, numbers: list[int]) -> Rows:
    return [{"number": number, "pg_try_advisory_xact_lock": t.try_advisory(number)} for number in numbers]


@statement(_STORED)
def stored_answers(t: Transaction, scopes: list[str], keys: list[str], after: datetime, begun: datetime) -> Rows:
    rows = [
        row
        for row in there(t, "idempotency_keys", zip(scopes, keys, strict=True))
        if row["created_at"] > (max(after, begun) if row["status"] == 102 else after)
    ]
    return picked(rows, ("scope", "key", "fingerprint", "status", "body"))


@statement(_REMEMBER)
async def remember_answers(t: Transaction, *columns: Any) -> str:
    names, (*values, now, over) = ("scope", "key", "fingerprint", "status", "body"), columns
    rows = [row | {"created_at": now} for row in rows_of(names, *values)]

    def replaced(known: Values, new: Values) -> Values | None:
        return known | new if known["status"] in (102, 202) or known["created_at"] <= over else None

    done = await t.upsert(t.database["idempotency_keys"], rows, replaced)
    return f"INSERT 0 {len(done)}"


@statement(_END)
async def end_act(t: Transaction, scope: str, key: str, begun: datetime) -> str:
    table = t.database["idempotency_keys"]
    rows = await t.lock_rows(
        table, [(scope, key)], lambda row: bool(row["status"] == 102 and row["created_at"] == begun)
    )
    for row in rows:
        t.remove(table, table.key(row))
    return f"DELETE {len(rows)}"


@statement(_FORGET)
async def forget_keys(t: Transaction, until: datetime, limit: int) -> str:
    table = t.database["idempotency_keys"]
    over = sorted((row for row in t.scan(table) if row["created_at"] <= until), key=lambda row: row["created_at"])
    rows = await t.lock_rows(
        table, map(table.key, over), lambda row: bool(row["created_at"] <= until), skip=True, limit=limit
    )
    for row in rows:
        t.remove(table, table.key(row))
    return f"DELETE {len(rows)}"


# Grants


@statement("SELECT * FROM grants WHERE credential_hash = $1")
def grant(t: Transaction, credential_hash: str) -> Rows:
    return there(t, "grants", [credential_hash])


@statement(grants._ORIGIN_IS_LISTED)
def origin_is_listed(t: Transaction, origin: str) -> Rows:
    def lists(row: Values) -> bool:
        ends = row["expires_at"]
        live = row["status"] == "active" and (ends is None or ends > t.started_at)
        return live and origin in row["allowed_origins"]

    return [{"exists": any(map(lists, t.scan(t.database["grants"])))}]


@statement(grants._PIN)
async def pin_version(t: Transaction, credential_hash: str, version: str) -> str:
    rows = await t.lock_rows(t.database["grants"], [credential_hash], lambda row: row["api_version"] is None)
    for row in rows:
        await t.put(t.database["grants"], row | {"api_version": version})
    return f"UPDATE {len(rows)}"


@statement("SELECT topic_partition, next_offset FROM grant_offsets")
def grant_offsets(t: Transaction) -> Rows:
    return list(t.scan(t.database["grant_offsets"]))


@statement("DELETE FROM grant_offsets WHERE topic_partition = $1")
async def forget_grant_offset(t: Transaction, partition: int) -> str:
    rows = await t.lock_rows(t.database["grant_offsets"], [partition])
    for _ in rows:
        t.remove(t.database["grant_offsets"], partition)
    return f"DELETE {len(rows)}"


@statement("UPDATE grants SET topic_offset = -1 WHERE topic_partition = $1")
async def forget_grants_offsets(t: Transaction, partition: int) -> str:
    return await _forget_offsets(t, t.database["grants"], partition)


@statement("UPDATE signing_keys SET topic_offset = -1 WHERE topic_partition = $1")
async def forget_keys_offsets(t: Transaction, partition: int) -> str:
    return await _forget_offsets(t, t.database["signing_keys"], partition)


async def _forget_offsets(t: Transaction, table: Table, partition: int) -> str:
    rows = await t.lock_rows(
        table, [table.key(row) for row in t.scan(table)], lambda row: bool(row["topic_partition"] == partition)
    )
    for row in rows:
        await t.put(table, row | {"topic_offset": -1})
    return f"UPDATE {len(rows)}"


_GRANT = (
    "credential_hash grant_id kind merchant_id environment scopes status expires_at allowed_origins topic_partition "
    "topic_offset"
).split()


_KEY = "kid x y status topic_partition topic_offset".split()


def _newer(known: Values, new: Values) -> Values | None:
    return known | new if known["topic_offset"] < new["topic_offset"] else None


@statement(grants._UPSERT)
async def save_grant(t: Transaction, *values: Any) -> str:
    done = await t.upsert(t.database["grants"], [dict(zip(_GRANT, values, strict=True))], _newer)
    return f"INSERT 0 {len(done)}"


@statement(grants._UPSERT_KEY)
async def save_signing_key(t: Transaction, *values: Any) -> str:
    done = await t.upsert(t.database["signing_keys"], [dict(zip(_KEY, values, strict=True))], _newer)
    return f"INSERT 0 {len(done)}"


@statement("SELECT kid, x, y FROM signing_keys WHERE status = 'active'")
def signing_keys(t: Transaction) -> Rows:
    rows = (row for row in t.scan(t.database["signing_keys"]) if row["status"] == "active")
    return picked(rows, ("kid", "x", "y"))


@statement(grants._REVOKE)
async def revoke_grant(t: Transaction, credential_hash: str, offset: int) -> str:
    rows = await t.lock_rows(t.database["grants"], [credential_hash], lambda row: bool(row["topic_offset"] < offset))
    for row in rows:
        await t.put(t.database["grants"], row | {"status": "revoked", "topic_offset": offset})
    return f"UPDATE {len(rows)}"


@statement(grants._ADVANCE)
async def advance_grants(t: Transaction, partition: int, offset: int) -> str:
    def further(known: Values, new: Values) -> Values | None:
        return known | new if known["next_offset"] < new["next_offset"] else None

    rows = [{"topic_partition": partition, "next_offset": offset}]
    return f"INSERT 0 {len(await t.upsert(t.database['grant_offsets'], rows, further))}"
