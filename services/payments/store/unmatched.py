"""Unmatched items: opened once, brought to an end, listed."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson

from services.payments.core.reconciling import AT_THE_ACQUIRER
from services.payments.core.returning import OUR_CHANNEL
from services.payments.core.state import EventStatus, Item
from shared.conditions import value, where
from shared.contracts.model import Actor, Money
from shared.contracts.payments import UnmatchedMoney, UnmatchedStatus
from shared.postgres import Connection, Pool
from shared.writes import columns_of, names_of, unnested

_COLUMNS = (
    ("unmatched_money_id", "text"),
    ("merchant_id", "text"),
    ("environment", "text"),
    ("channel_event_id", "text"),
    ("kind", "text"),
    ("status", "text"),
    ("detail", "text"),
    ("amount_minor", "bigint"),
    ("currency", "text"),
    ("channel_id", "text"),
    ("event_type", "text"),
    ("event_id", "text"),
    ("event", "jsonb"),
    ("payment_id", "text"),
    ("payment_reference", "text"),
    ("order_id", "text"),
    ("external_reference", "text"),
    ("order_version", "integer"),
    ("split_from", "text"),
    ("refusal", "text"),
    ("overdue_at", "timestamptz"),
    ("created_at", "timestamptz"),
)
_CHANGING = (
    ("status", "text"),
    ("amount_minor", "bigint"),
    ("version", "integer"),
    ("order_id", "text"),
    ("order_version", "integer"),
    ("attaching_to", "text"),
    ("surplus_minor", "bigint"),
    ("overdue_at", "timestamptz"),
    ("resolved_by", "text"),
    ("return_reference", "text"),
    ("note", "text"),
    ("refusal", "text"),
    ("replaced_by", "text"),
    ("resolved_at", "timestamptz"),
    ("attempt", "integer"),
    ("command_id", "text"),
    ("asked_at", "timestamptz"),
)
_CHANGED = (("unmatched_money_id", "text"), *_CHANGING)
_NAMES = names_of(_COLUMNS)
_LATER = (
    "replaced_by, version, attaching_to, surplus_minor, resolved_by, return_reference, note, resolved_at, "
    "attempt, asked_at"
)
_ALL = ", ".join("event::text AS event" if name == "event" else name for name, _ in _COLUMNS) + f", {_LATER}"
_MINE = "unmatched_money_id = $1 AND merchant_id = $2 AND environment = $3"
_OPEN = f"""
INSERT INTO unmatched_money ({_NAMES}) SELECT * FROM {unnested(_COLUMNS)} AS new ({_NAMES})
ON CONFLICT (unmatched_money_id) DO NOTHING RETURNING unmatched_money_id
"""
_CHANGE = f"""
UPDATE unmatched_money AS item SET {", ".join(f"{name} = new.{name}" for name, _ in _CHANGING)}
FROM {unnested(_CHANGED)} AS new ({names_of(_CHANGED)})
WHERE item.unmatched_money_id = new.unmatched_money_id
"""


_LOCK_EVENT = """
SELECT e.status, e.body <> item.event AS told_otherwise
FROM unmatched_money AS item JOIN channel_events AS e USING (channel_event_id)
WHERE item.unmatched_money_id = $1 AND item.merchant_id = $2 AND item.environment = $3 FOR UPDATE OF e
"""
_LOCK_ITEM = f"SELECT {_ALL} FROM unmatched_money WHERE {_MINE} FOR UPDATE"
_COLLECTED_BY = """
SELECT DISTINCT channel_event_id FROM unmatched_money
WHERE command_id = ANY($1::text[]) AND asked_at IS NOT NULL AND status = 'returning'
    AND return_reference IS NULL AND channel_id = $2
