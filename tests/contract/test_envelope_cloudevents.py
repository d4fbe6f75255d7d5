"""Our envelope and the CloudEvents library read what the other wrote, and refuse what is none."""

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone

import orjson
import pytest
from cloudevents.core.bindings import kafka as binding
from cloudevents.core.v1.event import CloudEvent
from hypothesis import example, given
from hypothesis import strategies as st

from shared import envelope as env
from shared.envelope import Envelope, decode, decode_structured
from shared.faults import Poison

FULL = Envelope(
    id="evt_1",
    type="orders.record_capture.v1",
    source="/services/payments",
    data=b'{"amount":1250,"note":"gr\xc3\xbc\xc3\x9fe"}',
    key="ord_1",
    subject="ord_1",
    time=datetime(2026, 11, 21, 10, 0, 0, 123456, tzinfo=UTC),
    traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    correlation_id="req_1",
    causation_id="cmd_1",
    merchant_id="mer_1",
    environment="test",
    actor="channel:chn_web",
    order_version=7,
)
MINIMAL = Envelope(id="1", type="t", source="/s", data=b"{}")

Headers = list[tuple[str, bytes]]


def wire(envelope: Envelope) -> tuple[Headers, bytes | None, bytes]:
    headers = [(name, value.encode()) for name, value in envelope.headers().items()]
    return headers, None if envelope.key is None else envelope.key.encode(), envelope.data


def with_header(name: str, value: bytes) -> Headers:
    return [*wire(FULL)[0], (name, value)]


def test_headers_of_binary_mode() -> None:
    assert FULL.headers() == {
        "ce_specversion": "1.0",
        "ce_id": "evt_1",
        "ce_type": "orders.record_capture.v1",
        "ce_source": "/services/payments",
        "ce_subject": "ord_1",
        "ce_time": "2026-11-21T10:00:00.123456Z",
        "content-type": "application/json",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "ce_correlationid": "req_1",
        "ce_causationid": "cmd_1",
        "ce_merchantid": "mer_1",
        "ce_environment": "test",
        "ce_actor": "channel:chn_web",
        "ce_orderversion": "7",
    }


@pytest.mark.parametrize("envelope", [FULL, MINIMAL])
def test_round_trip(envelope: Envelope) -> None:
    assert decode(*wire(envelope)) == envelope


def test_the_library_reads_ours() -> None:
    headers, key, value = wire(FULL)
    event = binding.from_kafka_event(binding.KafkaMessage(dict(headers), key, value))
    assert event.get_id() == "evt_1"
    assert event.get_type() == "orders.record_capture.v1"
    assert event.get_source() == "/services/payments"
    assert event.get_subject() == "ord_1"
    assert event.get_time() == FULL.time
    assert event.get_datacontenttype() == "application/json"
    assert event.get_extension("orderversion") == "7"
    assert event.get_extension("partitionkey") == "ord_1"
    assert event.get_data() == {"amount": 1250, "note": "grüße"}


@pytest.mark.parametrize("write", [binding.to_binary_event, binding.to_structured_event])
def test_we_read_the_librarys(write: Callable[[CloudEvent], binding.KafkaMessage]) -> None:
    moment = datetime(2026, 11, 21, 12, 0, tzinfo=timezone(timedelta(hours=2)))
    attributes = {
        "id": "web-1",
        "type": "channel.payment.captured.v1",
        "source": "/channels/chn_web",
        "specversion": "1.0",
        "subject": "ord_1",
        "time": moment,
        "datacontenttype": "application/json",
        "correlationid": "c",
        "partitionkey": "ord_1",
        "unknown": "ignored",
    }
    message = write(CloudEvent(attributes, {"amount": 1250, "note": "grüße"}))
    assert isinstance(message.key, str)
    envelope = decode(list(message.headers.items()), message.key.encode(), message.value)
    assert orjson.loads(envelope.data) == {"amount": 1250, "note": "grüße"}
    assert envelope == Envelope(
        id="web-1",
        type="channel.payment.captured.v1",
        source="/channels/chn_web",
        data=envelope.data,
        key="ord_1",
        subject="ord_1",
        time=datetime(2026, 11, 21, 10, 0, tzinfo=UTC),
        correlation_id="c",
    )


