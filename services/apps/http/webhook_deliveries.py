"""Routes of webhook deliveries."""

from litestar import Controller, get, post
from litestar.datastructures import State
from litestar.params import FromPath

from services.apps.http.webhook_models import WebhookAttemptView, WebhookDeliveryQuery, WebhookDeliveryView
from services.apps.http.webhook_views import beyond, delivery_view, owner_of
from services.apps.http.wiring import Wiring
from services.apps.store import deliveries, endpoints
from services.apps.store.deliveries import DeliveryFilter
from shared.auth.guard import ApiRequest, requires
from shared.http.answers import Answer, many, one, one_bytes
from shared.http.bodies import read_query
from shared.http.operations import operation
from shared.http.pages import page_by_time
from shared.http.problems import Problem, not_found
from shared.idempotency import idempotency_key, run_idempotent
from shared.postgres import Connection

READ, WRITE = requires("webhooks.read"), requires("webhooks.write")


class WebhookDeliveryController(Controller):
    """What is sent to webhook endpoints, and what came of it; kept for 30 days."""

    path = "/v1/webhook-deliveries"
    tags = ("Webhooks",)

    @get(
        guards=[READ],
        **operation(
            "List webhook deliveries",
            description="Newest first.",
            query=WebhookDeliveryQuery,
            gives=WebhookDeliveryView,
            listed=True,
            problems=("INVALID_PAGE_TOKEN",),
        ),
    )
    async def list_webhook_deliveries(self, request: ApiRequest, state: State) -> Answer:
        query = read_query(request, WebhookDeliveryQuery)
        wiring: Wiring = state.apps
        wanted = DeliveryFilter(owner_of(request.user), query.webhook_endpoint_id, query.status)
        found = await deliveries.page(wiring.pool, wanted, query.time_position(), query.page_size + 1)
        page, token = page_by_time(found, query, lambda one: (one.created_at, one.delivery_id))
        return many(request, [delivery_view(one) for one in page], token)

    @get("/{webhook_delivery_id:str}", guards=[READ], **operation("Read a webhook delivery", gives=WebhookDeliveryView))
    async def read_webhook_delivery(
        self, request: ApiRequest, state: State, webhook_delivery_id: FromPath[str]
    ) -> Answer:
        wiring: Wiring = state.apps
        found = await deliveries.read(wiring.pool, owner_of(request.user), webhook_delivery_id)
        if found is None:
            raise _unknown()
        return one(request, delivery_view(found))

    @get(
        "/{webhook_delivery_id:str}/attempts",
        guards=[READ],
        **operation(
            "List the attempts of a webhook delivery",
            description="The first one first.",
            gives=WebhookAttemptView,
            listed=True,
        ),
    )
    async def list_webhook_attempts(
        self, request: ApiRequest, state: State, webhook_delivery_id: FromPath[str]
    ) -> Answer:
        wiring: Wiring = state.apps
        owner = owner_of(request.user)
        delivery = await deliveries.read(wiring.pool, owner, webhook_delivery_id)
        found = await deliveries.attempts(wiring.pool, owner, webhook_delivery_id)
        if delivery is None or found is None:
            raise _unknown()
        endpoint = await endpoints.read(wiring.pool, owner, delivery.endpoint_id)
        shows = endpoint is not None and not beyond(endpoint, request.user)
        views = [
            WebhookAttemptView(
                attempt=one.attempt,
                at=one.at,
                latency_ms=one.latency_ms,
                status_code=one.status_code,
                error=one.error,
                response=one.response if shows else None,
            )
            for one in found
        ]
        return many(request, views)

    @post(
        "/{webhook_delivery_id:str}/resend",
        guards=[WRITE],
        **operation(
            "Send a webhook delivery again",
            description="Now, whether it was received or not, and with the whole schedule of attempts before it.",
            gives=WebhookDeliveryView,
            problems=("WEBHOOK_ENDPOINT_DISABLED",),
            idempotent=True,
        ),
    )
    async def resend_webhook_delivery(
        self, request: ApiRequest, state: State, webhook_delivery_id: FromPath[str]
    ) -> Answer:
        wiring: Wiring = state.apps
        access, now = request.user, wiring.clock()
        if await deliveries.read(wiring.pool, owner_of(access), webhook_delivery_id) is None:
            raise _unknown()

        async def effect(connection: Connection) -> tuple[int, bytes]:
            row = await deliveries.resend(connection, owner_of(access), webhook_delivery_id, now)
            if row is None:
                raise Problem("WEBHOOK_ENDPOINT_DISABLED", "The endpoint of this delivery is disabled.")
            return 200, one_bytes(request, delivery_view(row))

        answer = await run_idempotent(wiring.pool, await idempotency_key(request, access), now, effect)
        wiring.committed()
        return answer


def _unknown() -> Problem:
    return not_found("There is no such webhook delivery.")
