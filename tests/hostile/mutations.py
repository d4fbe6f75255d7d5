"""What is done to messages. Each mutation says what must become of the message afterwards."""

import base64
import json
from collections.abc import Callable
from itertools import accumulate
from typing import Any

from shared.topics import ACCESS_GRANTS, ORDERS_COMMANDS, ORDERS_EVENTS, PAYMENTS_EVENTS
from tests.hostile.messages import MARKER, Header, Honest, Json, Message, Must, World, command, fresh
from tests.hostile.model import Public, claim_of

Mutation = Callable[[World, Message], Message]

DEAD, TAKEN, EITHER = Must.DEAD, Must.TAKEN, Must.EITHER
CODECS = ("gzip", "snappy", "lz4", "zstd")
LARGEST = 1024 * 1024 - 4096
"""Room for headers and what Kafka puts around them."""
_BOMB = 8 * 1024 * 1024
_REQUIRED = (b"ce_specversion", b"ce_id", b"ce_type", b"ce_source")
_AMOUNTS = ("amount_minor", "tip_minor", "unit_price_minor", "amount")
_NOT_AMOUNTS = (-1, 0.5, 10**12, 10**30, "5", None, True, [], {}, 1e400, float("nan"), -(10**15) - 1, 1.0)
_ODD_VALUES = (
    *_NOT_AMOUNTS,
    "",
    "\x00",
    "\ud800",
    "\u202e\u200b\ufeff",
    "A\u0301" * 300,
    "🧨" * 200,
    "x" * 100_000,
    "' OR 1=1 --",
    "${jndi:ldap://x}",
    "../../etc/passwd",
    "9999-12-31T23:59:59+00:00",
    "0001-01-01T00:00:00+23:59",
    [[]] * 1000,
    2**63,
    2**31,
    -(2**31) - 1,
    False,
    {"$ref": "#"},
)


def mutate(world: World, message: Message) -> Message:
    """The message after one mutation, drawn by weight."""
    deck = _GRANTS_DECK if message.topic == ACCESS_GRANTS else _EVENTS_DECK
    [mutation] = world.random.choices(list(deck), cum_weights=list(deck.values()))
    before = message.must
    after = mutation(world, message)
    if before is DEAD and after.must is not DEAD:
        return after.mutated(after.kind, DEAD)
    return after


# Headers.


def _drop_required(world: World, message: Message) -> Message:
    name = world.random.choice(_REQUIRED)
    return message.mutated(f"without {name.decode()}", DEAD, headers=_without(message.headers, name))


def _drop_optional(world: World, message: Message) -> Message:
    present = [name for name, _ in message.headers if name not in _REQUIRED]
    name = world.random.choice(present)
    tenant = name in (b"ce_merchantid", b"ce_environment") and message.topic in (ORDERS_COMMANDS, ORDERS_EVENTS)
    # What the public is not told of is read no further.
    public = isinstance(claim_of(message), Public) and name in (b"ce_merchantid", b"ce_environment", b"ce_time")
    headers = _without(message.headers, name)
    return message.mutated(f"without {name.decode()}", DEAD if tenant or public else TAKEN, headers=headers)


def _double(world: World, message: Message) -> Message:
    header = world.random.choice(message.headers)
    return message.mutated("a header twice", TAKEN, headers=(*message.headers, header))


def _double_with_another(world: World, message: Message) -> Message:
    headers = (*message.headers, (b"ce_specversion", world.random.choice([b"0.3", b"2.0", b"1.0 ", b"1", b"\xff"])))
    return message.mutated("a second, other specversion", DEAD, headers=headers)


def _empty(world: World, message: Message) -> Message:
    name = world.random.choice(_REQUIRED)
    return message.mutated("an empty attribute", DEAD, headers=_with(message.headers, name, b""))


def _overlong(world: World, message: Message) -> Message:
    name = world.random.choice([b"ce_id", b"ce_type", b"ce_source", b"ce_subject", b"ce_actor", b"ce_correlationid"])
    text = b"x" * world.random.choice([1025, 5_000, 60_000])
    return message.mutated("an overlong attribute", DEAD, headers=_with(message.headers, name, text))


