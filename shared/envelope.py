"""CloudEvents 1.0 on Kafka: what surrounds every message, written in binary mode, read in binary and structured mode.

Whatever can be wrong with foreign bytes raises `Poison` with one of the reasons below. Header names are
case-insensitive; of a repeated header the last one counts; an empty attribute counts as absent. Attributes that are
not in `Envelope` are ignored, so that a sender may add its own.
"""

import re
from base64 import b64decode
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

import orjson

from shared.faults import Poison
from shared.immutable import immutable, replace

NOT_A_CLOUDEVENT: Final = "NOT_A_CLOUDEVENT"
UNSUPPORTED_SPECVERSION: Final = "UNSUPPORTED_SPECVERSION"
MISSING_ATTRIBUTE: Final = "MISSING_ATTRIBUTE"
INVALID_ATTRIBUTE: Final = "INVALID_ATTRIBUTE"
INVALID_KEY: Final = "INVALID_KEY"
EMPTY_BODY: Final = "EMPTY_BODY"
INVALID_BODY: Final = "INVALID_BODY"
MISSING_TENANT: Final = "MISSING_TENANT"
UNSUPPORTED_CONTENT_TYPE: Final = "UNSUPPORTED_CONTENT_TYPE"
TOO_LARGE: Final = "TOO_LARGE"

MAX_ATTRIBUTE_BYTES = 1024
"""Two attributes of this size still fit into one PostgreSQL index entry (2,704 bytes)."""
MAX_BODY_BYTES = 1024 * 1024
"""The largest message that our topics take."""

_FIELDS = {
    "id": "id",
    "type": "type",
    "source": "source",
    "subject": "subject",
    "time": "time",
    "partitionkey": "key",
    "traceparent": "traceparent",
    "correlationid": "correlation_id",
    "causationid": "causation_id",
    "merchantid": "merchant_id",
    "environment": "environment",
    "actor": "actor",
    "orderversion": "order_version",
}
"""CloudEvents attribute → field of `Envelope`."""
_OPTIONAL_HEADERS = (
    ("ce_subject", "subject"),
    ("ce_correlationid", "correlation_id"),
    ("ce_causationid", "causation_id"),
    ("ce_merchantid", "merchant_id"),
    ("ce_environment", "environment"),
    ("ce_actor", "actor"),
    ("traceparent", "traceparent"),
)
_READ = {f"ce_{attribute}": attribute for attribute in (*_FIELDS, "specversion")} | {
    "content-type": "datacontenttype",
    "traceparent": "traceparent",
}

_RFC3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)  # datetime.fromisoformat alone would also take week dates and times without a zone
_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")  # CloudEvents 1.0, type String
_JSON_TYPE = re.compile(r"(application|text)/([^\s;/]+\+)?json\s*(;\s*charset=\"?utf-?8\"?\s*)?", re.IGNORECASE)
_VERSION_DIGITS = 9
_MERCHANT = re.compile(r"[a-z]+_[A-Za-z0-9_-]{1,64}")
_ENVIRONMENTS = ("test", "live")
_STRUCTURED = (*_FIELDS, "specversion", "datacontenttype")


@immutable
class Envelope:
    """One message with everything that is known about it before its body is read."""

    id: str
    type: str
    source: str
    data: bytes
    """The JSON body, not parsed."""
    key: str | None = None
    """The Kafka key: the order id, or the id of the aggregate that the message concerns."""
    subject: str | None = None
    time: datetime | None = None
    """In UTC."""
    traceparent: str | None = None
    correlation_id: str | None = None
    causation_id: str | None = None
    merchant_id: str | None = None
    environment: str | None = None
    actor: str | None = None
    """Type and id with a colon: `channel:chn_web`."""
    order_version: int | None = None

    def headers(self) -> dict[str, str]:
        """The Kafka headers of binary mode; the record's value is `data` as it is."""
        headers = {
            "ce_specversion": "1.0",
            "ce_id": self.id,
            "ce_type": self.type,
            "ce_source": self.source,
            "content-type": "application/json",
        }
        for name, field in _OPTIONAL_HEADERS:
            value = getattr(self, field)
            if value is not None:
                headers[name] = value
        if self.time is not None:
            headers["ce_time"] = _written(self.time)
        if self.order_version is not None:
            headers["ce_orderversion"] = str(self.order_version)
        return headers


@lru_cache(maxsize=1_024)
def _written(time: datetime) -> str:
    """As CloudEvents have it; what a batch does, it does at one time."""
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")


def decode(
    headers: Sequence[tuple[str, bytes]], key: bytes | None, value: bytes | None, largest: int = MAX_BODY_BYTES
) -> Envelope:
    """The event of one Kafka record in binary or structured mode; the record's key wins over a `partitionkey`.

    Raises `Poison` for everything else. `largest` is for binary mode, in bytes.
    """
    attributes = _read_headers(headers)
    content_type = attributes.get("datacontenttype", "")
    if content_type[:23].lower() == "application/cloudevents":
        return _structured_record(content_type, key, value)
    _check_specversion(attributes)
    if not value:
        raise Poison(EMPTY_BODY, "the record has no value")
    if len(value) > largest:
        raise Poison(TOO_LARGE, f"the body has {len(value)} bytes, at most {largest} are taken")
    if key:
        attributes["partitionkey"] = _key(key)
    return _envelope(attributes, value)


def tenant_of(envelope: Envelope) -> tuple[str, str]:
    """The merchant and the environment that a message between services is about; raises `Poison` without them."""
    merchant_id, environment = envelope.merchant_id or "", envelope.environment or ""
    if not _MERCHANT.fullmatch(merchant_id) or environment not in _ENVIRONMENTS:
        raise Poison(MISSING_TENANT, "ce_merchantid, or ce_environment test or live, is missing or no such thing")
    return merchant_id, environment


