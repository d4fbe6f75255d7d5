"""What channels and buyers did, in their own words, whatever came of it."""

from dataclasses import dataclass, field

from tests.simulation.world_api import Json

Fact = tuple[str, str, str, str | None]
"""Channel, kind (`captured`), payment reference, and the capture's or refund's own reference if it has one."""
Content = tuple[str | None, str | None, int | None, str | None]
"""The order's id or its other name, amount, currency."""


@dataclass(slots=True)
class Command:
    """A command on `orders.commands`; `type` is the wire type's middle (`acquire_lease`)."""

    order_id: str
    command_id: str
    type: str
    body: Json
    merchant_id: str
    acknowledged: bool = False


@dataclass(slots=True)
class Saying:
    """One content that a channel gave a fact. Two of one fact contradict each other, or name the order differently."""

    fact: Fact
    merchant_id: str
    order_id: str | None
    external_reference: str | None
    amount: int | None
    currency: str | None
    acknowledged: bool = False

    @property
    def content(self) -> Content:
        return self.order_id, self.external_reference, self.amount, self.currency

    def contradicts(self, other: "Saying") -> bool:
        """Whether both cannot be true: other money, or other names of the same sort."""
        if (self.amount, self.currency) != (other.amount, other.currency):
            return True
        pairs = ((self.order_id, other.order_id), (self.external_reference, other.external_reference))
        return any(one is not None and two is not None and one != two for one, two in pairs)


@dataclass(slots=True)
class Garbage:
    """A record that nobody can process; `reason` is what its dead letter must say."""

    reason: str
    acknowledged: bool = False


@dataclass(slots=True)
class Wanted:
    """An order as it was asked for; by Kafka or HTTP, acknowledged or not."""

    order_id: str
    merchant_id: str
    currency: str
    total: int
    external_reference: str | None
    promised: bool = False
    """Whether an answer said that it is there."""


@dataclass(slots=True)
class Write:
    """One request with one idempotency key, and every answer that came: status, order, version."""

    key: str
    path: str
    body: Json
    answers: list[tuple[int, str | None, int | None]] = field(default_factory=list)


@dataclass(slots=True)
class Collecting:
    """One request to the payments with one idempotency key, and every answer that came: status, body."""

    order: str
    """Its id; none where the request makes the order."""
    key: str
    path: str
    body: Json
    answers: list[tuple[int, Json]] = field(default_factory=list)

    @property
    def makes(self) -> int:
        """How many intents it makes at most."""
        if self.path.endswith("/pay"):
            return len(self.body.get("legs", "1"))
        return 1 if self.path.endswith("/payment-intents") else 0


@dataclass(slots=True)
class Consent:
    """A merchant let an app in, from one moment on (virtual seconds) and perhaps up to another."""

    app_id: str
    merchant_id: str
    grant_id: str
    reads: bool
    """Whether it may read orders."""
    asked_s: float
    granted_s: float | None = None
    revoke_asked_s: float | None = None
    revoked_s: float | None = None
    reads_payments: bool = False
    narrow_asked_s: float | None = None
    narrowed_s: float | None = None
    """Since when it may read nothing of payments any more, where it might before."""

    def end_asked_s(self, *, of_payments: bool) -> float | None:
        """When the merchant first asked that the app is not told any more: of anything, or of payments."""
        return _first(self.revoke_asked_s, self.narrow_asked_s if of_payments else None)

    def ended_s(self, *, of_payments: bool) -> float | None:
        """When the merchant was first answered that the app is not told any more."""
        return _first(self.revoked_s, self.narrowed_s if of_payments else None)


@dataclass(slots=True)
class Replay:
    """An app wants all its events once more; whether the service began with it, only the service knows for certain."""

    app_id: str
    asked_s: float


def _first(*times: float | None) -> float | None:
    return min((each for each in times if each is not None), default=None)


@dataclass(slots=True)
class Receiver:
    """Where webhooks of a merchant go; an app's while the app is let in. Its `manner` is `well`, `slow`, `moody`,
    `dead`, or `gone` once it has lost patience."""

    endpoint_id: str
    url: str
    merchant_id: str
    manner: str
    types: tuple[str, ...]
    consent: Consent | None = None
    patience: int = 0
    since_s: float | None = None
    """Since when the service has said that it will get what it asks for."""
    owner_reads_payments: bool = False
    """Whether a merchant's own may be told of payments."""

    @property
    def grant_id(self) -> str | None:
        return self.consent and self.consent.grant_id

    @property
    def reads_payments(self) -> bool:
        return self.consent.reads_payments if self.consent else self.owner_reads_payments


Record = tuple[str, bytes, bytes, str]
"""Topic, key, value and `ce_type`: what was written, whatever its own id and time."""


@dataclass(slots=True)
class Books:
    """All of one world."""

    wanted: dict[str, Wanted] = field(default_factory=dict)
    commands: dict[tuple[str, str], Command] = field(default_factory=dict)
    """By order and command id."""
    records: dict[Record, Saying | Garbage] = field(default_factory=dict)
    """Whatever was tried to be written to Kafka except commands; equal contents of a fact are one `Saying`."""
    sayings: dict[Fact, list[Saying]] = field(default_factory=dict)
    writes: list[Write] = field(default_factory=list)
    collecting: list[Collecting] = field(default_factory=list)
    by_intents: set[str] = field(default_factory=set)
    """Orders on which nobody collects but through payment intents, and whose total stays."""
    consents: list[Consent] = field(default_factory=list)
    replays: dict[str, Replay] = field(default_factory=dict)
    """By id, all that were tried to be begun."""
    receivers: dict[str, Receiver] = field(default_factory=dict)
    """By URL."""
    heard: dict[tuple[str, str], Json] = field(default_factory=dict)
    """The outcomes that somebody waited for and read."""

    def said(self, new: Saying) -> Saying:
        """The entry for this content, which is `new` at its first mention."""
        said = self.sayings.setdefault(new.fact, [])
        for known in said:
            if known.content == new.content:
                return known
        said.append(new)
        return new