def _longest_id(world: World, message: Message) -> Message:
    length = world.random.choice([200, 201, 1024])
    too_long = length > 200 and message.topic == ORDERS_COMMANDS
    text = fresh(world.random, "cmd").ljust(length, "x").encode()
    must = DEAD if too_long else TAKEN
    return message.mutated(f"an id of {length} characters", must, headers=_with(message.headers, b"ce_id", text))


def _not_utf8(world: World, message: Message) -> Message:
    name = world.random.choice([*_REQUIRED, b"ce_subject", b"ce_time", b"traceparent", b"content-type"])
    text = world.random.choice([b"\xff\xfe", b"caf\xe9", b"\xc0\x80", b"\xed\xa0\x80", None])
    return message.mutated("an attribute that is not UTF-8", DEAD, headers=_with(message.headers, name, text))


def _control_character(world: World, message: Message) -> Message:
    name = world.random.choice(_REQUIRED[1:])
    text = b"a" + world.random.choice(["\x00", "\n", "\x7f", "\x85", "\ufffe"]).encode() + b"b"
    return message.mutated("an attribute with a control character", DEAD, headers=_with(message.headers, name, text))


def _foreign_headers(world: World, message: Message) -> Message:
    names = [b"x-app", b"ce_sampledrate", b"", b"__proto__", "ce_ümlaut".encode()]
    extra = [(world.random.choice(names), world.random.choice([None, b"", b"\xff", MARKER.encode()])) for _ in range(5)]
    return message.mutated("headers that nobody knows", TAKEN, headers=(*message.headers, *extra))


def _many_headers(_: World, message: Message) -> Message:
    extra = tuple((b"x-%d" % number, b"y" * 50) for number in range(300))
    return message.mutated("300 headers", TAKEN, headers=(*extra, *message.headers))


def _other_case(_: World, message: Message) -> Message:
    headers = tuple((name.upper(), value) for name, value in message.headers)
    return message.mutated("header names in capitals", TAKEN, headers=headers)


def _name_not_utf8(world: World, message: Message) -> Message:
    if message.topic == ACCESS_GRANTS or world.random.random() < 0.5:
        headers = (*message.headers, (b"x-\xff\xfe", b"1"))
        return message.mutated("a foreign header name that is not UTF-8", TAKEN, headers=headers)
    lost = world.random.choice(_REQUIRED)
    headers = tuple((b"\xff" + name if name == lost else name, value) for name, value in message.headers)
    return message.mutated("an attribute's name that is not UTF-8", DEAD, headers=headers)


def _specversion(world: World, message: Message) -> Message:
    text = world.random.choice([b"0.3", b"1.1", b"2.0", b"1", b" 1.0"])
    headers = _with(message.headers, b"ce_specversion", text)
    return message.mutated("another specversion", DEAD, headers=headers)


def _time(world: World, message: Message) -> Message:
    text = world.random.choice(
        [b"yesterday", b"2026-02-30T00:00:00Z", b"99999-01-01T00:00:00Z", b"0001-01-01T00:00:00+23:59", b"1700000000"]
    )
    return message.mutated("a time that is none", DEAD, headers=_with(message.headers, b"ce_time", text))


def _order_version(world: World, message: Message) -> Message:
    text = world.random.choice([b"-1", b"1.5", b"9" * 30, "٣".encode(), b"0x10"])
    return message.mutated(
        "an orderversion that is none", DEAD, headers=_with(message.headers, b"ce_orderversion", text)
    )


def _odd_but_right(world: World, message: Message) -> Message:
    name, text = world.random.choice(
        [
            (b"ce_time", b"2026-11-21t10:15:30.123456789123z"),
            (b"ce_time", b"9999-12-31T23:59:59.999999-00:00"),
            (b"traceparent", b"00-zz-zz-zz"),
            (b"ce_actor", b"no colon and \xf0\x9f\xa7\xa8"),
            (b"ce_correlationid", b"y" * 1024),
            (b"content-type", b'Application/JSON; charset="UTF-8"'),
            (b"content-type", b"application/vnd.shop.event+json"),
            (b"content-type", b""),
        ]
    )
    # When something happened that the public is told of must be a time at which something can happen.
    never = isinstance(claim_of(message), Public) and text.startswith(b"9999")
    headers = _with(message.headers, name, text)
    return message.mutated("odd attributes that are right", DEAD if never else TAKEN, headers=headers)


