"""What the clients were promised and what they sent, written down by themselves."""

import json
from collections import Counter
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Literal

Json = dict[str, Any]
Way = Literal["topic", "webhook", "stream"]
WAYS: tuple[Way, ...] = ("topic", "webhook", "stream")


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


@dataclass(frozen=True)
class Answered:
    """What a request about a payment was answered: intents as they then were, or why it was refused."""

    status: int
    intents: tuple[Json, ...] = ()
    code: str = ""

    @property
    def final(self) -> bool:
        """Whether nothing is under way any more."""
        return self.status != 202


@dataclass
class Collecting:
    """One HTTP request about a payment with its idempotency key; told again until its answer is final."""

    key: str
    kind: str
    """`pay`, `rival` (pays while another does), `hold`, `capture` or `cancel`."""
    path: str
    body: Json
    order_id: str
    attempts: int = 0
    answers: list[Answered] = field(default_factory=list)
    took_s: float = 0.0
    """Until it was answered for good."""

    @property
    def final(self) -> Answered | None:
        """The first answer that was final."""
        return next((answer for answer in self.answers if answer.final), None)


@dataclass
class Leg:
    """What one payment of an order must come to."""

    authorized: int = 0
    captured: int = 0
    refunded: int = 0
    voided: int = 0

    @property
    def held(self) -> int:
        return max(0, self.authorized - self.captured - self.voided)


@dataclass
class Promised:
    """An order that a client was promised, and what it must come to."""

    order_id: str
    external_reference: str
    price: int
    tip: int = 0
    notes: list[str] = field(default_factory=list)
    legs: dict[str, Leg] = field(default_factory=dict)
    declined: int = 0
    """How many payments were."""


@dataclass
class Arrival:
    """A public event that came to the plugin; moments are in seconds since 1970."""

    event_id: str
    order_id: str | None
    """The order that it concerns."""
    digest: str
    """Of what it says."""
    at: float
    received_at: float | None = None
    """When the plugin said that it had it; a webhook may be answered otherwise, or never."""


@dataclass
class Install:
    """The plugin at one merchant, from the exchange of a code to the revocation; moments as in `Arrival`.

    The plugin was let in at some moment between two of the client's, and shut out between two others.
    """

    merchant_id: str
    asked_at: float
    given_at: float = 0.0
    revoking_at: float | None = None
    revoked_at: float | None = None
    listens_from: dict[Way, float] = field(default_factory=dict)
    """What was created later must come in this way."""
    arrivals: dict[Way, list[Arrival]] = field(default_factory=lambda: {way: [] for way in WAYS})
    """Those on the topic belong to the app; which of its installs they came for is for the auditor to say."""
    shut_after_s: dict[str, float] = field(default_factory=dict)
    """By what was still open for so long after the revocation was answered."""


@dataclass
class Journal:
    """Everything of one run."""

    writes: list[Write] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    collecting: list[Collecting] = field(default_factory=list)
    orders: dict[str, Promised] = field(default_factory=dict)
    installs: list[Install] = field(default_factory=list)
    read: dict[tuple[int, int], str] = field(default_factory=dict)
    """Partition and offset of each message of its topic that the plugin read, and the event's id."""
    captured: dict[Way, set[str]] = field(default_factory=lambda: {way: set() for way in WAYS})
    """Orders of whose captured payment the plugin was told, in each way."""
    probes: set[str] = field(default_factory=set)
    """Orders by which it is measured how soon something takes effect."""
    counted: Counter[str] = field(default_factory=Counter)
    """What else the clients did."""
    errors: Counter[str] = field(default_factory=Counter)
    """What went wrong on the way and was tried again, by kind."""
    oddities: list[str] = field(default_factory=list)
    """What should not have been answered, or should not have ended, at all."""

    def note(self, way: Way, event: Json) -> None:
        """The plugin was told."""
        if event["type"] == "order.payment_captured":
            self.captured[way].add(event["order_id"])


def digest_of(event: Json) -> str:
    """By which two tellings of an event are compared."""
    return sha256(json.dumps(event, sort_keys=True).encode()).hexdigest()[:24]
