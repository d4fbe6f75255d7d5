"""Installs of partner apps at merchants, and what each may do in each environment.

The row of an install is what everything about it is serialised on: whoever changes it, one of its grants, or a code or
token of those, locks it first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from shared.contracts.access import Environment
from shared.immutable import immutable
from shared.postgres import Connection, Pool

Tenant = tuple[str, str]
"""A merchant's id and an environment."""
Status = Literal["pending_exchange", "active", "revoked"]


@immutable
class InstalledApp:
    """An app that a merchant lets in now, with what it may do in that environment."""

    app_id: str
    grant_id: str
    merchant_id: str
    environment: str
    scopes: frozenset[str]


@dataclass(frozen=True, slots=True)
class Install:
    """An app at a merchant; it waits until the app has exchanged its first code."""

    install_id: str
    app_id: str
    merchant_id: str
    status: Status
    created_at: datetime
    updated_at: datetime
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class EnvironmentGrant:
    """What an install may do in one environment; its access tokens name it."""

    grant_id: str
    install_id: str
    app_id: str
    merchant_id: str
    environment: Environment
    permission_ids: tuple[str, ...]
    scopes: tuple[str, ...]
    status: Status
    approved_by: str
    created_at: datetime
    updated_at: datetime
    revoked_at: datetime | None


_INSTALL = "install_id, app_id, merchant_id, status, created_at, updated_at, revoked_at"
_GRANT = (
    "grant_id, install_id, app_id, merchant_id, environment, permission_ids, scopes, status, approved_by, created_at, "
    "updated_at, revoked_at"
)

_LIVE_AT = f"SELECT {_GRANT} FROM environment_grants WHERE merchant_id = $1 AND status = 'active' ORDER BY grant_id"


async def installed(connection: Connection, tenants: Sequence[Tenant]) -> list[InstalledApp]:
    """The apps that are installed at these merchants in these environments, in the order of their ids; one statement.

    What waits for its code to be exchanged is not installed yet, what is revoked no longer.
    """
    rows = await connection.fetch(_INSTALLED, [merchant for merchant, _ in tenants], [where for _, where in tenants])
    return [InstalledApp(**{**row, "scopes": frozenset(row["scopes"])}) for row in rows]


async def installs_of(connection: Connection, app_id: str) -> list[InstalledApp]:
    """Everywhere that the app is installed now."""
    rows = await connection.fetch(_INSTALLS_OF, app_id)
    return [InstalledApp(**{**row, "scopes": frozenset(row["scopes"])}) for row in rows]


_MERCHANT_ACTIVE = """
NOT EXISTS (SELECT FROM merchants AS m WHERE m.merchant_id = environment_grants.merchant_id AND m.status <> 'active')
"""
_INSTALLED = f"""
SELECT app_id, grant_id, merchant_id, environment, scopes
FROM (SELECT DISTINCT * FROM unnest($1::text[], $2::text[]) AS asked (merchant_id, environment)) AS asked
JOIN environment_grants USING (merchant_id, environment)
WHERE status = 'active' AND {_MERCHANT_ACTIVE} ORDER BY app_id, grant_id
"""
_INSTALLS_OF = f"""
SELECT app_id, grant_id, merchant_id, environment, scopes FROM environment_grants
WHERE app_id = $1 AND status = 'active' AND {_MERCHANT_ACTIVE}
"""


async def live_install(connection: Connection, new: Install) -> Install:
    """The merchant's install of the app that is not revoked, locked: the new one where there was none."""
    row = await connection.fetchrow(
        f"""
        INSERT INTO installs ({_INSTALL}) VALUES ($1, $2, $3, $4, $5, $6, $7)
        ON CONFLICT (app_id, merchant_id) WHERE status <> 'revoked' DO UPDATE SET updated_at = excluded.updated_at
        RETURNING {_INSTALL}
        """,
        new.install_id,
        new.app_id,
        new.merchant_id,
        new.status,
        new.created_at,
        new.updated_at,
        new.revoked_at,
    )
    assert row is not None
    return Install(**row)


async def live_grant(connection: Connection, new: EnvironmentGrant) -> EnvironmentGrant:
    """The install's grant in the environment that is not revoked, as it was; the new one where there was none."""
    row = await connection.fetchrow(
        f"""
        INSERT INTO environment_grants ({_GRANT}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
        ON CONFLICT (merchant_id, environment, app_id) WHERE status <> 'revoked'
            DO UPDATE SET updated_at = excluded.updated_at
        RETURNING {_GRANT}
        """,
        *_grant_row(new),
    )
    return _grant(row)


