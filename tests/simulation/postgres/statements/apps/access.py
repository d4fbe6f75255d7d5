"""Merchants, the apps that they let in, the audit log, and when keys were used."""

from datetime import datetime
from operator import itemgetter
from typing import Any

import asyncpg

from services.apps.store import audit_log
from services.apps.store.installs import _GRANT, _INSTALL, _INSTALLED, _INSTALLS_OF
from tests.simulation.postgres.client import Rows, Statements
from tests.simulation.postgres.engine import Transaction
from tests.simulation.postgres.statements.rows import by_first, picked, there
from tests.simulation.postgres.table import Values

statement = Statements()

_MERCHANT = (
    "merchant_id", "version", "name", "status", "country", "default_currency", "time_zone", "metadata", "created_at",
    "updated_at",
)  # fmt: skip
_APP = ("app_id", "grant_id", "merchant_id", "environment", "scopes")


@statement(
    """
    INSERT INTO merchants (merchant_id, version, name, status, country, default_currency, time_zone, metadata,
                           created_at, updated_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8::text::jsonb, $9, $10)
    """
)
async def insert_merchant(t: Transaction, *values: Any) -> str:
    await t.insert(t.database["merchants"], dict(zip(_MERCHANT, values, strict=True)))
    return "INSERT 0 1"


@statement("INSERT INTO environments (environment_id, merchant_id, environment) VALUES ($1, $2, $3)")
async def insert_environment(t: Transaction, environment_id: str, merchant_id: str, environment: str) -> str:
    row = {"environment_id": environment_id, "merchant_id": merchant_id, "environment": environment}
    await t.insert(t.database["environments"], row)
    return "INSERT 0 1"


@statement(f"INSERT INTO audit_log ({audit_log._NAMES}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::text::jsonb)")
async def note(t: Transaction, *values: Any) -> str:
    table = t.database["audit_log"]
    await t.insert(table, dict(zip(table.columns, values, strict=True)))
    return "INSERT 0 1"


@statement(
    """
    UPDATE api_keys AS key SET last_used_at = new.used_at
    FROM unnest($1::text[], $2::timestamptz[]) AS new (api_key_id, used_at)
    WHERE key.api_key_id = new.api_key_id AND (last_used_at IS NULL OR last_used_at < new.used_at)
    """
)
async def keys_were_used(t: Transaction, ids: list[str], times: list[datetime]) -> str:
    table, used = t.database["api_keys"], by_first(ids, times)

    def earlier(row: Values) -> bool:
        return row["last_used_at"] is None or row["last_used_at"] < used[row["api_key_id"]]

    rows = await t.lock_rows(table, used, earlier)
    for row in rows:
        await t.put(table, row | {"last_used_at": used[row["api_key_id"]]})
    return f"UPDATE {len(rows)}"


# Installs


def _merchant_is_active(t: Transaction, merchant_id: str) -> bool:
    merchant = t.get(t.database["merchants"], merchant_id)
    return merchant is None or merchant["status"] == "active"


def _installed(t: Transaction, row: Values) -> bool:
    return row["status"] == "active" and _merchant_is_active(t, row["merchant_id"])


@statement(_INSTALLED)
def installed_at(t: Transaction, merchants: list[str], environments: list[str]) -> Rows:
    asked = set(zip(merchants, environments, strict=True))
    rows = [
        row
        for row in t.scan(t.database["environment_grants"])
        if (row["merchant_id"], row["environment"]) in asked and _installed(t, row)
    ]
    return picked(sorted(rows, key=itemgetter("app_id", "grant_id")), _APP)


@statement(_INSTALLS_OF)
def installs_of(t: Transaction, app_id: str) -> Rows:
    rows = t.scan(t.database["environment_grants"])
    return picked((row for row in rows if row["app_id"] == app_id and _installed(t, row)), _APP)


async def _live(t: Transaction, table: str, row: Values) -> Rows:
    """INSERT … ON CONFLICT (…) WHERE status <> 'revoked' DO UPDATE SET updated_at = excluded.updated_at."""
    rows = t.database[table]
    try:
        await t.insert(rows, row)
    except asyncpg.UniqueViolationError:
        [known] = await t.lock_rows(rows, map(rows.key, t.find(rows, "live", rows.indexes["live"].of(row))))
        await t.put(rows, known | {"updated_at": row["updated_at"]})
        return [known | {"updated_at": row["updated_at"]}]
    return [row]


@statement(
    f"""
    INSERT INTO installs ({_INSTALL}) VALUES ($1, $2, $3, $4, $5, $6, $7)
    ON CONFLICT (app_id, merchant_id) WHERE status <> 'revoked' DO UPDATE SET updated_at = excluded.updated_at
    RETURNING {_INSTALL}
    """
)
async def live_install(t: Transaction, *values: Any) -> Rows:
    return await _live(t, "installs", dict(zip(_INSTALL.split(", "), values, strict=True)))


