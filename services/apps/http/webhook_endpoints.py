"""Routes of webhook endpoints."""

from dataclasses import replace
from datetime import datetime

from litestar import Controller, delete, get, patch, post
from litestar.datastructures import State
from litestar.params import FromPath

from services.apps import audit
from services.apps.http.shown_once import answer_once
from services.apps.http.webhook_models import WebhookEndpointPatch, WebhookEndpointRequest, WebhookEndpointView
from services.apps.http.webhook_views import endpoint_view, known, narrowed, owner_of, told
from services.apps.http.wiring import WebhooksWiring, Wiring, by_caller
from services.apps.store import endpoints
from services.apps.store.endpoints import Endpoint
from services.apps.telling import endpoint_disabled
from services.apps.webhook_signing import new_secret
from shared.auth.access import Access
from shared.auth.guard import ApiRequest, requires
from shared.http.answers import Answer, many, one, one_bytes
from shared.http.bodies import read_body, read_query
from shared.http.operations import operation
from shared.http.pages import ListQuery, page_by_time
from shared.http.problems import Problem
from shared.idempotency import idempotency_key, run_idempotent
from shared.ids import new_id
from shared.outbound import refusal_of
from shared.postgres import Connection

READ, WRITE = requires("webhooks.read"), requires("webhooks.write")
# An endpoint is told what its maker could read, which without orders is nothing.
CREATE = requires("webhooks.write", "orders.read")

MOST_ENDPOINTS = 50
"""Of one owner."""


