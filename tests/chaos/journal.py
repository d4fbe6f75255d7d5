"""What the clients were promised and what they sent, written down by themselves."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]


@dataclass
class Write:
    """One HTTP write with its idempotency key; told again until it is answered."""

    key: str
    kind: str
    path: str
    body: Json
    attempts: int = 0
    status: int | None = None
    abandoned: bool = False
    """Sent once and never asked about again: it may or may not have an effect, but not two."""
    order_id: str | None = None
    version: int | None = None
    answers: set[tuple[str, int]] = field(default_factory=set)
    """Order id and version of every answer that said yes."""


@dataclass
class Told:
    """One event of a channel, or garbage."""

    event_id: str
    channel_id: str
    kind: str
    reference: str
    amount: int
    fate: str
    """What must become of it: `applied`, `conflict`, `unknown_order` or `dead`."""
    order_id: str | None = None
    refund_reference: str | None = None
    external_reference: str | None = None
    """How it names its order, where it does not do so by id."""
    by_http: bool = False
    accepted: bool = False
    """Answered with 202."""
    positions: list[tuple[int, int]] = field(default_factory=list)
    """Partition and offset of every time that Kafka acknowledged it."""


@dataclass
class Leg:
    """What one payment of an order must come to."""

    authorized: int = 0
    captured: int = 0
    refunded: int = 0


@dataclass
class Promised:
    """An order that a client was promised, and what it must come to."""

    order_id: str
    external_reference: str
    price: int
    tip: int = 0
    notes: list[str] = field(default_factory=list)
    legs: dict[str, Leg] = field(default_factory=dict)


@dataclass
class Journal:
    """Everything of one run."""

    writes: list[Write] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    orders: dict[str, Promised] = field(default_factory=dict)
    errors: Counter[str] = field(default_factory=Counter)
    """What went wrong on the way and was tried again, by kind."""
    oddities: list[str] = field(default_factory=list)
    """What should not have been answered, or should not have ended, at all."""
