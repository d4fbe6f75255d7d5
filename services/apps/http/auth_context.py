"""Who am I."""

from datetime import datetime

from litestar import Controller, get

from shared.auth.guard import ApiRequest
from shared.contracts.access import Environment, GrantKind
from shared.http.answers import Answer, AnswerModel, one
from shared.http.bodies import shown
from shared.http.operations import operation


class AuthContextView(AnswerModel):
    """What the credential of this request is, and what it may do."""

    model_config = shown(
        {
            "kind": "api_key",
            "grant_id": "key_01KA6M4T2V9C3R8E5XQWJHZ7NB",
            "merchant_id": "mer_01KA6M4T2VQ6W8N3D5ZB7XJ9HC",
            "environment": "test",
            "scopes": ["orders.write", "payments.read"],
            "expires_at": None,
            "api_version": "2026-11-01",
        }
    )

    kind: GrantKind
    grant_id: str
    """The API key's id, or the environment grant's."""
    merchant_id: str | None
    """`null` for a platform key, which belongs to no merchant."""
    environment: Environment | None
    scopes: list[str]
    """Writing includes reading."""
    expires_at: datetime | None
    api_version: str
    """What this request is answered in: pinned at the credential's first use, unless the request asks for another."""


class AuthContextController(Controller):
    """What the credential of a request may do."""

    path = "/v1/auth-context"
    tags = ("Access",)

    @get(**operation("Say who is asking", description="Any credential may ask.", gives=AuthContextView))
    async def read_auth_context(self, request: ApiRequest) -> Answer:
        access = request.user
        view = AuthContextView(
            kind=access.kind,
            grant_id=access.grant_id,
            merchant_id=access.merchant_id,
            environment=None if access.merchant_id is None else access.environment,
            scopes=sorted(access.scopes),
            expires_at=access.expires_at,
            api_version=request.scope["state"]["api_version"],
        )
        return one(request, view)
