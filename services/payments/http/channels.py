"""Routes of channels."""

from collections.abc import Awaitable, Callable

import structlog
from litestar import Controller, delete, get, patch, post
from litestar.datastructures import State
from litestar.params import FromPath

from services.payments.channels import new_password, username_of
from services.payments.core.returning import OUR_CHANNEL
from services.payments.http.models import ChannelPatch, ChannelRequest, ChannelView, KafkaAccess
from services.payments.http.wiring import Wiring
from services.payments.store import channels
from services.payments.store.channels import ChannelRow
from shared import idempotency
from shared.auth.guard import ApiRequest, requires
from shared.faults import Transient
from shared.http.answers import Answer, accepted, many, nothing, one, one_bytes
from shared.http.bodies import read_body, read_query
from shared.http.operations import operation
from shared.http.pages import ListQuery, page_by_time
from shared.http.problems import Problem, not_found
from shared.idempotency import IdempotencyKey, idempotency_key, run_idempotent, under_way
from shared.ids import new_id
from shared.postgres import Connection, transaction
from shared.settings import KafkaSettings
from shared.topics import channel_topic, dead_letters

READ, WRITE = requires("payments.read"), requires("payments.write")
log = structlog.get_logger(__name__)


class ChannelController(Controller):
    """Who tells about money: each channel writes to a Kafka topic of its own, with its own credentials."""

    path = "/v1/channels"
    tags = ("Channels",)

    @post(
        guards=[WRITE],
        **operation(
            "Create a channel",
            description=(
                "Makes its topic and its Kafka user. The password is in this answer only: it is kept nowhere, also not "
                "with an idempotency key, whose replayed answer has `password: null`; rotate for another. 202 with "
                "`status: provisioning` while Kafka is away: rotate once the channel is active."
            ),
            takes=ChannelRequest,
            gives=ChannelView,
            status=201,
            problems=("CHANNEL_ID_TAKEN", "CHANNEL_DISABLED"),
            idempotent=True,
            postponed=True,
        ),
    )
    async def create_channel(self, request: ApiRequest, state: State) -> Answer:
        body = await read_body(request, ChannelRequest)
        wiring: Wiring = state.payments
        key = await idempotency_key(request, request.user)
        row = _new_row(body, request, wiring)

        async def intend(connection: Connection) -> tuple[int, bytes]:
            if row.channel_id == OUR_CHANNEL or not await channels.insert(connection, row):
                detail = "This channel_id is in use, here or elsewhere; it names a topic, so it cannot be used twice."
                raise Problem("CHANNEL_ID_TAKEN", detail, param="channel_id")
            return 202, one_bytes(request, _view(row, wiring.kafka))

        known = await _unless_repeated(wiring, key, intend)
        if known is not None:
            return known
        password = new_password()
        try:
            active = await wiring.channels.provision(row.channel_id, password)
        except Transient as reason:
            log.warning("channel_provisioning_postponed", channel_id=row.channel_id, reason=str(reason))
            return accepted(request, _view(row, wiring.kafka))
        if active is None:
            raise _disabled()
        await _remember(wiring, key, 201, one_bytes(request, _view(active, wiring.kafka)))
        return one(request, _view(active, wiring.kafka, password), 201)

    @get(
        guards=[READ],
        **operation(
            "List channels",
            description="Newest first.",
            query=ListQuery,
            gives=ChannelView,
            listed=True,
            problems=("INVALID_PAGE_TOKEN",),
        ),
    )
    async def list_channels(self, request: ApiRequest, state: State) -> Answer:
        query = read_query(request, ListQuery)
        wiring: Wiring = state.payments
        access, after = request.user, query.time_position()
        found = await channels.page(wiring.pool, access.merchant, access.environment, after, query.page_size + 1)
        page, token = page_by_time(found, query, lambda row: (row.created_at, row.channel_id))
        return many(request, [_view(row, wiring.kafka) for row in page], token)

    @get("/{channel_id:str}", guards=[READ], **operation("Read a channel", gives=ChannelView))
    async def read_channel(self, request: ApiRequest, state: State, channel_id: FromPath[str]) -> Answer:
        wiring: Wiring = state.payments
        return one(request, _view(await _own(request, wiring, channel_id), wiring.kafka))

    @patch(
        "/{channel_id:str}",
        guards=[WRITE],
        **operation("Rename a channel", takes=ChannelPatch, gives=ChannelView, idempotent=True),
    )
    async def rename_channel(self, request: ApiRequest, state: State, channel_id: FromPath[str]) -> Answer:
        body = await read_body(request, ChannelPatch)
        wiring: Wiring = state.payments
        access, now = request.user, wiring.clock()

        async def effect(connection: Connection) -> tuple[int, bytes]:
            row = await channels.rename(
                connection, access.merchant, access.environment, channel_id, name=body.name, now=now
            )
            if row is None:
                raise _unknown()
            return 200, one_bytes(request, _view(row, wiring.kafka))

        return await run_idempotent(wiring.pool, await idempotency_key(request, access), now, effect)

    @post(
        "/{channel_id:str}/rotate-credentials",
        guards=[WRITE],
        **operation(
            "Give a channel a new password",
            description=(
                "The old one stops working for new connections at once. The new one is in this answer only, never in "
                "a replayed one: for another password use another idempotency key."
            ),
            gives=ChannelView,
            problems=("CHANNEL_DISABLED",),
            idempotent=True,
        ),
    )
    async def rotate_channel_credentials(self, request: ApiRequest, state: State, channel_id: FromPath[str]) -> Answer:
        wiring: Wiring = state.payments
        key = await idempotency_key(request, request.user)
        async with under_way(wiring.pool, key, wiring.clock) as known:
            if known is not None:
                return known
            row = await _own(request, wiring, channel_id)
            password = new_password()
            active = await wiring.channels.rotate(row, password)
            if active is None:
                raise _disabled()
            await _remember(wiring, key, 200, one_bytes(request, _view(active, wiring.kafka)))
        return one(request, _view(active, wiring.kafka, password))

    @delete(
        "/{channel_id:str}",
        guards=[WRITE],
        **operation(
            "Disable a channel",
            description=(
                "It can no longer log in or write; what is on its topic and not yet read becomes a dead letter. Topic "
                "and history stay, and its id stays taken. 202 while Kafka is away: its rights end when it is back."
            ),
            gives=ChannelView,
            status=204,
            idempotent=True,
            postponed=True,
        ),
    )
    async def disable_channel(self, request: ApiRequest, state: State, channel_id: FromPath[str]) -> Answer:
        wiring: Wiring = state.payments
        row = await _own(request, wiring, channel_id)
        key = await idempotency_key(request, request.user)

        async def intend(connection: Connection) -> tuple[int, bytes]:
            await channels.move(connection, row.channel_id, ["provisioning", "active"], "disabling", wiring.clock())
            return 204, b""

        known = await _unless_repeated(wiring, key, intend)
        if known is not None:
            return known
        try:
            await wiring.channels.disable(row.channel_id)
        except Transient as reason:
            log.warning("channel_disabling_postponed", channel_id=row.channel_id, reason=str(reason))
            return accepted(request, _view(await _own(request, wiring, channel_id), wiring.kafka))
        return nothing()


