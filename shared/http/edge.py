"""One pass around every request, also those that no route takes: its id in, the common headers out, and its measure."""

import asyncio
from collections.abc import Callable, Iterable
from time import perf_counter

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from shared.http.problems import Problem, not_found, send_problem
from shared.http.request_ids import HEADER, bind_request_id

RawHeader = tuple[bytes, bytes]
HEAD = "throughline.head"
"""Among the scope's extensions where nobody will read the body."""
STOPPING = "throughline.stopping"
"""Among them where the server says when it is to stop; see `stopping_of`."""
HANG_UP = "throughline.hang_up"
"""Among them where the server can end a connection without an answer; see `hang_up`."""
HeaderMaker = Callable[[Scope, "list[RawHeader]"], Iterable[RawHeader]]
"""Further headers for the answer to a request whose handler set these."""
Observer = Callable[[Scope, int, float], None]
"""Told of every answer: the scope, its status, and the seconds until its first byte."""


def stopping_of(scope: Scope) -> asyncio.Event | None:
    """Set when the server is to stop, which waits for answers: one without an end must then come to it."""
    told = (scope.get("extensions") or {}).get(STOPPING, {}).get("event")
    return told if isinstance(told, asyncio.Event) else None


async def hang_up(scope: Scope, receive: Receive) -> None:
    """The connection is gone, where the server can do that; nothing that is answered afterwards arrives."""
    end = (scope.get("extensions") or {}).get(HANG_UP, {}).get("end")
    if not callable(end):
        return
    end()
    while (await receive())["type"] != "http.disconnect":
        pass


def edge(app: ASGIApp, header_makers: tuple[HeaderMaker, ...], observe: Observer) -> ASGIApp:
    """`app` with what every answer has in common; HEAD is answered as GET without its body."""

    async def with_edge(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await app(scope, receive, send)
            return
        request_id = bind_request_id(scope)
        started = perf_counter()
        head = scope["method"] == "HEAD"
        if head:
            # Not in the server's own scope: by the method in there it knows that an answer without a body is whole.
            scope = {**scope, "method": "GET", "extensions": {**(scope.get("extensions") or {}), HEAD: {}}}

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = _with_head_allowed(message.get("headers", ()))
                for make in header_makers:
                    headers.extend(make(scope, headers))
                headers.append((HEADER, request_id))
                message["headers"] = headers
                observe(scope, message["status"], perf_counter() - started)
            elif head and message["type"] == "http.response.body":
                message["body"] = b""
            await send(message)

        problem = _unstorable(scope)
        if problem is not None:
            await send_problem(problem, scope, receive, send_with_headers)
        else:
            await app(scope, receive, send_with_headers)

    return with_edge


def _with_head_allowed(headers: Iterable[RawHeader]) -> list[RawHeader]:
    """Routes say only GET in `Allow`, but what takes GET takes HEAD."""
    return [
        (name, value.replace(b"GET", b"GET, HEAD")) if name == b"allow" and b"HEAD" not in value else (name, value)
        for name, value in headers
    ]


def _unstorable(scope: Scope) -> Problem | None:
    """A NUL names nothing: it can be no part of an identifier or filter, and the database takes none."""
    if "\0" in scope["path"]:
        return not_found()
    if b"%00" in scope.get("query_string", b""):
        return Problem("VALIDATION_FAILED", "A parameter must not contain a NUL character.")
    return None
