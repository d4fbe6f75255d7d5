"""The company's own provider, as OpenID Connect Core and Discovery describe it: code flow, PKCE, signed ID tokens.

Authlib has the grammar of requests and claims, joserfc checks signatures. Requests go through the guard of
`shared/outbound.py`: what the provider says of its addresses leads to no address inside.
"""

import base64
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

import orjson
import structlog
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri, prepare_token_request
from authlib.oidc.core import CodeIDToken
from authlib.oidc.discovery import get_well_known_url
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from pydantic import BaseModel, ValidationError
from yarl import URL

from services.apps.core.authorization import challenge_of
from services.apps.core.oidc import Secrets
from shared.clock import Clock
from shared.faults import Transient
from shared.outbound import Answer, Limits, NoAnswer, Outbound, refusal_of
from shared.settings import OidcSettings

ALGORITHMS = ("RS256", "PS256", "ES256")
"""What an ID token may be signed with, whatever it says of itself: only what has a public key."""
LIMITS = Limits(body_s=5.0, body_bytes=256 * 1024)
_SCOPE = "openid email profile"
_SKEW_S = 60
_KNOWN_FOR = timedelta(minutes=10)
_FORM = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}

Claims = Mapping[str, Any]

log = structlog.get_logger(__name__)


class ProviderAway(Transient):
    """The provider does not answer, or not as a provider should; whoever wants to come in tries later."""


class Metadata(BaseModel):
    """What the provider says of itself, as far as it matters here."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    token_endpoint_auth_methods_supported: list[str] = ["client_secret_basic"]
    authorization_response_iss_parameter_supported: bool = False


class OidcProvider:
    """One provider. Raises `ProviderAway` where it cannot be asked."""

    def __init__(
        self,
        settings: OidcSettings,
        redirect_uri: str,
        outbound: Callable[[Limits], Outbound],
        clock: Clock,
        *,
        local: bool,
    ) -> None:
        self.settings, self._redirect_uri = settings, redirect_uri
        self._outbound, self._clock, self._local = outbound, clock, local
        self._known: tuple[Metadata, datetime] | None = None

    @property
    def issuer(self) -> str:
        """Who vouches for people here."""
        return self.settings.issuer or ""

    async def authorization_url(self, secrets: Secrets) -> str:
        """Where the browser is sent to."""
        metadata = await self.metadata()
        url: str = prepare_grant_uri(
            metadata.authorization_endpoint,
            self.settings.client_id,
            "code",
            self._redirect_uri,
            _SCOPE,
            secrets.state,
            nonce=secrets.nonce,
            code_challenge=challenge_of(secrets.verifier),
            code_challenge_method="S256",
        )
        return url

    async def claims_of(self, code: str, secrets: Secrets) -> Claims | None:
        """What the provider says of whoever came with the code; `None` when it vouches for nobody."""
        metadata = await self.metadata()
        async with self._outbound(LIMITS) as outbound:
            token = await self._exchange(outbound, metadata, code, secrets)
            if token is None:
                return None
            # Fetched anew for each sign-in, so that the provider can change its keys whenever it likes.
            keys = await _ask(outbound.get(URL(metadata.jwks_uri)), "jwks")
        return self._verified(token, keys, secrets)

    async def metadata(self) -> Metadata:
        """What the provider says of itself, known for a while."""
        now = self._clock()
        if self._known is None or now >= self._known[1]:
            async with self._outbound(LIMITS) as outbound:
                found = await _ask(outbound.get(URL(get_well_known_url(self.issuer, external=True))), "discovery")
            self._known = self._judged(found), now + _KNOWN_FOR
        return self._known[0]

    def _judged(self, found: Mapping[str, Any]) -> Metadata:
        try:
            metadata = Metadata.model_validate(found)
        except ValidationError:
            raise ProviderAway("oidc: discovery lacks something") from None
        if metadata.issuer != self.issuer:
            raise ProviderAway("oidc: discovery is of another issuer")
        for url in (metadata.authorization_endpoint, metadata.token_endpoint, metadata.jwks_uri):
            if refusal_of(url, local=self._local) is not None:
                raise ProviderAway("oidc: discovery names an address that is not allowed")
        return metadata

    async def _exchange(
        self, outbound: Outbound, metadata: Metadata, code: str, secrets: Secrets
    ) -> Mapping[str, Any] | None:
        given = {"redirect_uri": self._redirect_uri, "code": code, "code_verifier": secrets.verifier}
        secret, headers = self.settings.client_secret.get_secret_value(), dict(_FORM)
        if "client_secret_basic" in metadata.token_endpoint_auth_methods_supported:
            pair = f"{quote(self.settings.client_id, safe='')}:{quote(secret, safe='')}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        else:
            given |= {"client_id": self.settings.client_id, "client_secret": secret}
        body: str = prepare_token_request("authorization_code", **given)
        asking = outbound.post(URL(metadata.token_endpoint), body.encode(), headers)
        found: Mapping[str, Any] | None = await _ask(asking, "token", refusals=True)
        return found

    def _verified(self, token: Mapping[str, Any], keys: Mapping[str, Any], secrets: Secrets) -> Claims | None:
        """The claims of the ID token (OpenID Connect Core, 3.1.3.7)."""
        only = {"essential": True}
        options = {"iss": only | {"value": self.issuer}, "aud": only | {"value": self.settings.client_id}}
        params = {
            "nonce": secrets.nonce,
            "client_id": self.settings.client_id,
            "access_token": token.get("access_token"),
        }
        try:
            signed = jwt.decode(str(token.get("id_token")), KeySet.import_key_set(keys), algorithms=ALGORITHMS)  # type: ignore[arg-type]
            claims = CodeIDToken(signed.claims, signed.header, options, params)
            claims.validate(now=int(self._clock().timestamp()), leeway=_SKEW_S)
        except (JoseError, KeyError, ValueError, TypeError) as error:
            log.warning("oidc_token_refused", issuer=self.issuer, reason=type(error).__name__)
            return None
        return signed.claims


async def _ask(asking: Awaitable[Answer], what: str, *, refusals: bool = False) -> Any:
    """The JSON object of an answer; `None` for one that refuses the request itself, where that may be."""
    try:
        answer = await asking
        said = orjson.loads(answer.body)
    except NoAnswer as reason:
        raise ProviderAway(f"oidc: {what}: {reason.failing}") from reason
    except orjson.JSONDecodeError:
        raise ProviderAway(f"oidc: {what}: no JSON, status {answer.status}") from None
    if not isinstance(said, dict):
        raise ProviderAway(f"oidc: {what}: no JSON object")
    if answer.status == 200:
        return said
    if refusals and answer.status in (400, 401):
        log.warning("oidc_code_refused", error=str(said.get("error"))[:100])
        return None
    raise ProviderAway(f"oidc: {what}: status {answer.status}")
