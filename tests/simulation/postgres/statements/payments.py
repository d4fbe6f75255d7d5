"""The statements of the payment service."""

import re
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from operator import eq, ge, itemgetter, lt
from typing import Any

from services.payments.jobs import _OPEN_ITEMS, _UNANSWERED, INVARIANTS
from services.payments.store import channels, events, orders, unmatched
from tests.simulation.postgres.client import Rows, Statements
from tests.simulation.postgres.engine import Transaction, Values
from tests.simulation.postgres.statements.common import picked

statement = Statements()


def _rows(names: Iterable[str], *columns: list[Any]) -> list[Values]:
    """What `unnest` makes of columns."""
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _there(t: Transaction, table: str, keys: Iterable[str]) -> list[Values]:
    """Rows by primary key."""
    found = (t.get(t.database[table], key) for key in dict.fromkeys(keys))
    return [row for row in found if row is not None]


# Channels

_CHANNEL = channels._NAMES.split(", ")


def _is_mine(row: Values, merchant_id: str, environment: str) -> bool:
    return (row["merchant_id"], row["environment"]) == (merchant_id, environment)


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
    rows = await t.lock_rows(table, [channel_id], lambda row: _is_mine(row, merchant_id, environment))
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
    rows = _there(t, "channels", [channel_id])
    return picked((row for row in rows if _is_mine(row, merchant_id, environment)), _CHANNEL)


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
    return picked(_there(t, "channels", ids), ("channel_id", "merchant_id", "environment", "status", "source"))


# Payments


@statement(
    """
    INSERT INTO channel_payments (payment_id, channel_id, payment_reference)
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[]) ON CONFLICT (payment_id) DO NOTHING
    """
)
async def insert_legs(t: Transaction, *columns: list[Any]) -> str:
    rows = _rows(("payment_id", "channel_id", "payment_reference"), *columns)
    new = [await t.insert_new(t.database["channel_payments"], row) for row in rows]
    return f"INSERT 0 {len(new) - new.count(None)}"


@statement("SELECT * FROM channel_payments WHERE payment_id = ANY($1::text[]) ORDER BY payment_id FOR UPDATE")
async def lock_legs(t: Transaction, ids: list[str]) -> Rows:
    return await t.lock_rows(t.database["channel_payments"], sorted(set(ids)))


@statement("SELECT * FROM channel_payments WHERE payment_id = ANY($1::text[])")
def read_legs(t: Transaction, ids: list[str]) -> Rows:
    return _there(t, "channel_payments", ids)


@statement(
    """
    UPDATE channel_payments AS known SET
        order_id = coalesce(known.order_id, new.order_id), currency = coalesce(known.currency, new.currency)
    FROM unnest($1::text[], $2::text[], $3::text[]) AS new (payment_id, order_id, currency)
    WHERE known.payment_id = new.payment_id
    """
)
async def save_legs(t: Transaction, ids: list[str], order_ids: list[str | None], currencies: list[str | None]) -> str:
    table = t.database["channel_payments"]
    new = _by_first(ids, zip(order_ids, currencies, strict=True))
    rows = await t.lock_rows(table, new)
    for row in rows:
        order_id, currency = new[row["payment_id"]]
        kept = {"order_id": _coalesce(row["order_id"], order_id), "currency": _coalesce(row["currency"], currency)}
        await t.put(table, row | kept)
    return f"UPDATE {len(rows)}"


def _by_first(keys: Iterable[str], values: Iterable[Any]) -> dict[str, Any]:
    """An UPDATE changes a row once, however many rows it is joined with."""
    found: dict[str, Any] = {}
    for key, value in zip(keys, values, strict=True):
        found.setdefault(key, value)
    return found


def _coalesce(first: Any, second: Any) -> Any:
    return second if first is None else first


# Events

_EVENT = [name for name, _ in events._COLUMNS]