def _unknown_type(world: World, message: Message) -> Message:
    known = dict(message.headers).get(b"ce_type") or b""
    text = world.random.choice([known[:-1] + b"99", known + b"\xe2\x80\x8b", b"orders.become_rich.v1", known.upper()])
    # The type of an order's version is only said, the body counts; of payments the public is told what it knows.
    must = TAKEN if message.topic in (ORDERS_EVENTS, PAYMENTS_EVENTS) else DEAD
    return message.mutated("a type that nobody knows", must, headers=_with(message.headers, b"ce_type", text))


def _content_type(world: World, message: Message) -> Message:
    text = world.random.choice(
        [
            b"application/xml",
            b"application/json; charset=utf-16",
            b"text/plain",
            b"application/cloudevents-batch+json",
            b"application/cloudevents+xml",
            b"application/octet-stream",
        ]
    )
    return message.mutated("another content type", DEAD, headers=_with(message.headers, b"content-type", text))


def _tenant(world: World, message: Message) -> Message:
    """Somebody else's name under a command or version; a channel's tenant is the channel's, whatever it says."""
    stranger = world.random.choice(world.strangers)
    headers = _with(message.headers, b"ce_merchantid", stranger.merchant_id.encode())
    return message.mutated("another merchant", TAKEN, headers=headers)


def _no_tenant(world: World, message: Message) -> Message:
    name, text = world.random.choice(
        [
            (b"ce_merchantid", b"'; DROP TABLE orders; --"),
            (b"ce_environment", b"production"),
            (b"ce_merchantid", b"MER"),
        ]
    )
    must = DEAD if message.topic == ORDERS_COMMANDS else EITHER
    return message.mutated("no such tenant", must, headers=_with(message.headers, name, text))


def _source(world: World, message: Message) -> Message:
    if message.topic.startswith("channels."):
        headers = _with(message.headers, b"ce_source", b"/channels/chn_somebody_else")
        return message.mutated("another channel's source", DEAD, headers=headers)
    headers = _with(message.headers, b"ce_source", f"/{MARKER}".encode())
    return message.mutated("another source", TAKEN, headers=headers)


# Structured mode.


def _structured(world: World, message: Message) -> Message:
    return _as_structured(message, {}, "structured mode", TAKEN)


def _structured_base64(_: World, message: Message) -> Message:
    encoded = base64.b64encode(message.value or b"").decode()
    return _as_structured(message, {"data": None, "data_base64": encoded}, "structured mode, base64", TAKEN)


def _structured_wrong(world: World, message: Message) -> Message:
    changes: Json = world.random.choice(
        [
            {"data_base64": "e30="},
            {"data": None},
            {"data": None, "data_base64": "!!!"},
            {"specversion": 1.0},
            {"specversion": "0.3"},
            {"id": 7},
            {"id": ""},
            {"source": ["x"]},
            {"type": None},
            {"time": 5},
            {"subject": {}},
            {"datacontenttype": "application/xml"},
            {"id": "\ud800"},
        ]
    )
    return _as_structured(message, changes, "structured mode, wrong", DEAD)


def _structured_broken(world: World, message: Message) -> Message:
    whole = _as_structured(message, {}, "structured mode, broken", DEAD)
    value = world.random.choice(
        [(whole.value or b"")[:-1], b"[]", b"null", b"1", b'"x"', b"[" * 5000, b"{}", message.value]
    )
    return whole.mutated(whole.kind, DEAD, value=value)


def _as_structured(message: Message, changes: Json, kind: str, must: Must) -> Message:
    event: Json = {"data": json.loads(message.value or b"{}")}
    others = []
    for name, text in message.headers:
        if name.startswith(b"ce_") and text is not None:
            event[name[3:].decode()] = text.decode()
        elif name != b"content-type":
            others.append((name, text))
    event = {name: value for name, value in (event | changes).items() if value is not None}
    headers = ((b"content-type", b"application/cloudevents+json; charset=UTF-8"), *others)
    return message.mutated(kind, must, headers=headers, value=json.dumps(event).encode())


# Keys.


