"""Logs and traces of a process: JSON lines, and W3C trace context from HTTP through Kafka to SQL.

Without a collector (`OTEL_EXPORTER_OTLP_ENDPOINT`) no span is made; the trace context that came in is handed on.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import INVALID_SPAN, NonRecordingSpan, Span, SpanContext, SpanKind, StatusCode, TraceFlags
from structlog.types import EventDict

from shared import logs
from shared.settings import Settings

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")
_LONGEST_HEADER = 200

_passing: ContextVar[str | None] = ContextVar("traceparent", default=None)
"""The trace context that came in, while no spans are made."""


class _Process:
    """What this process has set up; the services that run together in one share it."""

    services: tuple[str, ...] = ()
    tracer: trace.Tracer | None = None


def setup(service: str, settings: Settings) -> None:
    """Log lines have their form, and spans go to the collector if there is one. A repeat only adds the name."""
    _Process.services = tuple(dict.fromkeys((*_Process.services, service)))
    logs.write_lines(settings.log_level, settings.log_format, _add_service_and_trace)
    if settings.otlp_endpoint and _Process.tracer is None:
        # Imported only where spans go somewhere: it takes a tenth of a process's start.
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        exporter = OTLPSpanExporter(endpoint=settings.otlp_endpoint.rstrip("/") + "/v1/traces")
        record_to(service, BatchSpanProcessor(exporter))


def record_to(service: str, processor: SpanProcessor | None) -> None:
    """Spans are made from now on and given to `processor`; none are made after `None`."""
    if processor is None:
        _Process.tracer = None
        return
    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    provider.add_span_processor(processor)
    _Process.tracer = provider.get_tracer("throughline")


@contextmanager
def span(
    name: str, traceparent: str | None = None, kind: SpanKind = SpanKind.INTERNAL, **attributes: str | int | bool
) -> Iterator[Span]:
    """The work inside, as a child of `traceparent` or else of the span around it; a malformed parent is ignored.

    An exception marks the span with its type and goes on.
    """
    tracer = _Process.tracer
    if tracer is None:
        token = _passing.set(traceparent) if traceparent else None
        try:
            yield INVALID_SPAN
        finally:
            if token is not None:
                _passing.reset(token)
        return
    quiet = {"record_exception": False, "set_status_on_exception": False}
    with tracer.start_as_current_span(name, _context(traceparent), kind, attributes, **quiet) as current:  # type: ignore[arg-type]
        try:
            yield current
        except BaseException as failure:
            current.set_status(StatusCode.ERROR, type(failure).__name__)
            raise


def current_traceparent() -> str | None:
    """The trace context to send on: that of the span around the caller, else the one that came in."""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return _passing.get()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def server_spans(app: ASGIApp) -> ASGIApp:
    """Litestar middleware: one span per request, a child of its `traceparent`; ids in paths stay out of its name."""

    async def traced(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await app(scope, receive, send)
            return
        method, route = str(scope["method"]), str(scope.get("path_template", ""))
        facts: dict[str, Any] = {"http.request.method": method, "http.route": route}
        with span(f"{method} {route}", _header(scope), SpanKind.SERVER, **facts) as current:
            await app(scope, receive, _noting_status(current, send) if current.is_recording() else send)

    return traced


def _noting_status(current: Span, send: Send) -> Send:
    async def noting(message: Message) -> None:
        if message["type"] == "http.response.start":
            current.set_attribute("http.response.status_code", message["status"])
            if message["status"] >= 500:
                current.set_status(StatusCode.ERROR)
        await send(message)

    return noting


def _header(scope: Scope) -> str | None:
    value = next((value for name, value in scope["headers"] if name == b"traceparent"), b"")
    return value.decode("latin-1") if 0 < len(value) <= _LONGEST_HEADER else None


def _context(traceparent: str | None) -> Any:
    """The parent's context, or None for whatever is current."""
    found = _TRACEPARENT.match(traceparent) if traceparent else None
    if found is None:
        return None
    trace_id, span_id, flags = (int(part, 16) for part in found.groups())
    parent = SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags))
    return trace.set_span_in_context(NonRecordingSpan(parent))


def _add_service_and_trace(_: Any, __: str, event: EventDict) -> EventDict:
    event["service"] = ",".join(_Process.services)
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"], event["span_id"] = f"{context.trace_id:032x}", f"{context.span_id:016x}"
    return event
