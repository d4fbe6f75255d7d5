"""Authorization codes and refresh tokens, by their hashes. Changed only by whoever holds the lock of the install."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import asyncpg

from shared.postgres import Connection, Pool

CodeStatus = Literal["fresh", "exchanged", "spent"]
RefreshStatus = Literal["active", "used", "replaced", "revoked"]


@dataclass(frozen=True, slots=True)
class Given:
    """The refresh token that a code or refresh token gave, and the idempotency key of whoever asked; as hashes."""

    successor_hash: str
    idempotency_hash: str | None


@dataclass(frozen=True, slots=True)
class Code:
    """An approval on its way to the app; `exchanged` once it gave tokens, `spent` once it was presented wrongly or
    there was a newer approval."""

    code_hash: str
    app_id: str
    grant_id: str
    redirect_uri: str
    code_challenge: str
    permission_ids: tuple[str, ...]
    scopes: tuple[str, ...]
    approved_by: str
    status: CodeStatus
    expires_at: datetime
    given: Given | None = None


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """One of a family: each use gives the next one, and of the family only one is active.

    `replaced` is one that was given, perhaps never received, and given anew.
    """

    token_hash: str
    app_id: str
    grant_id: str
    family_id: str
    status: RefreshStatus
    created_at: datetime
    """When the code or token of before first gave one: what is given anew keeps the time of what it replaces."""
    expires_at: datetime
    given: Given | None = None


_CODE = (
    "code_hash, app_id, grant_id, redirect_uri, code_challenge, permission_ids, scopes, approved_by, status, expires_at"
)
_REFRESH = "token_hash, app_id, grant_id, family_id, status, created_at, expires_at"
_GIVEN = "successor_hash, idempotency_hash"
_SET_GIVEN = "successor_hash = $2, idempotency_hash = $3"


async def insert_code(connection: Connection, code: Code) -> None:
    """A new code."""
    await connection.execute(
        f"INSERT INTO oauth_codes ({_CODE}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        code.code_hash,
        code.app_id,
        code.grant_id,
        code.redirect_uri,
        code.code_challenge,
        list(code.permission_ids),
        list(code.scopes),
        code.approved_by,
        code.status,
        code.expires_at,
    )


async def read_code(connection: Connection, code_hash: str) -> Code | None:
    """The code, whatever became of it."""
    row = await connection.fetchrow(f"SELECT {_CODE}, {_GIVEN} FROM oauth_codes WHERE code_hash = $1", code_hash)
    if row is None:
        return None
    values, given = _taken_apart(row)
    return Code(
        **{**values, "permission_ids": tuple(row["permission_ids"]), "scopes": tuple(row["scopes"])}, given=given
    )


async def spend_code(connection: Connection, code_hash: str) -> None:
    """The code was presented wrongly."""
    await connection.execute("UPDATE oauth_codes SET status = 'spent' WHERE code_hash = $1", code_hash)


async def spend_codes(connection: Connection, grant_id: str, now: datetime) -> None:
    """No code of the grant that still waits can be exchanged: a newer approval counts."""
    await connection.execute(
        "UPDATE oauth_codes SET status = 'spent' WHERE grant_id = $1 AND status = 'fresh' AND expires_at > $2",
        grant_id,
        now,
    )


async def exchange_code(connection: Connection, code_hash: str, given: Given) -> None:
    """The code has given a refresh token."""
    query = f"UPDATE oauth_codes SET status = 'exchanged', {_SET_GIVEN} WHERE code_hash = $1"
    await connection.execute(query, code_hash, given.successor_hash, given.idempotency_hash)


async def insert_refresh(connection: Connection, token: RefreshToken) -> None:
    """A new refresh token."""
    await connection.execute(
        f"INSERT INTO refresh_tokens ({_REFRESH}) VALUES ($1, $2, $3, $4, $5, $6, $7)",
        token.token_hash,
        token.app_id,
        token.grant_id,
        token.family_id,
        token.status,
        token.created_at,
        token.expires_at,
    )


async def read_refresh(connection: Connection | Pool, token_hash: str) -> RefreshToken | None:
    """The refresh token, whatever became of it."""
    row = await connection.fetchrow(
        f"SELECT {_REFRESH}, {_GIVEN} FROM refresh_tokens WHERE token_hash = $1", token_hash
    )
    if row is None:
        return None
    values, given = _taken_apart(row)
    return RefreshToken(**values, given=given)


async def use_refresh(connection: Connection, token_hash: str, given: Given) -> None:
    """The token has given its successor."""
    query = f"UPDATE refresh_tokens SET status = 'used', {_SET_GIVEN} WHERE token_hash = $1"
    await connection.execute(query, token_hash, given.successor_hash, given.idempotency_hash)


async def replace_refresh(connection: Connection, token_hash: str) -> None:
    """The token is given anew."""
    await connection.execute("UPDATE refresh_tokens SET status = 'replaced' WHERE token_hash = $1", token_hash)


async def family_lives(connection: Connection, family_id: str) -> bool:
    """Whether the family still has a token that works."""
    query = "SELECT EXISTS (SELECT FROM refresh_tokens WHERE family_id = $1 AND status = 'active')"
    return bool(await connection.fetchval(query, family_id))


async def revoke_refresh(connection: Connection, grant_id: str) -> None:
    """No refresh token of the grant works any more."""
    await connection.execute(
        "UPDATE refresh_tokens SET status = 'revoked' WHERE grant_id = $1 AND status = 'active'", grant_id
    )


async def forget_over(pool: Pool, now: datetime, remember: timedelta, limit: int) -> int:
    """Deletes codes and tokens that have been over for that long, at most `limit` of each, and says how many."""
    done = 0
    for table, key in (("oauth_codes", "code_hash"), ("refresh_tokens", "token_hash")):
        done += _count(
            await pool.execute(
                f"""
                DELETE FROM {table} WHERE {key} IN (
                    SELECT {key} FROM {table} WHERE expires_at < $1 ORDER BY expires_at LIMIT $2
                )
                """,
                now - remember,
                limit,
            )
        )
    return done


def _taken_apart(row: asyncpg.Record) -> tuple[dict[str, Any], Given | None]:
    """The columns of a code or token itself, and what it gave."""
    values = dict(row)
    successor_hash, idempotency_hash = values.pop("successor_hash"), values.pop("idempotency_hash")
    return values, None if successor_hash is None else Given(successor_hash, idempotency_hash)


def _count(status: Any) -> int:
    return int(str(status).rpartition(" ")[2])
