"""Routes of an app's own Kafka topic."""

from datetime import datetime
from typing import Annotated

from litestar import Controller, get, post
from litestar.datastructures import State
from litestar.params import FromPath
from pydantic import Field

from services.apps.audit import note
from services.apps.core.event_types import READ_SCOPE
from services.apps.core.plugin_topics import PluginTopic, Replay, ReplayStatus, TopicStatus, group_prefix_of
from services.apps.fan_out import begin_replay
from services.apps.http.wiring import EventsWiring, Wiring, by_caller
from services.apps.plugin_topics import new_password
from services.apps.store import installs, plugin_replays
from shared import idempotency
from shared.auth.access import Access
from shared.auth.guard import ApiRequest, requires
from shared.contracts.model import Identifier, Timestamp
from shared.http.answers import Answer, AnswerModel, one, one_bytes
from shared.http.bodies import RequestModel, read_body, shown
from shared.http.operations import operation
from shared.http.problems import Problem, not_found
from shared.idempotency import IdempotencyKey, idempotency_key, run_idempotent, under_way
from shared.postgres import Connection, transaction
from shared.topics import plugin_topic

READ = requires(READ_SCOPE)


class SecurityView(AnswerModel):
    """How the app logs in to Kafka."""

    protocol: str
    mechanism: str
    username: str
    password: str | None
    """Shown once, by `rotate-credentials`."""


class PluginTopicView(AnswerModel):
    """The Kafka topic of an app, for all merchants and environments that let it in."""

    model_config = shown(
        {
            "topic": "plugins.app_01KA6M4T2V9C3R8E5XQWJHZ7NB.orders",
            "status": "ready",
            "bootstrap_servers": "kafka.example.com:9094",
            "group_prefix": "plugins.app_01KA6M4T2V9C3R8E5XQWJHZ7NB.",
            "security": {
                "protocol": "SASL_SSL",
                "mechanism": "SCRAM-SHA-256",
                "username": "plugin-app_01KA6M4T2V9C3R8E5XQWJHZ7NB",
                "password": None,
            },
            "has_credentials": True,
            "created_at": "2026-11-21T12:00:00Z",
            "updated_at": "2026-11-21T12:00:01Z",
        }
    )

    topic: str
    status: TopicStatus
    """Events that happen while it is `pending` are on it once it is `ready`."""
    bootstrap_servers: str
    group_prefix: str
    """The names of your consumer groups begin with it."""
    security: SecurityView
    has_credentials: bool
    """Whether a password was ever made: the first one is made by `rotate-credentials`, like every later one."""
    created_at: datetime
    updated_at: datetime


class ReplayRequest(RequestModel):
    model_config = shown({"from": "2026-11-20T00:00:00Z"}) | {"populate_by_name": True}

    created_from: Annotated[Timestamp, Field(alias="from")]
    """Events that were created then or later."""
    merchant_id: Identifier | None = None
    """Of one merchant; else of all that let the app in, in the environment of the token."""


class ReplayView(AnswerModel):
    """Events that are published again on the app's topic, with their own ids, in the order in which they happened."""

    model_config = shown(
        {
            "replay_id": "rpl_01KA6M4T2V9C3R8E5XQWJHZ7NB",
            "status": "running",
            "from": "2026-11-20T00:00:00Z",
            "merchant_id": None,
            "published": 12500,
            "progress": 0.42,
            "created_at": "2026-11-21T12:00:00Z",
            "updated_at": "2026-11-21T12:00:07Z",
        }
    ) | {"serialize_by_alias": True}

    replay_id: str
    """Also in the header `tl_replay` of what is published again."""
    status: ReplayStatus
    created_from: Annotated[datetime, Field(serialization_alias="from")]
    merchant_id: str | None
    published: int
    """Events so far."""
    progress: Annotated[float, Field(ge=0, le=1)]
    created_at: datetime
    updated_at: datetime