text = st.text(st.characters(min_codepoint=0x20, exclude_categories=("Cs", "Cc", "Cn")), min_size=1, max_size=40)
maybe = st.none() | text
envelopes = st.builds(
    Envelope,
    id=text,
    type=text,
    source=text,
    data=st.binary(min_size=1, max_size=100),
    key=maybe,
    subject=maybe,
    time=st.none() | st.datetimes(timezones=st.just(UTC)),
    traceparent=maybe,
    correlation_id=maybe,
    causation_id=maybe,
    merchant_id=maybe,
    environment=maybe,
    actor=maybe,
    order_version=st.none() | st.integers(min_value=0, max_value=999_999_999),
)


@given(envelopes)
def test_any_envelope_survives_the_wire(envelope: Envelope) -> None:
    assert decode(*wire(envelope)) == envelope


@given(
    st.lists(
        st.tuples(st.sampled_from([*FULL.headers(), "Content-Type", "CE_ID", "x"]), st.none() | st.binary(max_size=30)),
        max_size=20,
    ),
    st.none() | st.binary(max_size=10),
    st.none() | st.binary(max_size=200),
)
@example([("content-type", b"application/cloudevents+json")], None, b"[" * 2000 + b"]" * 2000)
def test_arbitrary_bytes_are_an_envelope_or_poison(headers: Headers, key: bytes | None, value: bytes | None) -> None:
    with suppress(Poison):
        assert isinstance(decode(headers, key, value), Envelope)


def test_header_names_are_case_insensitive_and_the_last_of_a_repeated_one_counts() -> None:
    headers = [(name.upper(), value) for name, value in wire(FULL)[0]]
    assert decode([*headers, ("Ce_Id", b"evt_2")], b"ord_1", FULL.data).id == "evt_2"


def test_the_key_wins_over_the_partitionkey_attribute() -> None:
    assert decode(with_header("ce_partitionkey", b"ord_2"), b"ord_1", FULL.data).key == "ord_1"
    assert decode(with_header("ce_partitionkey", b"ord_2"), None, FULL.data).key == "ord_2"


def test_an_empty_attribute_counts_as_absent() -> None:
    assert decode(with_header("ce_subject", b""), None, FULL.data).subject is None


@pytest.mark.parametrize("content_type", [b"application/json; charset=UTF-8", b"Application/JSON", b"text/x+json", b""])
def test_json_in_any_spelling_is_read(content_type: bytes) -> None:
    assert decode(with_header("content-type", content_type), b"ord_1", FULL.data) == FULL


@pytest.mark.parametrize(
    ("written", "moment"),
    [
        ("2026-11-21T10:00:00Z", datetime(2026, 11, 21, 10, tzinfo=UTC)),
        ("2026-11-21t10:00:00.5z", datetime(2026, 11, 21, 10, 0, 0, 500_000, tzinfo=UTC)),
        ("2026-11-21T12:00:00+02:00", datetime(2026, 11, 21, 10, tzinfo=UTC)),
        ("2026-11-21T10:00:00.123456789Z", datetime(2026, 11, 21, 10, 0, 0, 123_456, tzinfo=UTC)),
    ],
)
def test_times_become_utc(written: str, moment: datetime) -> None:
    assert decode(with_header("ce_time", written.encode()), None, FULL.data).time == moment


BAD_HEADERS = [
    (env.UNSUPPORTED_SPECVERSION, "ce_specversion", b"0.3"),
    (env.NOT_A_CLOUDEVENT, "ce_specversion", b""),
    (env.MISSING_ATTRIBUTE, "ce_id", b""),
    (env.MISSING_ATTRIBUTE, "ce_type", b""),
    (env.MISSING_ATTRIBUTE, "ce_source", b""),
    (env.INVALID_ATTRIBUTE, "ce_id", b"\xff"),
    (env.INVALID_ATTRIBUTE, "ce_id", b"a\x00b"),
    (env.TOO_LARGE, "ce_id", b"i" * 1025),
    (env.TOO_LARGE, "ce_id", "é".encode() * 513),
    (env.INVALID_ATTRIBUTE, "ce_time", b"yesterday"),
    (env.INVALID_ATTRIBUTE, "ce_time", b"2026-11-21T10:00:00"),
    (env.INVALID_ATTRIBUTE, "ce_time", b"2026-13-21T10:00:00Z"),
    (env.INVALID_ATTRIBUTE, "ce_time", b"0001-01-01T00:00:00+10:00"),
    (env.INVALID_ATTRIBUTE, "ce_time", b"2026-W01-1T10:00:00Z"),
    (env.INVALID_ATTRIBUTE, "ce_orderversion", b"-1"),
    (env.INVALID_ATTRIBUTE, "ce_orderversion", "٣".encode()),
    (env.INVALID_ATTRIBUTE, "ce_orderversion", b"1" * 10),
    (env.UNSUPPORTED_CONTENT_TYPE, "content-type", b"text/plain"),
    (env.UNSUPPORTED_CONTENT_TYPE, "content-type", b"application/json; charset=latin1"),
    (env.UNSUPPORTED_CONTENT_TYPE, "content-type", b"application/cloudevents-batch+json"),
]


