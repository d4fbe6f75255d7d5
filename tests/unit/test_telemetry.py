"""Spans form one trace from HTTP to the database; logs are JSON and quote no payload."""

import logging
from collections.abc import Iterator

import orjson
import pytest
import structlog
from litestar import Litestar, get
from litestar.params import FromPath
from litestar.testing import TestClient
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from shared import telemetry
from shared.settings import Settings
from shared.telemetry import current_traceparent, span

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE_ID = 0x0AF7651916CD43DD8448EB211C80319C


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    telemetry.record_to("orders", SimpleSpanProcessor(exporter))
    yield exporter
    telemetry.record_to("orders", None)


@pytest.fixture
def restored_logging() -> Iterator[None]:
    handlers, level = logging.root.handlers, logging.root.level
    yield
    logging.root.handlers, logging.root.level = handlers, level
    structlog.reset_defaults()


def by_name(spans: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {one.name: one for one in spans.get_finished_spans()}


@get("/v1/orders/{order_id:str}", sync_to_thread=False)
def read_order(order_id: FromPath[str]) -> str | None:
    with span("orders.write_batch", commands=2):
        return current_traceparent()


def test_a_request_and_the_work_in_it_are_one_trace(spans: InMemorySpanExporter) -> None:
    with TestClient(Litestar([read_order], middleware=[telemetry.server_spans])) as client:
        sent_on = client.get("/v1/orders/ord_1", headers={"traceparent": PARENT}).text
    server, batch = by_name(spans)["GET /v1/orders/{order_id}"], by_name(spans)["orders.write_batch"]
    assert server.context is not None
    assert server.parent is not None
    assert batch.context is not None
    assert batch.parent is not None
    assert server.context.trace_id == batch.context.trace_id == TRACE_ID
    assert server.parent.span_id == 0xB7AD6B7169203331
    assert batch.parent.span_id == server.context.span_id
    assert sent_on == f"00-{TRACE_ID:032x}-{batch.context.span_id:016x}-01"
    assert dict(batch.attributes or {}) == {"commands": 2}
    assert dict(server.attributes or {}) == {
        "http.request.method": "GET",
        "http.route": "/v1/orders/{order_id}",
        "http.response.status_code": 200,
    }


def test_an_exception_marks_its_span_without_its_text(spans: InMemorySpanExporter) -> None:
    with pytest.raises(ValueError, match="4242"), span("work", traceparent=PARENT):
        raise ValueError("4242 4242 4242 4242")
    work = by_name(spans)["work"]
    assert work.status.description == "ValueError"
    assert work.events == ()


@pytest.mark.parametrize("malformed", ["", "nonsense", PARENT.replace("00-", "ff-", 1), f"00-{'0' * 32}-{'1' * 16}-01"])
def test_a_malformed_parent_begins_a_new_trace(spans: InMemorySpanExporter, malformed: str) -> None:
    with span("work", traceparent=malformed):
        pass
    assert by_name(spans)["work"].parent is None


def test_without_a_collector_the_trace_context_is_handed_on() -> None:
    assert current_traceparent() is None
    with span("work", traceparent=PARENT) as current:
        assert not current.is_recording()
        with span("inner"):
            assert current_traceparent() == PARENT
    assert current_traceparent() is None


@pytest.mark.usefixtures("restored_logging")
def test_logs_are_json_with_the_trace_and_without_payloads(
    spans: InMemorySpanExporter, capsys: pytest.CaptureFixture[str]
) -> None:
    telemetry.setup("orders", Settings(log_level="info"))
    with structlog.contextvars.bound_contextvars(request_id="req_1"), span("work", traceparent=PARENT):
        structlog.get_logger().debug("not_shown")
        try:
            raise ValueError("4242 4242 4242 4242")
        except ValueError:
            structlog.get_logger().exception("failed", order_id="ord_1")
    logging.getLogger("some.library").warning("the broker is %s", "away")
    ours, theirs = [orjson.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert ours["event"] == "failed"
    assert ours["level"] == "error"
    assert "orders" in ours["service"].split(",")
    assert ours["order_id"] == "ord_1"
    assert ours["request_id"] == "req_1"
    assert ours["trace_id"] == f"{TRACE_ID:032x}"
    assert ours["exception"] == ["ValueError"]
    assert ours["stack"][-1].startswith("test_telemetry.py:")
    assert "4242" not in str(ours)
    assert theirs["event"] == "the broker is away"
    assert theirs["level"] == "warning"


@pytest.mark.usefixtures("restored_logging")
def test_a_library_that_repeats_itself_is_heard_once(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.setup("orders", Settings(log_level="info"))
    for node in range(5):
        logging.getLogger("aiokafka").error("Unable connect to node with id %s", node)
    assert len(capsys.readouterr().err.splitlines()) == 1