"""
_LOCK_ASKED = f"""
SELECT {_ALL} FROM unmatched_money
WHERE command_id = ANY($1::text[]) AND asked_at IS NOT NULL AND status IN ('attaching', 'returning')
ORDER BY unmatched_money_id FOR UPDATE
"""
# What was refused once waits for a person, and nobody but a person hands out cash.
_TO_GIVE_BACK = """
SELECT unmatched_money_id, merchant_id, environment, version FROM unmatched_money
WHERE status = 'return_due' AND refusal IS NULL AND channel_id = $1 AND event #>> '{method,type}' = ANY($2::text[])
ORDER BY created_at LIMIT $3
"""


@dataclass(frozen=True, slots=True)
class Due:
    """An item whose money is to go back, as it was when that was found."""

    unmatched_money_id: str
    merchant_id: str
    environment: str
    version: int


@dataclass(frozen=True, slots=True)
class End:
    """How an open item ends."""

    unmatched_money_id: str
    status: UnmatchedStatus
    order_id: str | None
    replaced_by: str | None = None


async def open_items(connection: Connection, items: Sequence[Item]) -> list[Item]:
    """Those of the items that are new, now saved; one statement."""
    unique = {item.money.unmatched_money_id: item for item in items}
    if not unique:
        return []
    rows = await connection.fetch(_OPEN, *columns_of(list(map(_row, unique.values()))))
    return [unique[row["unmatched_money_id"]] for row in rows]


async def end_items(connection: Connection, ends: Sequence[End], now: datetime) -> list[Item]:
    """Those that were open and are no longer, as they are now; one statement."""
    if not ends:
        return []
    rows = await connection.fetch(
        f"""
        WITH ended AS (
            UPDATE unmatched_money AS item SET status = new.status, order_id = coalesce(new.order_id, item.order_id),
                replaced_by = new.replaced_by, resolved_at = $5, version = item.version + 1
            FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS new (id, status, order_id, replaced_by)
            WHERE item.unmatched_money_id = new.id AND item.status IN ('open', 'return_due') RETURNING item.*
        ) SELECT {_ALL} FROM ended
        """,
        [end.unmatched_money_id for end in ends],
        [end.status for end in ends],
        [end.order_id for end in ends],
        [end.replaced_by for end in ends],
        now,
    )
    return [_item(row) for row in rows]


async def lock_item(
    connection: Connection, unmatched_money_id: str, merchant_id: str, environment: str
) -> tuple[Item, EventStatus | None, bool] | None:
    """The item, the status of the event that counts for it, and whether that says something else than the item.

    Both are locked, the event first, as by replies. Another tenant's is not there.
    """
    mine = (unmatched_money_id, merchant_id, environment)
    counts = await connection.fetchrow(_LOCK_EVENT, *mine)
    row = await connection.fetchrow(_LOCK_ITEM, *mine)
    if row is None:
        return None
    return (_item(row), counts["status"], counts["told_otherwise"]) if counts else (_item(row), None, False)


async def collected_by(connection: Connection, command_ids: Sequence[str], channel_id: str) -> list[str]:
    """The events of those of the items of this channel whose order was asked by these commands to set money aside."""
    rows = await connection.fetch(_COLLECTED_BY, command_ids, channel_id)
    return [row["channel_event_id"] for row in rows]


async def lock_asked(connection: Connection, command_ids: Sequence[str]) -> dict[str, Item]:
    """By command id: the items whose newest command is one of these and has had no answer; locked."""
    rows = await connection.fetch(_LOCK_ASKED, command_ids)
    items = map(_item, rows)
    return {item.command_id: item for item in items if item.command_id is not None}


async def change_items(connection: Connection, items: Sequence[Item]) -> None:
    """What became of them, one statement; their rows are locked by this transaction."""
    if items:
        await connection.execute(_CHANGE, *columns_of(list(map(_changed, items))))


async def mark_overdue(connection: Connection, before: datetime, status: UnmatchedStatus, now: datetime) -> int:
    """How many items that came before then are overdue from now on; at most as many as one transaction should change.

    They get the status where it can be meant: what came in can go back, what is only said cannot.
    """
    done = await connection.execute(
        """
        UPDATE unmatched_money AS item SET overdue_at = $3, version = item.version + 1, status = CASE
            WHEN item.kind <> 'conflict'
                AND item.event_type IN ('channel.payment.authorized.v1', 'channel.payment.captured.v1')
            THEN $2 ELSE item.status END
        FROM (
            SELECT unmatched_money_id FROM unmatched_money
            WHERE status = 'open' AND overdue_at IS NULL AND created_at < $1
            ORDER BY created_at LIMIT 1000 FOR UPDATE SKIP LOCKED
        ) AS late WHERE item.unmatched_money_id = late.unmatched_money_id
        """,
        before,
        status,
        now,
    )
    return int(done.rpartition(" ")[2])


async def to_give_back(pool: Pool, limit: int) -> list[Due]:
    """At most `limit` items that are due to go back and whose processor can give the money back, the oldest first."""
    rows = await pool.fetch(_TO_GIVE_BACK, OUR_CHANNEL, AT_THE_ACQUIRER, limit)
    return [Due(**row) for row in rows]


async def settled(pool: Pool, unmatched_money_ids: Sequence[str]) -> list[str]:
    """Those of the items for which no order is asked any more."""
    rows = await pool.fetch(
        "SELECT unmatched_money_id FROM unmatched_money "
        "WHERE unmatched_money_id = ANY($1::text[]) AND status NOT IN ('attaching', 'returning')",
        unmatched_money_ids,
    )
    return [row["unmatched_money_id"] for row in rows]


async def read_item(
    pool: Pool | Connection, unmatched_money_id: str, merchant_id: str, environment: str
) -> Item | None:
    """The item; another tenant's reads as not there."""
    row = await pool.fetchrow(
        f"SELECT {_ALL} FROM unmatched_money WHERE {_MINE}", unmatched_money_id, merchant_id, environment
    )
    return None if row is None else _item(row)