def decode_structured(body: bytes | Mapping[str, Any]) -> Envelope:
    """The event of one JSON object in CloudEvents' JSON format, with its body in `data` or `data_base64`.

    Also for HTTP, for one event or for each of a batch. `key` is the `partitionkey` attribute. Raises `Poison`.
    """
    fields = _parse_object(body) if isinstance(body, bytes) else body
    attributes = {name: _as_text(name, fields[name]) for name in _STRUCTURED if fields.get(name) is not None}
    _check_specversion(attributes)
    return _envelope(attributes, _structured_data(fields))


def _read_headers(headers: Sequence[tuple[str, bytes]]) -> dict[str, str]:
    attributes: dict[str, str] = {}
    for name, value in headers:
        attribute = _READ.get(name) or _READ.get(name.lower())
        if attribute is None:
            continue
        try:
            attributes[attribute] = value.decode()
        except (UnicodeDecodeError, AttributeError):  # Kafka headers may also be null
            raise Poison(INVALID_ATTRIBUTE, f"{attribute} is not UTF-8 text") from None
    return attributes


def _structured_record(content_type: str, key: bytes | None, value: bytes | None) -> Envelope:
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type not in {"application/cloudevents+json", "application/cloudevents"}:
        raise Poison(UNSUPPORTED_CONTENT_TYPE, "a record holds one event as application/cloudevents+json")
    if not value:
        raise Poison(EMPTY_BODY, "the record has no value")
    envelope = decode_structured(value)
    return replace(envelope, key=_key(key)) if key else envelope


def _parse_object(body: bytes) -> Mapping[str, Any]:
    if len(body) > MAX_BODY_BYTES:
        raise Poison(TOO_LARGE, f"the event has {len(body)} bytes, at most {MAX_BODY_BYTES} are taken")
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Poison(NOT_A_CLOUDEVENT, "the event is not JSON") from None
    if not isinstance(fields, dict):
        raise Poison(NOT_A_CLOUDEVENT, "the event is not a JSON object")
    return fields


def _as_text(name: str, value: object) -> str:
    if isinstance(value, str):
        return value
    if name == "orderversion" and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise Poison(INVALID_ATTRIBUTE, f"{name} is not text")


def _structured_data(fields: Mapping[str, Any]) -> bytes:
    data, encoded = fields.get("data"), fields.get("data_base64")
    if data is not None and encoded is not None:
        raise Poison(INVALID_ATTRIBUTE, "data and data_base64 exclude each other")
    try:
        if data is not None:
            return orjson.dumps(data)
        body = b64decode(encoded or b"", validate=True)
    except (TypeError, ValueError):
        raise Poison(INVALID_BODY, "the event's data cannot be read") from None
    if not body:
        raise Poison(EMPTY_BODY, "the event has no data")
    return body


def _check_specversion(attributes: Mapping[str, str]) -> None:
    specversion = attributes.get("specversion")
    if specversion == "1.0":
        return
    if not specversion:
        raise Poison(NOT_A_CLOUDEVENT, "there is no specversion")
    raise Poison(UNSUPPORTED_SPECVERSION, "only CloudEvents 1.0 is understood")


def _envelope(attributes: dict[str, str], data: bytes) -> Envelope:
    """An envelope of attributes that are known to be text; checks all that their meaning asks for."""
    content_type = attributes.get("datacontenttype")
    if content_type and content_type != "application/json" and not _JSON_TYPE.fullmatch(content_type):
        raise Poison(UNSUPPORTED_CONTENT_TYPE, "the data is not JSON in UTF-8")
    found: dict[str, Any] = {}
    plain = _plain("".join(attributes.values()))
    for attribute, text in attributes.items():
        field = _FIELDS.get(attribute)
        if field is not None and text:
            if not plain:
                _check_text(attribute, text)
            found[field] = text
    for field in ("id", "type", "source"):
        if field not in found:
            raise Poison(MISSING_ATTRIBUTE, f"{field} is missing")
    if "time" in found:
        found["time"] = _time(found["time"])
    if "order_version" in found:
        found["order_version"] = _order_version(found["order_version"])
    return Envelope(data=data, **found)


def _plain(texts: str) -> bool:
    """Whether nothing can be wrong with any of these texts, all of them together being short and printable."""
    return len(texts) <= MAX_ATTRIBUTE_BYTES and texts.isascii() and texts.isprintable()


def _check_text(attribute: str, text: str) -> None:
    if len(text) * 4 > MAX_ATTRIBUTE_BYTES and len(text.encode(errors="surrogatepass")) > MAX_ATTRIBUTE_BYTES:
        raise Poison(TOO_LARGE, f"{attribute} is longer than {MAX_ATTRIBUTE_BYTES} bytes")
    if not text.isprintable() and _FORBIDDEN.search(text):
        raise Poison(INVALID_ATTRIBUTE, f"{attribute} holds a character that CloudEvents forbids")


def _time(text: str) -> datetime:
    try:
        if _RFC3339.fullmatch(text):
            moment = datetime.fromisoformat(text.upper())
            return moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise Poison(INVALID_ATTRIBUTE, "time is not an RFC 3339 timestamp")


def _order_version(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) <= _VERSION_DIGITS:
        return int(text)
    raise Poison(INVALID_ATTRIBUTE, "orderversion is not a whole number")


def _key(key: bytes) -> str:
    try:
        text = key.decode()
        _check_text("key", text)
    except (UnicodeDecodeError, Poison):
        raise Poison(INVALID_KEY, f"the key is not printable UTF-8 of at most {MAX_ATTRIBUTE_BYTES} bytes") from None
    return text
