"""Idempotency keys: the key, the request it was used for, the effect and the answer are saved in one transaction.

A key belongs to a merchant and environment for 24 hours. The same request again gets the first answer; another request
with the key is refused; while the first runs, the second is told so at once and does not wait.

Only what took effect is remembered: a request that was refused before it wrote anything may be corrected and sent again
with the same key.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, TypeAlias

from litestar.connection import Request

from shared.auth.access import Access
from shared.clock import Clock
from shared.faults import Transient
from shared.http.answers import Answer, replayed, stored
from shared.http.problems import Problem
from shared.postgres import Connection, Pool, transaction
from shared.writes import Write, columns_of, write

HEADER = "Idempotency-Key"
KEPT_FOR = timedelta(hours=24)
LONGEST_ACT = timedelta(minutes=3)
"""Outside the database; what a process that died had begun may be begun anew then."""

IDEMPOTENCY_TABLE = """
CREATE TABLE idempotency_keys (
    scope text NOT NULL,
    key text NOT NULL,
    fingerprint bytea NOT NULL,
    status smallint NOT NULL,
    body bytea NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (scope, key)
);
CREATE INDEX idempotency_keys_created_at ON idempotency_keys (created_at);
"""
"""For the service's first migration."""

_UNDER_WAY = 102
"""Stands for an answer while something is done outside the database."""
_VISIBLE_ASCII = re.compile(r"[\x21-\x7e]{1,255}")


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """A key, whose it is (`mer_…:test`), and the SHA-256 of the request that it is used for."""

    scope: str
    key: str
    fingerprint: bytes

    @property
    def lock(self) -> int:
        """The number of its advisory lock; two keys that share one by chance only see each other as in progress."""
        digest = sha256(f"idempotency\0{self.scope}\0{self.key}".encode()).digest()
        return int.from_bytes(digest[:8], "big", signed=True)


@dataclass(frozen=True, slots=True)
class Fresh:
    """The key is this transaction's to use."""


@dataclass(frozen=True, slots=True)
class InProgress:
    """The first request with the key still runs."""


@dataclass(frozen=True, slots=True)
class Reused:
    """The key was used for another request."""


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """The request was done before; this was the answer."""

    status: int
    body: bytes


Claim: TypeAlias = Fresh | InProgress | Reused | StoredResponse
_FRESH, _IN_PROGRESS, _REUSED = Fresh(), InProgress(), Reused()


async def idempotency_key(request: Request[Any, Any, Any], access: Access) -> IdempotencyKey | None:
    """The request's key, None when it has none; one that is no 1 to 255 visible ASCII characters is refused."""
    key = key_in(request)
    return None if key is None else IdempotencyKey(_scope_of(access), key, _fingerprint(request, await request.body()))


def key_in(request: Request[Any, Any, Any]) -> str | None:
    """What the request's header says, as `idempotency_key` takes it."""
    key = request.headers.get(HEADER)
    if key is not None and _VISIBLE_ASCII.fullmatch(key) is None:
        raise Problem("VALIDATION_FAILED", f"{HEADER} must be 1 to 255 visible ASCII characters.", param=HEADER)
    return key


async def claim(connection: Connection, keys: Sequence[IdempotencyKey | None], now: datetime) -> list[Claim]:
    """What each key stands for, in order; a request without a key is always fresh.

    At most two statements. To be called once in a transaction at READ COMMITTED: the fresh keys are then locked for
    every other transaction until this one ends, and what others saved is seen.
    """
    present = [key for key in keys if key is not None]
    if not present:
        return [_FRESH] * len(keys)
    free = await _lock(connection, present)
    known = await _stored(connection, present, now)
    # Advisory locks are re-entrant, so a second use of a key in one batch gets the lock too: the first use has it.
    taken: set[int] = set()
    return [_FRESH if key is None else _claim_of(key, free, taken, known) for key in keys]


def answers_of(rows: Sequence[tuple[IdempotencyKey, int, bytes]], now: datetime) -> Write | None:
    """What keeps the answers (status and body) with the effects that a transaction saves.

    202 says that there is no outcome yet, and is replaced by it. Any other answer stays as long as the key: of several
    repeats that waited for the outcome, one may read it late, when more has happened since.
    """
    if not rows:
        return None
    values = columns_of([(key.scope, key.key, key.fingerprint, status, body) for key, status, body in rows])
    return Write(_REMEMBER, (*values, now, now - KEPT_FOR), len(rows))


async def remember(connection: Connection, rows: Sequence[tuple[IdempotencyKey, int, bytes]], now: datetime) -> None:
    """Keeps only these."""
    await write(connection, answers_of(rows, now))


async def forget_expired(connection: Connection, now: datetime, limit: int) -> int:
    """Deletes at most `limit` keys that are over, and says how many; a repeat goes on."""
    done = await connection.execute(_FORGET, now - KEPT_FOR, limit)
    return int(done.rpartition(" ")[2])


