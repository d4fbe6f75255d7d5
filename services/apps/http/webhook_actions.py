"""Routes of what is done with a webhook endpoint, and of what it can be told."""

from dataclasses import replace
from datetime import timedelta

from litestar import Controller, get, post
from litestar.datastructures import State
from litestar.params import FromPath

from services.apps import audit
from services.apps.core.event_types import EVENT_TYPES
from services.apps.core.samples import sample_event
from services.apps.http.shown_once import answer_once
from services.apps.http.webhook_models import (
    Replay,
    ReplayView,
    SecretRotation,
    TestEvent,
    WebhookDeliveryView,
    WebhookEndpointView,
    WebhookEventTypeView,
)
from services.apps.http.webhook_views import (
    MOST_WAITING,
    delivery_view,
    endpoint_view,
    known,
    open_to_more,
    owner_of,
    require_all,
    told,
)
from services.apps.http.wiring import WebhooksWiring, Wiring, by_caller
from services.apps.store import deliveries, endpoints
from services.apps.store.deliveries import NewDelivery
from services.apps.webhook_signing import new_secret
from services.apps.webhooks import replay
from shared.auth.guard import ApiRequest, requires
from shared.http.answers import Answer, many, one_bytes
from shared.http.bodies import read_body
from shared.http.operations import operation
from shared.http.pages import decode_page_token, encode_page_token, invalid_page_token
from shared.idempotency import idempotency_key, run_idempotent
from shared.ids import new_id
from shared.postgres import Connection
from shared.writes import write

READ, WRITE = requires("webhooks.read"), requires("webhooks.write")


class WebhookActionController(Controller):
    """What is done with a webhook endpoint."""

    path = "/v1/webhook-endpoints/{webhook_endpoint_id:str}"
    tags = ("Webhooks",)

    @post(
        "/rotate-secret",
        guards=[WRITE],
        **operation(
            "Give a webhook endpoint a new secret",
            description=(
                "For a while every request is signed with both, so that the receiver can change over at any moment. "
                "The new secret is in this answer only. A second rotation meanwhile ends the oldest one. It takes "
                "the right to read whatever the endpoint is told."
            ),
            takes=SecretRotation,
            gives=WebhookEndpointView,
            idempotent=True,
        ),
    )
    async def rotate_webhook_endpoint_secret(
        self, request: ApiRequest, state: State, webhook_endpoint_id: FromPath[str]
    ) -> Answer:
        body = await read_body(request, SecretRotation)
        wiring: Wiring = state.apps
        webhooks: WebhooksWiring = state.webhooks
        now, secret = wiring.clock(), new_secret()

        async def effect(connection: Connection) -> WebhookEndpointView:
            old = known(await endpoints.lock(connection, owner_of(request.user), webhook_endpoint_id))
            require_all(old, request.user)
            new = replace(
                old,
                sealed_secret=webhooks.signer.seal(secret),
                sealed_previous_secret=old.sealed_secret,
                previous_secret_ends_at=now + timedelta(seconds=body.overlap_s),
                version=old.version + 1,
                updated_at=now,
            )
            await endpoints.save(connection, new)
            await audit.note(connection, told(by_caller(request, now), "secret_rotated", old, new))
            return endpoint_view(new, secret)

        return await answer_once(request, wiring, 200, effect)

    @post(
        "/test-events",
        guards=[WRITE],
        **operation(
            "Send a test event",
            description="Of something that does not exist; whatever the endpoint's filters say, and to it alone.",
            takes=TestEvent,
            gives=WebhookDeliveryView,
            status=201,
            problems=("WEBHOOK_ENDPOINT_DISABLED", "TOO_MANY_WEBHOOK_DELIVERIES"),
            idempotent=True,
        ),
    )
    async def send_webhook_test_event(
        self, request: ApiRequest, state: State, webhook_endpoint_id: FromPath[str]
    ) -> Answer:
        body = await read_body(request, TestEvent)
        wiring: Wiring = state.apps
        access, now = request.user, wiring.clock()
        event = sample_event(new_id("evt"), body.event_type, access.merchant, access.environment, now)

        async def effect(connection: Connection) -> tuple[int, bytes]:
            found = await endpoints.lock(connection, owner_of(access), webhook_endpoint_id)
            endpoint = await open_to_more(connection, found)
            delivery_id = new_id("del")
            new = NewDelivery(delivery_id, endpoint.endpoint_id, event.event_id, event.type, event.key, event.body())
            await write(connection, deliveries.rows_of([new], now))
            return 201, one_bytes(request, delivery_view(deliveries.enqueued(new, now)))

        answer = await run_idempotent(wiring.pool, await idempotency_key(request, access), now, effect)
        wiring.committed()
        return answer

    @post(
        "/replay",
        guards=[WRITE],
        **operation(
            "Send past events again",
            description=(
                "Those of a window that the endpoint asks for now, oldest first, whether they were received or not; "
                "they keep their ids. At most 5,000 events are looked at: `next_page_token` leads to more. It "
                "takes the right to read whatever the endpoint is told. Refused while "
                f"{MOST_WAITING:,} deliveries wait for the endpoint."
            ),
            takes=Replay,
            gives=ReplayView,
            problems=("WEBHOOK_ENDPOINT_DISABLED", "TOO_MANY_WEBHOOK_DELIVERIES", "INVALID_PAGE_TOKEN"),
            idempotent=True,
        ),
    )
    async def replay_webhook_events(
        self, request: ApiRequest, state: State, webhook_endpoint_id: FromPath[str]
    ) -> Answer:
        body = await read_body(request, Replay)
        wiring: Wiring = state.apps
        access, now = request.user, wiring.clock()
        window = (body.created_from, body.created_before or now)
        after = _position(body)

        async def effect(connection: Connection) -> tuple[int, bytes]:
            found = await endpoints.lock(connection, owner_of(access), webhook_endpoint_id)
            endpoint = require_all(await open_to_more(connection, found), access)
            enqueued, reached = await replay(connection, endpoint, window, after, now)
            await audit.note(connection, told(by_caller(request, now), "replayed", endpoint, endpoint))
            token = None if reached is None else encode_page_token((str(reached),), body.window())
            return 200, one_bytes(request, ReplayView(enqueued=enqueued, next_page_token=token))

        answer = await run_idempotent(wiring.pool, await idempotency_key(request, access), now, effect)
        wiring.committed()
        return answer


def _position(body: Replay) -> int:
    """Where the events begin that are looked at."""
    if body.page_token is None:
        return 0
    try:
        [position] = decode_page_token(body.page_token, body.window())
        return int(position)
    except ValueError:
        raise invalid_page_token() from None


class WebhookEventTypeController(Controller):
    """What there is to be told of."""

    path = "/v1/webhook-event-types"
    tags = ("Webhooks",)

    @get(guards=[READ], **operation("List event types", gives=WebhookEventTypeView, listed=True))
    async def list_webhook_event_types(self, request: ApiRequest) -> Answer:
        return many(request, [WebhookEventTypeView(event_type=name) for name in EVENT_TYPES])
