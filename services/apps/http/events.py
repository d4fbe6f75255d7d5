"""Routes of public events."""

import re
from collections.abc import Hashable
from typing import Annotated

import orjson
from litestar import Controller, get
from litestar.datastructures import State
from litestar.params import FromPath
from litestar.types import ASGIApp
from pydantic import Field

from services.apps.core.event_types import PATTERNS, READ_SCOPE, Reader, types_like
from services.apps.core.events import PublicEvent
from services.apps.http.event_stream import MOST_PER_CREDENTIAL, MOST_PER_OWNER, EventStream
from services.apps.http.wiring import EventsWiring, Wiring
from services.apps.store import events as store
from services.apps.store import installs
from services.apps.store.events import EventFilter, Tenant
from shared.auth.access import Access
from shared.auth.guard import ApiRequest, requires
from shared.contracts import public_events
from shared.contracts.model import Clean
from shared.http.answers import Answer, many, one
from shared.http.bodies import RequestModel, read_query
from shared.http.operations import operation
from shared.http.pages import ListQuery, QueryTime, encode_page_token, invalid_page_token
from shared.http.problems import Problem, not_found

READ = requires(READ_SCOPE)
_LARGEST_POSITION = 2**63 - 1

_ONE_TYPE = "|".join(map(re.escape, PATTERNS))

TypeFilter = Annotated[
    str | None,
    Field(
        max_length=1_000,
        description="Types, with commas between them; `order.*` stands for all that begin so.",
        examples=["order.paid,order.refunded"],
        json_schema_extra={"pattern": f"^({_ONE_TYPE})( *, *({_ONE_TYPE}))*$"},
    ),
    Clean,
]


class EventsQuery(ListQuery):
    """Filters of the list; all that are given must match."""

    type: TypeFilter = None
    order_id: Annotated[str, Field(min_length=1, max_length=200), Clean] | None = None
    created_from: QueryTime | None = None
    """The earliest `created_at`."""
    created_before: QueryTime | None = None
    """`created_at` is earlier than this."""


class StreamQuery(RequestModel):
    """Where a stream begins, and what it holds."""

    type: TypeFilter = None
    after: Annotated[str, Field(min_length=1, max_length=100), Clean] | None = None
    """The id of the last event that was seen; `Last-Event-ID`, which clients send when they come again, wins."""


class EventController(Controller):
    """What happened, as webhooks and plugin topics tell it, kept for at least 90 days."""

    path = "/v1/events"
    tags = ("Events",)

    @get(
        guards=[READ],
        **operation(
            "List events",
            description="Newest first. A page of large events has fewer than `page_size`.",
            query=EventsQuery,
            gives=public_events.PublicEvent,
            listed=True,
        ),
    )
    async def list_events(self, request: ApiRequest, state: State) -> Answer:
        query = read_query(request, EventsQuery)
        wiring: Wiring = state.apps
        access = request.user
        wanted = EventFilter(
            tenant=_tenant(access),
            reader=_reader(access),
            types=_types(query.type),
            order_id=query.order_id,
            created_from=query.created_from,
            created_before=query.created_before,
        )
        page, more = await store.page(wiring.pool, wanted, _position(query), query.page_size)
        token = encode_page_token((str(page[-1].position),), query.filters()) if more else None
        return many(request, [_shown(placed.event, access) for placed in page], token)

    @get("/{event_id:str}", guards=[READ], **operation("Read an event", gives=public_events.PublicEvent))
    async def read_event(self, request: ApiRequest, state: State, event_id: FromPath[str]) -> Answer:
        wiring: Wiring = state.apps
        found = await store.read(wiring.pool, _tenant(request.user), event_id)
        if found is None or not found.event.is_for(_reader(request.user)):
            raise not_found("There is no such event, or it is no longer kept.")
        return one(request, _shown(found.event, request.user))

    @get(
        "/stream",
        guards=[READ],
        **operation(
            "Follow events",
            description=(
                "Server-Sent Events (`text/event-stream`) that do not end: `id` is the event's id, `event` its type, "
                "`data` the event. Without `after` or the header `Last-Event-ID` it begins now. Lines that hold only a "
                "colon show that it lives. A reader that takes nothing for ten seconds is cut; whoever comes again "
                f"goes on after the last event. A credential may have {MOST_PER_CREDENTIAL} streams open at each "
                f"process, all keys of a merchant in one environment {MOST_PER_OWNER}, and so an app at all merchants."
            ),
            query=StreamQuery,
            problems=("RATE_LIMITED",),
        ),
    )
    async def follow_events(self, request: ApiRequest, state: State) -> ASGIApp:
        query = read_query(request, StreamQuery)
        wiring: Wiring = state.apps
        streams: EventsWiring = state.events
        access = request.user
        wanted = EventFilter(tenant=_tenant(access), reader=_reader(access), types=_types(query.type))
        name = "Last-Event-ID" if request.headers.get("last-event-id") else "after"
        last = request.headers.get("last-event-id") or query.after
        after = await _after(wiring, wanted, last, name)
        owner = await _owner(wiring, access)
        return EventStream(access, owner, streams.grants, streams.streams, streams.live.read(wanted, after))


def _reader(access: Access) -> Reader:
    return Reader(access.scopes, access.grant_id if access.kind == "installation" else None)


def _tenant(access: Access) -> Tenant:
    return access.merchant, access.environment


async def _owner(wiring: Wiring, access: Access) -> Hashable:
    """Whose streams are counted together: an app's at all merchants, or those of a merchant's keys."""
    grant = await installs.read_grant(wiring.pool, access.grant_id) if access.kind == "installation" else None
    return _tenant(access) if grant is None else grant.app_id


def _shown(event: PublicEvent, access: Access) -> orjson.Fragment:
    return orjson.Fragment(event.body(access.scopes))


def _types(text: str | None) -> list[str]:
    if text is None:
        return []
    try:
        return types_like(part.strip() for part in text.split(","))
    except ValueError as unknown:
        raise Problem("VALIDATION_FAILED", f"No event has the type {str(unknown)!r:.100}.", param="type") from None


def _position(query: EventsQuery) -> int | None:
    position = query.position()
    if position is None:
        return None
    if len(position) != 1 or not position[0].isdecimal() or len(position[0]) > 19:
        raise invalid_page_token()
    return min(int(position[0]), _LARGEST_POSITION)


async def _after(wiring: Wiring, wanted: EventFilter, event_id: str | None, name: str) -> int:
    """The position of the last event that a reader has seen, or the newest one."""
    if event_id is None:
        return await store.newest_position(wiring.pool)
    found = await store.read(wiring.pool, wanted.tenant, event_id)
    if found is None or not found.event.is_for(wanted.reader):
        detail = "There is no such event, or it is no longer kept: begin without it."
        raise Problem("VALIDATION_FAILED", detail, param=name)
    return found.position
