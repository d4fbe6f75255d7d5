"""The keys that sign access tokens: the private half sealed, and gone once its key retires."""

from dataclasses import dataclass
from datetime import datetime

import orjson

from shared.contracts.access import PublicKey, SigningKey
from shared.postgres import Connection, Pool

_LOCK = 7_268_402


@dataclass(frozen=True, slots=True)
class KeyRow:
    """An active key."""

    kid: str
    public: PublicKey
    sealed: bytes
    created_at: datetime
    signs_from: datetime


async def lock(connection: Connection) -> None:
    """Whoever changes the keys does it alone."""
    await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)


async def active(connection: Connection | Pool) -> list[KeyRow]:
    """The keys whose signatures count, oldest first."""
    rows = await connection.fetch(
        """
        SELECT kid, public_jwk::text AS public, sealed_jwk AS sealed, created_at, signs_from FROM private_signing_keys
        WHERE status = 'active' ORDER BY created_at, kid
        """
    )
    return [KeyRow(**{**row, "public": PublicKey(**orjson.loads(row["public"]))}) for row in rows]


async def every(connection: Connection) -> list[SigningKey]:
    """Every key that there is or was, as it is announced."""
    rows = await connection.fetch(
        "SELECT kid, public_jwk::text AS public, status FROM private_signing_keys ORDER BY kid"
    )
    return [
        SigningKey(kid=row["kid"], public_jwk=PublicKey(**orjson.loads(row["public"])), status=row["status"])
        for row in rows
    ]


async def insert(connection: Connection, row: KeyRow) -> None:
    """A new key."""
    await connection.execute(
        """
        INSERT INTO private_signing_keys (kid, public_jwk, sealed_jwk, status, created_at, signs_from)
        VALUES ($1, $2::jsonb, $3, 'active', $4, $5)
        """,
        row.kid,
        row.public.model_dump_json(),
        row.sealed,
        row.created_at,
        row.signs_from,
    )


async def retire(connection: Connection, kid: str) -> None:
    """The key signs nothing more, for ever: its private half is forgotten."""
    await connection.execute(
        "UPDATE private_signing_keys SET status = 'retired', sealed_jwk = NULL WHERE kid = $1", kid
    )