@statement(f"SELECT {events._SELECT} FROM channel_events AS e WHERE channel_event_id = ANY($1::text[])")
def read_events(t: Transaction, ids: list[str]) -> Rows:
    return picked(_there(t, "channel_events", ids), _EVENT)


@statement(events._INSERT)
async def insert_events(t: Transaction, *columns: Any) -> str:
    now, rows = columns[-1], _rows(_EVENT, *columns[:-1])
    for row in rows:
        await t.insert(t.database["channel_events"], row | {"received_at": now, "changed_at": now})
    return f"INSERT 0 {len(rows)}"


@statement(events._CHANGE)
async def change_events(t: Transaction, ids: list[str], *columns: Any) -> str:
    table, now = t.database["channel_events"], columns[-1]
    names = ("status", "order_id", "currency", "order_version", "refusal", "attempt", "command_id")
    new = _by_first(ids, _rows(names, *columns[:-1]))
    rows = await t.lock_rows(table, new)
    for row in rows:
        await t.put(table, row | new[row["channel_event_id"]] | {"changed_at": now})
    return f"UPDATE {len(rows)}"


@statement(
    f"""
    SELECT {events._SELECT} FROM channel_events AS e WHERE command_id = ANY($1::text[]) AND status = 'sent'
    ORDER BY channel_event_id FOR UPDATE
    """
)
async def lock_answered(t: Transaction, command_ids: list[str]) -> Rows:
    table = t.database["channel_events"]
    wanted = set(command_ids)
    asked = sorted(row["channel_event_id"] for each in wanted for row in t.find(table, "command", each))
    rows = await t.lock_rows(table, asked, lambda row: row["status"] == "sent" and row["command_id"] in wanted)
    return picked(rows, _EVENT)


@statement(
    f"""
    SELECT {events._SELECT} FROM channel_events AS e
    WHERE status = 'waiting' AND attempt < {events.MOST_ATTEMPTS} AND (
        named_order_id = ANY($1::text[]) OR (merchant_id, environment, external_reference) IN (
            SELECT * FROM unnest($2::text[], $3::text[], $4::text[])
        )
    )
    ORDER BY channel_event_id LIMIT $5 FOR UPDATE
    """
)
async def lock_waiting_for(
    t: Transaction,
    ids: list[str],
    merchants: list[str],
    environments: list[str],
    references: list[str | None],
    limit: int,
) -> Rows:
    table = t.database["channel_events"]
    by_order = (row for each in set(ids) for row in t.find(table, "waiting_by_order", each))
    called = {each for each in zip(merchants, environments, references, strict=True) if each[2] is not None}
    by_reference = (row for each in called for row in t.find(table, "waiting_by_reference", each))
    waiting = sorted({row["channel_event_id"] for rows in (by_order, by_reference) for row in rows})
    return picked(await t.lock_rows(table, waiting, _waits, limit=limit), _EVENT)


def _waits(row: Values) -> bool:
    """What names an order or is called something stays so: only this can change while a lock is waited for."""
    return bool(row["status"] == "waiting" and row["attempt"] < events.MOST_ATTEMPTS)


@statement(
    f"""
    SELECT {events._SELECT} FROM channel_events AS e
    WHERE status = 'waiting' AND attempt < {events.MOST_ATTEMPTS} AND (
        EXISTS (
            SELECT FROM known_orders AS o WHERE o.order_id = e.named_order_id
                AND o.merchant_id = e.merchant_id AND o.environment = e.environment
        ) OR EXISTS (
            SELECT FROM known_orders AS o WHERE o.merchant_id = e.merchant_id AND o.environment = e.environment
                AND o.external_reference = e.external_reference
        )
    )
    ORDER BY received_at LIMIT $1 FOR UPDATE OF e SKIP LOCKED
    """
)
async def lock_matchable(t: Transaction, limit: int) -> Rows:
    table, known = t.database["channel_events"], t.database["known_orders"]

    def matches(row: Values) -> bool:
        tenant, reference = (row["merchant_id"], row["environment"]), row["external_reference"]
        named = t.get(known, row["named_order_id"])
        called = reference is not None and t.find(known, "reference", (*tenant, reference))
        return _waits(row) and bool(called or (named is not None and _is_mine(named, *tenant)))

    waiting = sorted(t.find(table, "status", "waiting"), key=itemgetter("received_at"))
    return picked(await t.lock_rows(table, map(table.key, waiting), matches, skip=True, limit=limit), _EVENT)


