"""Installed apps for tests: what the consent of a merchant leads to, without the pages that lead there."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import asyncpg
import httpx2
import orjson
from joserfc import jwt
from joserfc.jwk import ECKey

from shared.auth.tokens import ALGORITHM, GRANT_CLAIM, TYPE, audience_of
from shared.contracts.access import Grant, PublicKey, SigningKey
from shared.envelope import Envelope
from shared.ids import new_id
from shared.topics import ACCESS_GRANTS
from tests.stack import Stack, eventually

_KID = new_id("sgk")
_KEY = ECKey.generate_key("P-256")


@dataclass(frozen=True)
class Installed:
    """An app at one merchant in one environment, with its access token."""

    app_id: str
    grant: Grant
    http: httpx2.AsyncClient


async def install(
    stack: Stack,
    app_id: str,
    merchant_id: str,
    *,
    environment: Any = "test",
    scopes: tuple[str, ...] = ("orders.read",),
) -> Installed:
    """The merchant lets the app in; its token is known everywhere."""
    grant_id = new_id("grt")
    grant = Grant(
        grant_id=grant_id,
        credential_hash=grant_id,
        kind="installation",
        merchant_id=merchant_id,
        environment=environment,
        scopes=scopes,
    )
    await let_in(stack, [(app_id, grant)])
    public = PublicKey.model_validate(_KEY.as_dict(private=False))
    key = SigningKey(kid=_KID, public_jwk=public)
    data = key.model_dump_json().encode()
    await stack.publish(ACCESS_GRANTS, Envelope(_KID, key.wire_type, "/services/apps", data, key=_KID))
    await stack.grant(grant)
    http = httpx2.AsyncClient(
        base_url=stack.base_url, headers={"Authorization": f"Bearer {token(stack, app_id, grant_id)}"}, timeout=20
    )

    async def admitted() -> bool:
        answers = [await http.get(path) for path in ("/v1/orders/ord_none", "/v1/auth-context")]
        return all(answer.status_code not in (401, 503) for answer in answers)

    await eventually(admitted)
    return Installed(app_id, grant, http)


async def let_in(stack: Stack, grants: list[tuple[str, Grant]]) -> None:
    """Rows of installations, many at once."""
    rows = [
        (grant.grant_id, new_id("ins"), app_id, grant.merchant_id, grant.environment, list(grant.scopes))
        for app_id, grant in grants
    ]
    await run(
        stack,
        """
        INSERT INTO environment_grants (grant_id, install_id, app_id, merchant_id, environment, permission_ids,
                                        scopes, status, approved_by, created_at, updated_at)
        SELECT grant_id, install_id, app_id, merchant_id, environment, '{}', $6, 'active', 'usr_1', now(), now()
        FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[])
            AS r (grant_id, install_id, app_id, merchant_id, environment)
        """,
        *([row[column] for row in rows] for column in range(5)),
        rows[0][5],
    )


def token(stack: Stack, app_id: str, grant_id: str) -> str:
    """An access token as the token endpoint makes it."""
    now = int(time.time())
    issuer = stack.settings.public_base_url
    claims = {
        "iss": issuer,
        "aud": audience_of(issuer),
        "sub": grant_id,
        "jti": new_id("jti"),
        "client_id": app_id,
        "iat": now,
        "exp": now + 3_600,
        GRANT_CLAIM: grant_id,
    }
    return jwt.encode({"alg": ALGORITHM, "kid": _KID, "typ": TYPE}, claims, _KEY)


def version_of(tenant: tuple[str, str], order_id: str, version: int, **order: Any) -> Envelope:
    """A version of an order, as the order service publishes it; `order` are further fields of it."""
    body: dict[str, Any] = {
        "order_id": order_id,
        "version": version,
        "previous_version": version - 1,
        "events": [{"type": "orders.order_created.v1" if version == 1 else "orders.note_added.v1", "data": {}}],
        "order": {"order_id": order_id, "version": version, "status": "open", **order},
        "actor": {"type": "key", "id": "key_1"},
        "recorded_at": datetime.now(UTC),
        "balance_before": {"amount": 0, "currency": "EUR"},
        "balance_after": {"amount": 0, "currency": "EUR"},
    }
    return Envelope(
        id=f"{order_id}.{version}",
        type=body["events"][0]["type"],
        source="/services/orders",
        data=orjson.dumps(body),
        key=order_id,
        merchant_id=tenant[0],
        environment=tenant[1],
        order_version=version,
    )


async def run(stack: Stack, statement: str, *arguments: Any) -> list[asyncpg.Record]:
    """One statement in the schema of apps, past the service."""
    connection = await asyncpg.connect(
        stack.settings.database_url.get_secret_value(), server_settings={"search_path": "apps"}
    )
    try:
        found: list[asyncpg.Record] = await connection.fetch(statement, *arguments)
        return found
    finally:
        await connection.close()
