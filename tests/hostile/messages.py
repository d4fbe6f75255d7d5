"""Messages as they are sent: what every well-formed one looks like, and what must become of it."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from random import Random
from typing import Any

from shared.topics import (
    ACCESS_GRANTS,
    ACCESS_USED,
    ORDERS_COMMANDS,
    ORDERS_EVENTS,
    ORDERS_REPLIES,
    PAYMENTS_EVENTS,
    channel_topic,
)

Json = dict[str, Any]
Header = tuple[bytes, bytes | None]

EXAMPLES = Path(__file__).parent.parent / "contract" / "examples"
_TARGETS = 100
MARKER = "hostile-secret"
"""Planted in payloads; no log may hold it."""
PAYMENTS = "/services/payments"
PUBLIC_OF_PAYMENTS = frozenset({"payment_intent", "unmatched_money"})
"""Of what the public is told by the payment service: the field of the message, and the beginning of its type."""


class Must(Enum):
    """What must become of a message."""

    TAKEN = "taken"
    """Applied, refused, known already, or not for the reader; and no dead letter."""
    DEAD = "dead"
    """A dead letter (on the grants' topic, which has none: counted and skipped), without any effect."""
    EITHER = "either"
    """One of both; which one, depends on where the mutation hit."""


@dataclass(frozen=True, slots=True)
class Message:
    """One Kafka message before it has a position."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...]
    must: Must = Must.TAKEN
    kind: str = "well-formed"
    """What was done to it."""
    timestamp: int | None = None
    """Milliseconds; now, unless given."""
    alone: str | None = None
    """The compression of the batch that holds only this message; packed with others unless given."""

    def mutated(self, kind: str, must: Must, **changes: Any) -> "Message":
        return replace(self, kind=kind, must=must, **changes)


def fresh(random: Random, prefix: str) -> str:
    """An identifier that nothing else has; the same again with the same seed."""
    return f"{prefix}_{random.getrandbits(104):026X}"


def binary(topic: str, key: str, headers: dict[str, str], body: Json, **more: Any) -> Message:
    """A CloudEvent in binary mode."""
    found = tuple((name.encode(), text.encode()) for name, text in headers.items())
    return Message(topic, key.encode(), json.dumps(body, ensure_ascii=False).encode(), found, **more)


@dataclass(frozen=True)
class Tenant:
    merchant_id: str
    environment: str = "test"


@dataclass
class Honest:
    """An order whose money is known in advance; nothing that is sent beside it may change it."""

    order_id: str
    reference: str
    price: int
    tip: int
    captures: dict[str, int] = field(default_factory=dict)
    refunds: dict[str, int] = field(default_factory=dict)
    """By payment reference."""

    def messages(self, random: Random, tenant: Tenant, channel_id: str) -> list[Message]:
        """All that is to be said about it, in an order that a channel and a shop would say it in."""
        create = {
            "currency": "EUR",
            "source": "checkout",
            "line_items": [
                {"line_item_id": fresh(random, "li"), "name": "Tea", "quantity": "1", "unit_price_minor": self.price}
            ],
            "context": {"external_reference": self.reference},
        }
        told = [
            command(random, self.order_id, tenant, "orders.create_order.v1", create),
            command(random, self.order_id, tenant, "orders.set_tip.v1", {"tip_minor": self.tip}),
        ]
        for number, (payment, amount) in enumerate(self.captures.items()):
            # One payment names the order by its id, the next one by the shop's own name for it.
            name = {"external_reference": self.reference} if number % 2 else {"order_id": self.order_id}
            money = {"amount": amount, "currency": "EUR"}
            body = name | {"payment_reference": payment, "amount_money": money}
            told.append(channel_event(random, channel_id, self.order_id, "channel.payment.captured.v1", body))
        for payment, amount in self.refunds.items():
            body = {
                "order_id": self.order_id,
                "payment_reference": payment,
                "refund_reference": f"{payment}-back",
                "amount_money": {"amount": amount, "currency": "EUR"},
            }
            told.append(channel_event(random, channel_id, self.order_id, "channel.payment.refunded.v1", body))
        return told


def honest_order(random: Random) -> Honest:
    order_id, price = fresh(random, "ord"), random.randint(100, 500_000)
    payments = [fresh(random, "psp") for _ in range(random.randint(0, 3))]
    captures = {payment: random.randint(1, price) for payment in payments}
    refunds = {payments[0]: random.randint(1, captures[payments[0]])} if payments and random.random() < 0.5 else {}
    return Honest(order_id, f"web-{order_id[4:]}", price, random.randint(0, 500), captures, refunds)


def command(random: Random, order_id: str, tenant: Tenant, wire_type: str, body: Json) -> Message:
    headers = {
        "ce_specversion": "1.0",
        "ce_id": fresh(random, "cmd"),
        "ce_type": wire_type,
        "ce_source": "/services/hostile",
        "ce_subject": order_id,
        "ce_merchantid": tenant.merchant_id,
        "ce_environment": tenant.environment,
        "ce_time": "2026-11-21T10:15:30Z",
        "content-type": "application/json",
    }
    return binary(ORDERS_COMMANDS, order_id, headers, body)


def channel_event(random: Random, channel_id: str, key: str, wire_type: str, body: Json) -> Message:
    headers = {
        "ce_specversion": "1.0",
        "ce_id": fresh(random, "evt"),
        "ce_type": wire_type,
        "ce_source": f"/channels/{channel_id}",
        "ce_time": "2026-11-21T10:15:30Z",
        "content-type": "application/json",
    }
    return binary(channel_topic(channel_id), key, headers, body)


@dataclass
class World:
    """Who there is, and what hostile messages are made of."""

    random: Random
    tenant: Tenant
    strangers: list[Tenant]
    channels: list[str]
    closed_channels: list[str]
    """One disabled, one that has a topic and was never made."""
    secrets: list[str]
    """Credential hashes that have to go on working."""
    honest: list[Honest] = field(default_factory=list)
    """Those whose orders have been asked for by now."""
    targets: list[str] = field(default_factory=list)
    """Orders of which nothing is promised."""

    def __post_init__(self) -> None:
        self.targets += [fresh(self.random, "ord") for _ in range(_TARGETS)]
        files = sorted(EXAMPLES.glob("*.json"))
        self._examples = {path.stem: json.loads(path.read_text()) for path in files}
        self._commands = _named(self._examples, lambda name: name in COMMAND_TYPES)
        self._channel_events = _named(self._examples, lambda name: name.startswith("channel."))
        self._events = _named(self._examples, lambda name: name.startswith("orders.") and name not in _NOT_EVENTS)
        # The rest of what payments tell is read no further than its type.
        public = tuple(f"payments.{name}_" for name in PUBLIC_OF_PAYMENTS)
        self._of_payments = _named(self._examples, lambda name: name.startswith(public))

    def any_well_formed(self, topic: str) -> Message:
        """A message of any type that the topic takes, about nothing of value."""
        makers: dict[str, Callable[[], Message]] = {
            ORDERS_COMMANDS: self._command,
            ORDERS_EVENTS: self._version,
            ORDERS_REPLIES: self._reply,
            PAYMENTS_EVENTS: self._of_payment,
            ACCESS_GRANTS: self._grant,
            ACCESS_USED: self._uses,
        }
        return makers[topic]() if topic in makers else self._channel_event(topic)

    def _command(self) -> Message:
        wire_type = self.random.choice(self._commands)
        order_id = self.random.choice(self.targets)
        if wire_type == "orders.create_order.v1" and self.random.random() < 0.5:
            order_id = fresh(self.random, "ord")
            self.targets[self.random.randrange(len(self.targets))] = order_id
        tenant = self.tenant if self.random.random() < 0.9 else self.random.choice(self.strangers)
        return command(self.random, order_id, tenant, wire_type, self._body(wire_type))

    def _channel_event(self, topic: str) -> Message:
        channel_id, wire_type = topic.split(".")[1], self.random.choice(self._channel_events)
        body = self._body(wire_type)
        target = self.random.choice([fresh(self.random, "ord"), *self.random.sample(self.targets, 3)])
        body.pop("external_reference", None)
        body.pop("order_id", None)
        if self.random.random() < 0.8:
            body["order_id"] = target
        else:
            body["external_reference"] = f"nowhere-{target}"
        message = channel_event(self.random, channel_id, target, wire_type, body)
        return (
            message.mutated("channel that does not count", Must.DEAD) if channel_id in self.closed_channels else message
        )

    def _version(self) -> Message:
        leading = self.random.choice(self._events)
        order_id = fresh(self.random, "ord")
        [body, *_] = self._examples["orders.order_version.v1"]
        data = self.random.choice(self._examples[leading])
        snapshot = {"order_id": order_id, "status": "open", "external_reference": None}
        body = body | {
            "order_id": order_id,
            "version": self.random.randint(1, 9),
            "events": [{"type": leading, "data": data}],
            "order": self.random.choice([snapshot, None]),
            "note": MARKER,
        }
        headers = _from_orders(self.random, order_id, leading, self.random.choice(self.strangers))
        return binary(ORDERS_EVENTS, order_id, headers, body)

    def _reply(self) -> Message:
        wire_type = self.random.choice(["orders.command_accepted.v1", "orders.command_refused.v1"])
        order_id, command_id = fresh(self.random, "ord"), fresh(self.random, "cmd")
        sender = self.random.choice(["/services/payments", "/services/others"])
        body = self._body(wire_type) | {"command_id": command_id, "order_id": order_id, "sender": sender}
        headers = _from_orders(self.random, order_id, wire_type, self.random.choice(self.strangers))
        return binary(ORDERS_REPLIES, order_id, headers, body)

    def _of_payment(self) -> Message:
        """What payments tell of an intent or of unmatched money, which nobody has."""
        wire_type = self.random.choice(self._of_payments)
        [(name, subject)] = self.random.choice(self._examples[wire_type]).items()
        subject_id = fresh(self.random, "evt")
        headers = {
            "ce_specversion": "1.0",
            "ce_id": f"{subject_id}.told",
            "ce_type": wire_type,
            "ce_source": PAYMENTS,
            "ce_subject": subject_id,
            "ce_time": datetime.now(UTC).isoformat(),
            "ce_merchantid": self.random.choice(self.strangers).merchant_id,
            "ce_environment": "test",
            "ce_actor": "key:key_1",
            "content-type": "application/json",
        }
        key = self.random.choice([subject_id, fresh(self.random, "ord")])
        body = {name: subject | {f"{name}_id": subject_id}, "note": MARKER}
        return binary(PAYMENTS_EVENTS, key, headers, body)

    def _grant(self) -> Message:
        body = self.random.choice(self._examples["access.grant.v1"])
        credential_hash = self.random.randbytes(32).hex()
        body = body | {"credential_hash": credential_hash, "note": MARKER}
        return binary(ACCESS_GRANTS, credential_hash, {}, body)

    def _uses(self) -> Message:
        headers = {
            "ce_specversion": "1.0",
            "ce_id": fresh(self.random, "evt"),
            "ce_type": "access.credentials_used.v1",
            "ce_source": "/services/hostile",
            "content-type": "application/json",
        }
        body = {"uses": {fresh(self.random, "key"): "2026-11-21T10:15:30Z"}, "note": MARKER}
        return binary(ACCESS_USED, "hostile", headers, body)

    def _body(self, wire_type: str) -> Json:
        """A copy of an example with a payment reference of its own, and a secret that nobody reads."""
        body: Json = dict(self.random.choice(self._examples[wire_type]))
        if "payment_reference" in body:
            body["payment_reference"] = fresh(self.random, "psp")
        return body | {"note": MARKER}


COMMAND_TYPES = frozenset(
    f"orders.{name}.v1"
    for name in """
    create_order open_order add_line_item update_line_item remove_line_item add_charge update_charge remove_charge
    apply_discount remove_discount set_tip update_order add_note cancel_order close_order acquire_lease extend_lease
    release_lease hand_over_lease expire_leases record_authorization record_capture record_void
    record_authorization_expiry record_payment_failure reserve_refund record_refund release_refund reverse_refund
    """.split()
)
"""As the AsyncAPI document lists them."""
_NOT_EVENTS = COMMAND_TYPES | {"orders.order_version.v1", "orders.command_accepted.v1", "orders.command_refused.v1"}


def _named(examples: dict[str, Any], wanted: Callable[[str], bool]) -> list[str]:
    return [name for name in examples if wanted(name)]


def _from_orders(random: Random, order_id: str, wire_type: str, tenant: Tenant) -> dict[str, str]:
    return {
        "ce_specversion": "1.0",
        "ce_id": fresh(random, "evt"),
        "ce_type": wire_type,
        "ce_source": "/services/orders",
        "ce_subject": order_id,
        "ce_merchantid": tenant.merchant_id,
        "ce_environment": tenant.environment,
        "ce_orderversion": "1",
        "content-type": "application/json",
    }