# Orders

_ORDER = orders._NAMES.split(", ")


@statement(
    f"""
    INSERT INTO known_orders ({orders._NAMES})
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[],
                         $8::integer[])
    ON CONFLICT (order_id) DO UPDATE SET external_reference = excluded.external_reference,
        status = excluded.status, outstanding_minor = excluded.outstanding_minor, version = excluded.version
    WHERE known_orders.version < excluded.version
    """
)
async def save_orders(t: Transaction, *columns: list[Any]) -> str:
    changing = ("external_reference", "status", "outstanding_minor", "version")

    def newer(known: Values, new: Values) -> Values | None:
        return known | {name: new[name] for name in changing} if known["version"] < new["version"] else None

    return f"INSERT 0 {len(await t.upsert(t.database['known_orders'], _rows(_ORDER, *columns), newer))}"


@statement(f"SELECT {orders._NAMES} FROM known_orders WHERE order_id = ANY($1::text[])")
def read_orders(t: Transaction, ids: list[str]) -> Rows:
    return picked(_there(t, "known_orders", ids), _ORDER)


@statement(
    f"""
    SELECT found.* FROM unnest($1::text[], $2::text[], $3::text[]) AS asked (merchant, env, reference)
    CROSS JOIN LATERAL (
        SELECT {orders._NAMES} FROM known_orders
        WHERE merchant_id = asked.merchant AND environment = asked.env AND external_reference = asked.reference
        ORDER BY status IN ('closed', 'canceled') LIMIT 2
    ) AS found
    """
)
def find_orders(t: Transaction, *columns: list[str]) -> Rows:
    def called(reference: tuple[str, ...]) -> list[Values]:
        rows = t.find(t.database["known_orders"], "reference", reference)
        return sorted(rows, key=lambda row: row["status"] in ("closed", "canceled"))[:2]

    return picked((row for reference in zip(*columns, strict=True) for row in called(reference)), _ORDER)


# Unmatched money

_NEW_ITEM = [name for name, _ in unmatched._COLUMNS]
_ITEM = [*_NEW_ITEM, "replaced_by", "resolved_at"]


@statement(unmatched._OPEN)
async def open_items(t: Transaction, *columns: list[Any]) -> Rows:
    new = [await t.insert_new(t.database["unmatched_money"], row) for row in _rows(_NEW_ITEM, *columns)]
    return picked((row for row in new if row is not None), ("unmatched_money_id",))


@statement(
    f"""
    WITH ended AS (
        UPDATE unmatched_money AS item SET status = new.status, order_id = coalesce(new.order_id, item.order_id),
            replaced_by = new.replaced_by, resolved_at = $5
        FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS new (id, status, order_id, replaced_by)
        WHERE item.unmatched_money_id = new.id AND item.status = 'open' RETURNING item.*
    ) SELECT {unmatched._ALL} FROM ended
    """
)
async def end_items(t: Transaction, ids: list[str], *columns: Any) -> Rows:
    table, now = t.database["unmatched_money"], columns[-1]
    new = _by_first(ids, _rows(("status", "order_id", "replaced_by"), *columns[:-1]))
    rows = await t.lock_rows(table, new, lambda row: bool(row["status"] == "open"))
    ended = []
    for row in rows:
        end = new[row["unmatched_money_id"]]
        order_id = _coalesce(end["order_id"], row["order_id"])
        ended.append(row | end | {"order_id": order_id, "resolved_at": now})
        await t.put(table, ended[-1])
    return picked(ended, _ITEM)


