"""OAuth's endpoints for apps: tokens, revocation, introspection, and what describes them.

They answer in OAuth's grammar and not in that of the rest of the API, so that every OAuth client understands them.
"""

import binascii
import hmac
from base64 import b64decode
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_plus

import orjson
from litestar import Controller, Response, get, post
from litestar.datastructures import State

from services.apps.core.errors import TokenError
from services.apps.core.partner_apps import GRANTABLE_SCOPES, PartnerApp
from services.apps.http.oauth_models import (
    IntrospectionView,
    KeySetView,
    OAuthErrorView,
    ServerMetadataView,
    TokenOnlyRequest,
    TokenRequest,
    TokenView,
)
from services.apps.http.wiring import Wiring, by_actor
from services.apps.oauth import ACCESS_LASTS, Presented, Refresh, Tokens
from services.apps.store import installs, merchants, partner_apps, tokens
from shared.auth.guard import admit_client
from shared.auth.keys import hash_credential
from shared.auth.tokens import GRANT_CLAIM
from shared.contracts.model import Actor
from shared.http.answers import JSON, Answer, AnyRequest, to_json
from shared.http.bodies import JSON_MEDIA_TYPE, read_raw
from shared.http.browser import FORM, read_form
from shared.http.operations import operation
from shared.http.problems import Problem
from shared.idempotency import key_in

_NOT_KEPT = {"Cache-Control": "no-store"}
_FOR_TEN_MINUTES = {"Cache-Control": "public, max-age=600"}
_CLIENT_AUTH = ["client_secret_basic", "client_secret_post"]
_EITHER = {FORM: TokenRequest, JSON_MEDIA_TYPE: TokenRequest}
_TOKEN_ONLY = {FORM: TokenOnlyRequest, JSON_MEDIA_TYPE: TokenOnlyRequest}


class OAuthError(Exception):
    """Why an app gets nothing."""

    def __init__(self, error: str, detail: str) -> None:
        super().__init__(detail)
        self.error, self.detail = error, detail


def _answer_error(_: AnyRequest, error: OAuthError) -> Answer:
    body = to_json(OAuthErrorView(error=error.error, error_description=error.detail))
    unknown = error.error == "invalid_client"
    headers = _NOT_KEPT | ({"WWW-Authenticate": 'Basic realm="throughline"'} if unknown else {})
    return Response(body, status_code=401 if unknown else 400, media_type=JSON, headers=headers)


class OAuthController(Controller):
    """What apps exchange codes and refresh tokens for, and how they give them back."""

    path = "/v1/oauth"
    tags = ("OAuth",)
    exception_handlers = {OAuthError: _answer_error}

    @post(
        "/token",
        **operation(
            "Exchange a code or refresh token",
            description=(
                "RFC 6749 with PKCE. A code that comes a second time, or a refresh token that was used before, ends "
                "everything that was given for it: somebody else has it. Send an `Idempotency-Key`: when the answer "
                "gets lost, the same request with the same key gives new tokens in place of those that nobody received."
            ),
            idempotent=True,
            takes=_EITHER,
            gives=TokenView,
            errors=OAuthErrorView,
            open_to_all=True,
        ),
    )
    async def issue_token(self, request: AnyRequest, state: State) -> Answer:
        wiring: Wiring = state.apps
        given = await _parameters(request)
        app = await _client(request, wiring, given)
        by, key = by_actor(request, wiring, Actor(type="app", id=app.app_id)), _idempotency_key(request)
        match _required(given, "grant_type"):
            case "authorization_code":
                code, verifier = _required(given, "code"), _required(given, "code_verifier")
                presented = Presented(code, given.get("redirect_uri"), verifier, key)
                found = await wiring.oauth.exchange(app, presented, by)
            case "refresh_token":
                asked = Refresh(_required(given, "refresh_token"), given.get("scope"), key)
                found = await wiring.oauth.refresh(app, asked, by)
            case _:
                raise OAuthError("unsupported_grant_type", "grant_type must be authorization_code or refresh_token.")
        if isinstance(found, TokenError):
            raise OAuthError(found.error, found.detail)
        return _plain(_token_view(found), _NOT_KEPT)

    @post(
        "/revoke",
        **operation(
            "Give a token back",
            description=(
                "RFC 7009. Ends everything that stands behind the token, in its environment: the app removes itself. "
                "A token that is not yours or no longer works is answered alike, and nothing happens."
            ),
            takes=_TOKEN_ONLY,
            errors=OAuthErrorView,
            open_to_all=True,
        ),
    )
    async def revoke_token(self, request: AnyRequest, state: State) -> Answer:
        wiring: Wiring = state.apps
        given = await _parameters(request)
        app = await _client(request, wiring, given)
        token = _required(given, "token")
        claims = await wiring.tokens.claims_of(token)
        refresh = None if claims else await tokens.read_refresh(wiring.pool, hash_credential(token))
        grant_id = claims[GRANT_CLAIM] if claims else refresh.grant_id if refresh else None
        works = claims is not None or (refresh is not None and refresh.status == "active")
        if grant_id is not None and works:
            await wiring.oauth.revoke(app, grant_id, by_actor(request, wiring, Actor(type="app", id=app.app_id)))
        return Response(b"", status_code=200, media_type=JSON, headers=_NOT_KEPT)

    @post(
        "/introspect",
        **operation(
            "Look into a token",
            description="RFC 7662, for an app's own tokens.",
            takes=_TOKEN_ONLY,
            gives=IntrospectionView,
            errors=OAuthErrorView,
            open_to_all=True,
        ),
    )
    async def introspect_token(self, request: AnyRequest, state: State) -> Answer:
        wiring: Wiring = state.apps
        given = await _parameters(request)
        app = await _client(request, wiring, given)
        view = await _introspected(wiring, app, _required(given, "token"))
        return Response(
            view.model_dump_json(exclude_none=True).encode(), status_code=200, media_type=JSON, headers=_NOT_KEPT
        )