def _key(world: World, message: Message) -> Message:
    key = world.random.choice([b"\xff\xfe", b"k" * 1025, b"a\x00b", b"\xed\xa0\x80"])
    return message.mutated("a key that is no text", DEAD, key=key)


def _other_key(world: World, message: Message) -> Message:
    key = fresh(world.random, "ord").encode()
    must = DEAD if message.topic == ORDERS_COMMANDS else TAKEN
    return message.mutated("another order's key", must, key=key)


def _no_key(_: World, message: Message) -> Message:
    must = DEAD if message.topic == ORDERS_COMMANDS else TAKEN
    return message.mutated("no key", must, key=None)


def _wrong_id_as_key(world: World, message: Message) -> Message:
    key = world.random.choice([b"ord_", b"ord_" + b"x" * 65, "ord_ä".encode(), b"mer_1", b"ord_a-b", b"ord_a b"])
    headers = _without(message.headers, b"ce_subject")
    must = DEAD if message.topic == ORDERS_COMMANDS else TAKEN
    return message.mutated("a key that is no order id", must, key=key, headers=headers)


# Bodies.


def _bit_flips(world: World, message: Message) -> Message:
    value = bytearray(message.value or b"")
    for _ in range(world.random.choice([1, 1, 1, 2, 8])):
        value[world.random.randrange(len(value))] ^= 1 << world.random.randrange(8)
    return message.mutated("bits flipped", EITHER, value=bytes(value))


def _truncated(world: World, message: Message) -> Message:
    value = message.value or b"{}"
    return message.mutated("truncated", DEAD, value=value[: world.random.randint(1, len(value) - 1)])


def _no_body(world: World, message: Message) -> Message:
    return message.mutated("no body", DEAD, value=world.random.choice([b"", None]) if message.key else b"")


def _encoded(world: World, message: Message) -> Message:
    text = (message.value or b"").decode()
    value = world.random.choice(
        [text.encode("utf-16"), text.encode("utf-16-le"), text.encode("utf-32"), b"\xff" + text.encode()]
    )
    return message.mutated("another encoding", DEAD, value=value)


def _latin(_: World, message: Message) -> Message:
    body = json.loads(message.value or b"{}") | {"note": f"{MARKER} grün"}
    return message.mutated("latin-1", DEAD, value=json.dumps(body, ensure_ascii=False).encode("latin-1", "replace"))


def _around(world: World, message: Message) -> Message:
    value = message.value or b""
    value = world.random.choice(
        [b"\xef\xbb\xbf" + value, value + b"x", value + value, b"\x00" + value, value + b"\x00", b"//\n" + value]
    )
    return message.mutated("something around the body", DEAD, value=value)


def _not_an_object(world: World, message: Message) -> Message:
    value = world.random.choice(
        [b"[]", b"null", b"0", b'"text"', b"true", b"NaN", b"[" + (message.value or b"") + b"]"]
    )
    return message.mutated("no object", DEAD, value=value)


def _nested(world: World, message: Message) -> Message:
    depth = world.random.choice([50, 180, 1_000, 100_000])
    opening, closing = world.random.choice([(b"[", b"]"), (b'{"a":', b"}")])
    deep = opening * depth + b"1" + closing * depth
    return message.mutated("deep nesting", EITHER, value=_extended(message, b'"deep":' + deep))


def _extra_fields(world: World, message: Message) -> Message:
    odd = world.random.choice(
        [b'"\xf0\x9f\xa7\xa8":"\\u202e"', b'"":null', b'"a":1e308', b'"x":[1,2,{"y":[]}]', b'"__class__":"x"']
    )
    return message.mutated("fields that nobody knows", TAKEN, value=_extended(message, odd))


def _odd_extra_fields(world: World, message: Message) -> Message:
    odd = world.random.choice([b'"a":NaN', b'"a":-Infinity', b'"a":"\\ud800"', b'"a":"\\u0000"', b'"a":' + b"9" * 5000])
    return message.mutated("odd fields that nobody knows", EITHER, value=_extended(message, odd))


def _twice(world: World, message: Message) -> Message:
    body = json.loads(message.value or b"{}")
    name = world.random.choice(list(body))
    repeated = json.dumps({name: body[name]}, ensure_ascii=False).encode()[1:-1]
    return message.mutated("a field twice", TAKEN, value=_extended(message, repeated))


