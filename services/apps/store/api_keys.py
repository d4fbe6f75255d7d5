"""API keys and what is kept of their secrets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.apps.core.keys import ApiKey, Secret
from shared.conditions import value, where
from shared.contracts.access import Environment
from shared.postgres import Connection, Pool

_NAMES = (
    "api_key_id, kind, merchant_id, environment, name, scopes, allowed_origins, prefix, created_at, expires_at, "
    "overlap_ends_at, revoked_at, last_used_at"
)


@dataclass(frozen=True, slots=True)
class Reach:
    """Whose keys a caller sees: a tenant's own; every one where there is no tenant, which is the platform's reach."""

    merchant_id: str | None = None
    environment: Environment | None = None


_WITHIN = "($2::text IS NULL OR (merchant_id = $2 AND environment = $3))"


async def insert(connection: Connection, key: ApiKey, secret: Secret) -> bool:
    """The new key with its first secret; False, and nothing is done, when there is such a key already."""
    done = await connection.execute(
        f"""
        INSERT INTO api_keys ({_NAMES}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
        ON CONFLICT (api_key_id) DO NOTHING
        """,
        key.api_key_id,
        key.kind,
        key.merchant_id,
        key.environment,
        key.name,
        list(key.scopes),
        list(key.allowed_origins),
        key.prefix,
        key.created_at,
        key.expires_at,
        key.overlap_ends_at,
        key.revoked_at,
        key.last_used_at,
    )
    if done != "INSERT 0 1":
        return False
    await insert_secret(connection, secret)
    return True


async def knows(connection: Connection, credential_hash: str) -> bool:
    """Whether some key has or had this secret."""
    query = "SELECT EXISTS (SELECT FROM api_key_secrets WHERE credential_hash = $1)"
    return bool(await connection.fetchval(query, credential_hash))


async def insert_secret(connection: Connection, secret: Secret) -> None:
    """A further secret of the locked key."""
    await connection.execute(
        "INSERT INTO api_key_secrets (credential_hash, api_key_id, created_at, ends_at) VALUES ($1, $2, $3, $4)",
        secret.credential_hash,
        secret.api_key_id,
        secret.created_at,
        secret.ends_at,
    )


async def lock(connection: Connection, reach: Reach, api_key_id: str) -> ApiKey | None:
    """The key, its row locked; one that the caller does not see reads as not there."""
    query = f"SELECT {_NAMES} FROM api_keys WHERE api_key_id = $1 AND {_WITHIN} FOR UPDATE"
    return _key(await connection.fetchrow(query, api_key_id, reach.merchant_id, reach.environment))


async def lock_all_of(connection: Connection, merchant_id: str) -> list[ApiKey]:
    """Every key of the merchant, their rows locked."""
    rows = await connection.fetch(
        f"SELECT {_NAMES} FROM api_keys WHERE merchant_id = $1 ORDER BY api_key_id FOR UPDATE", merchant_id
    )
    return [_made(row) for row in rows]


async def count(pool: Pool, merchant_id: str | None) -> int:
    """How many keys there are, of a merchant or in all."""
    query = "SELECT count(*) FROM api_keys WHERE $1::text IS NULL OR merchant_id = $1"
    return int(await pool.fetchval(query, merchant_id))


async def following(connection: Connection, merchant_id: str | None, after: str, limit: int) -> list[ApiKey]:
    """At most `limit` keys, of a merchant or of all, in the order of their ids after one."""
    rows = await connection.fetch(
        f"SELECT {_NAMES} FROM api_keys WHERE ($1::text IS NULL OR merchant_id = $1) AND api_key_id > $2 "
        "ORDER BY api_key_id LIMIT $3",
        merchant_id,
        after,
        limit,
    )
    return [_made(row) for row in rows]


async def hold(connection: Connection, api_key_ids: Sequence[str]) -> list[ApiKey]:
    """The keys as they are and stay until the transaction ends."""
    query = f"SELECT {_NAMES} FROM api_keys WHERE api_key_id = ANY($1::text[]) ORDER BY api_key_id FOR SHARE"
    return [_made(row) for row in await connection.fetch(query, list(api_key_ids))]


async def secrets(connection: Connection, api_key_ids: Sequence[str]) -> list[Secret]:
    """Every secret that the held keys have or had."""
    rows = await connection.fetch(
        "SELECT credential_hash, api_key_id, created_at, ends_at FROM api_key_secrets "
        "WHERE api_key_id = ANY($1::text[])",
        list(api_key_ids),
    )
    return [Secret(**row) for row in rows]


async def living_secrets(connection: Connection, api_key_ids: Sequence[str], now: datetime) -> list[Secret]:
    """The secrets of the locked keys that have not ended."""
    rows = await connection.fetch(
        """
        SELECT credential_hash, api_key_id, created_at, ends_at FROM api_key_secrets
        WHERE api_key_id = ANY($1::text[]) AND (ends_at IS NULL OR ends_at > $2)
        """,
        list(api_key_ids),
        now,
    )
    return [Secret(**row) for row in rows]


async def revoke(connection: Connection, api_key_id: str, now: datetime) -> None:
    """The locked key holds no more."""
    await connection.execute("UPDATE api_keys SET revoked_at = $2 WHERE api_key_id = $1", api_key_id, now)


async def rotate(connection: Connection, key: ApiKey, ended: Sequence[Secret]) -> None:
    """The locked key as it is now, and when its earlier secrets end."""
    await connection.execute(
        "UPDATE api_keys SET prefix = $2, overlap_ends_at = $3 WHERE api_key_id = $1",
        key.api_key_id,
        key.prefix,
        key.overlap_ends_at,
    )
    await connection.executemany(
        "UPDATE api_key_secrets SET ends_at = $2 WHERE credential_hash = $1",
        [(secret.credential_hash, secret.ends_at) for secret in ended],
    )


async def used(connection: Connection, uses: Mapping[str, datetime]) -> None:
    """When keys were used last; what is known later already stays. Ids that are no key's are passed over."""
    ids = sorted(uses)
    await connection.execute(
        """
        UPDATE api_keys AS key SET last_used_at = new.used_at
        FROM unnest($1::text[], $2::timestamptz[]) AS new (api_key_id, used_at)
        WHERE key.api_key_id = new.api_key_id AND (last_used_at IS NULL OR last_used_at < new.used_at)
        """,
        ids,
        [uses[api_key_id] for api_key_id in ids],
    )


async def read(pool: Pool, reach: Reach, api_key_id: str) -> ApiKey | None:
    """The key; one that the caller does not see reads as not there."""
    query = f"SELECT {_NAMES} FROM api_keys WHERE api_key_id = $1 AND {_WITHIN}"
    return _key(await pool.fetchrow(query, api_key_id, reach.merchant_id, reach.environment))


async def page(pool: Pool, reach: Reach, after: tuple[datetime, str] | None, limit: int) -> list[ApiKey]:
    """At most `limit` keys, newest first, that come after the position."""
    conditions, arguments = where(
        [
            ("merchant_id = {}", value(reach.merchant_id)),
            ("environment = {}", value(reach.environment)),
            ("(created_at, api_key_id) < ({}, {})", after),
        ]
    )
    rows = await pool.fetch(
        f"SELECT {_NAMES} FROM api_keys WHERE {conditions} "
        f"ORDER BY created_at DESC, api_key_id DESC LIMIT {int(limit)}",
        *arguments,
    )
    return [_made(row) for row in rows]


def _key(row: Any) -> ApiKey | None:
    return None if row is None else _made(row)


def _made(row: Any) -> ApiKey:
    return ApiKey(**{**row, "scopes": tuple(row["scopes"]), "allowed_origins": tuple(row["allowed_origins"])})
