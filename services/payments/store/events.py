"""Channel events and the payments that they are about: locked and saved in batches, a statement each."""

from collections.abc import Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any

from services.payments.core.state import Arrival, KeptEvent, KnownOrder, Leg
from shared.contracts.channels import CHANNEL_EVENTS
from shared.postgres import Connection
from shared.writes import Write, columns_of, names_of, unnested

MOST_ATTEMPTS = 20
"""Commands for one event: an order that is known and still not found so often needs somebody to look at it."""

_COLUMNS = (
    ("channel_event_id", "text"),
    ("channel_id", "text"),
    ("merchant_id", "text"),
    ("environment", "text"),
    ("event_id", "text"),
    ("type", "text"),
    ("body", "jsonb"),
    ("payment_id", "text"),
    ("named_order_id", "text"),
    ("external_reference", "text"),
    ("status", "text"),
    ("order_id", "text"),
    ("currency", "text"),
    ("order_version", "integer"),
    ("refusal", "text"),
    ("attempt", "integer"),
    ("command_id", "text"),
    ("correlation_id", "text"),
    ("traceparent", "text"),
)
_NAMES = names_of(_COLUMNS)
_NOW = f"${len(_COLUMNS) + 1}::timestamptz"
_INSERT = f"""
INSERT INTO channel_events ({_NAMES}, received_at, changed_at)
SELECT {_NAMES}, {_NOW}, {_NOW} FROM {unnested(_COLUMNS)} AS new ({_NAMES})
"""
_SELECT = ", ".join("body::text AS body" if name == "body" else f"e.{name}" for name, _ in _COLUMNS)
_CHANGE = """
UPDATE channel_events AS e SET status = new.status, order_id = new.order_id, currency = new.currency,
    order_version = new.order_version, refusal = new.refusal, attempt = new.attempt, command_id = new.command_id,
    changed_at = $9
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::integer[], $6::text[], $7::integer[], $8::text[])
    AS new (channel_event_id, status, order_id, currency, order_version, refusal, attempt, command_id)
WHERE e.channel_event_id = new.channel_event_id
"""
_CHANGE_LEGS = """
UPDATE channel_payments AS known SET
    order_id = coalesce(known.order_id, new.order_id), currency = coalesce(known.currency, new.currency)
FROM unnest($1::text[], $2::text[], $3::text[]) AS new (payment_id, order_id, currency)
WHERE known.payment_id = new.payment_id
"""


WAITS_FOR = f"""
    status = 'waiting' AND attempt < {MOST_ATTEMPTS} AND (
        named_order_id = ANY($1::text[]) OR (merchant_id, environment, external_reference) IN (
            SELECT * FROM unnest($2::text[], $3::text[], $4::text[])
        )
    )
"""
"""Whether an event waits for any of these orders, by its id or its reference."""
_LOCK_WAITING = f"""
SELECT {_SELECT} FROM channel_events AS e WHERE {WAITS_FOR} ORDER BY channel_event_id LIMIT $5 FOR UPDATE
"""


async def lock_legs(connection: Connection, arrivals: Sequence[Arrival]) -> dict[str, Leg]:
    """The payments that the arrivals are about, created where they are new, and locked until the transaction ends.

    Whoever else has events of one of them waits here. Locks are taken in the order of the ids.
    """
    named = {
        arrival.payment_id: (arrival.payment_id, arrival.channel.channel_id, arrival.event.payment_reference)
        for arrival in arrivals
    }
    rows = [named[payment_id] for payment_id in sorted(named)]
    await connection.execute(
        """
        INSERT INTO channel_payments (payment_id, channel_id, payment_reference)
        SELECT * FROM unnest($1::text[], $2::text[], $3::text[]) ON CONFLICT (payment_id) DO NOTHING
        """,
        *columns_of(rows),
    )
    found = await connection.fetch(
        "SELECT * FROM channel_payments WHERE payment_id = ANY($1::text[]) ORDER BY payment_id FOR UPDATE", list(named)
    )
    return {row["payment_id"]: Leg(**row) for row in found}


async def read_legs(connection: Connection, payment_ids: Sequence[str]) -> dict[str, Leg]:
    """The payments that exist."""
    rows = await connection.fetch("SELECT * FROM channel_payments WHERE payment_id = ANY($1::text[])", payment_ids)
    return {row["payment_id"]: Leg(**row) for row in rows}