class WebhookEndpointController(Controller):
    """Where events are sent. A merchant's keys see the merchant's own endpoints, an installed app sees its own."""

    path = "/v1/webhook-endpoints"
    tags = ("Webhooks",)

    @post(
        guards=[CREATE],
        **operation(
            "Create a webhook endpoint",
            description=(
                "Events that happen from now on are sent to it. The signing secret is in this answer only, never in a "
                "replayed one; rotate for another."
            ),
            takes=WebhookEndpointRequest,
            gives=WebhookEndpointView,
            status=201,
            problems=("TOO_MANY_WEBHOOK_ENDPOINTS",),
            idempotent=True,
        ),
    )
    async def create_webhook_endpoint(self, request: ApiRequest, state: State) -> Answer:
        body = await read_body(request, WebhookEndpointRequest)
        wiring: Wiring = state.apps
        webhooks: WebhooksWiring = state.webhooks
        _check_url(body.url, webhooks)
        secret, now = new_secret(), wiring.clock()
        new = _new_endpoint(request.user, body, webhooks.signer.seal(secret), now)

        async def effect(connection: Connection) -> WebhookEndpointView:
            if not await endpoints.insert(connection, new, MOST_ENDPOINTS):
                raise Problem("TOO_MANY_WEBHOOK_ENDPOINTS", f"There are {MOST_ENDPOINTS} webhook endpoints already.")
            await audit.note(connection, told(by_caller(request, now), "created", None, new))
            return endpoint_view(new, secret)

        return await answer_once(request, wiring, 201, effect)

    @get(
        guards=[READ],
        **operation(
            "List webhook endpoints",
            description="Newest first.",
            query=ListQuery,
            gives=WebhookEndpointView,
            listed=True,
            problems=("INVALID_PAGE_TOKEN",),
        ),
    )
    async def list_webhook_endpoints(self, request: ApiRequest, state: State) -> Answer:
        query = read_query(request, ListQuery)
        wiring: Wiring = state.apps
        owner, after = owner_of(request.user), query.time_position()
        found = await endpoints.page(wiring.pool, owner, after, query.page_size + 1)
        page, token = page_by_time(found, query, lambda one: (one.created_at, one.endpoint_id))
        return many(request, [endpoint_view(one) for one in page], token)

    @get("/{webhook_endpoint_id:str}", guards=[READ], **operation("Read a webhook endpoint", gives=WebhookEndpointView))
    async def read_webhook_endpoint(
        self, request: ApiRequest, state: State, webhook_endpoint_id: FromPath[str]
    ) -> Answer:
        wiring: Wiring = state.apps
        found = await endpoints.read(wiring.pool, owner_of(request.user), webhook_endpoint_id)
        return one(request, endpoint_view(known(found)))

    @patch(
        "/{webhook_endpoint_id:str}",
        guards=[WRITE],
        **operation(
            "Change, disable or enable a webhook endpoint",
            description=(
                "Another `url` or other `event_types` take what creating takes, and from then on the endpoint is told "
                "no more than the credential may read that changed them: `scopes` says what is left."
            ),
            takes=WebhookEndpointPatch,
            gives=WebhookEndpointView,
            problems=("VERSION_CONFLICT",),
            idempotent=True,
        ),
    )
    async def update_webhook_endpoint(
        self, request: ApiRequest, state: State, webhook_endpoint_id: FromPath[str]
    ) -> Answer:
        body = await read_body(request, WebhookEndpointPatch)
        wiring: Wiring = state.apps
        if body.url is not None:
            _check_url(body.url, state.webhooks)
        now = wiring.clock()

        async def effect(connection: Connection) -> tuple[int, bytes]:
            old = known(await endpoints.lock(connection, owner_of(request.user), webhook_endpoint_id))
            if body.expected_version not in (None, old.version):
                detail = f"The endpoint is at version {old.version}."
                raise Problem("VERSION_CONFLICT", detail, facts={"current_version": old.version})
            new = _patched(old, body)
            if (new.url, new.event_types) != (old.url, old.event_types):
                new = narrowed(new, request.user)
            if new != old:
                new = replace(new, version=old.version + 1, updated_at=now)
                await endpoints.save(connection, new)
                by = by_caller(request, now)
                await audit.note(connection, told(by, "updated", old, new))
                if new.status == "disabled" != old.status:
                    await endpoint_disabled(connection, by, new)
            return 200, one_bytes(request, endpoint_view(new))

        answer = await run_idempotent(wiring.pool, await idempotency_key(request, request.user), now, effect)
        wiring.committed()
        return answer

    @delete(
        "/{webhook_endpoint_id:str}",
        guards=[WRITE],
        **operation(
            "Delete a webhook endpoint",
            description="Nothing more is sent to it, and its deliveries can no longer be read.",
            gives=WebhookEndpointView,
            status=204,
            idempotent=True,
        ),
    )
    async def delete_webhook_endpoint(
        self, request: ApiRequest, state: State, webhook_endpoint_id: FromPath[str]
    ) -> Answer:
        wiring: Wiring = state.apps
        now = wiring.clock()

        async def effect(connection: Connection) -> tuple[int, bytes]:
            owner = owner_of(request.user)
            old = known(await endpoints.lock(connection, owner, webhook_endpoint_id))
            await endpoints.delete(connection, owner, webhook_endpoint_id)
            await audit.note(connection, told(by_caller(request, now), "deleted", old, None))
            return 204, b""

        key = await idempotency_key(request, request.user)
        return await run_idempotent(wiring.pool, key, now, effect)


def _new_endpoint(access: Access, body: WebhookEndpointRequest, sealed: bytes, now: datetime) -> Endpoint:
    owner = owner_of(access)
    return Endpoint(
        endpoint_id=new_id("whe"),
        merchant_id=owner.merchant_id,
        environment=owner.environment,
        grant_id=owner.grant_id,
        scopes=tuple(sorted(access.scopes)),
        url=body.url,
        description=body.description,
        event_types=tuple(body.event_types),
        status="active",
        disabled_reason=None,
        sealed_secret=sealed,
        sealed_previous_secret=None,
        previous_secret_ends_at=None,
        failing_since=None,
        version=1,
        created_at=now,
        updated_at=now,
    )


def _patched(old: Endpoint, body: WebhookEndpointPatch) -> Endpoint:
    given = body.model_dump(exclude_unset=True, exclude={"expected_version"})
    if given.get("event_types") is not None:
        given["event_types"] = tuple(given["event_types"])
    new = replace(old, **{name: value for name, value in given.items() if value is not None or name == "description"})
    if new.status == old.status:
        return new
    if new.status == "disabled":
        return replace(new, disabled_reason="requested")
    return replace(new, disabled_reason=None, failing_since=None)


def _check_url(url: str, wiring: WebhooksWiring) -> None:
    refusal = refusal_of(url, local=wiring.local)
    if refusal is not None:
        raise Problem("VALIDATION_FAILED", f"url: {refusal}.", param="url")
