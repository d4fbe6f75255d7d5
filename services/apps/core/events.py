"""Public events: what plugins, webhooks and streams are told, made from what the services publish.

The same message gives the same events with the same ids however often it is read, so that every path and every
redelivery agree on what an event is called.
"""

import json
from base64 import b32encode
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

from services.apps.core.event_types import CUSTOMER_SCOPE, Reader, may_read
from shared.contracts import order_events as orders
from shared.immutable import immutable

_UPDATED = ("order.updated",)
_PUBLIC: dict[str, tuple[str, ...]] = {
    orders.OrderCreated.wire_type: ("order.created",),
    orders.OrderOpened.wire_type: ("order.opened",),
    orders.OrderCanceled.wire_type: ("order.canceled",),
    orders.OrderClosed.wire_type: ("order.closed",),
    orders.OrderPaid.wire_type: ("order.paid",),
    orders.OrderPartiallyPaid.wire_type: ("order.partially_paid",),
    orders.OrderOverpaid.wire_type: ("order.overpaid",),
    orders.RefundRecorded.wire_type: ("order.refunded",),
    orders.PaymentAuthorized.wire_type: ("order.payment_authorized",),
    orders.PaymentCaptured.wire_type: ("order.payment_captured",),
    orders.PaymentFailed.wire_type: ("order.payment_failed",),
    orders.LeaseGranted.wire_type: ("order.lease_granted",),
    orders.LeaseReleased.wire_type: ("order.lease_released",),
    orders.LeaseExpired.wire_type: ("order.lease_expired",),
    # One holder's lease ends and another's begins.
    orders.LeaseHandedOver.wire_type: ("order.lease_released", "order.lease_granted"),
}
"""Wire type of what happened to an order → what the public is told. Everything else is an update of the order."""

