"""Partner apps and the hashes of their secrets."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from services.apps.core.partner_apps import MoneyBudget, PartnerApp, Permission
from shared.contracts.model import PositiveMoney
from shared.postgres import Connection, Pool

_PLAIN = (
    "app_id, merchant_id, environment, name, type, redirect_uris, manifest::text AS manifest, default_permission_ids, "
    "money_budgets::text AS money_budgets, status, version, created_at, updated_at"
)
_MINE = "merchant_id = $1 AND environment = $2 AND status = 'active'"


@dataclass(frozen=True, slots=True)
class SecretRow:
    """A client secret: never itself, only its hash and last characters."""

    secret_id: str
    app_id: str
    secret_hash: str
    hint: str
    created_at: datetime
    ends_at: datetime | None


async def insert(connection: Connection, app: PartnerApp) -> None:
    """A new app."""
    await connection.execute(
        """
        INSERT INTO partner_apps (app_id, merchant_id, environment, name, type, redirect_uris, manifest,
                                  default_permission_ids, money_budgets, status, version, created_at, updated_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7::jsonb, $8, $9::jsonb, $10, $11, $12, $13)
        """,
        app.app_id,
        app.merchant_id,
        app.environment,
        app.name,
        app.type,
        *_parts(app),
        app.status,
        app.version,
        app.created_at,
        app.updated_at,
    )


async def save(connection: Connection, app: PartnerApp) -> None:
    """The locked app as it is now."""
    await connection.execute(
        """
        UPDATE partner_apps SET name = $2, redirect_uris = $3, manifest = $4::jsonb, default_permission_ids = $5,
            money_budgets = $6::jsonb, status = $7, version = $8, updated_at = $9
        WHERE app_id = $1
        """,
        app.app_id,
        app.name,
        *_parts(app),
        app.status,
        app.version,
        app.updated_at,
    )


async def lock(connection: Connection, merchant_id: str, environment: str, app_id: str) -> PartnerApp | None:
    """The tenant's app, its row locked; `None` when the tenant has no such one."""
    query = f"SELECT {_PLAIN} FROM partner_apps WHERE {_MINE} AND app_id = $3 FOR UPDATE"
    return _app(await connection.fetchrow(query, merchant_id, environment, app_id))


async def hold(connection: Connection, app_id: str) -> bool:
    """Whether the app is active; if so, it stays that until the transaction ends."""
    query = "SELECT true FROM partner_apps WHERE app_id = $1 AND status = 'active' FOR SHARE"
    return bool(await connection.fetchval(query, app_id))


async def read(pool: Pool, merchant_id: str, environment: str, app_id: str) -> PartnerApp | None:
    """The tenant's app; another's reads as not there."""
    query = f"SELECT {_PLAIN} FROM partner_apps WHERE {_MINE} AND app_id = $3"
    return _app(await pool.fetchrow(query, merchant_id, environment, app_id))


async def by_client_id(pool: Pool, client_id: str) -> PartnerApp | None:
    """The active app that calls itself so, whosever it is: OAuth's requests come before any credential."""
    query = f"SELECT {_PLAIN} FROM partner_apps WHERE app_id = $1 AND status = 'active'"
    return _app(await pool.fetchrow(query, client_id))


async def page(
    pool: Pool, merchant_id: str, environment: str, after: tuple[datetime, str] | None, limit: int
) -> list[PartnerApp]:
    """At most `limit` apps of the tenant, newest first, that come after the position."""
    rows = await pool.fetch(
        f"""
        SELECT {_PLAIN} FROM partner_apps
        WHERE {_MINE} AND ($3::timestamptz IS NULL OR (created_at, app_id) < ($3, $4))
        ORDER BY created_at DESC, app_id DESC LIMIT $5
        """,
        merchant_id,
        environment,
        *(after or (None, None)),
        limit,
    )
    return [_made(row) for row in rows]


async def names(pool: Pool, app_ids: Sequence[str]) -> dict[str, str]:
    """What the apps are called, deleted ones too."""
    rows = await pool.fetch("SELECT app_id, name FROM partner_apps WHERE app_id = ANY($1::text[])", list(app_ids))
    return {row["app_id"]: row["name"] for row in rows}


async def insert_secret(connection: Connection, secret: SecretRow) -> None:
    """One further secret of its app."""
    await connection.execute(
        """
        INSERT INTO app_secrets (secret_id, app_id, secret_hash, hint, created_at, ends_at)
        VALUES ($1, $2, $3, $4, $5, $6)
        """,
        secret.secret_id,
        secret.app_id,
        secret.secret_hash,
        secret.hint,
        secret.created_at,
        secret.ends_at,
    )


async def end_secrets(connection: Connection, app_id: str, ends_at: datetime) -> None:
    """The app's secrets work until then and no longer; one that ends sooner still does."""
    await connection.execute(
        "UPDATE app_secrets SET ends_at = $2 WHERE app_id = $1 AND (ends_at IS NULL OR ends_at > $2)", app_id, ends_at
    )


async def live_secrets(pool: Connection | Pool, app_id: str, now: datetime) -> list[SecretRow]:
    """The app's secrets that work now, newest first."""
    rows = await pool.fetch(
        """
        SELECT secret_id, app_id, secret_hash, hint, created_at, ends_at FROM app_secrets
        WHERE app_id = $1 AND (ends_at IS NULL OR ends_at > $2) ORDER BY created_at DESC, secret_id DESC
        """,
        app_id,
        now,
    )
    return [SecretRow(**row) for row in rows]


def _parts(app: PartnerApp) -> tuple[Any, ...]:
    manifest = orjson.dumps(app.manifest).decode()
    budgets = orjson.dumps([_plain(budget) for budget in app.money_budgets]).decode()
    return list(app.redirect_uris), manifest, list(app.default_permission_ids), budgets


def _plain(budget: MoneyBudget) -> dict[str, Any]:
    return {"effect": budget.effect, "limit_money": budget.limit_money.model_dump(), "period": budget.period}


def _app(row: Any) -> PartnerApp | None:
    return None if row is None else _made(row)


def _made(row: Any) -> PartnerApp:
    manifest = [
        Permission(**{**each, "required_scopes": tuple(each["required_scopes"])})
        for each in orjson.loads(row["manifest"])
    ]
    budgets = [
        MoneyBudget(each["effect"], PositiveMoney(**each["limit_money"]), each["period"])
        for each in orjson.loads(row["money_budgets"])
    ]
    return PartnerApp(
        **{
            **row,
            "redirect_uris": tuple(row["redirect_uris"]),
            "default_permission_ids": tuple(row["default_permission_ids"]),
            "manifest": tuple(manifest),
            "money_budgets": tuple(budgets),
        }
    )
