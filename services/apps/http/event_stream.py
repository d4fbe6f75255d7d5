"""Events as a stream that does not end (Server-Sent Events): each with its id, so that a reader goes on where it was.

The stream ends when its credential no longer allows it, when the reader has gone or takes too long to take what it is
sent, and when the process is to stop; the next one begins after the last event that arrived.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Hashable, Iterator
from contextlib import aclosing, contextmanager, suppress

import structlog
from litestar.types import Receive, Scope, Send
from prometheus_client import Counter as Metric
from prometheus_client import Gauge

from services.apps.store.events import Placed
from shared.auth.access import Access
from shared.auth.grants import GrantsCopy
from shared.clock import monotonic
from shared.faults import Transient
from shared.http.edge import HEAD, stopping_of
from shared.http.problems import Problem

log = structlog.get_logger(__name__)

OPEN_STREAMS = Gauge("throughline_event_streams", "Event streams that are open")
CUT_STREAMS = Metric("throughline_event_streams_cut_total", "Event streams whose reader was too slow")

MOST_PER_CREDENTIAL = 5
MOST_PER_OWNER = 50
"""Of one app at all merchants; of a merchant's keys in one environment, of which it may make any number."""
MOST = 1_000
"""Streams of one process."""
_HEARTBEAT_S = 10.0
_SLOWEST_S = 10.0
"""A reader that takes nothing for so long is cut."""
_LONGEST_S = 3_600.0
"""Then whoever still may read comes again, with a credential of that time."""
_CHECK_S = 0.5
"""How often a stream that waits asks whether it still may go on."""
_CHUNK_BYTES = 64 * 1024
_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    # Proxies of the nginx family would otherwise hold events back until they have enough of them.
    (b"x-accel-buffering", b"no"),
]


class Places:
    """How many streams are open, by credential and by owner."""

    def __init__(self) -> None:
        self._of_credentials: Counter[str] = Counter()
        self._of_owners: Counter[Hashable] = Counter()

    @contextmanager
    def taken(self, grant_id: str, owner: Hashable) -> Iterator[None]:
        """A place, for as long as the context lasts; raises the `Problem` when there is none."""
        for taken, most, whose in (
            (self._of_credentials[grant_id], MOST_PER_CREDENTIAL, "A credential"),
            (self._of_owners[owner], MOST_PER_OWNER, "A merchant's keys or an app's installs together"),
        ):
            if taken >= most:
                detail = f"{whose} may have {most} streams open: close one first."
                raise Problem("RATE_LIMITED", detail, headers={"Retry-After": "1"})
        if self._of_owners.total() >= MOST:
            raise Problem("TRY_LATER", "This process has as many streams open as it may.")
        self._of_credentials[grant_id] += 1
        self._of_owners[owner] += 1
        OPEN_STREAMS.inc()
        try:
            yield
        finally:
            OPEN_STREAMS.dec()
            self._of_credentials[grant_id] -= 1
            self._of_owners[owner] -= 1
            # Only those with a stream are remembered.
            self._of_credentials += Counter()
            self._of_owners += Counter()


class _Ended(Exception):
    """The stream is over before its events are."""


class EventStream:
    """The answer to one request for a stream, as an ASGI app."""

    def __init__(
        self,
        access: Access,
        owner: Hashable,
        grants: GrantsCopy,
        places: Places,
        batches: AsyncGenerator[list[Placed], None],
    ) -> None:
        self._access, self._owner, self._grants, self._places, self._batches = access, owner, grants, places, batches
        self._stopping: asyncio.Event | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer until the stream ends; one whose reader takes nothing ends without saying so."""
        if HEAD in (scope.get("extensions") or {}):
            await send({"type": "http.response.start", "status": 200, "headers": list(_HEADERS)})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        self._stopping = stopping_of(scope)
        with self._places.taken(self._access.grant_id, self._owner):
            await send({"type": "http.response.start", "status": 200, "headers": list(_HEADERS)})
            gone = asyncio.create_task(_gone(receive))
            try:
                async with aclosing(self._batches) as batches:
                    await self._run(batches, send, gone)
            except (_Ended, Transient) as reason:
                log.info("event_stream_ended", grant_id=self._access.grant_id, reason=str(reason))
            finally:
                gone.cancel()
            with suppress(TimeoutError):
                async with asyncio.timeout(_CHECK_S):
                    await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _run(self, batches: AsyncGenerator[list[Placed], None], send: Send, gone: "asyncio.Task[None]") -> None:
        began = spoke = monotonic()
        await self._write(b"retry: 1000\n", send)
        async for batch in batches:
            if gone.done():
                raise _Ended("the reader has gone")
            if monotonic() - began > _LONGEST_S:
                raise _Ended("it has lasted long enough")
            await self._check()
            for chunk in _chunks(batch, self._access.scopes):
                await self._write(chunk, send)
                spoke = monotonic()
            if monotonic() - spoke > _HEARTBEAT_S:
                await self._write(b":\n", send)
                spoke = monotonic()

    async def _write(self, chunk: bytes, send: Send) -> None:
        """The reader has taken all but a little of what was written before, and may still read this."""
        slowest = monotonic() + _SLOWEST_S
        while True:
            await self._check()
            try:
                # What is cut off here is the server's wait until there is room: nothing of the chunk has gone out.
                async with asyncio.timeout(_CHECK_S):
                    return await send({"type": "http.response.body", "body": chunk, "more_body": True})
            except TimeoutError:
                if monotonic() > slowest:
                    CUT_STREAMS.inc()
                    raise _Ended("the reader is too slow") from None

    async def _check(self) -> None:
        """Raises when the process is to stop, or the credential may not read what it could when the stream began."""
        if self._stopping is not None and self._stopping.is_set():
            raise _Ended("the process stops")
        access = await self._grants.find(self._access.credential_hash)
        if access is None or access.scopes != self._access.scopes:
            raise _Ended("the credential has changed")


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _chunks(batch: list[Placed], scopes: frozenset[str]) -> Iterator[bytes]:
    """The events as they are written, some in one piece where they are small."""
    chunk = b""
    for placed in batch:
        event = placed.event
        chunk += b"id: %b\nevent: %b\ndata: %b\n\n" % (event.event_id.encode(), event.type.encode(), event.body(scopes))
        if len(chunk) >= _CHUNK_BYTES:
            yield chunk
            chunk = b""
    if chunk:
        yield chunk