class WellKnownController(Controller):
    """How OAuth clients and verifiers of tokens find their way."""

    path = "/.well-known"
    tags = ("OAuth discovery",)

    @get(
        "/oauth-authorization-server",
        **operation(
            "Describe the authorization server",
            description="RFC 8414.",
            gives=ServerMetadataView,
            errors=OAuthErrorView,
            open_to_all=True,
        ),
    )
    async def read_server_metadata(self, request: AnyRequest, state: State) -> Answer:
        wiring: Wiring = state.apps
        return _plain(_metadata(wiring.base_url), _FOR_TEN_MINUTES)

    @get(
        "/jwks.json",
        **operation(
            "List the keys that sign access tokens",
            description="RFC 7517. A new key is listed an hour before it signs anything.",
            gives=KeySetView,
            errors=OAuthErrorView,
            open_to_all=True,
        ),
    )
    async def read_signing_keys(self, request: AnyRequest, state: State) -> Answer:
        wiring: Wiring = state.apps
        return _plain(await wiring.signer.jwks(), _FOR_TEN_MINUTES)


async def _parameters(request: AnyRequest) -> dict[str, str]:
    """The parameters of a form or a JSON object; one without a value counts as not there."""
    try:
        if request.content_type[0].lower() == JSON_MEDIA_TYPE:
            return _from_json(await read_raw(request, JSON_MEDIA_TYPE))
        form = await read_form(request)
    except Problem as problem:
        raise OAuthError("invalid_request", problem.detail) from None
    repeated = [name for name, values in form.items() if len(values) > 1]
    if repeated:
        raise OAuthError("invalid_request", "A parameter is given more than once.")
    return {name: values[0] for name, values in form.items() if values[0]}


def _from_json(raw: bytes) -> dict[str, str]:
    try:
        found = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise OAuthError("invalid_request", "The body is not JSON.") from None
    if not isinstance(found, dict) or not all(isinstance(value, str | None) for value in found.values()):
        raise OAuthError("invalid_request", "The body must be an object of texts.")
    if any("\0" in value for value in found.values() if value):
        raise OAuthError("invalid_request", "Text must not contain a NUL character.")
    return {name: value for name, value in found.items() if value}


def _idempotency_key(request: AnyRequest) -> str | None:
    try:
        return key_in(request)
    except Problem as problem:
        raise OAuthError("invalid_request", problem.detail) from None


def _required(given: Mapping[str, str], name: str) -> str:
    if name not in given:
        raise OAuthError("invalid_request", f"{name} is required.")
    return given[name]


