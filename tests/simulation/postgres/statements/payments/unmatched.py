"""The statements on unmatched money."""

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from operator import eq, ge, itemgetter, lt
from typing import Any

import orjson

from services.payments.store import unmatched
from tests.simulation.postgres.client import Rows, Statements
from tests.simulation.postgres.engine import Transaction
from tests.simulation.postgres.statements.rows import by_first, coalesced, is_mine, picked, rows_of, there
from tests.simulation.postgres.table import Values

statement = Statements()

_NEW_ITEM = [name for name, _ in unmatched._COLUMNS]
_ITEM = [*_NEW_ITEM, *unmatched._LATER.split(", ")]
_DEFAULTS = {"version": 1, "attempt": 0}


@statement(unmatched._OPEN)
async def open_items(t: Transaction, *columns: list[Any]) -> Rows:
    table = t.database["unmatched_money"]
    new = [await t.insert_new(table, row | _DEFAULTS) for row in rows_of(_NEW_ITEM, *columns)]
    return picked((row for row in new if row is not None), ("unmatched_money_id",))


@statement(
    f"""
    WITH ended AS (
        UPDATE unmatched_money AS item SET status = new.status, order_id = coalesce(new.order_id, item.order_id),
            replaced_by = new.replaced_by, resolved_at = $5, version = item.version + 1
        FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS new (id, status, order_id, replaced_by)
        WHERE item.unmatched_money_id = new.id AND item.status IN ('open', 'return_due') RETURNING item.*
    ) SELECT {unmatched._ALL} FROM ended
    """
)
async def end_items(t: Transaction, ids: list[str], *columns: Any) -> Rows:
    table, now = t.database["unmatched_money"], columns[-1]
    new = by_first(ids, rows_of(("status", "order_id", "replaced_by"), *columns[:-1]))
    rows = await t.lock_rows(table, new, lambda row: row["status"] in ("open", "return_due"))
    ended = []
    for row in rows:
        end = new[row["unmatched_money_id"]]
        order_id = coalesced(end["order_id"], row["order_id"])
        ended.append(row | end | {"order_id": order_id, "resolved_at": now, "version": row["version"] + 1})
        await t.put(table, ended[-1])
    return picked(ended, _ITEM)


@statement(
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
    """
)
async def mark_overdue(t: Transaction, before: datetime, status: str, now: datetime) -> str:
    def late(row: Values) -> bool:
        return bool(row["status"] == "open" and row["overdue_at"] is None and row["created_at"] < before)

    table = t.database["unmatched_money"]
    oldest = sorted(t.find(table, "unresolved", True), key=itemgetter("created_at"))
    rows = await t.lock_rows(table, map(table.key, oldest), late, skip=True, limit=1000)
    for row in rows:
        came_in = row["event_type"] in ("channel.payment.authorized.v1", "channel.payment.captured.v1")
        due = {"status": status} if row["kind"] != "conflict" and came_in else {}
        await t.put(table, row | due | {"overdue_at": now, "version": row["version"] + 1})
    return f"UPDATE {len(rows)}"


@statement(unmatched._LOCK_EVENT)
async def lock_event(t: Transaction, item_id: str, merchant_id: str, environment: str) -> Rows:
    for item in there(t, "unmatched_money", [item_id]):
        if is_mine(item, merchant_id, environment):
            events = await t.lock_rows(t.database["channel_events"], [item["channel_event_id"]])
            return [{"status": row["status"], "told_otherwise": _json(row["body"]) != _json(item["event"])}
                    for row in events]  # fmt: skip
    return []


@statement(unmatched._LOCK_ITEM)
async def lock_item(t: Transaction, item_id: str, merchant_id: str, environment: str) -> Rows:
    mine = await t.lock_rows(
        t.database["unmatched_money"], [item_id], lambda row: is_mine(row, merchant_id, environment)
    )
    return picked(mine, _ITEM)


@statement(unmatched._COLLECTED_BY)
def collected_by(t: Transaction, command_ids: list[str], channel_id: str) -> Rows:
    rows = [row for each in set(command_ids) for row in t.find(t.database["unmatched_money"], "command", each)]
    waiting = {
        row["channel_event_id"]
        for row in rows
        if row["status"] == "returning"
        and row["asked_at"] is not None
        and row["return_reference"] is None
        and row["channel_id"] == channel_id
    }
    return [{"channel_event_id": each} for each in sorted(waiting)]


@statement(unmatched._LOCK_ASKED)
async def lock_asked(t: Transaction, command_ids: list[str]) -> Rows:
    table, wanted = t.database["unmatched_money"], set(command_ids)

    def asked(row: Values) -> bool:
        waits = row["command_id"] in wanted and row["asked_at"] is not None
        return waits and row["status"] in ("attaching", "returning")

    found = sorted(row["unmatched_money_id"] for each in wanted for row in t.find(table, "command", each))
    return picked(await t.lock_rows(table, found, asked), _ITEM)


@statement(unmatched._CHANGE)
async def change_items(t: Transaction, ids: list[str], *columns: list[Any]) -> str:
    table = t.database["unmatched_money"]
    new = by_first(ids, rows_of([name for name, _ in unmatched._CHANGING], *columns))
    rows = await t.lock_rows(table, new)
    for row in rows:
        await t.put(table, row | new[row["unmatched_money_id"]])
    return f"UPDATE {len(rows)}"


@statement(unmatched._TO_GIVE_BACK)
def to_give_back(t: Transaction, channel_id: str, methods: Sequence[str], limit: int) -> Rows:
    def due(row: Values) -> bool:
        waits = row["status"] == "return_due" and row["refusal"] is None and row["channel_id"] == channel_id
        return waits and (_json(row["event"]).get("method") or {}).get("type") in methods

    rows = filter(due, t.find(t.database["unmatched_money"], "unresolved", True))
    oldest = sorted(rows, key=itemgetter("created_at"))[:limit]
    return picked(oldest, ("unmatched_money_id", "merchant_id", "environment", "version"))


@statement(f"SELECT {unmatched._ALL} FROM unmatched_money WHERE {unmatched._MINE}")
def read_item(t: Transaction, item_id: str, merchant_id: str, environment: str) -> Rows:
    rows = there(t, "unmatched_money", [item_id])
    return picked((row for row in rows if is_mine(row, merchant_id, environment)), _ITEM)


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


def _json(text: str) -> Any:
    return orjson.loads(text)


_COMPARED: dict[str, Callable[[Any, Any], bool]] = {"=": eq, ">=": ge, "<": lt}


def _holds(condition: str, row: Values, arguments: tuple[Any, ...]) -> bool:
    """One condition on columns: `status = $3`, `(created_at, unmatched_money_id) < ($5, $6)`."""
    columns, operator, numbers = re.fullmatch(r"(.+) (=|>=|<) (.+)", condition).groups()  # type: ignore[union-attr]
    values = [arguments[int(number) - 3] for number in re.findall(r"\$(\d+)", numbers)]
    return _COMPARED[operator]([row[name] for name in re.findall(r"\w+", columns)], values)