def _amount(world: World, message: Message) -> Message:
    body = json.loads(message.value or b"{}")
    places = [place for place in _places(body) if place[1] in _AMOUNTS and type(place[0][place[1]]) is int]
    if not places:
        return _truncated(world, message)
    holder, name = world.random.choice(places)
    # Versions tell amounts of the past, which are only read.
    sure = message.topic == ORDERS_COMMANDS or message.topic.startswith("channels.")
    odd = world.random.choice(_NOT_AMOUNTS)
    holder[name] = odd
    must = DEAD if sure and odd is not None else EITHER
    return message.mutated("an amount that is none", must, value=_json(body))


def _odd_value(world: World, message: Message) -> Message:
    body = json.loads(message.value or b"{}")
    holder, name = world.random.choice(_places(body))
    holder[name] = world.random.choice(_ODD_VALUES)
    return message.mutated("an odd value", EITHER, value=_json(body))


def _missing_field(world: World, message: Message) -> Message:
    body = json.loads(message.value or b"{}")
    holder, name = world.random.choice([place for place in _places(body) if isinstance(place[0], dict)])
    del holder[name]
    return message.mutated("a field less", EITHER, value=_json(body))


def _large(world: World, message: Message) -> Message:
    size = world.random.choice([100_000, LARGEST - 20_000])
    around = len(message.value or b"") + sum(len(name) + len(text or b"") + 20 for name, text in message.headers)
    value = _extended(message, b'"large":"' + b"x" * (size - around) + b'"')
    return message.mutated("as large as the topic takes", TAKEN, value=value, alone="none")


def _bomb(world: World, message: Message) -> Message:
    value = _extended(message, b'"bomb":"' + b"0" * _BOMB + b'"')
    return message.mutated("8 MB, compressed to little", DEAD, value=value, alone=world.random.choice(CODECS))


def _odd_timestamp(world: World, message: Message) -> Message:
    moment = world.random.choice([0, 1, 946_684_800_000])
    return message.mutated("a timestamp of long ago", TAKEN, timestamp=moment)


def _untouched(_: World, message: Message) -> Message:
    return message


# Against orders whose money is known.


def _foreign_command(world: World, message: Message) -> Message:
    """A well-formed command of a stranger on somebody's order: refused."""
    if message.topic != ORDERS_COMMANDS or not world.honest:
        return message
    order = world.random.choice(world.honest)
    body = {
        "payment_id": fresh(world.random, "pay"),
        "payment_reference": fresh(world.random, "psp"),
        "amount_minor": 1,
        "currency": "EUR",
        "note": MARKER,
    }
    stranger = world.random.choice(world.strangers)
    forged = command(world.random, order.order_id, stranger, "orders.record_capture.v1", body)
    return forged.mutated("a stranger's command on an order with money", TAKEN)


def _known_again(world: World, message: Message) -> Message:
    """What was said about an honest order, said again: the same, or with another amount under the same name."""
    order = world.random.choice(world.honest) if world.honest else None
    if order is None or not order.captures or not message.topic.endswith(".payments"):
        return message
    if message.topic.split(".")[1] != world.channels[0]:
        return message
    told = _told_of(order, world, message.topic)
    again = world.random.choice(told)
    if world.random.random() < 0.5:
        return again.mutated("the same again", TAKEN)
    body = json.loads(again.value or b"")
    body["amount_money"]["amount"] += world.random.randint(1, 99)
    return again.mutated("another amount under the same reference", TAKEN, value=_json(body))


def _broken_copy(world: World, message: Message) -> Message:
    """A broken message about an order whose money is known."""
    if not world.honest or message.topic.split(".")[1] not in ("commands", world.channels[0]):
        return _truncated(world, message)
    order = world.random.choice(world.honest)
    told = _told_of(order, world, message.topic)
    if not told:
        return _truncated(world, message)
    breaking = world.random.choice([_truncated, _drop_required, _around, _specversion, _key, _encoded, _not_utf8])
    broken = breaking(world, world.random.choice(told))
    return broken.mutated(f"about known money: {broken.kind}", DEAD)