async def _client(request: AnyRequest, wiring: Wiring, given: Mapping[str, str]) -> PartnerApp:
    """The app that proves itself, by exactly one of the two ways."""
    header = request.headers.get("authorization")
    if header is not None and "client_secret" in given:
        raise OAuthError("invalid_request", "Use HTTP Basic or client_secret, not both.")
    client_id, secret = (
        (given.get("client_id", ""), given.get("client_secret", "")) if header is None else _basic(header)
    )
    if given.get("client_id", client_id) != client_id:
        raise OAuthError("invalid_request", "client_id is not the one of the Authorization header.")
    app = await partner_apps.by_client_id(wiring.pool, client_id)
    known = [] if app is None else await partner_apps.live_secrets(wiring.pool, app.app_id, wiring.clock())
    shown = hash_credential(secret)
    fits = [hmac.compare_digest(shown, each.secret_hash) for each in known]
    if app is None or not any(fits):
        raise _invalid_client()
    admit_client(request.scope, app.app_id)
    return app


def _basic(header: str) -> tuple[str, str]:
    scheme, _, value = header.partition(" ")
    if scheme.lower() != "basic":
        raise _invalid_client()
    try:
        name, separator, secret = b64decode(value.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        raise _invalid_client() from None
    if not separator or "\0" in unquote_plus(name):
        raise _invalid_client()
    return unquote_plus(name), unquote_plus(secret)


def _invalid_client() -> OAuthError:
    """One answer for an unknown app, a wrong secret and one that has ended."""
    return OAuthError("invalid_client", "The client's credentials are not valid.")


async def _introspected(wiring: Wiring, app: PartnerApp, token: str) -> IntrospectionView:
    inactive = IntrospectionView(active=False)
    claims = await wiring.tokens.claims_of(token)
    refresh = None if claims else await tokens.read_refresh(wiring.pool, hash_credential(token))
    grant_id = claims[GRANT_CLAIM] if claims else refresh.grant_id if refresh else None
    grant = None if grant_id is None else await installs.read_grant(wiring.pool, grant_id)
    if grant is None or grant.app_id != app.app_id or grant.status != "active":
        return inactive
    merchant = await merchants.read(wiring.pool, grant.merchant_id)
    if merchant is None or merchant.status != "active":
        # The install rests: every service refuses what it has.
        return inactive
    shared: dict[str, Any] = {
        "active": True,
        "scope": " ".join(grant.scopes),
        "client_id": app.app_id,
        "sub": grant.install_id,
        "merchant_id": grant.merchant_id,
        "mode": grant.environment,
        "environment_grant_id": grant.grant_id,
    }
    if claims:
        said = {name: claims[name] for name in ("exp", "iat", "aud", "iss", "jti")}
        return IntrospectionView(**shared, **said, token_type="Bearer")  # noqa: S106 - the kind, not a secret
    if refresh is None or refresh.status != "active" or wiring.clock() >= refresh.expires_at:
        return inactive
    return IntrospectionView(**shared, exp=int(refresh.expires_at.timestamp()))


def _token_view(found: Tokens) -> TokenView:
    grant = found.grant
    return TokenView(
        access_token=found.access_token,
        expires_in=int(ACCESS_LASTS.total_seconds()),
        refresh_token=found.refresh_token,
        scope=" ".join(grant.scopes),
        merchant_id=grant.merchant_id,
        mode=grant.environment,
        partner_app_id=grant.app_id,
        partner_app_install_id=grant.install_id,
        environment_grant_id=grant.grant_id,
    )


def _metadata(base_url: str) -> ServerMetadataView:
    return ServerMetadataView(
        issuer=base_url,
        authorization_endpoint=f"{base_url}/v1/oauth/authorize",
        token_endpoint=f"{base_url}/v1/oauth/token",
        revocation_endpoint=f"{base_url}/v1/oauth/revoke",
        introspection_endpoint=f"{base_url}/v1/oauth/introspect",
        jwks_uri=f"{base_url}/.well-known/jwks.json",
        scopes_supported=list(GRANTABLE_SCOPES),
        response_types_supported=["code"],
        response_modes_supported=["query"],
        grant_types_supported=["authorization_code", "refresh_token"],
        code_challenge_methods_supported=["S256"],
        token_endpoint_auth_methods_supported=_CLIENT_AUTH,
        revocation_endpoint_auth_methods_supported=_CLIENT_AUTH,
        introspection_endpoint_auth_methods_supported=_CLIENT_AUTH,
        authorization_response_iss_parameter_supported=True,
        service_documentation=f"{base_url}/docs",
    )


def _plain(data: Any, headers: Mapping[str, str]) -> Answer:
    return Response(to_json(data), status_code=200, media_type=JSON, headers=headers)
