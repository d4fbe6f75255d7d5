"""Everybody who calls the routes of the matrix, made on running services."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any

import httpx2
from authlib.integrations.httpx_client import AsyncOAuth2Client

from services.apps.core.partner_apps import GRANTABLE_SCOPES
from shared.auth.keys import hash_credential, new_api_key
from shared.clock import utc_now
from shared.contracts.access import SCOPES, Grant
from shared.ids import new_id
from tests.access.matrix import Callers
from tests.people import READ, REDIRECT, Json, Town
from tests.stack import Stack

_VERIFIER = "v" * 64


@asynccontextmanager
async def all_callers(stack: Stack, scopes: Sequence[str]) -> AsyncIterator[Callers]:
    """They are known to every service. `scopes` are those that some route needs."""
    async with AsyncExitStack() as exits:
        town = Town(stack, exits)
        merchant_id, strangers_id = await town.merchant(), await town.merchant("Stranger")
        yield Callers(
            owner=await town.key(merchant_id, "test", *SCOPES),
            own_app=await exits.enter_async_context(_some_app(town, merchant_id)),
            nobody=await town.client(),
            malformed=await town.client("tl_test_short"),
            revoked=await _granted(town, merchant_id, status="revoked"),
            expired=await _granted(town, merchant_id, expires_at=utc_now() - timedelta(seconds=1)),
            live=await town.key(merchant_id, "live", *SCOPES),
            stranger=await town.key(strangers_id, "test", *SCOPES),
            live_stranger=await town.key(strangers_id, "live", *SCOPES),
            other_app=await exits.enter_async_context(_some_app(town, strangers_id)),
            platform=stack.platform,
            without={scope: await town.key(merchant_id, "test", *_all_but(scope)) for scope in scopes},
            merchant_id=merchant_id,
            town=town,
        )


def _all_but(scope: str) -> list[str]:
    """Every scope that does not give this one: whoever may write may read."""
    return [other for other in SCOPES if other not in (scope, scope.replace(".read", ".write"))]


async def _granted(town: Town, merchant_id: str, **fields: Any) -> httpx2.AsyncClient:
    key = new_api_key("test")
    grant = {"grant_id": new_id("key"), "credential_hash": hash_credential(key), "kind": "api_key"}
    grant |= {"merchant_id": merchant_id, "environment": "test", "scopes": SCOPES}
    await town.stack.grant(Grant.model_validate(grant | fields))
    return await town.client(key)


@asynccontextmanager
async def _some_app(town: Town, merchant_id: str) -> AsyncIterator[httpx2.AsyncClient]:
    """An app with everything that an app can be granted, by this merchant."""
    developer = await town.key(await town.merchant("Toolmaker"))
    everything = READ | {"required_scopes": list(GRANTABLE_SCOPES)}
    app = await town.app_of(developer, type="plugin", manifest=[everything])
    async with installed(town, app, merchant_id) as client:
        yield client


@asynccontextmanager
async def installed(town: Town, app: Json, merchant_id: str) -> AsyncIterator[AsyncOAuth2Client]:
    """The app's client, once somebody of the merchant's has said yes."""
    base_url = town.stack.base_url
    person = await town.person_of(merchant_id)
    async with AsyncOAuth2Client(
        app["partner_app_id"],
        app["client_secret"],
        redirect_uri=REDIRECT,
        code_challenge_method="S256",
        token_endpoint=f"{base_url}/v1/oauth/token",
        base_url=base_url,
        timeout=20,
    ) as client:
        url, _ = client.create_authorization_url(f"{base_url}/v1/oauth/authorize", code_verifier=_VERIFIER, mode="test")
        page = await person.http.get(url)
        approved = await person.send(page, "/v1/oauth/authorize", decision="approve")
        assert approved.status_code == 303, approved.text
        await client.fetch_token(authorization_response=approved.headers["location"], code_verifier=_VERIFIER)
        yield client
