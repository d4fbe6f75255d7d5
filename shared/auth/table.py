"""The grants and signing keys as a service keeps them: tables of its own, written by the tail, read on a cache miss."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import asyncpg

from shared.auth.access import Access, KnownGrant
from shared.contracts.access import Grant, PublicKey, SigningKey
from shared.postgres import Connection, Pool, transaction

GRANTS_TABLE = """
CREATE TABLE grants (
    credential_hash text PRIMARY KEY,
    grant_id text NOT NULL,
    kind text NOT NULL,
    merchant_id text,
    environment text NOT NULL,
    scopes text[] NOT NULL,
    status text NOT NULL,
    expires_at timestamptz,
    allowed_origins text[] NOT NULL,
    api_version text,
    topic_partition integer NOT NULL,
    topic_offset bigint NOT NULL
);
CREATE INDEX grants_allowed_origins ON grants USING gin (allowed_origins);
CREATE TABLE grant_offsets (
    topic_partition integer PRIMARY KEY,
    next_offset bigint NOT NULL
);
"""
"""For the service's first migration."""

SIGNING_KEYS_TABLE = """
CREATE TABLE signing_keys (
    kid text PRIMARY KEY,
    x text NOT NULL,
    y text NOT NULL,
    status text NOT NULL,
    topic_partition integer NOT NULL,
    topic_offset bigint NOT NULL
)
"""
"""For a service's migration; belongs to the grants' tables."""


@dataclass(frozen=True, slots=True)
class GrantRecord:
    """One record of the topic; without a grant it is a tombstone, which ends what the key allowed."""

    credential_hash: str
    grant: Grant | None
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """One record of the topic that is about a signing key."""

    key: SigningKey
    partition: int
    offset: int


async def load_grant(pool: Pool, credential_hash: str) -> KnownGrant | None:
    """The grant of a credential, whatever its status; raises `Transient` while the database is away."""
    row = await pool.fetchrow("SELECT * FROM grants WHERE credential_hash = $1", credential_hash)
    return None if row is None else _known(row)


async def load_signing_keys(pool: Pool) -> dict[str, PublicKey]:
    """The keys whose signatures count, by `kid`; raises `Transient` while the database is away."""
    rows = await pool.fetch("SELECT kid, x, y FROM signing_keys WHERE status = 'active'")
    return {row["kid"]: PublicKey(x=row["x"], y=row["y"]) for row in rows}


async def origin_is_listed(pool: Pool, origin: str) -> bool:
    """Whether any active grant lists the browser origin."""
    return bool(await pool.fetchval(_ORIGIN_IS_LISTED, origin))


async def pin_version(pool: Pool, credential_hash: str, version: str) -> None:
    """From its first use on, a credential is answered in the version of that day."""
    await pool.execute(_PIN, credential_hash, version)


async def load_offsets(pool: Pool) -> dict[int, int]:
    """Where each partition goes on; empty before the first record."""
    rows = await pool.fetch("SELECT topic_partition, next_offset FROM grant_offsets")
    return {row["topic_partition"]: row["next_offset"] for row in rows}


async def forget_offsets(pool: Pool, partition: int) -> None:
    """For a topic that was made anew: its offsets mean nothing any more, and its records are newer than any here."""
    async with transaction(pool) as connection:
        await connection.execute("DELETE FROM grant_offsets WHERE topic_partition = $1", partition)
        await connection.execute("UPDATE grants SET topic_offset = -1 WHERE topic_partition = $1", partition)
        await connection.execute("UPDATE signing_keys SET topic_offset = -1 WHERE topic_partition = $1", partition)


async def save_records(
    pool: Pool, records: Sequence[GrantRecord], next_offsets: Mapping[int, int], keys: Sequence[KeyRecord] = ()
) -> None:
    """The newest record of each credential counts, however often and by however many processes it is saved; so does
    the newest of each signing key."""
    newest = {record.credential_hash: record for record in records}
    newest_keys = {record.key.kid: record for record in keys}
    async with transaction(pool) as connection:
        # Every process of the service saves the same records: one order of locks for all of them.
        ordered = [newest[key] for key in sorted(newest)]
        await _upsert(connection, [(record, record.grant) for record in ordered if record.grant is not None])
        await connection.executemany(_REVOKE, [_tombstone(record) for record in ordered if record.grant is None])
        await connection.executemany(_UPSERT_KEY, [_key_row(newest_keys[kid]) for kid in sorted(newest_keys)])
        await connection.executemany(_ADVANCE, sorted(next_offsets.items()))


_ORIGIN_IS_LISTED = """
SELECT EXISTS (SELECT FROM grants WHERE allowed_origins @> ARRAY[$1::text] AND status = 'active'
               AND (expires_at IS NULL OR expires_at > now()))
"""
_PIN = "UPDATE grants SET api_version = $2 WHERE credential_hash = $1 AND api_version IS NULL"
_UPSERT = """
INSERT INTO grants (credential_hash, grant_id, kind, merchant_id, environment, scopes, status, expires_at,
                    allowed_origins, topic_partition, topic_offset)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
ON CONFLICT (credential_hash) DO UPDATE SET
    grant_id = excluded.grant_id, kind = excluded.kind, merchant_id = excluded.merchant_id,
    environment = excluded.environment, scopes = excluded.scopes, status = excluded.status,
    expires_at = excluded.expires_at, allowed_origins = excluded.allowed_origins,
    topic_partition = excluded.topic_partition, topic_offset = excluded.topic_offset
WHERE grants.topic_offset < excluded.topic_offset
"""
_REVOKE = "UPDATE grants SET status = 'revoked', topic_offset = $2 WHERE credential_hash = $1 AND topic_offset < $2"
_UPSERT_KEY = """
INSERT INTO signing_keys (kid, x, y, status, topic_partition, topic_offset) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (kid) DO UPDATE SET
    x = excluded.x, y = excluded.y, status = excluded.status,
    topic_partition = excluded.topic_partition, topic_offset = excluded.topic_offset
WHERE signing_keys.topic_offset < excluded.topic_offset
"""
_ADVANCE = """
INSERT INTO grant_offsets (topic_partition, next_offset) VALUES ($1, $2)
ON CONFLICT (topic_partition) DO UPDATE SET next_offset = excluded.next_offset
WHERE grant_offsets.next_offset < excluded.next_offset
"""


async def _upsert(connection: Connection, records: Sequence[tuple[GrantRecord, Grant]]) -> None:
    await connection.executemany(
        _UPSERT,
        [
            (
                record.credential_hash,
                grant.grant_id,
                grant.kind,
                grant.merchant_id,
                grant.environment,
                list(grant.scopes),
                grant.status,
                grant.expires_at,
                list(grant.allowed_origins),
                record.partition,
                record.offset,
            )
            for record, grant in records
        ],
    )


def _tombstone(record: GrantRecord) -> tuple[str, int]:
    return record.credential_hash, record.offset


def _key_row(record: KeyRecord) -> tuple[str, str, str, str, int, int]:
    key = record.key
    return key.kid, key.public_jwk.x, key.public_jwk.y, key.status, record.partition, record.offset


def _known(row: asyncpg.Record) -> KnownGrant:
    access = Access(
        grant_id=row["grant_id"],
        credential_hash=row["credential_hash"],
        kind=row["kind"],
        merchant_id=row["merchant_id"],
        environment=row["environment"],
        scopes=frozenset(row["scopes"]),
        allowed_origins=tuple(row["allowed_origins"]),
        api_version=row["api_version"],
        expires_at=row["expires_at"],
    )
    return KnownGrant(access=access, active=row["status"] == "active")
