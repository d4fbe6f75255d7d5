"""What a message says, read by the public contract alone: the auditor's own reading, without the services' code.

A claim names the trace that a message leaves when it is taken. `None`: nobody could say what it claims.
"""

import json
from base64 import b64decode
from dataclasses import dataclass
from typing import Any

from shared.topics import (
    ACCESS_GRANTS,
    ACCESS_USED,
    ORDERS_COMMANDS,
    ORDERS_EVENTS,
    ORDERS_REPLIES,
    PAYMENTS_EVENTS,
)
from tests.hostile.messages import PAYMENTS, PUBLIC_OF_PAYMENTS, Header, Message


@dataclass(frozen=True, slots=True)
class Command:
    """A command: its outcome is kept under the order and the command's id."""

    order_id: str
    command_id: str


@dataclass(frozen=True, slots=True)
class Reference:
    """What makes two channel events the same one."""

    channel_id: str
    type: str
    payment: str
    capture: str | None
    refund: str | None


@dataclass(frozen=True, slots=True)
class Told:
    """A channel event: kept under its reference; what differs from the first one in these is a conflict."""

    reference: Reference
    order_id: str | None
    external_reference: str | None
    amount: int | None
    currency: str | None


@dataclass(frozen=True, slots=True)
class Version:
    """A version of an order: what is known of the order is at least that new."""

    order_id: str
    version: int


@dataclass(frozen=True, slots=True)
class Reply:
    """An outcome: counted, and only of use to the sender of the command."""

    ours: bool


@dataclass(frozen=True, slots=True)
class Granted:
    """A grant or a tombstone: kept under the credential, unless a later one came."""

    credential_hash: str
    tombstone: bool


@dataclass(frozen=True, slots=True)
class Uses:
    """A report of uses: of keys that nobody has it leaves no trace."""


@dataclass(frozen=True, slots=True)
class Public:
    """What happened to an intent or to unmatched money: kept as a public event of it."""

    subject_id: str
    type: str


@dataclass(frozen=True, slots=True)
class Private:
    """What the public is not told: it leaves no trace."""


Claim = Command | Told | Version | Reply | Granted | Uses | Public | Private


def claim_of(message: Message) -> Claim | None:
    """What the message claims, if it can be read."""
    try:
        claim = _claim(message)
        hash(claim)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None
    return claim


def _claim(message: Message) -> Claim | None:
    if message.topic == ACCESS_GRANTS:
        return _granted(message)
    if message.topic == ORDERS_REPLIES and PAYMENTS.encode() not in (message.value or b""):
        return Reply(ours=False)
    attributes, body = _event(message)
    if message.topic == ACCESS_USED:
        return Uses() if "uses" in _fields(body) else None
    if message.topic == ORDERS_REPLIES:
        return Reply(ours=_fields(body).get("sender") == PAYMENTS)
    if message.topic == ORDERS_COMMANDS:
        # A command with a long id may also have a long body, which says nothing about its trace.
        return Command((message.key or b"").decode(), attributes["id"])
    if message.topic == PAYMENTS_EVENTS:
        return _of_payment(attributes["type"], body)
    fields = _fields(body)
    if message.topic == ORDERS_EVENTS:
        return Version(fields["order_id"], int(fields["version"]))
    money = fields.get("amount_money") or {}
    reference = Reference(
        message.topic.split(".")[1],
        attributes["type"],
        fields["payment_reference"],
        fields.get("capture_reference") if "captured" in attributes["type"] else None,
        fields.get("refund_reference") if "refunded" in attributes["type"] else None,
    )
    return Told(
        reference, fields.get("order_id"), fields.get("external_reference"), money.get("amount"), money.get("currency")
    )


def _of_payment(wire_type: str, body: bytes) -> Claim:
    for name in PUBLIC_OF_PAYMENTS:
        family, _, what = wire_type.partition(f"{name}_")
        if family == "payments." and what.removesuffix(".v1") in _WAYS[name] and what.endswith(".v1"):
            return Public(_fields(body)[name][f"{name}_id"], f"{name}.{what.removesuffix('.v1')}")
    return Private()


_WAYS = {
    "payment_intent": (
        "processing",
        "requires_action",
        "requires_capture",
        "succeeded",
        "failed",
        "canceled",
        "unknown",
    ),
    "unmatched_money": ("found", "attached", "returned", "dismissed"),
}


def _granted(message: Message) -> Claim | None:
    key = (message.key or b"").decode()
    if message.value is None:
        return Granted(key, tombstone=True)
    fields = _fields(message.value)
    return Granted(key, tombstone=False) if fields["credential_hash"] == key else None


def _event(message: Message) -> tuple[dict[str, str], bytes]:
    """Attributes by CloudEvents' names, and the body."""
    headers = _last_of_each(message.headers)
    if headers.get("content-type", b"").lower().startswith(b"application/cloudevents"):
        event = _fields(message.value or b"")
        body = json.dumps(event["data"]).encode() if "data" in event else b64decode(event["data_base64"])
        return event, body
    found = {name[3:]: text.decode(errors="replace") for name, text in headers.items() if name.startswith("ce_")}
    return found, message.value or b""


def _last_of_each(headers: tuple[Header, ...]) -> dict[str, bytes]:
    return {name.decode(errors="replace").lower(): text or b"" for name, text in headers}


def _fields(body: bytes) -> dict[str, Any]:
    found = json.loads(body.decode())
    if not isinstance(found, dict):
        raise ValueError("not an object")
    return found
