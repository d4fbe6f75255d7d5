"""Webhook endpoints. What an owner asks for is only found among its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.apps.core.event_types import Reader
from services.apps.core.webhooks import DisabledReason, EndpointStatus
from services.apps.store.installs import Tenant
from shared.contracts.access import Environment
from shared.immutable import immutable
from shared.postgres import Connection, Pool

_NAMES = """
endpoint_id, merchant_id, environment, grant_id, scopes, url, description, event_types, status, disabled_reason,
sealed_secret, sealed_previous_secret, previous_secret_ends_at, failing_since, version, created_at, updated_at
"""
_OWN = "merchant_id = $1 AND environment = $2 AND grant_id IS NOT DISTINCT FROM $3"


@immutable
class Owner:
    """Whose endpoints: an installed app's at a merchant (with the id of its grant), or the merchant's own."""

    merchant_id: str
    environment: Environment
    grant_id: str | None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where somebody wants to be told, and of what."""

    endpoint_id: str
    merchant_id: str
    environment: Environment
    grant_id: str | None
    scopes: tuple[str, ...]
    """What the credential that made it could do, and every one that has directed it since: it is told no more than all
    of them could read. Of an app's endpoint its grant says that."""
    url: str
    description: str | None
    event_types: tuple[str, ...]
    status: EndpointStatus
    disabled_reason: DisabledReason | None
    sealed_secret: bytes
    sealed_previous_secret: bytes | None
    previous_secret_ends_at: datetime | None
    failing_since: datetime | None
    version: int
    created_at: datetime
    updated_at: datetime


@immutable
class Listener:
    """An active endpoint, as far as it matters for what is sent to it."""

    endpoint_id: str
    merchant_id: str
    environment: str
    reader: Reader
    event_types: tuple[str, ...]


async def insert(connection: Connection, endpoint: Endpoint, most: int) -> bool:
    """The new endpoint; False when its owner has that many already."""
    done = await connection.execute(
        f"""
        INSERT INTO webhook_endpoints ({_NAMES})
        SELECT $4, $1, $2, $3, $5::text[], $6, $7, $8::text[], $9, $10, $11::bytea, $12::bytea, $13::timestamptz,
            $14::timestamptz, $15::integer, $16::timestamptz, $17::timestamptz
        WHERE (SELECT count(*) FROM webhook_endpoints WHERE {_OWN}) < $18
        """,
        endpoint.merchant_id,
        endpoint.environment,
        endpoint.grant_id,
        endpoint.endpoint_id,
        list(endpoint.scopes),
        endpoint.url,
        endpoint.description,
        list(endpoint.event_types),
        endpoint.status,
        endpoint.disabled_reason,
        endpoint.sealed_secret,
        endpoint.sealed_previous_secret,
        endpoint.previous_secret_ends_at,
        endpoint.failing_since,
        endpoint.version,
        endpoint.created_at,
        endpoint.updated_at,
        most,
    )
    return bool(done == "INSERT 0 1")


async def read(pool: Pool, owner: Owner, endpoint_id: str) -> Endpoint | None:
    """The endpoint; another owner's reads as not there."""
    return _endpoint(await pool.fetchrow(_READ, owner.merchant_id, owner.environment, owner.grant_id, endpoint_id))


async def lock(connection: Connection, owner: Owner, endpoint_id: str) -> Endpoint | None:
    """The same, and nobody else changes it before the transaction ends."""
    query = f"{_READ} FOR UPDATE"
    return _endpoint(
        await connection.fetchrow(query, owner.merchant_id, owner.environment, owner.grant_id, endpoint_id)
    )


async def page(pool: Pool, owner: Owner, after: tuple[datetime, str] | None, limit: int) -> list[Endpoint]:
    """At most `limit` of the owner's endpoints, newest first, that come after the position."""
    rows = await pool.fetch(
        f"""
        SELECT {_NAMES} FROM webhook_endpoints
        WHERE {_OWN} AND ($4::timestamptz IS NULL OR (created_at, endpoint_id) < ($4, $5))
        ORDER BY created_at DESC, endpoint_id DESC LIMIT $6
        """,
        owner.merchant_id,
        owner.environment,
        owner.grant_id,
        *(after or (None, None)),
        limit,
    )
    return [found for row in rows if (found := _endpoint(row))]