def changed_legs(legs: Sequence[Leg]) -> Write | None:
    """What is known about the payments now."""
    rows = [(leg.payment_id, leg.order_id, leg.currency) for leg in legs]
    return Write(_CHANGE_LEGS, columns_of(rows), len(rows)) if rows else None


async def read_events(connection: Connection, channel_event_ids: Sequence[str]) -> dict[str, KeptEvent]:
    """Those that have counted before. Ask after their payments are locked."""
    rows = await connection.fetch(
        f"SELECT {_SELECT} FROM channel_events AS e WHERE channel_event_id = ANY($1::text[])", channel_event_ids
    )
    return {row["channel_event_id"]: _kept(row) for row in rows}


def new_events(events: Sequence[KeptEvent], now: datetime) -> Write | None:
    """They are kept from now on."""
    return Write(_INSERT, (*columns_of(list(map(_row, events))), now), len(events)) if events else None


def changed_events(events: Sequence[KeptEvent], now: datetime) -> Write | None:
    """What became of them; their rows are locked by this transaction."""
    rows = [_changing(event) for event in events]
    return Write(_CHANGE, (*columns_of(rows), now), len(rows)) if rows else None


async def lock_answered(connection: Connection, command_ids: Sequence[str]) -> dict[str, KeptEvent]:
    """By command id: the events whose newest command is one of these and has had no answer; locked."""
    rows = await connection.fetch(
        f"""
        SELECT {_SELECT} FROM channel_events AS e WHERE command_id = ANY($1::text[]) AND status = 'sent'
        ORDER BY channel_event_id FOR UPDATE
        """,
        command_ids,
    )
    return {row["command_id"]: _kept(row) for row in rows}


async def lock_waiting_for(connection: Connection, orders: Sequence[KnownOrder], limit: int) -> list[KeptEvent]:
    """Events that wait for one of these orders, by its id or its reference; locked."""
    rows = await connection.fetch(
        _LOCK_WAITING,
        [order.order_id for order in orders],
        [order.merchant_id for order in orders],
        [order.environment for order in orders],
        [order.external_reference for order in orders],
        limit,
    )
    return [_kept(row) for row in rows]


async def lock_matchable(connection: Connection, limit: int) -> list[KeptEvent]:
    """Waiting events whose order is known by now, oldest first; locked, without those that somebody else has."""
    rows = await connection.fetch(
        f"""
        SELECT {_SELECT} FROM channel_events AS e
        WHERE status = 'waiting' AND attempt < {MOST_ATTEMPTS} AND (
            EXISTS (
                SELECT FROM known_orders AS o WHERE o.order_id = e.named_order_id
                    AND o.merchant_id = e.merchant_id AND o.environment = e.environment
            ) OR EXISTS (
                SELECT FROM known_orders AS o WHERE o.merchant_id = e.merchant_id AND o.environment = e.environment
                    AND o.external_reference = e.external_reference
            )
        )
        ORDER BY received_at LIMIT $1 FOR UPDATE OF e SKIP LOCKED
        """,
        limit,
    )
    return [_kept(row) for row in rows]


async def take_over(connection: Connection, channel_event_id: str, now: datetime) -> None:
    """The event waits for no order any more, since somebody decides about its money; its row is locked by us."""
    await connection.execute(
        """
        UPDATE channel_events SET status = 'by_hand', changed_at = $2
        WHERE channel_event_id = $1 AND status IN ('waiting', 'held')
        """,
        channel_event_id,
        now,
    )


def _row(kept: KeptEvent) -> tuple[Any, ...]:
    event = kept.event
    return (
        kept.channel_event_id,
        kept.channel_id,
        kept.merchant_id,
        kept.environment,
        kept.event_id,
        event.wire_type,
        event.model_dump_json(exclude_none=True),
        kept.payment_id,
        event.order_id,
        event.external_reference,
        kept.status,
        kept.order_id,
        kept.currency,
        kept.order_version,
        kept.refusal,
        kept.attempt,
        kept.command_id,
        kept.correlation_id,
        kept.traceparent,
    )


_changing = attrgetter(
    "channel_event_id", "status", "order_id", "currency", "order_version", "refusal", "attempt", "command_id"
)
_DERIVED = ("type", "body", "named_order_id", "external_reference", "command_id")


def _kept(row: Any) -> KeptEvent:
    fields = {name: row[name] for name, _ in _COLUMNS if name not in _DERIVED}
    return KeptEvent(event=CHANNEL_EVENTS[row["type"]].model_validate_json(row["body"]), **fields)
