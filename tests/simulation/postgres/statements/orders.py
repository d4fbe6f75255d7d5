"""The statements of the order service, without the lists: those are searches."""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Any

import orjson

from services.orders.jobs import INVARIANTS
from services.orders.store.orders import _CHANGING, _UPDATE
from services.orders.store.search import _SAVE_WORDS
from tests.simulation.postgres.client import Rows, Statements
from tests.simulation.postgres.engine import Transaction
from tests.simulation.postgres.statements.rows import is_mine, picked, there
from tests.simulation.postgres.table import Values

statement = Statements()


@statement(
    "SELECT order_id, version, updated_at FROM orders WHERE order_id = ANY($1::text[]) ORDER BY order_id FOR UPDATE"
)
async def lock_orders(t: Transaction, ids: list[str]) -> Rows:
    rows = await t.lock_rows(t.database["orders"], sorted(set(ids)))
    return picked(rows, ("order_id", "version", "updated_at"))


@statement("SELECT state::text FROM orders WHERE order_id = ANY($1::text[])")
def read_states(t: Transaction, ids: list[str]) -> Rows:
    return picked(there(t, "orders", ids), ("state",))


@statement(_UPDATE)
async def update_orders(t: Transaction, ids: list[str], known: list[int], *columns: list[Any]) -> str:
    table, names = t.database["orders"], [name for name, _ in _CHANGING]
    new = dict(zip(ids, zip(known, *columns, strict=True), strict=True))
    rows = await t.lock_rows(table, new, lambda row: bool(row["version"] == new[row["order_id"]][0]))
    for row in rows:
        await t.put(table, row | dict(zip(names, new[row["order_id"]][1:], strict=True)))
    return f"UPDATE {len(rows)}"


@statement(
    """
    SELECT order_id, merchant_id, environment FROM orders
    WHERE next_lease_expiry <= $1 ORDER BY next_lease_expiry LIMIT $2
    """
)
def expired_leases(t: Transaction, now: datetime, limit: int) -> Rows:
    due = [row for row in t.find(t.database["orders"], "leased", True) if row["next_lease_expiry"] <= now]
    due.sort(key=itemgetter("next_lease_expiry"))
    return picked(due[:limit], ("order_id", "merchant_id", "environment"))


@statement("SELECT state::text FROM orders WHERE order_id = $1 AND merchant_id = $2 AND environment = $3")
def read_order(t: Transaction, order_id: str, merchant_id: str, environment: str) -> Rows:
    rows = there(t, "orders", [order_id])
    return picked((row for row in rows if is_mine(row, merchant_id, environment)), ("state",))


@statement(_SAVE_WORDS)
async def save_words(t: Transaction, entries: str) -> str:
    done = await t.upsert(t.database["order_search"], orjson.loads(entries), lambda known, new: known | new)
    return f"INSERT 0 {len(done)}"


@statement(
    """
    INSERT INTO order_numbers AS known (merchant_id, environment, next_number)
    VALUES ($1, $2, 1001 + $3::bigint)
    ON CONFLICT (merchant_id, environment) DO UPDATE SET next_number = known.next_number + $3
    RETURNING next_number - $3
    """
)
async def take_numbers(t: Transaction, merchant_id: str, environment: str, count: int) -> Rows:
    first = {"merchant_id": merchant_id, "environment": environment, "next_number": 1001 + count}

    def further(known: Values, _: Values) -> Values:
        return known | {"next_number": known["next_number"] + count}

    [row] = await t.upsert(t.database["order_numbers"], [first], further)
    return [{"?column?": row["next_number"] - count}]


# History

_HISTORY = ("order_id", "version", "type", "payload", "recorded_at")


def _versions(t: Transaction, order_id: str) -> list[Values]:
    return sorted(t.find(t.database["order_events"], "order", order_id), key=itemgetter("version"))


@statement(
    """
    SELECT order_id, version, type, payload::text AS payload, recorded_at FROM order_events
    WHERE order_id = $1 AND version BETWEEN $2 AND $3 ORDER BY version
    """
)
def read_history(t: Transaction, order_id: str, first: int, last: int) -> Rows:
    return picked((row for row in _versions(t, order_id) if first <= row["version"] <= last), _HISTORY)


@statement("SELECT max(version) FROM order_events WHERE order_id = $1 AND recorded_at <= $2")
def version_by(t: Transaction, order_id: str, moment: datetime) -> Rows:
    versions = (row["version"] for row in _versions(t, order_id) if row["recorded_at"] <= moment)
    return [{"max": max(versions, default=None)}]


@statement(
    """
    SELECT order_id, version, type, payload::text AS payload, recorded_at FROM order_events
    WHERE order_id = $1 AND ($2::integer IS NULL OR version < $2) ORDER BY version DESC LIMIT $3
    """
)
def page_of_history(t: Transaction, order_id: str, below: int | None, limit: int) -> Rows:
    rows = [row for row in reversed(_versions(t, order_id)) if below is None or row["version"] < below]
    return picked(rows[:limit], _HISTORY)


# What must hold


def _changed(t: Transaction, lately: timedelta) -> Iterable[Values]:
    """Orders that had a command or a version since then."""
    since = t.started_at - lately
    tables = (("inbox", "aggregate_id"), ("order_events", "order_id"))
    ids = [row[name] for table, name in tables for row in t.scan(t.database[table]) if row["recorded_at"] > since]
    return there(t, "orders", ids)


def _changed_lately(t: Transaction) -> Iterable[Values]:
    return _changed(t, timedelta(minutes=10))


@statement(INVARIANTS["number_is_unique"])
def numbers_that_are_not_unique(t: Transaction) -> Rows:
    since = t.started_at - timedelta(hours=1)
    recent = (row for row in _changed(t, timedelta(hours=1)) if row["created_at"] > since)
    times = Counter(map(itemgetter("merchant_id", "environment", "number"), recent))
    return [{"count": sum(count > 1 for count in times.values())}]


@statement(INVARIANTS["history_reaches_version"])
def orders_whose_history_ends_elsewhere(t: Transaction) -> Rows:
    def newest(order: Values) -> int | None:
        return max((row["version"] for row in _versions(t, order["order_id"])), default=None)

    # Without any history there is no newest version: comparing with NULL is not true.
    return [{"count": sum(newest(order) not in (None, order["version"]) for order in _changed_lately(t))}]


@statement(INVARIANTS["history_has_no_gap"])
def orders_whose_history_has_a_gap(t: Transaction) -> Rows:
    broken = (len(_versions(t, order["order_id"])) != order["version"] for order in _changed_lately(t))
    return [{"count": sum(broken)}]
