"""The write path: a batch of commands becomes state, history, recorded outcomes and outgoing messages at once.

One transaction for the whole batch, a handful of statements whatever its size. Commands on one aggregate serialise on
its row lock, in the order of the batch. A command that was handled before gets the outcome that was recorded then.
What comes in by Kafka and by HTTP takes this one path.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import field
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar

import orjson
from asyncpg import UniqueViolationError

from shared import idempotency, inbox, outbox
from shared.clock import Clock
from shared.contracts.model import Actor
from shared.idempotency import Claim, Fresh, IdempotencyKey
from shared.immutable import immutable
from shared.outbox import OutboxMessage
from shared.postgres import Connection, Pool, transaction
from shared.telemetry import span
from shared.writes import NewRows, Write, write

S = TypeVar("S")
C = TypeVar("C")
P = TypeVar("P")

_RACES = 2
"""How often a batch is run again because another worker was faster; then its commands are run one by one."""


@immutable
class Outcome:
    """What became of a command, once and for ever. `code` is `None` when it was accepted."""

    command_id: str
    key: str
    version: int
    code: str | None = None
    detail: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    blockers: list[dict[str, Any]] = field(default_factory=list)
    param: str | None = None

    def recorded(self) -> str:
        """As it is kept: what differs from a plain acceptance."""
        kept: dict[str, Any] = {"version": self.version}
        if self.code is not None:
            kept |= {"code": self.code, "detail": self.detail, "blockers": self.blockers, "param": self.param}
        if self.facts:
            kept["facts"] = self.facts
        return orjson.dumps(kept).decode()


def _recalled(command_id: str, key: str, recorded: str) -> Outcome:
    return Outcome(command_id, key, **orjson.loads(recorded))


Answer = tuple[int, bytes]
"""HTTP status and body."""


@immutable
class Incoming(Generic[C]):
    """A command and what is known about it. `command_id` is unique among the commands on one aggregate."""

    command_id: str
    key: str
    command: C
    merchant_id: str
    environment: str
    actor: Actor
    source: str
    """Who is told the outcome: `/services/payments`."""
    channel: str | None = None
    reason: str | None = None
    expected_version: int | None = None
    correlation_id: str | None = None
    traceparent: str | None = None
    wants_reply: bool = True
    """A caller over HTTP gets its outcome in the response instead."""
    idempotency: IdempotencyKey | None = None
    answer: Callable[[Outcome, Any], Answer] | None = None
    """Makes the HTTP response that is kept with the effect, from the outcome and the state after it."""


@immutable
class Change(Generic[S, C]):
    """One accepted command that changed something."""

    incoming: Incoming[C]
    before: S | None
    after: S
    events: tuple[Any, ...]
    at: datetime


@immutable
class Record:
    """A change as its history keeps it (JSON), and the messages that tell of it."""

    history: bytes
    messages: Sequence[OutboxMessage]


@immutable
class Verdict(Generic[S]):
    """What a service's rules say to one command: the outcome, and what follows from it if anything does."""

    outcome: Outcome
    after: S | None
    events: tuple[Any, ...] = ()


@immutable
class Done(Generic[S]):
    """A command's outcome, with the state after it; `state` is `None` where it was recalled or nothing is there."""

    outcome: Outcome
    state: S | None
    answer: Answer | None = None


class Aggregates(Protocol[S, C, P]):
    """What a service brings: how its aggregates are loaded, decided on, kept and told of."""

    async def prepare(self, batch: Sequence[Incoming[C]]) -> P:
        """Whatever is needed from outside the transaction (numbers)."""
        ...

    async def lock(self, connection: Connection, keys: Sequence[str]) -> dict[str, S]:
        """The aggregates that exist, their rows locked in the order of the (sorted) keys."""
        ...

    def decide(self, state: S | None, incoming: Incoming[C], now: datetime, prepared: P) -> Verdict[S]:
        """The rules; no I/O."""
        ...

    def record(self, change: Change[S, C]) -> Record:
        """What is kept and published about a change."""
        ...

    def writes(self, changes: Sequence[tuple[Change[S, C], Record]]) -> Sequence[Write | NewRows | None]:
        """What keeps the newest state of each aggregate and the history of every change, of which there is one."""
        ...

    def committed(self, changes: Sequence[tuple[Change[S, C], Record]]) -> None:
        """The changes are durable."""
        ...

    def reply(self, incoming: Incoming[C], outcome: Outcome) -> OutboxMessage:
        """What the sender of a command is told; the same message however often it is asked."""
        ...


