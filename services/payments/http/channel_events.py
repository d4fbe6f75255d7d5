"""Channel events by HTTP: the same events, on the same path as by Kafka."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote

import orjson
from litestar import Controller, post
from litestar.datastructures import State

from services.payments import ingestion
from services.payments.core.state import Arrival, Channel
from services.payments.core.taking import Taken
from services.payments.http.models import ChannelEventOutcome, ChannelPayment, CloudEvent, CloudEventBatch
from services.payments.http.wiring import Wiring
from services.payments.incoming import arrival_of, channel_of_source
from services.payments.store import channels
from shared.auth.access import Access
from shared.auth.guard import ApiRequest, requires
from shared.envelope import NOT_A_CLOUDEVENT, Envelope, decode, decode_structured
from shared.faults import Poison
from shared.http.answers import Answer, to_json
from shared.http.bodies import JSON_MEDIA_TYPE, read_raw
from shared.http.operations import operation
from shared.http.problems import Problem
from shared.http.request_ids import request_id_of
from shared.idempotency import idempotency_key, run_idempotent
from shared.postgres import Connection

WRITE = requires("payments.write")
EVENT = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
LARGEST_BATCH = 500
"""Events of one request: as many as a worker takes from Kafka at once."""

Read = Envelope | ChannelEventOutcome
"""An event, or why it is none."""


class ChannelEventController(Controller):
    """What channels tell by HTTP instead of Kafka."""

    path = "/v1/channel-events"
    tags = ("Channel events",)

    @post(
        guards=[WRITE],
        **operation(
            "Tell what happened to money",
            description=(
                f"One CloudEvent (`{EVENT}`), a batch of at most {LARGEST_BATCH} (`{BATCH}`), or one in binary mode "
                f"(`ce-…` headers, `{JSON_MEDIA_TYPE}`). `source` names the channel: `/channels/chn_…`. The answer "
                "has one outcome per event, in order; one that is rejected does not affect the others. Events are "
                "recognised by their payment reference, so sending them again is harmless, also without a key."
            ),
            takes={EVENT: CloudEvent, BATCH: CloudEventBatch, JSON_MEDIA_TYPE: ChannelPayment},
            gives=ChannelEventOutcome,
            listed=True,
            status=202,
            problems=("MALFORMED_JSON", "PAYLOAD_TOO_LARGE", "UNSUPPORTED_MEDIA_TYPE"),
            idempotent=True,
        ),
    )
    async def take_channel_events(self, request: ApiRequest, state: State) -> Answer:
        wiring: Wiring = state.payments
        events = await _events_of(request)
        own = await _own_channels(wiring, request.user, events)
        arrivals = [_arrival(event, own) for event in events]
        now = wiring.clock()

        async def effect(connection: Connection) -> tuple[int, bytes]:
            counted = [each for each in arrivals if isinstance(each, Arrival)]
            taken = iter(await ingestion.take_in(connection, counted, now))
            outcomes = [_outcome(next(taken)) if isinstance(each, Arrival) else each for each in arrivals]
            return 202, _body(request, outcomes)

        answer = await run_idempotent(wiring.pool, await idempotency_key(request, request.user), now, effect)
        wiring.committed()
        return answer


async def _events_of(request: ApiRequest) -> list[Read]:
    raw = await read_raw(request, EVENT, BATCH, JSON_MEDIA_TYPE)
    media_type = request.content_type[0].lower()
    if media_type == JSON_MEDIA_TYPE:
        return [_binary(request, raw)]
    try:
        parsed = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise Problem("MALFORMED_JSON", f"The body is not JSON: {error.msg}.") from None
    if media_type == EVENT:
        return [_structured(parsed)]
    if not isinstance(parsed, list):
        raise Problem("VALIDATION_FAILED", "A batch is a JSON array of events.")
    if len(parsed) > LARGEST_BATCH:
        raise Problem("PAYLOAD_TOO_LARGE", f"A batch has at most {LARGEST_BATCH} events; this one has {len(parsed)}.")
    return [_structured(each) for each in parsed]


def _structured(parsed: Any) -> Read:
    if not isinstance(parsed, dict):
        return ChannelEventOutcome(outcome="rejected", reason=NOT_A_CLOUDEVENT, detail="the event is not a JSON object")
    try:
        return decode_structured(parsed)
    except Poison as poison:
        event_id = parsed.get("id")
        return _rejected(event_id[:200] if isinstance(event_id, str) else None, poison)


def _binary(request: ApiRequest, raw: bytes) -> Read:
    """CloudEvents' HTTP binding: attributes are headers, percent-encoded."""
    if "ce-specversion" not in request.headers:
        detail = f"there is no ce-specversion header; an event with its attributes in the body is sent as {EVENT}"
        return ChannelEventOutcome(outcome="rejected", reason=NOT_A_CLOUDEVENT, detail=detail)
    headers = [(name.replace("ce-", "ce_", 1), unquote(value).encode()) for name, value in request.headers.items()]
    try:
        return decode(headers, None, raw)
    except Poison as poison:
        return _rejected(request.headers.get("ce-id"), poison)


async def _own_channels(wiring: Wiring, access: Access, events: Sequence[Read]) -> dict[str, Channel]:
    """The caller's channels among those that the events name; another tenant's is like none."""
    named = [event.source.rpartition("/")[2] for event in events if isinstance(event, Envelope)]
    known = await channels.channels_by_id(wiring.pool, named)
    mine = (access.merchant, access.environment)
    return {key: channel for key, channel in known.items() if (channel.merchant_id, channel.environment) == mine}


def _arrival(event: Read, own: dict[str, Channel]) -> Arrival | ChannelEventOutcome:
    if isinstance(event, ChannelEventOutcome):
        return event
    try:
        return arrival_of(event, channel_of_source(event.source), own)
    except Poison as poison:
        return _rejected(event.id, poison)


def _rejected(event_id: str | None, poison: Poison) -> ChannelEventOutcome:
    return ChannelEventOutcome(event_id=event_id, outcome="rejected", reason=poison.reason, detail=poison.detail)


def _outcome(taken: Taken) -> ChannelEventOutcome:
    item = taken.item
    return ChannelEventOutcome(
        event_id=taken.arrival.event_id,
        outcome=taken.outcome,
        reason=None if item is None else item.money.kind.upper(),
        detail=None if item is None else item.money.detail,
        payment_id=taken.leg.payment_id,
        unmatched_money_id=None if item is None else item.money.unmatched_money_id,
    )


def _body(request: ApiRequest, outcomes: Sequence[ChannelEventOutcome]) -> bytes:
    data = [outcome.model_dump(exclude_none=True) for outcome in outcomes]
    return to_json({"data": data, "request_id": request_id_of(request.scope)})