@dataclass(frozen=True, slots=True)
class ItemFilter:
    """Which items a list holds; every field that is set must match."""

    merchant_id: str
    environment: str
    equal: dict[str, str] = field(default_factory=dict)
    """Column → value, for `status`, `kind`, `channel_id`, `order_id`."""
    created_from: datetime | None = None
    created_before: datetime | None = None


_EQUAL_COLUMNS = frozenset({"status", "kind", "channel_id", "order_id"})


async def list_items(
    pool: Pool, wanted: ItemFilter, after: tuple[datetime, str] | None, limit: int
) -> list[UnmatchedMoney]:
    """At most `limit` items, newest first, that come after the given position."""
    assert wanted.equal.keys() <= _EQUAL_COLUMNS
    conditions, arguments = where(
        [
            ("merchant_id = {}", (wanted.merchant_id,)),
            ("environment = {}", (wanted.environment,)),
            *((f"{column} = {{}}", (wish,)) for column, wish in wanted.equal.items()),
            ("created_at >= {}", value(wanted.created_from)),
            ("created_at < {}", value(wanted.created_before)),
            ("(created_at, unmatched_money_id) < ({}, {})", after),
        ]
    )
    rows = await pool.fetch_planned(
        f"SELECT {_ALL} FROM unmatched_money WHERE {conditions} "
        f"ORDER BY created_at DESC, unmatched_money_id DESC LIMIT {int(limit)}",
        *arguments,
    )
    return [_item(row).money for row in rows]


def _row(item: Item) -> tuple[Any, ...]:
    money = item.money
    return (
        money.unmatched_money_id,
        item.merchant_id,
        item.environment,
        item.channel_event_id,
        money.kind,
        money.status,
        money.detail,
        money.amount_money.amount if money.amount_money else None,
        money.amount_money.currency if money.amount_money else None,
        money.channel_id,
        money.event_type,
        money.event_id,
        orjson.dumps(money.event).decode(),
        money.payment_id,
        money.payment_reference,
        money.order_id,
        money.external_reference,
        money.order_version,
        money.split_from,
        money.refusal,
        money.overdue_at,
        money.created_at,
    )


def _changed(item: Item) -> tuple[Any, ...]:
    money = item.money
    return (
        money.unmatched_money_id,
        money.status,
        money.amount_money.amount if money.amount_money else None,
        money.version,
        money.order_id,
        money.order_version,
        money.attaching_to,
        money.surplus_money.amount if money.surplus_money else None,
        money.overdue_at,
        f"{money.resolved_by.type}:{money.resolved_by.id}" if money.resolved_by else None,
        money.return_reference,
        money.note,
        money.refusal,
        money.replaced_by,
        money.resolved_at,
        item.attempt,
        item.command_id,
        item.asked_at,
    )


_NOT_MONEY = ("merchant_id", "environment", "channel_event_id", "amount_minor", "currency", "event")
_MONEY_LATER = ("replaced_by", "version", "attaching_to", "return_reference", "note", "resolved_at")


def _item(row: Any) -> Item:
    by, _, name = (row["resolved_by"] or "").partition(":")
    money = UnmatchedMoney(
        **{name: row[name] for name, _ in _COLUMNS if name not in _NOT_MONEY},
        **{name: row[name] for name in _MONEY_LATER},
        amount_money=_money(row["amount_minor"], row["currency"]),
        surplus_money=_money(row["surplus_minor"], row["currency"]),
        resolved_by=Actor(type=by, id=name) if by else None,
        event=orjson.loads(row["event"]),
    )
    whose = (row["merchant_id"], row["environment"], row["channel_event_id"])
    return Item(*whose, money, row["attempt"], row["asked_at"])


def _money(amount: int | None, currency: str) -> Money | None:
    return None if amount is None else Money(amount=amount, currency=currency)