_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_TO_CROCKFORD = bytes.maketrans(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", _CROCKFORD.encode())
_ULID_CHARS = 26
_BASE32_BYTES = 20
"""The fewest that hold a ULID and become a whole number of letters: 32, of which the first six say nothing."""
_RANDOM_BYTES = 10


@immutable
class Origin:
    """Who or what something comes from: a type and an id."""

    type: str
    id: str


@immutable
class Happened:
    """One entry of a version: its wire type, and its data as JSON values."""

    type: str
    data: Mapping[str, Any]


@immutable
class Version:
    """One version of an order, as far as the public may know of it."""

    order_id: str
    version: int
    merchant_id: str
    environment: str
    recorded_at: datetime
    currency: str
    actor: Origin
    cause: Origin | None
    happened: tuple[Happened, ...]
    order: bytes
    """The order after it as JSON without its customer; `null` where it is too large for a message."""
    customer: bytes | None = None
    """The customer as JSON, where the order has one."""


@immutable
class Subject:
    """What an event is about that is no order."""

    type: str
    id: str
    after: bytes
    """It, after the event, as JSON."""


@immutable
class Told:
    """What a service told of something that is no order."""

    type: str
    source: str
    """Who told it, and under which id: both are the same whenever the message comes again."""
    message_id: str
    recorded_at: datetime
    merchant_id: str
    environment: str
    actor: Origin
    cause: Origin | None
    subject: Subject
    change: bytes
    """What happened, as JSON."""
    order_id: str | None = None
    order_version: int | None = None
    grant_id: str | None = None


@dataclass(frozen=True, slots=True)
class PublicEvent:
    """One thing that happened, as the public sees it, with what it is about as it was afterwards."""

    event_id: str
    type: str
    created_at: datetime
    merchant_id: str
    environment: str
    order_id: str | None
    order_version: int | None
    actor: Origin
    cause: Origin | None
    change: bytes
    """What happened, as JSON: its name, and the ids and amounts that tell which part of the order it was about."""
    order: bytes
    """The order after it; `null` too where the event is about something else."""
    customer: bytes | None = None
    subject: Subject | None = None
    """What it is about; `None` is the order."""
    grant_id: str | None = None
    """Of the app that it is about, where it is about one."""
    _bodies: dict[bool, bytes] = field(default_factory=dict, compare=False, repr=False)

    @property
    def key(self) -> str:
        """What keeps its order: events with the same one are told one after the other."""
        return self.order_id or self.about.id

    @property
    def about(self) -> Origin:
        """What happened to: the order, or whatever else it is."""
        return Origin(self.subject.type, self.subject.id) if self.subject else Origin("order", self.order_id or "")

    def is_for(self, reader: Reader) -> bool:
        """Whether the reader is told of it."""
        return reader.is_told(self.type, self.grant_id)

    def body(self, scopes: Collection[str] | None = None) -> bytes:
        """The event as JSON: all of it, or no more than these scopes allow; worked out once for each."""
        with_customer = self.customer is not None and (scopes is None or may_read(scopes, CUSTOMER_SCOPE))
        known = self._bodies.get(with_customer)
        if known is None:
            known = self._bodies[with_customer] = self._composed(with_customer)
        return known

    def _composed(self, with_customer: bool) -> bytes:
        head = {
            "event_id": self.event_id,
            "type": self.type,
            "created_at": self.created_at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
            "merchant_id": self.merchant_id,
            "environment": self.environment,
            "subject": _named(self.about),
            "order_id": self.order_id,
            "order_version": self.order_version,
            "actor": _named(self.actor),
            "cause": _named(self.cause) if self.cause else None,
        }
        order = self.order
        if with_customer and self.customer is not None:
            order = b'%b,"customer":%b}' % (order[:-1], self.customer)
        subject = b',"%b":%b' % (self.subject.type.encode(), self.subject.after) if self.subject else b""
        return b'%b,"data":{"change":%b,"order":%b%b}}' % (_json(head)[:-1], self.change, order, subject)


def public_events(version: Version) -> tuple[PublicEvent, ...]:
    """What the public is told of a version, in the order in which it happened."""
    told = [(public, each) for each in version.happened for public in _PUBLIC.get(each.type, _UPDATED)]
    return tuple(
        PublicEvent(
            event_id=_event_id(
                version.recorded_at,
                (version.merchant_id, version.environment, version.order_id, version.version, position),
            ),
            type=public,
            created_at=version.recorded_at,
            merchant_id=version.merchant_id,
            environment=version.environment,
            order_id=version.order_id,
            order_version=version.version,
            actor=version.actor,
            cause=version.cause,
            change=_json(_change(each, version.currency)),
            order=version.order,
            customer=version.customer,
        )
        for position, (public, each) in enumerate(told)
    )


def event_told(told: Told) -> PublicEvent:
    """What the public is told of something that is no order."""
    about = (told.merchant_id, told.environment, told.source, told.message_id)
    return PublicEvent(
        event_id=_event_id(told.recorded_at, about),
        type=told.type,
        created_at=told.recorded_at,
        merchant_id=told.merchant_id,
        environment=told.environment,
        order_id=told.order_id,
        order_version=told.order_version,
        actor=told.actor,
        cause=told.cause,
        change=told.change,
        order=b"null",
        subject=told.subject,
        grant_id=told.grant_id,
    )


def created_in(event_id: str) -> tuple[datetime, datetime] | None:
    """The millisecond in which an event with this id was made; `None` for what is no such id."""
    prefix, _, ulid = event_id.partition("_")
    if prefix != "evt" or len(ulid) != _ULID_CHARS or not set(ulid) <= set(_CROCKFORD):
        return None
    number = 0
    for letter in ulid:
        number = number * 32 + _CROCKFORD.index(letter)
    try:
        began = _EPOCH + (number >> (8 * _RANDOM_BYTES)) * _MILLISECOND
        return began, began + _MILLISECOND
    except OverflowError:
        return None


def _event_id(moment: datetime, about: tuple[object, ...]) -> str:
    """A ULID of the time at which it happened, whose random part is a digest of what it is about."""
    digest = sha256("\0".join(map(str, about)).encode()).digest()[:_RANDOM_BYTES]
    milliseconds = (moment - _EPOCH) // _MILLISECOND
    number = milliseconds << (8 * _RANDOM_BYTES) | int.from_bytes(digest, "big")
    letters = b32encode(number.to_bytes(_BASE32_BYTES, "big"))[-_ULID_CHARS:]
    return "evt_" + letters.translate(_TO_CROCKFORD).decode()


def _change(happened: Happened, currency: str) -> dict[str, Any]:
    """Names, ids and amounts; whole parts of the order are left out, because the order itself is in the event."""
    change: dict[str, Any] = {"type": happened.type.removeprefix("orders.").rpartition(".")[0]}
    for name, value in happened.data.items():
        if name.endswith("_minor"):
            change[name.removesuffix("_minor") + "_money"] = {"amount": value, "currency": currency}
        elif not isinstance(value, dict | list):
            change[name] = value
    return change


def _named(origin: Origin) -> dict[str, str]:
    return {"type": origin.type, "id": origin.id}


def _json(value: object) -> bytes:
    return _ENCODER.encode(value).encode()