@statement(
    f"""
    INSERT INTO environment_grants ({_GRANT}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
    ON CONFLICT (merchant_id, environment, app_id) WHERE status <> 'revoked'
        DO UPDATE SET updated_at = excluded.updated_at
    RETURNING {_GRANT}
    """
)
async def live_grant(t: Transaction, *values: Any) -> Rows:
    return await _live(t, "environment_grants", dict(zip(_GRANT.split(", "), values, strict=True)))


async def _save(t: Transaction, table: str, names: str, key: str, *values: Any) -> str:
    rows = await t.lock_rows(t.database[table], [key])
    for row in rows:
        await t.put(t.database[table], row | dict(zip(names.split(), values, strict=True)))
    return f"UPDATE {len(rows)}"


@statement("UPDATE installs SET status = $2, updated_at = $3, revoked_at = $4 WHERE install_id = $1")
async def save_install(t: Transaction, install_id: str, *values: Any) -> str:
    return await _save(t, "installs", "status updated_at revoked_at", install_id, *values)


@statement(
    """
    UPDATE environment_grants SET permission_ids = $2, scopes = $3, status = $4, approved_by = $5, updated_at = $6,
        revoked_at = $7
    WHERE grant_id = $1
    """
)
async def save_grant(t: Transaction, grant_id: str, *values: Any) -> str:
    names = "permission_ids scopes status approved_by updated_at revoked_at"
    return await _save(t, "environment_grants", names, grant_id, *values)


@statement(f"SELECT {_INSTALL} FROM installs WHERE install_id = $1 FOR UPDATE")
async def lock_install(t: Transaction, install_id: str) -> Rows:
    return await t.lock_rows(t.database["installs"], [install_id])


@statement(f"SELECT {_GRANT} FROM environment_grants WHERE install_id = $1 ORDER BY created_at, grant_id")
def grants_of_install(t: Transaction, install_id: str) -> Rows:
    rows = t.find(t.database["environment_grants"], "install", install_id)
    return sorted(rows, key=itemgetter("created_at", "grant_id"))


@statement("SELECT install_id, merchant_id FROM environment_grants WHERE grant_id = $1")
def whose_grant(t: Transaction, grant_id: str) -> Rows:
    return picked(there(t, "environment_grants", [grant_id]), ("install_id", "merchant_id"))


@statement("UPDATE refresh_tokens SET status = 'revoked' WHERE grant_id = $1 AND status = 'active'")
async def revoke_refresh(t: Transaction, grant_id: str) -> str:
    table = t.database["refresh_tokens"]
    rows = await t.lock_rows(
        table,
        map(table.key, t.scan(table)),
        lambda row: bool(row["grant_id"] == grant_id and row["status"] == "active"),
    )
    for row in rows:
        await t.put(table, row | {"status": "revoked"})
    return f"UPDATE {len(rows)}"


# The keys that sign access tokens


@statement("SELECT pg_advisory_xact_lock($1)")
async def take_lock(t: Transaction, number: int) -> Rows:
    await t.advisory_lock(number)
    return [{"pg_advisory_xact_lock": ""}]


@statement(
    """
    SELECT kid, public_jwk::text AS public, sealed_jwk AS sealed, created_at, signs_from FROM private_signing_keys
    WHERE status = 'active' ORDER BY created_at, kid
    """
)
def active_signing_keys(t: Transaction) -> Rows:
    rows = [row for row in t.scan(t.database["private_signing_keys"]) if row["status"] == "active"]
    named = [row | {"public": row["public_jwk"], "sealed": row["sealed_jwk"]} for row in rows]
    in_order = sorted(named, key=itemgetter("created_at", "kid"))
    return picked(in_order, ("kid", "public", "sealed", "created_at", "signs_from"))


@statement(
    """
    INSERT INTO private_signing_keys (kid, public_jwk, sealed_jwk, status, created_at, signs_from)
    VALUES ($1, $2::jsonb, $3, 'active', $4, $5)
    """
)
async def insert_signing_key(t: Transaction, *values: Any) -> str:
    names = ("kid", "public_jwk", "sealed_jwk", "created_at", "signs_from")
    row = dict(zip(names, values, strict=True)) | {"status": "active"}
    await t.insert(t.database["private_signing_keys"], row)
    return "INSERT 0 1"


@statement("UPDATE private_signing_keys SET status = 'retired', sealed_jwk = NULL WHERE kid = $1")
async def retire_signing_key(t: Transaction, kid: str) -> str:
    return await _save(t, "private_signing_keys", "status sealed_jwk", kid, "retired", None)
