"""How senders share the deliveries."""

import random
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import islice, takewhile
from typing import Any

from services.apps.store.sending import _CLAIM, _POSTPONE, _SETTLE
from tests.simulation.postgres.client import Rows, Statements
from tests.simulation.postgres.engine import Transaction
from tests.simulation.postgres.statements.apps.webhooks import scopes_now
from tests.simulation.postgres.statements.rows import by_first, picked, rows_of
from tests.simulation.postgres.table import Values

statement = Statements()

_HEALTH = ("endpoint_id", "failures", "failing_since", "paused_until")
_TARGET = ("url", "scopes", "sealed_secret", "sealed_previous_secret", "failures", "failing_since", "paused_until")
_CLAIMED = ("delivery_id", "seq", "event_id", "order_id", "test_body", "tries", "claimed_until", "endpoint_id")


@statement(_CLAIM)
async def claim(
    t: Transaction,
    now: datetime,
    until: datetime,
    limit: int,
    to_each: int,
    named: list[str],
    free: list[int],
) -> Rows:
    table, claimed = t.database["webhook_deliveries"], []
    ready = list(_ready(t, now, to_each, dict(zip(named, free, strict=True))))
    share = max(1, limit // len(ready)) if ready else 0
    random.shuffle(ready)

    def can_be_claimed(row: Values) -> bool:
        unclaimed = row["claimed_until"] is None or row["claimed_until"] <= now
        return row["status"] == "pending" and row["due_at"] <= now and unclaimed

    for target, room in ready[:limit]:
        due = takewhile(lambda row: bool(row["due_at"] <= now), t.in_order(table, "pending", target["endpoint_id"]))
        keys = (row["delivery_id"] for row in _heads(t, filter(can_be_claimed, due)))
        for row in await t.lock_rows(table, keys, can_be_claimed, skip=True, limit=min(room, share)):
            after = row | {"claimed_until": until}
            await t.put(table, after)
            claimed.append(after | {name: target[name] for name in _TARGET})
    return picked(claimed, (*_CLAIMED, *_TARGET))


def _ready(t: Transaction, now: datetime, to_each: int, free: dict[str, int]) -> Iterator[tuple[Values, int]]:
    """Endpoints at which something is due, and how much each may get."""
    for endpoint in t.scan(t.database["webhook_endpoints"]):
        room = free.get(endpoint["endpoint_id"], to_each)
        if endpoint["failures"] > 0:
            room = min(room, 1)
        paused = endpoint["paused_until"] is not None and endpoint["paused_until"] > now
        scopes = scopes_now(t, endpoint)
        if room <= 0 or paused or scopes is None:
            continue
        pending = t.in_order(t.database["webhook_deliveries"], "pending", endpoint["endpoint_id"])
        if any(row["due_at"] <= now for row in islice(pending, 1)):
            overlaps = endpoint["previous_secret_ends_at"] is not None and endpoint["previous_secret_ends_at"] > now
            previous = endpoint["sealed_previous_secret"] if overlaps else None
            yield endpoint | {"scopes": scopes, "sealed_previous_secret": previous}, room


def _heads(t: Transaction, deliveries: Iterable[Values]) -> Iterator[Values]:
    """Those of one endpoint's that are the first of their orders."""
    table, first = t.database["webhook_deliveries"], dict[str, int]()
    for row in deliveries:
        order_id = row["order_id"]
        if order_id not in first:
            pending = t.find(table, "pending_of_order", (row["endpoint_id"], order_id))
            first[order_id] = min(each["seq"] for each in pending)
        if row["seq"] == first[order_id]:
            yield row


@statement(
    "UPDATE webhook_deliveries AS d SET claimed_until = NULL "
    "FROM unnest($1::text[], $2::timestamptz[]) AS mine (delivery_id, claimed_until) "
    "WHERE d.delivery_id = mine.delivery_id AND d.claimed_until = mine.claimed_until"
)
async def release(t: Transaction, ids: list[str], until: list[datetime]) -> str:
    return f"UPDATE {len(await _reclaimed(t, ids, until, None))}"


@statement(
    "UPDATE webhook_deliveries AS d SET claimed_until = $3 "
    "FROM unnest($1::text[], $2::timestamptz[]) AS mine (delivery_id, claimed_until) "
    "WHERE d.delivery_id = mine.delivery_id AND d.claimed_until = mine.claimed_until RETURNING d.delivery_id"
)
async def renew(t: Transaction, ids: list[str], until: list[datetime], longer: datetime) -> Rows:
    return picked(await _reclaimed(t, ids, until, longer), ("delivery_id",))


async def _reclaimed(t: Transaction, ids: list[str], until: list[datetime], after: datetime | None) -> list[Values]:
    """Those that are still claimed so, now until then."""
    table, mine = t.database["webhook_deliveries"], set(zip(ids, until, strict=True))
    rows = await t.lock_rows(table, ids, lambda row: (row["delivery_id"], row["claimed_until"]) in mine)
    for row in rows:
        await t.put(table, row | {"claimed_until": after})
    return rows


_TOLD = ("delivery_id", "claimed_until", "status", "due_at", "at", "latency_ms", "status_code", "error", "response")


@statement(_SETTLE)
async def settle(t: Transaction, *columns: Any) -> str:
    table, logged = t.database["webhook_deliveries"], t.database["webhook_attempts"]
    told = by_first(columns[0], rows_of(_TOLD, *columns))

    def counts(row: Values) -> bool:
        mine = told[row["delivery_id"]]
        own = row["claimed_until"] == mine["claimed_until"] or mine["status"] == "delivered"
        return row["status"] == "pending" and own

    settled = await t.lock_rows(table, told, counts)
    for row in settled:
        mine, attempts = told[row["delivery_id"]], row["attempts"] + 1
        after = row | {"status": mine["status"], "due_at": mine["due_at"], "tries": row["tries"] + 1}
        after |= {"attempts": attempts, "claimed_until": None, "last_status_code": mine["status_code"]}
        over = None if mine["status"] == "pending" else mine["at"]
        await t.put(table, after | {"last_error": mine["error"], "settled_at": over})
        attempt = {name: mine.get(name, attempts) for name in logged.columns}
        await t.insert(logged, attempt)
    return f"INSERT 0 {len(settled)}"


@statement(_POSTPONE)
async def postpone(
    t: Transaction, endpoints: list[str], orders: list[str], seqs: list[int], due: list[datetime]
) -> str:
    table, changed = t.database["webhook_deliveries"], 0
    for endpoint_id, order_id, seq, due_at in zip(endpoints, orders, seqs, due, strict=True):

        def later(row: Values, seq: int = seq, due_at: datetime = due_at) -> bool:
            return bool(row["seq"] > seq and row["status"] == "pending" and row["due_at"] < due_at)

        keys = [table.key(row) for row in t.find(table, "pending_of_order", (endpoint_id, order_id))]
        for row in await t.lock_rows(table, keys, later):
            await t.put(table, row | {"due_at": due_at})
            changed += 1
    return f"UPDATE {changed}"


@statement(
    "SELECT endpoint_id, failures, failing_since, paused_until FROM webhook_endpoints "
    "WHERE endpoint_id = ANY($1::text[]) AND status = 'active' ORDER BY endpoint_id FOR UPDATE"
)
async def lock_health(t: Transaction, ids: list[str]) -> Rows:
    table = t.database["webhook_endpoints"]
    return picked(await t.lock_rows(table, sorted(set(ids)), lambda row: bool(row["status"] == "active")), _HEALTH)


@statement(
    "UPDATE webhook_endpoints AS e SET failures = h.failures, failing_since = h.since, paused_until = h.until "
    "FROM unnest($1::text[], $2::integer[], $3::timestamptz[], $4::timestamptz[]) "
    "    AS h (endpoint_id, failures, since, until) "
    "WHERE e.endpoint_id = h.endpoint_id AND e.status = 'active'"
)
async def save_health(t: Transaction, *columns: Any) -> str:
    table = t.database["webhook_endpoints"]
    health = by_first(columns[0], rows_of(_HEALTH, *columns))
    rows = await t.lock_rows(table, health, lambda row: bool(row["status"] == "active"))
    for row in rows:
        await t.put(table, row | health[row["endpoint_id"]])
    return f"UPDATE {len(rows)}"
