"""Public events: what plugins, webhooks and streams are told, made from the versions that the order service publishes.

The same version gives the same events with the same ids however often it is read, so that every path and every
redelivery agree on what an event is called.
"""

import json
from base64 import b32encode
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, Final

from shared.contracts import order_events as orders
from shared.immutable import immutable

READ_SCOPE: Final = "orders.read"
"""Nobody is told of an order's events without it."""
CUSTOMER_SCOPE: Final = "customers.read"
"""Without it, an event does not hold who the customer is."""

EVENT_TYPES: Final = tuple(
    f"order.{what}"
    for what in (
        "created",
        "updated",
        "opened",
        "canceled",
        "closed",
        "paid",
        "partially_paid",
        "overpaid",
        "refunded",
        "payment_authorized",
        "payment_captured",
        "payment_failed",
        "lease_granted",
        "lease_released",
        "lease_expired",
        "fulfilled",
    )
)
EVENT_PATTERNS: Final = (*EVENT_TYPES, "order.*", "*")
"""What names a type, or several: all that begin so, or all."""

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
    # The name that the order service will give it: it does not know fulfillments yet.
    "orders.order_fulfilled.v1": ("order.fulfilled",),
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


@dataclass(frozen=True, slots=True)
class PublicEvent:
    """One thing that happened to an order, as the public sees it, with the order after it."""

    event_id: str
    type: str
    created_at: datetime
    merchant_id: str
    environment: str
    order_id: str
    order_version: int
    actor: Origin
    cause: Origin | None
    change: bytes
    """What happened, as JSON: its name, and the ids and amounts that tell which part of the order it was about."""
    order: bytes
    customer: bytes | None = None
    _bodies: dict[bool, bytes] = field(default_factory=dict, compare=False, repr=False)

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
            "order_id": self.order_id,
            "order_version": self.order_version,
            "actor": _named(self.actor),
            "cause": _named(self.cause) if self.cause else None,
        }
        order = self.order
        if with_customer and self.customer is not None:
            order = b'%b,"customer":%b}' % (order[:-1], self.customer)
        return b'%b,"data":{"change":%b,"order":%b}}' % (_json(head)[:-1], self.change, order)


def public_events(version: Version) -> tuple[PublicEvent, ...]:
    """What the public is told of a version, in the order in which it happened."""
    told = [(public, each) for each in version.happened for public in _PUBLIC.get(each.type, _UPDATED)]
    return tuple(
        PublicEvent(
            event_id=_event_id(version, position),
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


def may_read(scopes: Collection[str], scope: str) -> bool:
    """Whether these scopes allow to read what `scope` names; whoever may write may read."""
    return scope in scopes or scope.removesuffix(".read") + ".write" in scopes


def types_like(patterns: Iterable[str]) -> list[str]:
    """The types that the patterns name. Raises `ValueError` with the one that is none of `EVENT_PATTERNS`."""
    wanted: set[str] = set()
    for pattern in patterns:
        if pattern not in EVENT_PATTERNS:
            raise ValueError(pattern)
        wanted.update(known for known in EVENT_TYPES if is_like(known, pattern))
    return sorted(wanted)


def is_like(event_type: str, pattern: str) -> bool:
    """Whether a pattern names this type; a star stands for whole words: `order.*`, but not `order.pay*`."""
    if pattern.endswith(".*"):
        return event_type.startswith(pattern[:-1])
    return pattern in ("*", event_type)


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


def _event_id(version: Version, position: int) -> str:
    """A ULID of the time at which it happened, whose random part is a digest of what it is about."""
    about = (version.merchant_id, version.environment, version.order_id, version.version, position)
    digest = sha256("\0".join(map(str, about)).encode()).digest()[:_RANDOM_BYTES]
    milliseconds = (version.recorded_at - _EPOCH) // _MILLISECOND
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
