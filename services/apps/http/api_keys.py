"""Routes of API keys."""

from datetime import datetime, timedelta

from litestar import Controller, get, post
from litestar.datastructures import State
from litestar.params import FromPath

from services.apps import keys
from services.apps.core.keys import ApiKey, missing, outlives
from services.apps.http.models import ApiKeyRequest, ApiKeysQuery, ApiKeyView, NewApiKeyView, RotateRequest
from services.apps.http.reach import reach_of
from services.apps.http.shown_once import answer_once
from services.apps.http.wiring import Wiring, by_caller
from services.apps.store import api_keys, merchants
from services.apps.store.api_keys import Reach
from shared.auth.access import Access
from shared.auth.guard import ApiRequest, requires
from shared.http.answers import Answer, many, one, one_bytes
from shared.http.bodies import read_body, read_query
from shared.http.operations import operation
from shared.http.pages import page_by_time
from shared.http.problems import Problem, not_found
from shared.idempotency import idempotency_key, run_idempotent
from shared.ids import new_id
from shared.postgres import Connection

MANAGE = requires("keys.write", platform=True)


class ApiKeyController(Controller):
    """The credentials of a merchant's own programs. A secret is shown once; only its hash is kept."""

    path = "/v1/api-keys"
    tags = ("API keys",)

    @post(
        guards=[MANAGE],
        **operation(
            "Create an API key",
            description=(
                "The secret is in this answer only: it is kept nowhere, also not with an idempotency key, whose "
                "replayed answer has `secret: null`; rotate for another. A key can do no more, and lives no longer, "
                "than the one that makes it. A platform key names the merchant and the environment."
            ),
            takes=ApiKeyRequest,
            gives=NewApiKeyView,
            status=201,
            problems=("NOT_FOUND", "MERCHANT_NOT_ACTIVE"),
            idempotent=True,
        ),
    )
    async def create_api_key(self, request: ApiRequest, state: State) -> Answer:
        body = await read_body(request, ApiKeyRequest)
        wiring: Wiring = state.apps
        now = wiring.clock()

        async def effect(connection: Connection) -> NewApiKeyView:
            key = _new_key(body, request.user, now)
            await _hold_merchant(connection, key)
            made, secret = await keys.create(connection, by_caller(request, now), key)
            return _with_secret(made, secret, now)

        return await answer_once(request, wiring, 201, effect)

    @get(
        guards=[MANAGE],
        **operation(
            "List API keys",
            description="Newest first.",
            query=ApiKeysQuery,
            gives=ApiKeyView,
            listed=True,
            problems=("INVALID_PAGE_TOKEN",),
        ),
    )
    async def list_api_keys(self, request: ApiRequest, state: State) -> Answer:
        query = read_query(request, ApiKeysQuery)
        wiring: Wiring = state.apps
        reach, now = reach_of(request.user, query.merchant_id, query.environment), wiring.clock()
        found = await api_keys.page(wiring.pool, reach, query.time_position(), query.page_size + 1)
        page, token = page_by_time(found, query, lambda key: (key.created_at, key.api_key_id))
        return many(request, [_view(key, now) for key in page], token)

    @get("/{api_key_id:str}", guards=[MANAGE], **operation("Read an API key", gives=ApiKeyView))
    async def read_api_key(self, request: ApiRequest, state: State, api_key_id: FromPath[str]) -> Answer:
        wiring: Wiring = state.apps
        found = await api_keys.read(wiring.pool, reach_of(request.user), api_key_id)
        if found is None:
            raise _unknown()
        return one(request, _view(found, wiring.clock()))

    @post(
        "/{api_key_id:str}/rotate",
        guards=[MANAGE],
        **operation(
            "Give an API key a new secret",
            description=(
                "Earlier secrets are accepted until the overlap ends; with `overlap_s: 0` they are refused within a "
                "second. Only a key that could have made this one may do it. The new secret is in this answer only, "
                "never in a replayed one."
            ),
            takes=RotateRequest,
            gives=NewApiKeyView,
            problems=("API_KEY_NOT_ACTIVE", "MERCHANT_NOT_ACTIVE"),
            idempotent=True,
        ),
    )
    async def rotate_api_key(self, request: ApiRequest, state: State, api_key_id: FromPath[str]) -> Answer:
        body = await read_body(request, RotateRequest)
        wiring: Wiring = state.apps
        now, reach = wiring.clock(), reach_of(request.user)
        known = await api_keys.read(wiring.pool, reach, api_key_id)
        if known is None:
            raise _unknown()

        async def effect(connection: Connection) -> NewApiKeyView:
            # The merchant before the key, as everybody who locks both.
            await _hold_merchant(connection, known)
            key = await _locked(connection, reach, api_key_id)
            _refuse_more_than_own(request.user, key.scopes, key.expires_at)
            if key.status(now) != "active":
                raise Problem("API_KEY_NOT_ACTIVE", f"The key is {key.status(now)}.")
            after, secret = await keys.rotate(
                connection, by_caller(request, now), key, timedelta(seconds=body.overlap_s)
            )
            return _with_secret(after, secret, now)

        return await answer_once(request, wiring, 200, effect)

    @post(
        "/{api_key_id:str}/revoke",
        guards=[MANAGE],
        **operation(
            "Revoke an API key",
            description="It is refused everywhere within a second, for good; a repeat changes nothing.",
            gives=ApiKeyView,
            status=200,
            idempotent=True,
        ),
    )
    async def revoke_api_key(self, request: ApiRequest, state: State, api_key_id: FromPath[str]) -> Answer:
        wiring: Wiring = state.apps
        now, reach = wiring.clock(), reach_of(request.user)

        async def effect(connection: Connection) -> tuple[int, bytes]:
            key = await _locked(connection, reach, api_key_id)
            revoked = await keys.revoke(connection, by_caller(request, now), key)
            return 200, one_bytes(request, _view(revoked, now))

        answer = await run_idempotent(wiring.pool, await idempotency_key(request, request.user), now, effect)
        wiring.committed()
        return answer


