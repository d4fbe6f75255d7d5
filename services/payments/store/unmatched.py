"""Unmatched items: opened once, brought to an end, listed."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson

from services.payments.core.state import Item
from shared.conditions import value, where
from shared.contracts.model import Money
from shared.contracts.payments import UnmatchedMoney, UnmatchedStatus
from shared.postgres import Connection, Pool

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
    ("event", "text"),
    ("payment_id", "text"),
    ("payment_reference", "text"),
    ("order_id", "text"),
    ("external_reference", "text"),
    ("created_at", "timestamptz"),
)
_NAMES = ", ".join(name for name, _ in _COLUMNS)
_VALUES = ", ".join("event::jsonb" if name == "event" else name for name, _ in _COLUMNS)
_UNNEST = ", ".join(f"${number}::{kind}[]" for number, (_, kind) in enumerate(_COLUMNS, start=1))
_ALL = f"{_VALUES}, replaced_by, resolved_at".replace("event::jsonb", "event::text AS event")
_OPEN = f"""
INSERT INTO unmatched_money ({_NAMES}) SELECT {_VALUES} FROM unnest({_UNNEST}) AS new ({_NAMES})
ON CONFLICT (unmatched_money_id) DO NOTHING RETURNING unmatched_money_id
"""


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
    rows = await connection.fetch(_OPEN, *map(list, zip(*map(_row, unique.values()), strict=True)))
    return [unique[row["unmatched_money_id"]] for row in rows]


async def end_items(connection: Connection, ends: Sequence[End], now: datetime) -> list[Item]:
    """Those that were open and are no longer, as they are now; one statement."""
    if not ends:
        return []
    rows = await connection.fetch(
        f"""
        WITH ended AS (
            UPDATE unmatched_money AS item SET status = new.status, order_id = coalesce(new.order_id, item.order_id),
                replaced_by = new.replaced_by, resolved_at = $5
            FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS new (id, status, order_id, replaced_by)
            WHERE item.unmatched_money_id = new.id AND item.status = 'open' RETURNING item.*
        ) SELECT {_ALL} FROM ended
        """,
        [end.unmatched_money_id for end in ends],
        [end.status for end in ends],
        [end.order_id for end in ends],
        [end.replaced_by for end in ends],
        now,
    )
    return [_item(row) for row in rows]


async def read_item(pool: Pool, unmatched_money_id: str, merchant_id: str, environment: str) -> UnmatchedMoney | None:
    """The item; another tenant's reads as not there."""
    row = await pool.fetchrow(
        f"SELECT {_ALL} FROM unmatched_money WHERE unmatched_money_id = $1 AND merchant_id = $2 AND environment = $3",
        unmatched_money_id,
        merchant_id,
        environment,
    )
    return None if row is None else _item(row).money


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
    rows = await pool.fetch(
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
        money.created_at,
    )


_NOT_MONEY = ("merchant_id", "environment", "channel_event_id", "amount_minor", "currency", "event")


def _item(row: Any) -> Item:
    amount = row["amount_minor"]
    money = UnmatchedMoney(
        **{name: row[name] for name, _ in _COLUMNS if name not in _NOT_MONEY},
        amount_money=None if amount is None else Money(amount=amount, currency=row["currency"]),
        event=orjson.loads(row["event"]),
        replaced_by=row["replaced_by"],
        resolved_at=row["resolved_at"],
    )
    return Item(row["merchant_id"], row["environment"], row["channel_event_id"], money)