async def run_idempotent(
    pool: Pool,
    key: IdempotencyKey | None,
    now: datetime,
    effect: Callable[[Connection], Awaitable[tuple[int, bytes]]],
) -> Answer:
    """One transaction that takes `effect` and keeps its answer, or the answer of the first time.

    When `effect` raises, nothing is saved and the key stays unused.
    """
    async with transaction(pool) as connection:
        known = await answered(connection, key, now)
        if known is not None:
            return known
        status, body = await effect(connection)
        if key is not None:
            await remember(connection, [(key, status, body)], now)
    return stored(status, body)


async def answered(connection: Connection, key: IdempotencyKey | None, now: datetime) -> Answer | None:
    """The answer of the first time; `None` where there was none and the key is this transaction's.

    Raises the `Problem` where the key is another request's, or the first request still runs.
    """
    [claimed] = await claim(connection, [key], now)
    match claimed:
        case StoredResponse(status=status, body=body):
            return replayed(status, body)
        case Fresh():
            return None
        case _:
            raise problem_for(claimed)


@asynccontextmanager
async def under_way(pool: Pool, key: IdempotencyKey | None, clock: Clock) -> AsyncIterator[Answer | None]:
    """For what is done outside the database: gives the answer of the first time; `None` where there was none.

    Then a repeat is told that the first still runs for as long as the context lasts, and gets what `remember` keeps
    meanwhile. When nothing is kept, the key is free again.
    """
    now = clock()
    async with transaction(pool) as connection:
        known = await answered(connection, key, now)
        if known is None and key is not None:
            await remember(connection, [(key, _UNDER_WAY, b"")], now)
    try:
        yield known
    finally:
        if known is None and key is not None:
            with suppress(Transient):
                await pool.execute(_END, key.scope, key.key, now)


def problem_for(claimed: InProgress | Reused) -> Problem:
    """Why the request was not done."""
    match claimed:
        case InProgress():
            return Problem(
                "IDEMPOTENCY_KEY_IN_PROGRESS",
                "A request with this key is still being worked on.",
                param=HEADER,
                headers={"Retry-After": "1"},
            )
        case Reused():
            return Problem(
                "IDEMPOTENCY_KEY_REUSED", "This key was used for a request with another path or body.", param=HEADER
            )


_LOCK = "SELECT number, pg_try_advisory_xact_lock(number) FROM unnest($1::bigint[]) AS wanted (number)"
_STORED = """
SELECT scope, key, fingerprint, status, body FROM idempotency_keys
WHERE (scope, key) IN (SELECT * FROM unnest($1::text[], $2::text[])) AND created_at > $3
    AND (status <> 102 OR created_at > $4)
"""
_REMEMBER = """
INSERT INTO idempotency_keys (scope, key, fingerprint, status, body, created_at)
SELECT scope, key, fingerprint, status, body, $6
FROM unnest($1::text[], $2::text[], $3::bytea[], $4::smallint[], $5::bytea[])
    AS new (scope, key, fingerprint, status, body)
ON CONFLICT (scope, key) DO UPDATE SET
    fingerprint = excluded.fingerprint, status = excluded.status, body = excluded.body, created_at = excluded.created_at
WHERE idempotency_keys.status IN (102, 202) OR idempotency_keys.created_at <= $7
"""
_END = "DELETE FROM idempotency_keys WHERE scope = $1 AND key = $2 AND status = 102 AND created_at = $3"
_FORGET = """
DELETE FROM idempotency_keys AS old USING (
    SELECT scope, key FROM idempotency_keys WHERE created_at <= $1
    ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED
) AS over WHERE old.scope = over.scope AND old.key = over.key
"""


async def _lock(connection: Connection, keys: Sequence[IdempotencyKey]) -> set[int]:
    rows = await connection.fetch(_LOCK, sorted({key.lock for key in keys}))
    return {number for number, locked in rows if locked}


async def _stored(
    connection: Connection, keys: Sequence[IdempotencyKey], now: datetime
) -> dict[tuple[str, str], tuple[bytes, StoredResponse]]:
    rows = await connection.fetch(
        _STORED, [key.scope for key in keys], [key.key for key in keys], now - KEPT_FOR, now - LONGEST_ACT
    )
    return {(scope, key): (fingerprint, StoredResponse(status, body)) for scope, key, fingerprint, status, body in rows}


def _claim_of(
    key: IdempotencyKey,
    free: set[int],
    taken: set[int],
    known: dict[tuple[str, str], tuple[bytes, StoredResponse]],
) -> Claim:
    found = known.get((key.scope, key.key))
    if found is not None:
        fingerprint, response = found
        if fingerprint != key.fingerprint:
            return _REUSED
        return _IN_PROGRESS if response.status == _UNDER_WAY else response
    if key.lock not in free or key.lock in taken:
        return _IN_PROGRESS
    taken.add(key.lock)
    return _FRESH


def _scope_of(access: Access) -> str:
    """A merchant's own credentials share keys; an installed app has its own, or it would be given their answers."""
    scope = f"{access.merchant_id or access.grant_id}:{access.environment}"
    return f"{scope}:{access.grant_id}" if access.kind == "installation" else scope


def _fingerprint(request: Request[Any, Any, Any], body: bytes) -> bytes:
    target = request.scope["raw_path"] + b"?" + request.scope.get("query_string", b"")
    return sha256(request.method.encode() + b" " + target + b"\0" + body).digest()