class _Run(Generic[S, C, P]):
    """The decisions of one batch, made in memory between loading and saving."""

    def __init__(
        self,
        aggregates: Aggregates[S, C, P],
        states: dict[str, S],
        recalled: dict[inbox.CommandKey, str],
        now: datetime,
    ) -> None:
        self.aggregates, self.states, self.recalled, self.now = aggregates, states, recalled, now
        self.changes: list[tuple[Change[S, C], Record]] = []
        self.outcomes: list[tuple[inbox.CommandKey, str]] = []
        self.outgoing: list[OutboxMessage] = []
        self.answers: list[tuple[IdempotencyKey, int, bytes]] = []

    def handle(self, incoming: Incoming[C], prepared: P) -> Done[S]:
        command_key = (incoming.key, incoming.command_id)
        known = self.recalled.get(command_key)
        if known is not None:
            done: Done[S] = Done(_recalled(incoming.command_id, incoming.key, known), None)
        else:
            done = self._decide(incoming, prepared)
            recorded = done.outcome.recorded()
            self.recalled[command_key] = recorded
            self.outcomes.append((command_key, recorded))
        if incoming.wants_reply:
            self.outgoing.append(self.aggregates.reply(incoming, done.outcome))
        return self._answered(incoming, done)

    def _decide(self, incoming: Incoming[C], prepared: P) -> Done[S]:
        before = self.states.get(incoming.key)
        verdict = self.aggregates.decide(before, incoming, self.now, prepared)
        if verdict.events and verdict.after is not None:
            change = Change(incoming, before, verdict.after, verdict.events, self.now)
            self.states[incoming.key] = verdict.after
            record = self.aggregates.record(change)
            self.changes.append((change, record))
            self.outgoing.extend(record.messages)
        return Done(verdict.outcome, verdict.after)

    def _answered(self, incoming: Incoming[C], done: Done[S]) -> Done[S]:
        if incoming.answer is None:
            return done
        status, body = incoming.answer(done.outcome, done.state)
        if incoming.idempotency is not None:
            self.answers.append((incoming.idempotency, status, body))
        return Done(done.outcome, done.state, (status, body))


class CommandProcessor(Generic[S, C, P]):
    """Runs batches of commands for one kind of aggregate.

    `committed` is called after each commit that left messages in the outbox, to wake the relay.
    """

    def __init__(
        self, pool: Pool, aggregates: Aggregates[S, C, P], clock: Clock, committed: Callable[[], None], name: str
    ) -> None:
        self._pool, self._aggregates, self._clock, self._committed = pool, aggregates, clock, committed
        self._span = f"{name}.write_batch"

    async def run(self, batch: Sequence[Incoming[C]]) -> list[Done[S] | Claim]:
        """All of the batch takes effect, or nothing does and an error is raised: `Transient` where a later try helps.

        Gives one result per command in the batch's order: `Done`, or the claim that says why an idempotency key
        stands in the way (`InProgress`, `Reused`, `StoredResponse`).
        """
        with span(self._span, traceparent=batch[0].traceparent, commands=len(batch)):
            results, run = await self._through_races(batch)
        self._aggregates.committed(run.changes)
        if run.outgoing:
            self._committed()
        return results

    async def _through_races(self, batch: Sequence[Incoming[C]]) -> tuple[list[Done[S] | Claim], _Run[S, C, P]]:
        """What another worker created or recorded meanwhile is a unique violation: it is committed, and found now."""
        for _ in range(_RACES):
            with suppress(UniqueViolationError):
                return await self._transact(batch)
        return await self._transact(batch)

    async def _transact(self, batch: Sequence[Incoming[C]]) -> tuple[list[Done[S] | Claim], _Run[S, C, P]]:
        prepared = await self._aggregates.prepare(batch)
        async with transaction(self._pool) as connection:
            return await self._write(connection, batch, prepared)

    async def _write(
        self, connection: Connection, batch: Sequence[Incoming[C]], prepared: P
    ) -> tuple[list[Done[S] | Claim], _Run[S, C, P]]:
        claims = await self._claims(connection, batch)
        free = [
            incoming for incoming, claim in zip(batch, claims, strict=True) if claim is None or isinstance(claim, Fresh)
        ]
        states = await self._aggregates.lock(connection, sorted({incoming.key for incoming in free}))
        recalled = await inbox.recall(connection, [(incoming.key, incoming.command_id) for incoming in free])
        # What is not there cannot be locked: another worker may have made it before its outcome was recalled.
        appeared = sorted({key for key, _ in recalled} - states.keys())
        if appeared:
            states |= await self._aggregates.lock(connection, appeared)
        # After the wait for the locks: the versions of one aggregate are recorded in the order of their times.
        now = self._clock()
        run = _Run(self._aggregates, states, recalled, now)
        results: list[Done[S] | Claim] = [
            run.handle(incoming, prepared) if claim is None or isinstance(claim, Fresh) else claim
            for incoming, claim in zip(batch, claims, strict=True)
        ]
        await write(
            connection,
            *(self._aggregates.writes(run.changes) if run.changes else ()),
            inbox.rows_of(run.outcomes, now),
            outbox.rows_of(run.outgoing),
            idempotency.answers_of(run.answers, now),
        )
        return results, run

    async def _claims(self, connection: Connection, batch: Sequence[Incoming[C]]) -> Sequence[Claim | None]:
        if all(incoming.idempotency is None for incoming in batch):
            return [None] * len(batch)
        return await idempotency.claim(connection, [incoming.idempotency for incoming in batch], self._clock())


Runner = Callable[[Sequence[Incoming[C]]], Awaitable[list[Done[S] | Claim]]]
"""`CommandProcessor.run`, for those who only run batches."""