def _new_key(body: ApiKeyRequest, access: Access, now: datetime) -> ApiKey:
    """The key that is asked for, where the caller may make it."""
    reach = reach_of(access, body.merchant_id, body.environment)
    if reach.merchant_id is None or reach.environment is None:
        param = "merchant_id" if reach.merchant_id is None else "environment"
        raise Problem("VALIDATION_FAILED", f"{param}: A platform key names whose key it makes.", param=param)
    expires_at = body.expires_at if body.expires_at is not None else access.expires_at
    if expires_at is not None and expires_at <= now:
        raise Problem("VALIDATION_FAILED", "expires_at: Must be in the future.", param="expires_at")
    scopes = tuple(dict.fromkeys(body.scopes))
    _refuse_more_than_own(access, scopes, expires_at)
    return ApiKey(
        api_key_id=new_id("key"),
        kind="api_key",
        merchant_id=reach.merchant_id,
        environment=reach.environment,
        name=body.name,
        scopes=scopes,
        allowed_origins=tuple(dict.fromkeys(body.allowed_origins)),
        prefix=None,
        created_at=now,
        expires_at=expires_at,
    )


def _refuse_more_than_own(access: Access, scopes: tuple[str, ...], expires_at: datetime | None) -> None:
    """Nobody comes by a secret that can do more, or lives longer, than the credential it was asked for with."""
    if access.kind == "platform":
        return
    if access.kind != "api_key":
        raise Problem("NOT_ALLOWED", "An app is given no keys: they would outlive its installation.")
    lacking = missing(scopes, access.scopes)
    if lacking:
        detail = f"A key cannot give what it lacks: {', '.join(lacking)}."
        raise Problem("INSUFFICIENT_SCOPE", detail, param="scopes", facts={"missing_scopes": lacking})
    if outlives(expires_at, access.expires_at):
        raise Problem("NOT_ALLOWED", "A key cannot give what lives longer than itself.", param="expires_at")


async def _hold_merchant(connection: Connection, key: ApiKey) -> None:
    """The key's merchant is active, and stays so until the transaction ends."""
    if key.merchant_id is None:
        return
    status = await merchants.hold_status(connection, key.merchant_id)
    if status is None:
        raise Problem("NOT_FOUND", "There is no such merchant.", param="merchant_id")
    if status != "active":
        raise Problem("MERCHANT_NOT_ACTIVE", f"The merchant is {status}.")


async def _locked(connection: Connection, reach: Reach, api_key_id: str) -> ApiKey:
    key = await api_keys.lock(connection, reach, api_key_id)
    if key is None:
        raise _unknown()
    return key


def _fields(key: ApiKey, now: datetime) -> dict[str, object]:
    return {
        "api_key_id": key.api_key_id,
        "merchant_id": key.merchant_id,
        "environment": None if key.merchant_id is None else key.environment,
        "name": key.name,
        "scopes": list(key.scopes),
        "allowed_origins": list(key.allowed_origins),
        "status": key.status(now),
        "prefix": key.prefix,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "overlap_ends_at": key.overlap_ends_at,
        "last_used_at": key.last_used_at,
    }


def _view(key: ApiKey, now: datetime) -> ApiKeyView:
    return ApiKeyView.model_validate(_fields(key, now))


def _with_secret(key: ApiKey, secret: str, now: datetime) -> NewApiKeyView:
    return NewApiKeyView.model_validate({**_fields(key, now), "secret": secret})


def _unknown() -> Problem:
    return not_found("There is no such API key.")