async def _own(request: ApiRequest, wiring: Wiring, channel_id: str) -> ChannelRow:
    """The caller's channel; another tenant's is not found."""
    row = await channels.read(wiring.pool, request.user.merchant, request.user.environment, channel_id)
    if row is None:
        raise _unknown()
    return row


def _new_row(body: ChannelRequest, request: ApiRequest, wiring: Wiring) -> ChannelRow:
    now = wiring.clock()
    return ChannelRow(
        channel_id=body.channel_id or new_id("chn"),
        merchant_id=request.user.merchant,
        environment=request.user.environment,
        name=body.name,
        source=body.source,
        status="provisioning",
        created_at=now,
        updated_at=now,
    )


def _view(row: ChannelRow, kafka: KafkaSettings, password: str | None = None) -> ChannelView:
    topic = channel_topic(row.channel_id)
    return ChannelView(
        channel_id=row.channel_id,
        name=row.name,
        status=row.status,
        source=row.source,
        topic=topic,
        dead_letter_topic=dead_letters(topic),
        kafka=KafkaAccess(
            bootstrap_servers=kafka.client_bootstrap_servers,
            security_protocol=kafka.client_security_protocol,
            sasl_mechanism="SCRAM-SHA-256",
            username=username_of(row.channel_id),
            password=password,
        ),
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


async def _unless_repeated(
    wiring: Wiring, key: IdempotencyKey | None, intend: Callable[[Connection], Awaitable[tuple[int, bytes]]]
) -> Answer | None:
    """Save what is about to be done in Kafka, with the answer that a repeat gets from now on; or that answer."""
    now = wiring.clock()
    async with transaction(wiring.pool) as connection:
        known = await idempotency.answered(connection, key, now)
        if known is not None:
            return known
        status, body = await intend(connection)
        if key is not None:
            await idempotency.remember(connection, [(key, status, body)], now)
    return None


async def _remember(wiring: Wiring, key: IdempotencyKey | None, status: int, body: bytes) -> None:
    """The answer of a repeat from now on; it holds no password."""
    if key is not None:
        async with transaction(wiring.pool) as connection:
            await idempotency.remember(connection, [(key, status, body)], wiring.clock())


def _unknown() -> Problem:
    return not_found("There is no such channel.")


def _disabled() -> Problem:
    return Problem("CHANNEL_DISABLED", "The channel has been disabled.")
