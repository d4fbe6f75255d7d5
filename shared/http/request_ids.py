"""A name for every request: in its answer, in every line of the log, and in a report of a problem."""

import re

import structlog
from litestar.types import Scope

from shared.ids import new_id

HEADER = b"x-request-id"
# Long enough for any tracing system's ids; no character that could break a log line or a header.
_SANE = re.compile(rb"[A-Za-z0-9_.:-]{8,128}")


def request_id_of(scope: Scope) -> str:
    """The request's id, the same on every call: the caller's `X-Request-Id` where it is sane, else a new `req_…`."""
    state = scope.setdefault("state", {})
    known = state.get("request_id")
    if known is None:
        known = state["request_id"] = _given(scope) or new_id("req")
    return str(known)


def bind_request_id(scope: Scope) -> bytes:
    """Puts the id on every log line of this request, and returns it as the header's value."""
    request_id = request_id_of(scope)
    structlog.contextvars.bind_contextvars(request_id=request_id)
    return request_id.encode()


def _given(scope: Scope) -> str | None:
    value = next((value for name, value in scope["headers"] if name == HEADER), None)
    return value.decode() if value is not None and _SANE.fullmatch(value) else None