async def save_install(connection: Connection, install: Install) -> None:
    """The locked install as it is now."""
    await connection.execute(
        "UPDATE installs SET status = $2, updated_at = $3, revoked_at = $4 WHERE install_id = $1",
        install.install_id,
        install.status,
        install.updated_at,
        install.revoked_at,
    )


async def save_grant(connection: Connection, grant: EnvironmentGrant) -> None:
    """A grant of a locked install as it is now."""
    await connection.execute(
        """
        UPDATE environment_grants SET permission_ids = $2, scopes = $3, status = $4, approved_by = $5, updated_at = $6,
            revoked_at = $7
        WHERE grant_id = $1
        """,
        grant.grant_id,
        list(grant.permission_ids),
        list(grant.scopes),
        grant.status,
        grant.approved_by,
        grant.updated_at,
        grant.revoked_at,
    )


async def lock(connection: Connection, install_id: str) -> tuple[Install, list[EnvironmentGrant]] | None:
    """The install, locked, and its grants, revoked ones too; `None` when there is none."""
    found = await connection.fetchrow(f"SELECT {_INSTALL} FROM installs WHERE install_id = $1 FOR UPDATE", install_id)
    if found is None:
        return None
    rows = await connection.fetch(
        f"SELECT {_GRANT} FROM environment_grants WHERE install_id = $1 ORDER BY created_at, grant_id", install_id
    )
    return Install(**found), [_grant(row) for row in rows]


async def lock_live_at(connection: Connection, merchant_id: str) -> list[EnvironmentGrant]:
    """What is installed at the merchant, the installs locked."""
    await connection.execute(
        """
        SELECT FROM installs WHERE install_id IN (
            SELECT install_id FROM environment_grants WHERE merchant_id = $1 AND status = 'active'
        ) ORDER BY install_id FOR UPDATE
        """,
        merchant_id,
    )
    rows = await connection.fetch(_LIVE_AT, merchant_id)
    return [_grant(row) for row in rows]


async def whose(connection: Connection | Pool, grant_id: str) -> tuple[str, str] | None:
    """The install that a grant belongs to, and the merchant."""
    row = await connection.fetchrow(
        "SELECT install_id, merchant_id FROM environment_grants WHERE grant_id = $1", grant_id
    )
    return None if row is None else (row["install_id"], row["merchant_id"])


async def lock_by_grant(connection: Connection, grant_id: str) -> tuple[Install, list[EnvironmentGrant]] | None:
    """The install that a grant belongs to, locked, and its grants."""
    found = await whose(connection, grant_id)
    return None if found is None else await lock(connection, found[0])


async def lock_live_of(connection: Connection, app_id: str) -> list[str]:
    """The installs of an app that are not revoked, all locked before anything is done to the first."""
    rows = await connection.fetch(
        "SELECT install_id FROM installs WHERE app_id = $1 AND status <> 'revoked' ORDER BY install_id FOR UPDATE",
        app_id,
    )
    return [row["install_id"] for row in rows]


async def read(pool: Pool, app_id: str, install_id: str) -> Install | None:
    """An install of the app."""
    query = f"SELECT {_INSTALL} FROM installs WHERE app_id = $1 AND install_id = $2"
    row = await pool.fetchrow(query, app_id, install_id)
    return None if row is None else Install(**row)


async def read_grant(pool: Pool, grant_id: str) -> EnvironmentGrant | None:
    """A grant by its id, whosever it is: what a token names."""
    row = await pool.fetchrow(f"SELECT {_GRANT} FROM environment_grants WHERE grant_id = $1", grant_id)
    return None if row is None else _grant(row)


async def page(
    pool: Pool, app_id: str, tenant: Tenant | None, after: tuple[datetime, str] | None, limit: int
) -> list[Install]:
    """At most `limit` installs of the app, newest first, that come after the position; with a tenant only its own."""
    rows = await pool.fetch_planned(
        f"""
        SELECT {_INSTALL} FROM installs AS i
        WHERE app_id = $1 AND ($2::text IS NULL OR EXISTS (
                SELECT FROM environment_grants AS g
                WHERE g.install_id = i.install_id AND g.merchant_id = $2 AND g.environment = $3::text
            ))
            AND ($4::timestamptz IS NULL OR (created_at, install_id) < ($4, $5))
        ORDER BY created_at DESC, install_id DESC LIMIT $6
        """,
        app_id,
        *(tenant or (None, None)),
        *(after or (None, None)),
        limit,
    )
    return [Install(**row) for row in rows]


