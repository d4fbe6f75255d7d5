"""The statements on channel events and the payments that they are about."""

from operator import itemgetter
from typing import Any

from services.payments.store import events
from tests.simulation.postgres.client import Rows, Statements
from tests.simulation.postgres.engine import Transaction
from tests.simulation.postgres.statements.rows import by_first, coalesced, is_mine, picked, rows_of, there
from tests.simulation.postgres.table import Values

statement = Statements()


@statement(
    """
    INSERT INTO channel_payments (payment_id, channel_id, payment_reference)
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[]) ON CONFLICT (payment_id) DO NOTHING
    """
)
async def insert_legs(t: Transaction, *columns: list[Any]) -> str:
    rows = rows_of(("payment_id", "channel_id", "payment_reference"), *columns)
    new = [await t.insert_new(t.database["channel_payments"], row) for row in rows]
    return f"INSERT 0 {len(new) - new.count(None)}"


@statement("SELECT * FROM channel_payments WHERE payment_id = ANY($1::text[]) ORDER BY payment_id FOR UPDATE")
async def lock_legs(t: Transaction, ids: list[str]) -> Rows:
    return await t.lock_rows(t.database["channel_payments"], sorted(set(ids)))


@statement("SELECT * FROM channel_payments WHERE payment_id = ANY($1::text[])")
def read_legs(t: Transaction, ids: list[str]) -> Rows:
    return there(t, "channel_payments", ids)


@statement(events._CHANGE_LEGS)
async def save_legs(t: Transaction, ids: list[str], order_ids: list[str | None], currencies: list[str | None]) -> str:
    table = t.database["channel_payments"]
    new = by_first(ids, zip(order_ids, currencies, strict=True))
    rows = await t.lock_rows(table, new)
    for row in rows:
        order_id, currency = new[row["payment_id"]]
        kept = {"order_id": coalesced(row["order_id"], order_id), "currency": coalesced(row["currency"], currency)}
        await t.put(table, row | kept)
    return f"UPDATE {len(rows)}"


_EVENT = [name for name, _ in events._COLUMNS]


@statement(f"SELECT {events._SELECT} FROM channel_events AS e WHERE channel_event_id = ANY($1::text[])")
def read_events(t: Transaction, ids: list[str]) -> Rows:
    return picked(there(t, "channel_events", ids), _EVENT)


@statement(events._INSERT)
async def insert_events(t: Transaction, *columns: Any) -> str:
    now, rows = columns[-1], rows_of(_EVENT, *columns[:-1])
    for row in rows:
        await t.insert(t.database["channel_events"], row | {"received_at": now, "changed_at": now})
    return f"INSERT 0 {len(rows)}"


@statement(events._CHANGE)
async def change_events(t: Transaction, ids: list[str], *columns: Any) -> str:
    table, now = t.database["channel_events"], columns[-1]
    names = ("status", "order_id", "currency", "order_version", "refusal", "attempt", "command_id")
    new = by_first(ids, rows_of(names, *columns[:-1]))
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


@statement(events._LOCK_WAITING)
async def lock_waiting_for(
    t: Transaction,
    ids: list[str],
    merchants: list[str],
    environments: list[str],
    references: list[str | None],
    limit: int,
) -> Rows:
    waiting = sorted(row["channel_event_id"] for row in that_wait_for(t, ids, merchants, environments, references))
    return picked(await t.lock_rows(t.database["channel_events"], waiting, is_waiting, limit=limit), _EVENT)


def that_wait_for(t: Transaction, ids: list[str], *called: list[Any]) -> list[Values]:
    """Events that name one of these orders, or are about one that is called so; each once."""
    table = t.database["channel_events"]
    found = [row for each in set(ids) for row in t.find(table, "waiting_by_order", each)]
    found += (row for each in set(zip(*called, strict=True)) for row in t.find(table, "waiting_by_reference", each))
    return list({row["channel_event_id"]: row for row in found}.values())


def is_waiting(row: Values) -> bool:
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
        return is_waiting(row) and bool(called or (named is not None and is_mine(named, *tenant)))

    waiting = sorted(t.find(table, "status", "waiting"), key=itemgetter("received_at"))
    return picked(await t.lock_rows(table, map(table.key, waiting), matches, skip=True, limit=limit), _EVENT)