@pytest.mark.parametrize(("reason", "name", "value"), BAD_HEADERS)
def test_a_bad_header_has_its_reason(reason: str, name: str, value: bytes) -> None:
    with pytest.raises(Poison) as caught:
        decode(with_header(name, value), b"ord_1", FULL.data)
    assert caught.value.reason == reason


def test_a_null_header_is_an_invalid_attribute() -> None:
    with pytest.raises(Poison) as caught:
        decode([("ce_id", None)], None, b"{}")  # type: ignore[list-item]
    assert caught.value.reason == env.INVALID_ATTRIBUTE


@pytest.mark.parametrize(
    ("reason", "headers", "key", "value"),
    [
        (env.NOT_A_CLOUDEVENT, [], None, b"hello"),
        (env.NOT_A_CLOUDEVENT, [], None, None),
        (env.EMPTY_BODY, wire(FULL)[0], None, None),
        (env.EMPTY_BODY, wire(FULL)[0], None, b""),
        (env.TOO_LARGE, wire(FULL)[0], None, b"x" * (env.MAX_BODY_BYTES + 1)),
        (env.INVALID_KEY, wire(FULL)[0], b"\xff", b"{}"),
        (env.INVALID_KEY, wire(FULL)[0], b"a\x00", b"{}"),
        (env.INVALID_KEY, wire(FULL)[0], b"k" * 1025, b"{}"),
    ],
)
def test_a_bad_record_has_its_reason(reason: str, headers: Headers, key: bytes | None, value: bytes | None) -> None:
    with pytest.raises(Poison) as caught:
        decode(headers, key, value)
    assert caught.value.reason == reason


STRUCTURED = {"specversion": "1.0", "id": "1", "type": "t", "source": "/s", "data": {"a": 1}}


def test_structured_from_bytes_and_from_an_object() -> None:
    expected = Envelope(id="1", type="t", source="/s", data=b'{"a":1}')
    assert decode_structured(STRUCTURED) == expected
    assert decode_structured(orjson.dumps(STRUCTURED)) == expected
    content_type = [("content-type", b"application/cloudevents+json; charset=UTF-8")]
    assert decode(content_type, None, orjson.dumps(STRUCTURED)) == expected


def test_structured_data_base64_and_integer_version() -> None:
    body = {**STRUCTURED, "data": None, "data_base64": "eyJhIjoxfQ==", "orderversion": 7, "partitionkey": "ord_1"}
    expected = Envelope(id="1", type="t", source="/s", data=b'{"a":1}', key="ord_1", order_version=7)
    assert decode_structured(body) == expected


@pytest.mark.parametrize(
    ("reason", "change"),
    [
        (env.NOT_A_CLOUDEVENT, {"specversion": None}),
        (env.UNSUPPORTED_SPECVERSION, {"specversion": "0.3"}),
        (env.MISSING_ATTRIBUTE, {"id": None}),
        (env.INVALID_ATTRIBUTE, {"id": 1}),
        (env.INVALID_ATTRIBUTE, {"id": "\ud800"}),
        (env.INVALID_ATTRIBUTE, {"orderversion": True}),
        (env.INVALID_ATTRIBUTE, {"data_base64": "eyJhIjoxfQ=="}),
        (env.EMPTY_BODY, {"data": None}),
        (env.INVALID_BODY, {"data": None, "data_base64": "%%"}),
        (env.INVALID_BODY, {"data": None, "data_base64": 1}),
        (env.INVALID_BODY, {"data": {"a": "\ud800"}}),
        (env.UNSUPPORTED_CONTENT_TYPE, {"datacontenttype": "application/xml"}),
    ],
)
def test_a_bad_structured_event_has_its_reason(reason: str, change: dict[str, object]) -> None:
    with pytest.raises(Poison) as caught:
        decode_structured({**STRUCTURED, **change})
    assert caught.value.reason == reason


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b'"x"'])
def test_a_structured_body_that_is_no_object(body: bytes) -> None:
    with pytest.raises(Poison) as caught:
        decode_structured(body)
    assert caught.value.reason == env.NOT_A_CLOUDEVENT