async def grants_of(pool: Pool, install_ids: Sequence[str]) -> dict[str, list[EnvironmentGrant]]:
    """The grants of each install, oldest first."""
    rows = await pool.fetch(
        f"""
        SELECT {_GRANT} FROM environment_grants WHERE install_id = ANY($1::text[]) ORDER BY created_at, grant_id
        """,
        list(install_ids),
    )
    found: dict[str, list[EnvironmentGrant]] = {install_id: [] for install_id in install_ids}
    for row in rows:
        found[row["install_id"]].append(_grant(row))
    return found


async def live_at(pool: Pool, merchant_ids: Sequence[str], after: str, limit: int) -> dict[str, list[EnvironmentGrant]]:
    """At most `limit` grants that live at each merchant, in both environments, in the order of their ids after one."""
    rows = await pool.fetch(_LIVE_AT_EACH, list(merchant_ids), after, limit)
    found: dict[str, list[EnvironmentGrant]] = {merchant_id: [] for merchant_id in merchant_ids}
    for row in rows:
        found[row["merchant_id"]].append(_grant(row))
    return found


_LIVE_AT_EACH = f"""
SELECT live.* FROM unnest($1::text[]) AS asked (merchant_id) CROSS JOIN LATERAL (
    SELECT {_GRANT} FROM environment_grants
    WHERE merchant_id = asked.merchant_id AND status = 'active' AND grant_id > $2 ORDER BY grant_id LIMIT $3
) AS live
"""


async def count_announced(pool: Pool, merchant_id: str | None) -> int:
    """How many grants, of a merchant or in all, have ever been announced: those that are or were active."""
    query = f"SELECT count(*) FROM environment_grants WHERE {_ANNOUNCED}"
    return int(await pool.fetchval(query, merchant_id))


async def following(connection: Connection, merchant_id: str | None, after: str, limit: int) -> list[EnvironmentGrant]:
    """At most `limit` grants that have been announced, in the order of their ids after one."""
    rows = await connection.fetch(
        f"SELECT {_GRANT} FROM environment_grants WHERE {_ANNOUNCED} AND grant_id > $2 ORDER BY grant_id LIMIT $3",
        merchant_id,
        after,
        limit,
    )
    return [_grant(row) for row in rows]


async def hold(connection: Connection, grant_ids: Sequence[str]) -> list[EnvironmentGrant]:
    """The grants as they are and stay until the transaction ends."""
    await connection.execute(
        "SELECT FROM installs WHERE install_id IN ("
        "    SELECT install_id FROM environment_grants WHERE grant_id = ANY($1::text[])"
        ") ORDER BY install_id FOR SHARE",
        list(grant_ids),
    )
    rows = await connection.fetch(
        f"SELECT {_GRANT} FROM environment_grants WHERE grant_id = ANY($1::text[]) ORDER BY grant_id", list(grant_ids)
    )
    return [_grant(row) for row in rows]


_ANNOUNCED = "($1::text IS NULL OR merchant_id = $1) AND status <> 'pending_exchange'"


async def never_exchanged(pool: Pool, before: datetime, limit: int) -> list[EnvironmentGrant]:
    """Grants that were approved before then and never came to life."""
    rows = await pool.fetch(
        f"""
        SELECT {_GRANT} FROM environment_grants WHERE status = 'pending_exchange' AND updated_at < $1
        ORDER BY created_at LIMIT $2
        """,
        before,
        limit,
    )
    return [_grant(row) for row in rows]


def _grant_row(grant: EnvironmentGrant) -> tuple[Any, ...]:
    return (
        grant.grant_id,
        grant.install_id,
        grant.app_id,
        grant.merchant_id,
        grant.environment,
        list(grant.permission_ids),
        list(grant.scopes),
        grant.status,
        grant.approved_by,
        grant.created_at,
        grant.updated_at,
        grant.revoked_at,
    )


def _grant(row: Any) -> EnvironmentGrant:
    return EnvironmentGrant(**{**row, "permission_ids": tuple(row["permission_ids"]), "scopes": tuple(row["scopes"])})
