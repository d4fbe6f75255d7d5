"""Webhook endpoints, and the deliveries to them."""

from datetime import datetime
from typing import Any

from services.apps.store.deliveries import _CANCEL, _FORGET
from services.apps.store.endpoints import _LISTENING, _NAMES, _OWN, _REVOKED
from tests.simulation.postgres.client import Rows, Statements
from tests.simulation.postgres.engine import Transaction
from tests.simulation.postgres.statements.apps.access import _merchant_is_active
from tests.simulation.postgres.statements.rows import is_mine, picked
from tests.simulation.postgres.table import Table, Values

statement = Statements()

_ENDPOINT = tuple(_NAMES.replace(",", " ").split())
_GIVEN = (
    "merchant_id", "environment", "grant_id", "endpoint_id", "scopes", "url", "description", "event_types", "status",
    "disabled_reason", "sealed_secret", "sealed_previous_secret", "previous_secret_ends_at", "failing_since", "version",
    "created_at", "updated_at",
)  # fmt: skip


def scopes_now(t: Transaction, endpoint: Values) -> list[str] | None:
    """What the endpoint may be told; None where nothing is sent to it: its app is not installed, its merchant is not
    active."""
    if endpoint["status"] != "active" or not _merchant_is_active(t, endpoint["merchant_id"]):
        return None
    if endpoint["grant_id"] is None:
        return list(endpoint["scopes"])
    grant = t.get(t.database["environment_grants"], endpoint["grant_id"])
    return list(grant["scopes"]) if grant is not None and grant["status"] == "active" else None


@statement(
    f"""
    INSERT INTO webhook_endpoints ({_NAMES})
    SELECT $4, $1, $2, $3, $5::text[], $6, $7, $8::text[], $9, $10, $11::bytea, $12::bytea, $13::timestamptz,
        $14::timestamptz, $15::integer, $16::timestamptz, $17::timestamptz
    WHERE (SELECT count(*) FROM webhook_endpoints WHERE {_OWN}) < $18
    """
)
async def insert_endpoint(t: Transaction, *values: Any) -> str:
    table, given = t.database["webhook_endpoints"], dict(zip(_GIVEN, values[:-1], strict=True))
    owner = ("merchant_id", "environment", "grant_id")
    owned = sum(all(row[name] == given[name] for name in owner) for row in t.scan(table))
    if owned >= values[-1]:
        return "INSERT 0 0"
    await t.insert(table, given)
    return "INSERT 0 1"


@statement(_LISTENING)
def listening(t: Transaction, merchants: list[str], environments: list[str]) -> Rows:
    asked = set(zip(merchants, environments, strict=True))
    rows = []
    for row in sorted(t.scan(t.database["webhook_endpoints"]), key=lambda row: str(row["endpoint_id"])):
        if any(is_mine(row, *tenant) for tenant in asked) and (scopes := scopes_now(t, row)) is not None:
            rows.append(row | {"scopes": scopes})
    return picked(rows, ("endpoint_id", "merchant_id", "environment", "grant_id", "scopes", "event_types"))


@statement(
    f"""
    UPDATE webhook_endpoints
    SET status = 'disabled', disabled_reason = $2, version = version + 1, updated_at = $3
    WHERE endpoint_id = $1 AND status = 'active' RETURNING {_NAMES}
    """
)
async def disable(t: Transaction, endpoint_id: str, reason: str, now: datetime) -> Rows:
    table = t.database["webhook_endpoints"]
    rows = await t.lock_rows(table, [endpoint_id], lambda row: bool(row["status"] == "active"))
    changed = {"status": "disabled", "disabled_reason": reason, "updated_at": now}
    after = [row | changed | {"version": row["version"] + 1} for row in rows]
    for row in after:
        await t.put(table, row)
    return picked(after, _ENDPOINT)


@statement(_REVOKED)
def revoked(t: Transaction, limit: int) -> Rows:
    def over(row: Values) -> bool:
        grant = t.get(t.database["environment_grants"], row["grant_id"])
        merchant = t.get(t.database["merchants"], row["merchant_id"])
        uninstalled = row["grant_id"] is not None and (grant is None or grant["status"] == "revoked")
        return uninstalled or (merchant is not None and merchant["status"] == "closed")

    active = (row for row in t.scan(t.database["webhook_endpoints"]) if row["status"] == "active")
    ordered = sorted(filter(over, active), key=lambda row: str(row["endpoint_id"]))
    return picked(ordered[:limit], ("endpoint_id",))


@statement(_CANCEL)
async def cancel(t: Transaction, now: datetime, limit: int) -> str:
    table, endpoints = t.database["webhook_deliveries"], t.database["webhook_endpoints"]

    def over(row: Values) -> bool:
        claimed = row["claimed_until"] is not None and row["claimed_until"] > now
        return row["status"] == "pending" and not claimed

    lively = {row["endpoint_id"] for row in t.scan(endpoints) if row["status"] == "active"}
    known = {row["endpoint_id"] for row in t.scan(endpoints)} | table.indexes["pending"].values()
    keys = [table.key(row) for endpoint in known - lively for row in t.find(table, "pending", endpoint)]
    rows = await t.lock_rows(table, keys, over, skip=True, limit=limit)
    for row in rows:
        await t.put(table, row | {"status": "canceled", "settled_at": now})
    return f"UPDATE {len(rows)}"


def _forget(t: Transaction, table: Table, over: list[Values]) -> str:
    for row in over:
        t.remove(table, table.key(row))
    return f"DELETE {len(over)}"


@statement(_FORGET[0])
async def forget_deliveries(t: Transaction, before: datetime, limit: int) -> str:
    table = t.database["webhook_deliveries"]

    def over(row: Values) -> bool:
        return row["created_at"] < before and row["status"] != "pending"

    return _forget(t, table, await t.lock_rows(table, map(table.key, t.scan(table)), over, limit=limit))


@statement(_FORGET[1])
async def forget_attempts(t: Transaction, before: datetime, limit: int) -> str:
    table = t.database["webhook_attempts"]
    keys = map(table.key, t.scan(table))
    return _forget(t, table, await t.lock_rows(table, keys, lambda row: bool(row["at"] < before), limit=limit))