async def save(connection: Connection, endpoint: Endpoint) -> None:
    """What its owner changed, of one that is locked. One that is active again begins in good health."""
    await connection.execute(
        """
        UPDATE webhook_endpoints SET
            url = $2, description = $3, event_types = $4, status = $5, disabled_reason = $6, sealed_secret = $7,
            sealed_previous_secret = $8, previous_secret_ends_at = $9, version = $10, updated_at = $11,
            failures = CASE WHEN $12 THEN 0 ELSE failures END,
            failing_since = CASE WHEN $12 THEN NULL ELSE failing_since END,
            paused_until = CASE WHEN $12 THEN NULL ELSE paused_until END,
            scopes = $13
        WHERE endpoint_id = $1
        """,
        endpoint.endpoint_id,
        endpoint.url,
        endpoint.description,
        list(endpoint.event_types),
        endpoint.status,
        endpoint.disabled_reason,
        endpoint.sealed_secret,
        endpoint.sealed_previous_secret,
        endpoint.previous_secret_ends_at,
        endpoint.version,
        endpoint.updated_at,
        endpoint.failing_since is None,
        list(endpoint.scopes),
    )


async def delete(connection: Connection, owner: Owner, endpoint_id: str) -> bool:
    """Gone, with its secrets; False when the owner has no such one."""
    done = await connection.execute(
        f"DELETE FROM webhook_endpoints WHERE {_OWN} AND endpoint_id = $4",
        owner.merchant_id,
        owner.environment,
        owner.grant_id,
        endpoint_id,
    )
    return bool(done == "DELETE 1")


async def listening(connection: Connection, tenants: Sequence[Tenant]) -> list[Listener]:
    """The active endpoints at these merchants in these environments: none at a suspended merchant, and an app's only
    while it is installed."""
    rows = await connection.fetch(
        _LISTENING, [merchant for merchant, _ in tenants], [environment for _, environment in tenants]
    )
    return [
        Listener(
            row["endpoint_id"],
            row["merchant_id"],
            row["environment"],
            Reader(frozenset(row["scopes"]), row["grant_id"]),
            tuple(row["event_types"]),
        )
        for row in rows
    ]


async def disable(connection: Connection, endpoint_id: str, reason: DisabledReason, now: datetime) -> Endpoint | None:
    """The endpoint, now disabled; `None` when it was not active."""
    return _endpoint(
        await connection.fetchrow(
            f"""
            UPDATE webhook_endpoints
            SET status = 'disabled', disabled_reason = $2, version = version + 1, updated_at = $3
            WHERE endpoint_id = $1 AND status = 'active' RETURNING {_NAMES}
            """,
            endpoint_id,
            reason,
            now,
        )
    )


async def revoked(connection: Connection, limit: int) -> list[str]:
    """Active endpoints of apps that are no longer installed, and of merchants that are closed, in the order in which
    everybody locks them."""
    rows = await connection.fetch(_REVOKED, limit)
    return [row["endpoint_id"] for row in rows]


_READ = f"SELECT {_NAMES} FROM webhook_endpoints WHERE {_OWN} AND endpoint_id = $4"

_LISTENING = """
SELECT e.endpoint_id, e.merchant_id, e.environment, e.grant_id, coalesce(g.scopes, e.scopes) AS scopes,
    e.event_types
FROM (SELECT DISTINCT * FROM unnest($1::text[], $2::text[]) AS asked (merchant_id, environment)) AS asked
JOIN webhook_endpoints AS e USING (merchant_id, environment)
LEFT JOIN environment_grants AS g ON g.grant_id = e.grant_id
WHERE e.status = 'active' AND (e.grant_id IS NULL OR g.status = 'active')
    AND NOT EXISTS (SELECT FROM merchants AS m WHERE m.merchant_id = e.merchant_id AND m.status <> 'active')
ORDER BY e.endpoint_id
"""

_REVOKED = """
SELECT endpoint_id FROM (
    SELECT e.endpoint_id, e.status FROM webhook_endpoints AS e LEFT JOIN environment_grants AS g USING (grant_id)
    WHERE e.grant_id IS NOT NULL AND (g.grant_id IS NULL OR g.status = 'revoked')
    UNION ALL
    SELECT e.endpoint_id, e.status FROM merchants AS m JOIN webhook_endpoints AS e USING (merchant_id)
    WHERE m.status = 'closed'
) AS over WHERE status = 'active' ORDER BY endpoint_id LIMIT $1
"""


def _endpoint(row: Any) -> Endpoint | None:
    if row is None:
        return None
    return Endpoint(**{**row, "scopes": tuple(row["scopes"]), "event_types": tuple(row["event_types"])})