class PluginTopicController(Controller):
    """Every app reads what happens to orders on a Kafka topic of its own. Only access tokens of apps can ask."""

    path = "/v1/plugin-topic"
    tags = ("Plugin topics",)

    @get(guards=[READ], **operation("Read the app's topic", gives=PluginTopicView))
    async def read_plugin_topic(self, request: ApiRequest, state: State) -> Answer:
        wiring: EventsWiring = state.events
        app_id = await _app(request.user, state)
        return one(request, _view(await wiring.topics.topic(app_id), wiring))

    @post(
        "/rotate-credentials",
        guards=[READ],
        **operation(
            "Give the app a new password for Kafka",
            description=(
                "Also the first one. The old one stops working for new connections at once. The new one is in this "
                "answer only, never in a replayed one: for another password use another idempotency key."
            ),
            gives=PluginTopicView,
            idempotent=True,
        ),
    )
    async def rotate_plugin_topic_credentials(self, request: ApiRequest, state: State) -> Answer:
        wiring: EventsWiring = state.events
        app_id = await _app(request.user, state)
        key = await idempotency_key(request, request.user)
        async with under_way(state.apps.pool, key, state.apps.clock) as known:
            if known is not None:
                return known
            password = new_password()
            topic = await wiring.topics.rotate(app_id, password)
            if topic is None:
                raise not_found("The app is being deleted.")
            await _remember(request, state, app_id, key, one_bytes(request, _view(topic, wiring)))
        return one(request, _view(topic, wiring, password))

    @post(
        "/replay",
        guards=[READ],
        **operation(
            "Publish events again",
            description=(
                "From a moment until now, with the same ids and the header `tl_replay`. What happens meanwhile is "
                "published beside it. One replay runs at a time."
            ),
            takes=ReplayRequest,
            gives=ReplayView,
            status=202,
            problems=("REPLAY_RUNNING",),
            idempotent=True,
        ),
    )
    async def replay_plugin_topic(self, request: ApiRequest, state: State) -> Answer:
        body = await read_body(request, ReplayRequest)
        wiring: Wiring = state.apps
        app_id, now = await _app(request.user, state), wiring.clock()
        if body.created_from > now:
            raise Problem("VALIDATION_FAILED", "There are no events of the future.", param="from")

        async def effect(connection: Connection) -> tuple[int, bytes]:
            await _require_installed(connection, app_id, request.user, body.merchant_id)
            environment, since = request.user.environment, body.created_from
            replay = await begin_replay(
                connection, app_id, environment, now, created_from=since, merchant_id=body.merchant_id
            )
            if replay is None:
                raise Problem("REPLAY_RUNNING", "A replay of this app has not finished yet.")
            return 202, one_bytes(request, _replay_view(replay))

        return await run_idempotent(wiring.pool, await idempotency_key(request, request.user), now, effect)

    @get("/replays/{replay_id:str}", guards=[READ], **operation("Read a replay", gives=ReplayView))
    async def read_plugin_topic_replay(self, request: ApiRequest, state: State, replay_id: FromPath[str]) -> Answer:
        wiring: Wiring = state.apps
        app_id = await _app(request.user, state)
        replay = await plugin_replays.read(wiring.pool, app_id, request.user.environment, replay_id)
        if replay is None:
            raise not_found("There is no such replay.")
        return one(request, _replay_view(replay))


async def _app(access: Access, state: State) -> str:
    """The app whose access token this is."""
    wiring: Wiring = state.apps
    grant = await installs.read_grant(wiring.pool, access.grant_id) if access.kind == "installation" else None
    if grant is None:
        raise Problem("NOT_ALLOWED", "Only an installed app has a topic: send its access token.")
    return grant.app_id


async def _require_installed(connection: Connection, app_id: str, access: Access, merchant_id: str | None) -> None:
    if merchant_id is None:
        return
    known = await installs.installed(connection, [(merchant_id, access.environment)])
    if app_id not in {app.app_id for app in known}:
        raise Problem("VALIDATION_FAILED", "No such merchant has the app installed.", param="merchant_id")


async def _remember(request: ApiRequest, state: State, app_id: str, key: IdempotencyKey | None, body: bytes) -> None:
    """The act in the audit log, and the answer of a repeat from now on; it holds no password."""
    wiring: Wiring = state.apps
    access, now = request.user, wiring.clock()
    entry = by_caller(request, now).did(
        "plugin_topic.credentials_rotated", app_id, merchant_id=access.merchant, environment=access.environment
    )
    async with transaction(wiring.pool) as connection:
        await note(connection, entry)
        if key is not None:
            await idempotency.remember(connection, [(key, 200, body)], now)


def _view(topic: PluginTopic, wiring: EventsWiring, password: str | None = None) -> PluginTopicView:
    admin = wiring.topics.admin
    return PluginTopicView(
        topic=plugin_topic(topic.app_id),
        status=topic.status,
        bootstrap_servers=wiring.kafka.client_bootstrap_servers,
        group_prefix=group_prefix_of(topic.app_id),
        security=SecurityView(
            protocol=wiring.kafka.client_security_protocol,
            mechanism=admin.sasl_mechanism,
            username=admin.username(topic.app_id),
            password=password,
        ),
        has_credentials=topic.has_credentials,
        created_at=topic.created_at,
        updated_at=topic.updated_at,
    )


def _replay_view(replay: Replay) -> ReplayView:
    return ReplayView(
        replay_id=replay.replay_id,
        status=replay.status,
        created_from=replay.created_from,
        merchant_id=replay.merchant_id,
        published=replay.published,
        progress=round(replay.progress, 4),
        created_at=replay.created_at,
        updated_at=replay.updated_at,
    )
