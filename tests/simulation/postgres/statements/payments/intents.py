"""The statements on payment intents and their attempts, without the lists: those are searches."""

from collections.abc import Sequence
from datetime import datetime
from itertools import takewhile
from operator import itemgetter
from typing import Any

from services.payments.store import attempts, intents
from tests.simulation.postgres.client import Rows, Statements
from tests.simulation.postgres.engine import Transaction
from tests.simulation.postgres.statements.rows import is_mine, picked, rows_of, there
from tests.simulation.postgres.table import Values

statement = Statements()

_INTENT = [name for name, _ in intents._COLUMNS]
_ATTEMPT = [name for name, _ in attempts._COLUMNS]
_READ = (
    "payment_intent_id", "connector", "asked", "created_at", "status", "due_at", "updated_at", "looks", "claims",
    "outcome", "answer"
)  # fmt: skip
_INTENT_CHANGES = ("status", "settled", "updated_at", "status_since", "authorization_ends_at", "state")
_ATTEMPT_CHANGES = ("status", "due_at", "updated_at", "looks", "outcome", "answer", "claimed_until")


@statement(intents._LOCK_GROUPS)
async def lock_groups(t: Transaction, ids: list[str]) -> Rows:
    table = t.database["payment_intents"]
    groups = {row["group_id"] for row in there(t, "payment_intents", ids)}
    members = sorted(row["payment_intent_id"] for group in groups for row in t.find(table, "group", group))
    return picked(await t.lock_rows(table, members), ["state"])


@statement(intents._READ)
def read(t: Transaction, merchants: list[str], environments: list[str], ids: list[str]) -> Rows:
    wanted = set(zip(merchants, environments, ids, strict=True))
    rows = there(t, "payment_intents", ids)
    mine = (row for row in rows if (row["merchant_id"], row["environment"], row["payment_intent_id"]) in wanted)
    return picked(mine, ["state"])


@statement(
    "SELECT state::text AS state FROM payment_intents WHERE group_id = $3 AND merchant_id = $1 AND environment = $2"
)
def read_group(t: Transaction, merchant_id: str, environment: str, group_id: str) -> Rows:
    rows = t.find(t.database["payment_intents"], "group", group_id)
    return picked((row for row in rows if is_mine(row, merchant_id, environment)), ["state"])


@statement(intents._SETTLED)
def settled(t: Transaction, groups: list[str]) -> Rows:
    found = [t.find(t.database["payment_intents"], "group", group) for group in dict.fromkeys(groups)]
    return picked((row for rows in found if all(row["settled"] for row in rows) for row in rows), ["state"])


@statement(intents._RUN_OUT)
def run_out(t: Transaction, now: datetime, limit: int) -> Rows:
    holding = t.find(t.database["payment_intents"], "holding", True)
    over = [row for row in holding if row["authorization_ends_at"] is not None and row["authorization_ends_at"] <= now]
    return picked(sorted(over, key=itemgetter("authorization_ends_at"))[:limit], ["payment_intent_id"])


@statement(attempts._CLAIM)
async def claim(t: Transaction, now: datetime, until: datetime, limit: int) -> Rows:
    def due(row: Values) -> bool:
        free = row["claimed_until"] is None or row["claimed_until"] <= now
        return bool(row["status"] != "ended" and row["due_at"] <= now and free)

    table = t.database["payment_attempts"]
    oldest = takewhile(lambda row: bool(row["due_at"] <= now), t.in_order(table, "open", True))
    return await _claimed(t, await t.lock_rows(table, map(table.key, oldest), due, skip=True, limit=limit), until)


@statement(attempts._CLAIM_UNKNOWN)
async def claim_unknown(t: Transaction, payment_intent_id: str, now: datetime, until: datetime) -> Rows:
    def open_and_free(row: Values) -> bool:
        free = row["claimed_until"] is None or row["claimed_until"] <= now
        return bool(row["status"] in ("unknown", "challenged", "watched") and free)

    table = t.database["payment_attempts"]
    of_intent = map(table.key, t.find(table, "open_of_intent", payment_intent_id))
    return await _claimed(t, await t.lock_rows(table, of_intent, open_and_free), until)


@statement(attempts._RENEW)
async def renew(t: Transaction, names: list[str], claims: list[int], until: datetime) -> str:
    table, mine = t.database["payment_attempts"], dict(zip(names, claims, strict=True))

    def claimed(row: Values) -> bool:
        return bool(row["claims"] == mine[row["attempt_id"]] and row["claimed_until"] is not None)

    rows = await t.lock_rows(table, sorted(mine), claimed)
    for row in rows:
        await t.put(table, row | {"claimed_until": until})
    return f"UPDATE {len(rows)}"


async def _claimed(t: Transaction, rows: list[Values], until: datetime) -> Rows:
    found: Rows = []
    for row in rows:
        claimed = row | {"claims": row["claims"] + 1, "claimed_until": until}
        await t.put(t.database["payment_attempts"], claimed)
        its_intent = there(t, "payment_intents", [row["payment_intent_id"]])
        found += [{name: claimed[name] for name in _READ} | {"state": each["state"]} for each in its_intent]
    return found


@statement(intents._SAVE)
async def save_intents(t: Transaction, *columns: list[Any]) -> str:
    return f"INSERT 0 {await _save(t, 'payment_intents', rows_of(_INTENT, *columns), _INTENT_CHANGES)}"


@statement(attempts._SAVE)
async def save_attempts(t: Transaction, *columns: list[Any]) -> str:
    return f"INSERT 0 {await _save(t, 'payment_attempts', rows_of(_ATTEMPT, *columns), _ATTEMPT_CHANGES)}"


async def _save(t: Transaction, table: str, rows: list[Values], changing: Sequence[str]) -> int:
    def changed(known: Values, new: Values) -> Values:
        return known | {name: new[name] for name in changing}

    return len(await t.upsert(t.database[table], rows, changed))
