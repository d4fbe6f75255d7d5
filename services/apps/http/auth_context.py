"""Who am I."""

from litestar import Controller, get

from services.apps.http.models import AuthContextView
from shared.auth.guard import ApiRequest
from shared.http.answers import Answer, one
from shared.http.operations import operation


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
