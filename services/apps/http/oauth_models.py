"""What OAuth's endpoints take and give, in the words of its standards."""

from typing import Any, Literal

from pydantic import ConfigDict

from services.apps.http.partner_app_models import PermissionModel
from shared.contracts.access import Environment
from shared.http.answers import AnswerModel
from shared.http.bodies import RequestModel, shown

_ASKED: dict[str, Any] = {"client_id": "app_01KA6M4T2V9C3R8E5XQWJHZ7NB", "client_secret": "tl_client_…"}


class _Standard(RequestModel):
    """Parameters that no standard knows are ignored, as OAuth wants it."""

    model_config = ConfigDict(extra="ignore")


class PreviewQuery(RequestModel):
    """The parameters of `/v1/oauth/authorize`."""

    client_id: str
    redirect_uri: str
    """One of the app's, exactly."""
    response_type: Literal["code"]
    state: str
    """Comes back unchanged; unguessable, and checked by you."""
    code_challenge: str
    """The verifier's SHA-256 in base64url (PKCE)."""
    code_challenge_method: Literal["S256"]
    mode: Environment | None = None
    """Where to be installed; the merchant chooses where it is not given and there is a choice."""
    permission_ids: str | None = None
    """The optional permissions to ask for, with commas between; required ones are always asked for."""


class PreviewView(AnswerModel):
    """What the merchant would be shown."""

    model_config = shown(
        {
            "partner_app_id": "app_01KA6M4T2V9C3R8E5XQWJHZ7NB",
            "name": "Packing lists",
            "modes": ["test"],
            "redirect_uri": "https://packing.example/installed",
            "permissions": [],
            "required_scopes": ["orders.read"],
            "all_scopes": ["orders.read"],
            "money_effects": [],
            "money_budgets": [],
        }
    )

    partner_app_id: str
    name: str
    modes: list[Environment]
    redirect_uri: str
    permissions: list[PermissionModel]
    required_scopes: list[str]
    """What the app gets with every approval."""
    all_scopes: list[str]
    """With all optional permissions."""
    money_effects: list[str]
    money_budgets: list[str]


class TokenRequest(_Standard):
    """`grant_type=authorization_code` takes `code`, `code_verifier` and `redirect_uri`; `refresh_token` takes one."""

    model_config = shown({**_ASKED, "grant_type": "refresh_token", "refresh_token": "tl_refresh_…"})

    grant_type: Literal["authorization_code", "refresh_token"]
    code: str | None = None
    redirect_uri: str | None = None
    """The one of the authorization request."""
    code_verifier: str | None = None
    refresh_token: str | None = None
    scope: str | None = None
    """Can only repeat what was granted: what an app may do, merchants decide."""
    client_id: str | None = None
    """Your credentials, here or as HTTP Basic, not both."""
    client_secret: str | None = None


class TokenOnlyRequest(_Standard):
    """One token of yours."""

    model_config = shown({**_ASKED, "token": "tl_refresh_…"})

    token: str
    token_type_hint: str | None = None
    client_id: str | None = None
    client_secret: str | None = None


class TokenView(AnswerModel):
    """Tokens, and what they stand for."""

    model_config = shown(
        {
            "access_token": "eyJ…",
            "token_type": "Bearer",
            "expires_in": 600,
            "refresh_token": "tl_refresh_…",
            "scope": "orders.read",
            "merchant_id": "mer_01KA6M4T2VQ6W8N3D5ZB7XJ9HC",
            "mode": "test",
            "partner_app_id": "app_01KA6M4T2V9C3R8E5XQWJHZ7NB",
            "partner_app_install_id": "ins_01KA6M5D8Q2H4N6T0VXZJ3B7CW",
            "environment_grant_id": "grt_01KA6M5D8Q2H4N6T0VXZJ3B7CW",
        }
    )

    access_token: str
    """For `Authorization: Bearer …`."""
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - the kind, not a secret
    expires_in: int
    """Seconds."""
    refresh_token: str
    """Works once: each use gives the next one."""
    scope: str
    merchant_id: str
    mode: Environment
    partner_app_id: str
    partner_app_install_id: str
    environment_grant_id: str


class IntrospectionView(AnswerModel):
    """RFC 7662; of a token that is not active, or not yours, nothing else is said."""

    active: bool
    scope: str | None = None
    client_id: str | None = None
    token_type: str | None = None
    exp: int | None = None
    iat: int | None = None
    sub: str | None = None
    aud: str | None = None
    iss: str | None = None
    jti: str | None = None
    merchant_id: str | None = None
    mode: Environment | None = None
    environment_grant_id: str | None = None


class OAuthErrorView(AnswerModel):
    """RFC 6749, 5.2."""

    error: str
    error_description: str


class KeySetView(AnswerModel):
    """RFC 7517."""

    keys: list[dict[str, str]]


class ServerMetadataView(AnswerModel):
    """RFC 8414."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    revocation_endpoint: str
    introspection_endpoint: str
    jwks_uri: str
    scopes_supported: list[str]
    response_types_supported: list[str]
    response_modes_supported: list[str]
    grant_types_supported: list[str]
    code_challenge_methods_supported: list[str]
    token_endpoint_auth_methods_supported: list[str]
    revocation_endpoint_auth_methods_supported: list[str]
    introspection_endpoint_auth_methods_supported: list[str]
    authorization_response_iss_parameter_supported: bool
    service_documentation: str
