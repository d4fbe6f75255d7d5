"""Installs of partner apps at merchants, and what each may do in each environment."""

from collections.abc import Sequence

from shared.immutable import immutable
from shared.postgres import Connection

Tenant = tuple[str, str]
"""A merchant's id and an environment."""


@immutable
class InstalledApp:
    """An app that a merchant lets in now, with what it may do in that environment."""

    app_id: str
    grant_id: str
    merchant_id: str
    environment: str
    scopes: frozenset[str]


async def installed(connection: Connection, tenants: Sequence[Tenant]) -> list[InstalledApp]:
    """The apps that are installed at these merchants in these environments, in the order of their ids; one statement.

    What waits for its code to be exchanged is not installed yet, what is revoked no longer.
    """
    rows = await connection.fetch(_INSTALLED, [merchant for merchant, _ in tenants], [where for _, where in tenants])
    return [InstalledApp(**{**row, "scopes": frozenset(row["scopes"])}) for row in rows]


_INSTALLED = """
SELECT app_id, grant_id, merchant_id, environment, scopes
FROM (SELECT DISTINCT * FROM unnest($1::text[], $2::text[]) AS asked (merchant_id, environment)) AS asked
JOIN environment_grants USING (merchant_id, environment)
WHERE status = 'active' ORDER BY app_id, grant_id
"""