@statement(
    f"SELECT {unmatched._ALL} FROM unmatched_money "
    "WHERE unmatched_money_id = $1 AND merchant_id = $2 AND environment = $3"
)
def read_item(t: Transaction, item_id: str, merchant_id: str, environment: str) -> Rows:
    rows = _there(t, "unmatched_money", [item_id])
    return picked((row for row in rows if _is_mine(row, merchant_id, environment)), _ITEM)


@statement(
    re.compile(
        re.escape(f"SELECT {unmatched._ALL} FROM unmatched_money WHERE merchant_id = $1 AND environment = $2")
        + r"(?P<conditions>.*) ORDER BY created_at DESC, unmatched_money_id DESC LIMIT (?P<limit>\d+)"
    )
)
def list_items(t: Transaction, merchant_id: str, environment: str, *arguments: Any, match: re.Match[str]) -> Rows:
    place = itemgetter("created_at", "unmatched_money_id")
    rows = t.find(t.database["unmatched_money"], "tenant", (merchant_id, environment))
    for condition in match["conditions"].split(" AND ")[1:]:
        rows = [row for row in rows if _holds(condition, row, arguments)]
    return picked(sorted(rows, key=place, reverse=True)[: int(match["limit"])], _ITEM)


_COMPARED: dict[str, Callable[[Any, Any], bool]] = {"=": eq, ">=": ge, "<": lt}


def _holds(condition: str, row: Values, arguments: tuple[Any, ...]) -> bool:
    """One condition on columns: `status = $3`, `(created_at, unmatched_money_id) < ($5, $6)`."""
    columns, operator, numbers = re.fullmatch(r"(.+) (=|>=|<) (.+)", condition).groups()  # type: ignore[union-attr]
    values = [arguments[int(number) - 3] for number in re.findall(r"\$(\d+)", numbers)]
    return _COMPARED[operator]([row[name] for name in re.findall(r"\w+", columns)], values)


# Measures, and what must hold


@statement(_OPEN_ITEMS)
def open_by_kind(t: Transaction) -> Rows:
    created: dict[str, list[datetime]] = {}
    for row in t.find(t.database["unmatched_money"], "open", True):
        created.setdefault(row["kind"], []).append(row["created_at"])
    return [{"kind": kind, "items": len(times), "oldest": min(times)} for kind, times in created.items()]


@statement(_UNANSWERED)
def unanswered(t: Transaction, now: datetime) -> Rows:
    return _count(t, "sent", lambda row: bool(row["changed_at"] < now - timedelta(minutes=1)))


@statement(INVARIANTS["applied_has_version"])
def applied_without_version(t: Transaction) -> Rows:
    since = t.started_at - timedelta(minutes=10)
    return _count(t, "applied", lambda row: row["changed_at"] > since and row["order_version"] is None)


@statement(INVARIANTS["sent_has_command"])
def sent_without_command(t: Transaction) -> Rows:
    return _count(t, "sent", lambda row: row["command_id"] is None or row["order_id"] is None)


_MOVES_MONEY = ("channel.payment.authorized.v1", "channel.payment.captured.v1", "channel.payment.refunded.v1")


@statement(INVARIANTS["money_without_order_is_shown"])
def money_that_is_not_shown(t: Transaction) -> Rows:
    def is_shown(row: Values) -> bool:
        items = t.find(t.database["unmatched_money"], "event", row["channel_event_id"])
        return any(item["kind"] == "unknown_order" for item in items)

    stuck = [row for status in ("waiting", "held") for row in t.find(t.database["channel_events"], "status", status)]
    return [{"count": sum(row["type"] in _MOVES_MONEY and not is_shown(row) for row in stuck)}]


def _count(t: Transaction, status: str, where: Callable[[Values], bool]) -> Rows:
    return [{"count": sum(map(where, t.find(t.database["channel_events"], "status", status)))}]
