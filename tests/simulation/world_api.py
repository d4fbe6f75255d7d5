"""What models and auditor know of the world that they live in."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from random import Random
from typing import Any, NamedTuple, Protocol

Json = dict[str, Any]
Row = dict[str, Any]

ENVIRONMENT = "test"
COMMANDS, EVENTS, REPLIES = "orders.commands", "orders.events", "orders.replies"
PAYMENTS_EVENTS, APPS_EVENTS = "payments.events", "apps.events"
OF_INTENTS = "payments.payment_intent_"
OUR_CHANNEL = "chn_payment_intents"
"""Of items about what intents collected."""
NEVER_HEARD = {"sandbox_lost_request_on_capture": "capture", "sandbox_lost_request_on_void": "void"}
"""Tokens with what the acquirer never hears that is asked for them, however often."""
DEAD_LETTERS = ".dead-letters"


@dataclass(frozen=True, slots=True)
class Channel:
    """Who tells about payments of one merchant."""

    channel_id: str
    merchant_id: str

    @property
    def topic(self) -> str:
        return f"channels.{self.channel_id}.payments"


class Told(NamedTuple):
    """A record as it lies in Kafka."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]
    at_s: float = 0.0
    """When it came there, on the clock that is right."""


@dataclass(slots=True)
class Request:
    """One that reached a receiver of webhooks."""

    at_s: float
    url: str
    event_id: str
    """As its header says."""
    body: Json
    understood_s: float | None = None
    """When the receiver took it as received, whether or not its answer came through."""


@dataclass(frozen=True, slots=True)
class Question:
    """One that left a process of the payments for the acquirer; `operation` is `look_up` where nothing is to move."""

    at_s: float
    attempt_id: str
    operation: str
    order_id: str | None = None
    payment_intent_id: str | None = None
    amount: int = 0
    saved: bool = True
    """Whether the attempt was in the payments' database by then."""


@dataclass(slots=True)
class Evidence:
    """What is there: every topic from its beginning, per partition in order, and the tables by `service.table`."""

    topics: dict[str, list[Told]] = field(default_factory=dict)
    tables: dict[str, list[Row]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    """To receivers of webhooks, in the order of time."""
    questions: list[Question] = field(default_factory=list)
    """To the acquirer, in the order of time."""
    troubles: list[tuple[float, float]] = field(default_factory=list)
    """When something was wrong with processes or servers."""


class World(Protocol):
    """What a model can do."""

    @property
    def random(self) -> Random:
        """The lifecycle's own, from the seed."""
        ...

    @property
    def channels(self) -> Sequence[Channel]:
        """Three channels of two merchants; the first two have one merchant."""
        ...

    @property
    def http(self) -> bool:
        """Whether `request` works here."""
        ...

    @property
    def intents(self) -> bool:
        """Whether there is an acquirer, and payments are asked over HTTP."""
        ...

    def now(self) -> datetime:
        """UTC."""
        ...

    async def publish(self, topic: str, key: str, headers: dict[str, str], value: bytes) -> None:
        """Raises `ConnectionError` when no acknowledgement came: the record may be there or not."""
        ...

    async def request(
        self, service: str, method: str, path: str, body: Json | None, idempotency_key: str | None, *, merchant_id: str
    ) -> tuple[int, Json]:
        """One of the service's replicas answers, to a key of the merchant that may do everything.

        Raises `ConnectionError` when no answer came: the effect is unknown.
        """
        ...

    async def reply(self, command_id: str) -> Json:
        """The first message on `orders.replies` about the command, with its `ce_type` as `type`; waits for it."""
        ...

    async def answer_challenge(self, url: str, *, approves: bool) -> None:
        """The buyer presses a button on the acquirer's page. Raises `ConnectionError` when no answer came."""
        ...