def _told_of(order: Honest, world: World, topic: str) -> list[Message]:
    told = order.messages(world.random, world.tenant, world.channels[0])
    return [message for message in told if message.topic == topic]


# The topic of the grants, which has no CloudEvents.


def _grant_of_another(world: World, message: Message) -> Message:
    """A record under the key of a credential that has to go on working, which speaks of another one."""
    return message.mutated("a grant under another's key", DEAD, key=world.random.choice(world.secrets).encode())


def _grant_origins(world: World, message: Message) -> Message:
    noise = world.random.randbytes(4_000).hex()
    origins = world.random.choice([["\x00"], ["https://" + "x" * 5_000], ["x"] * 3_000, [noise]])
    body = json.loads(message.value or b"{}") | {"allowed_origins": origins}
    return message.mutated("odd origins", EITHER, value=_json(body))


def _grant_tombstone(_: World, message: Message) -> Message:
    return message.mutated("a tombstone", TAKEN, value=None)


_OF_BODIES: tuple[Mutation, ...] = (
    _bit_flips,
    _truncated,
    _encoded,
    _latin,
    _around,
    _not_an_object,
    _nested,
    _extra_fields,
    _odd_extra_fields,
    _twice,
    _odd_value,
    _missing_field,
    _large,
    _odd_timestamp,
    _untouched,
)
_FOR_GRANTS: tuple[Mutation, ...] = (
    *_OF_BODIES,
    _key,
    _grant_of_another,
    _grant_origins,
    _grant_tombstone,
    _foreign_headers,
    _name_not_utf8,
)
_FOR_EVENTS: tuple[Mutation, ...] = (
    *_OF_BODIES,
    _drop_required,
    _drop_optional,
    _double,
    _double_with_another,
    _empty,
    _overlong,
    _longest_id,
    _not_utf8,
    _control_character,
    _foreign_headers,
    _many_headers,
    _other_case,
    _name_not_utf8,
    _specversion,
    _time,
    _order_version,
    _odd_but_right,
    _unknown_type,
    _content_type,
    _tenant,
    _no_tenant,
    _source,
    _structured,
    _structured_base64,
    _structured_wrong,
    _structured_broken,
    _key,
    _other_key,
    _no_key,
    _wrong_id_as_key,
    _no_body,
    _amount,
    _bomb,
    _foreign_command,
    _known_again,
    _broken_copy,
)
_WEIGHTS: dict[Mutation, float] = {
    _bit_flips: 4,
    _odd_value: 6,
    _amount: 4,
    _missing_field: 2,
    _untouched: 4,
    _known_again: 2,
    _name_not_utf8: 0.1,
    _large: 0.02,
    _bomb: 0.002,
    _nested: 0.5,
    _many_headers: 0.1,
}
"""Rare is what costs the sender most: megabytes, and batches that only hold one message."""


def _deck(mutations: tuple[Mutation, ...]) -> dict[Mutation, float]:
    """Each with the sum of the weights up to it."""
    return dict(zip(mutations, accumulate(_WEIGHTS.get(each, 1.0) for each in mutations), strict=True))


_GRANTS_DECK, _EVENTS_DECK = _deck(_FOR_GRANTS), _deck(_FOR_EVENTS)


def _without(headers: tuple[Header, ...], name: bytes) -> tuple[Header, ...]:
    return tuple(header for header in headers if header[0] != name)


def _with(headers: tuple[Header, ...], name: bytes, text: bytes | None) -> tuple[Header, ...]:
    return (*_without(headers, name), (name, text))


def _extended(message: Message, member: bytes) -> bytes:
    """The body with one more member at its end."""
    body = (message.value or b"{}").rstrip()
    comma = b"" if body == b"{}" else b","
    return body[:-1] + comma + member + b"}"


def _json(body: Json) -> bytes:
    """Python writes NaN and lone surrogates, which is what is wanted here."""
    return json.dumps(body, ensure_ascii=True).encode()


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every container with every name or index in it."""
    found: list[tuple[Any, Any]] = []
    left = [value]
    while left:
        holder = left.pop()
        items: Any = holder.items() if isinstance(holder, dict) else enumerate(holder)
        for name, inner in items:
            found.append((holder, name))
            if isinstance(inner, dict | list) and inner:
                left.append(inner)
    return found
