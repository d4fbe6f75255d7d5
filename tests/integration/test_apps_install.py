"""An app is installed by a foreign OAuth client, used, and taken out again, on running services."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import httpx2
import pytest
from authlib.integrations.httpx_client import AsyncOAuth2Client, OAuthError
from joserfc import jwt
from joserfc.jwk import KeySet

from shared.postgres import Pool
from tests.people import PASSWORD, REDIRECT, SECRET, Json, Person, Town, query_of
from tests.stack import Stack, eventually

pytestmark = pytest.mark.servers

VERIFIER = "v" * 64


@pytest.fixture
async def town(stack: Stack) -> AsyncIterator[Town]:
    async with AsyncExitStack() as exits:
        yield Town(stack, exits)


def oauth_client(stack: Stack, app: Json, method: str = "client_secret_basic") -> AsyncOAuth2Client:
    return AsyncOAuth2Client(
        app["partner_app_id"],
        app["client_secret"],
        redirect_uri=REDIRECT,
        code_challenge_method="S256",
        token_endpoint_auth_method=method,
        token_endpoint=f"{stack.base_url}/v1/oauth/token",
        timeout=20,
    )


async def approved(person: Person, client: AsyncOAuth2Client, base_url: str, **asked: str) -> str:
    """The address that the browser is sent to after the person said yes."""
    url, _ = client.create_authorization_url(f"{base_url}/v1/oauth/authorize", code_verifier=VERIFIER, **asked)
    to_sign_in = await person.http.get(url)
    signed_in = await person.sign_in(query_of(to_sign_in.headers["location"])["next"])
    page = await person.http.get(signed_in.headers["location"])
    assert page.status_code == 200, page.text
    answer = await person.send(
        page, "/v1/oauth/authorize", decision="approve", permission=asked.get("permission_ids", "")
    )
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


class Installed:
    """What became of an install."""

    def __init__(self, town: Town, merchant_id: str, app: Json, client: AsyncOAuth2Client) -> None:
        self.town, self.merchant_id, self.app, self.client = town, merchant_id, app, client
        self.token: Json = {}

    @property
    def path(self) -> str:
        app, install = self.app["partner_app_id"], self.token["partner_app_install_id"]
        return f"/v1/developer/partner/apps/{app}/installs/{install}"

    async def as_app(self, path: str = "/v1/orders", token: str | None = None) -> httpx2.Response:
        client = await self.town.client(token or self.token["access_token"])
        return await client.get(path)

    async def refused(self) -> None:
        """Within a second, by every service."""
        for path in ("/v1/orders/ord_none", "/v1/unmatched-money/um_none", "/v1/auth-context"):

            async def shut(path: str = path) -> bool:
                return (await self.as_app(path)).status_code == 401

            await eventually(shut, within_s=1.5)


@pytest.fixture
async def developer(town: Town) -> httpx2.AsyncClient:
    return await town.key(await town.merchant("Toolmaker"))


@pytest.fixture
async def installed(town: Town, developer: httpx2.AsyncClient) -> AsyncIterator[Installed]:
    merchant_id = await town.merchant()
    person, app = await town.person_of(merchant_id, signed_in=False), await town.app_of(developer)
    async with oauth_client(town.stack, app) as client:
        made = Installed(town, merchant_id, app, client)
        location = await approved(person, client, town.stack.base_url, mode="test", permission_ids="refund")
        assert query_of(location)["iss"] == town.stack.base_url
        made.token = await client.fetch_token(authorization_response=location, code_verifier=VERIFIER)
        yield made


async def test_an_install_by_authlib(installed: Installed) -> None:
    token = installed.token
    assert {name: token[name] for name in ("token_type", "expires_in", "scope", "merchant_id", "mode")} == {
        "token_type": "Bearer",
        "expires_in": 600,
        "scope": "orders.read refunds.write",
        "merchant_id": installed.merchant_id,
        "mode": "test",
    }
    assert token["partner_app_id"] == installed.app["partner_app_id"]
    assert token["partner_app_install_id"].startswith("ins_")
    assert token["environment_grant_id"].startswith("grt_")
    context = (await installed.as_app("/v1/auth-context")).json()["data"]
    assert (context["kind"], context["grant_id"], context["merchant_id"], context["environment"]) == (
        "installation",
        token["environment_grant_id"],
        installed.merchant_id,
        "test",
    )
    assert (await installed.as_app()).status_code == 200
    assert (await installed.as_app("/v1/customers")).status_code == 403


async def test_the_access_token_is_verified_by_the_published_keys(installed: Installed) -> None:
    client = await installed.town.client()
    metadata = (await client.get("/.well-known/oauth-authorization-server")).json()
    keys = KeySet.import_key_set((await client.get(metadata["jwks_uri"])).json())
    found = jwt.decode(installed.token["access_token"], keys, algorithms=["ES256"])
    assert found.header["typ"] == "at+jwt"
    assert found.claims["iss"] == metadata["issuer"] == installed.town.stack.base_url
    assert found.claims["aud"] == f"{metadata['issuer']}/v1"
    assert found.claims["client_id"] == installed.app["partner_app_id"]
    assert found.claims["exp"] - found.claims["iat"] == 600


async def test_refreshing_gives_new_tokens_and_a_repeat_ends_everything(installed: Installed) -> None:
    old = installed.token
    new = await installed.client.refresh_token(refresh_token=old["refresh_token"])
    assert new["refresh_token"] != old["refresh_token"]
    assert (await installed.as_app(token=new["access_token"])).status_code == 200
    with pytest.raises(OAuthError) as raised:
        await installed.client.refresh_token(refresh_token=old["refresh_token"])
    assert raised.value.error == "invalid_grant"
    with pytest.raises(OAuthError):
        await installed.client.refresh_token(refresh_token=new["refresh_token"])
    installed.token = new
    await installed.refused()


async def test_the_developer_revokes(installed: Installed, developer: httpx2.AsyncClient) -> None:
    seen = (await developer.get(installed.path)).json()["data"]
    assert (seen["status"], seen["merchant_id"]) == ("active", installed.merchant_id)
    answer = await developer.post(f"{installed.path}/revoke")
    assert answer.status_code == 200, answer.text
    assert answer.json()["data"]["status"] == "revoked"
    await installed.refused()
    with pytest.raises(OAuthError):
        await installed.client.refresh_token(refresh_token=installed.token["refresh_token"])


async def test_nothing_that_was_shown_once_is_kept(installed: Installed) -> None:
    pool = Pool(installed.town.stack.settings.database_url.get_secret_value(), "apps", 2)
    await pool.open()
    secrets = [
        installed.app["client_secret"],
        installed.token["refresh_token"],
        installed.token["access_token"],
        PASSWORD,
    ]
    tables = await pool.fetch("SELECT table_name FROM information_schema.tables WHERE table_schema = 'apps'")
    for row in tables:
        text = str(await pool.fetchval(f"SELECT string_agg(t::text, ' ') FROM {row['table_name']} AS t"))
        assert SECRET.search(text) is None, row["table_name"]
        assert not [secret for secret in secrets if secret in text], row["table_name"]
    assert "sign_in_failures" in {row["table_name"] for row in tables}
    await pool.close()
