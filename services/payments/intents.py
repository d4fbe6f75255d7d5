"""Payment intents in the database: what is wished for, replied and answered, each in one transaction per batch."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from prometheus_client import Histogram

from services.payments.core.asking import Approved, Declined, Found
from services.payments.core.intents import answers
from services.payments.core.intents.answers import answered, ended_challenge, gave_back, may_call, too_late
from services.payments.core.intents.moves import Moves, intent_of
from services.payments.core.intents.replies import replied
from services.payments.core.intents.state import Attempt, Intent, Refused, ends_challenge
from services.payments.core.intents.surplus import item_for_reply
from services.payments.messages import found_messages
from services.payments.resolving import given_back
from services.payments.saving import save
from services.payments.store import attempts, intents, unmatched
from services.payments.store.attempts import Claim as AttemptClaim
from shared import idempotency, outbox
from shared.clock import Clock
from shared.contracts.orders import CommandAccepted, CommandRefused
from shared.idempotency import Claim, Fresh, IdempotencyKey
from shared.postgres import Connection, Pool, transaction

Reply = CommandAccepted | CommandRefused
Wish = Callable[[Moves], Refused | None]
Tell = Callable[[Sequence[Intent]], tuple[int, bytes]]
"""The status and body of the answer: the intents of the group as they are saved."""
Told = tuple[IdempotencyKey, int, bytes]
"""What a request with this key was answered: status and body."""
_RUN_OUT_AT_ONCE = 200

IN_STATUS = Histogram(
    "throughline_payments_intent_status_seconds",
    "How long intents were in a status, when they left it",
    ["status"],
    buckets=(0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1_000, 3_600, 21_600, 86_400, 604_800),
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request wants of intents: of one that is there, or of a group that it makes."""

    merchant_id: str
    environment: str
    wish: Wish
    tell: Tell
    payment_intent_id: str | None = None
    made: tuple[Intent, ...] = ()
    key: IdempotencyKey | None = None


@dataclass(frozen=True, slots=True)
class Claimed:
    """An attempt that is the caller's for a while."""

    attempt: Attempt
    may_call: bool
    """Whether its processor may be asked for money now."""


class Caller(Protocol):
    """Makes attempts of this process."""

    @property
    def room(self) -> int:
        """For so many more it has a place."""
        ...

    def begin(self, claimed: Sequence[Claimed]) -> None:
        """It sets about these; returns at once."""
        ...


@dataclass(frozen=True, slots=True)
class Granted:
    """What was wanted is saved."""

    status: int
    body: bytes
    intents: tuple[Intent, ...]


@dataclass(frozen=True, slots=True)
class Missing:
    """The tenant has no such intent."""


Result = Granted | Refused | Missing | Claim


class Intents:
    """Everything that changes an intent.

    `committed` is called when messages wait, `called` when attempts wait for somebody to claim them, `settled` with
    each group in which nothing is under way any more.
    """

    def __init__(
        self,
        pool: Pool,
        clock: Clock,
        committed: Callable[[], None],
        called: Callable[[], None],
        settled: Callable[[Sequence[Intent]], None] = lambda _: None,
    ) -> None:
        self._pool, self._clock, self._committed, self._called, self._settled = pool, clock, committed, called, settled
        self.caller: Caller | None = None
        """Makes attempts as soon as they are saved here, where it has room; all others are claimed later."""

    async def run(self, batch: Sequence[Wanted]) -> list[Result]:
        """What became of each; what was refused has changed nothing, and its idempotency key stays unused."""
        now = self._clock()
        async with transaction(self._pool) as connection:
            claims = await idempotency.claim(connection, [wanted.key for wanted in batch], now)
            fresh = [wanted for wanted, claim in zip(batch, claims, strict=True) if isinstance(claim, Fresh)]
            known = _Groups(await _locked(connection, (wanted.payment_intent_id for wanted in fresh)), now)
            granted = [
                (wanted, _grant(wanted, known)) if isinstance(claim, Fresh) else (wanted, claim)
                for wanted, claim in zip(batch, claims, strict=True)
            ]
            await self._save(connection, known.moves)
            results = [_result(wanted, found) for wanted, found in granted]
            await idempotency.remember(connection, _answers(batch, results), now)
        self.announce(known.moves)
        return results

    async def remember(self, told: Sequence[Told]) -> list[None]:
        """Repeats are given the answers of those that had waited for an outcome."""
        # Several repeats may have waited together, and a key has one row.
        rows = {(key.scope, key.key): (key, status, body) for key, status, body in told}
        async with self._pool.acquire() as connection:
            await idempotency.remember(connection, list(rows.values()), self._clock())
        return [None] * len(told)

    async def settle(self, connection: Connection, replies: Sequence[Reply]) -> list[Moves]:
        """What the orders' replies change, within the caller's transaction; `announce` it once that is committed."""
        ours = [reply for reply in replies if reply.command_id.startswith("pi_")]
        known = _Groups(await _locked(connection, (intent_of(reply.command_id) for reply in ours)), self._clock())
        found = []
        for reply in ours:
            moves = known.of(intent_of(reply.command_id))
            if moves is not None and replied(moves, intent_of(reply.command_id), reply):
                found.append(item_for_reply(moves[intent_of(reply.command_id)], reply, self._clock()))
        await self._save(connection, known.moves)
        opened = await unmatched.open_items(connection, [item for item in found if item is not None])
        await outbox.put(connection, found_messages(opened, self._clock()))
        return known.moves

    async def record(self, told: Sequence[tuple[Attempt, Found | None]]) -> list[None]:
        """What processors answered; `None` where it was too late to ask."""
        async with transaction(self._pool) as connection:
            ids = (attempt.asked.payment_intent_id for attempt, _ in told)
            known = _Groups(await _locked(connection, ids), self._clock())
            after = [attempt for attempt in (_recorded(known, *each) for each in told) if attempt is not None]
            await self._save(connection, known.moves, after)
            await given_back(connection, [attempt for attempt in after if _is_known_refund(attempt)], self._clock())
        self.announce(known.moves)
        return [None] * len(told)

    async def claim(self, limit: int) -> list[Claimed]:
        """Attempts that are due, from now on the caller's."""
        now = self._clock()
        return [_claimed(each, now) for each in await attempts.claim(self._pool, now, limit)]

    async def claim_unknown(self, payment_intent_id: str) -> list[Claimed]:
        """The attempt of this intent of which nothing is known yet, unless somebody else asks just now."""
        now = self._clock()
        return [_claimed(each, now) for each in await attempts.claim_unknown(self._pool, payment_intent_id, now)]

    async def run_out(self) -> None:
        """Authorizations whose time is over end; their orders hear of it."""
        now = self._clock()
        async with transaction(self._pool) as connection:
            over = await intents.run_out(connection, now, _RUN_OUT_AT_ONCE)
            known = _Groups(await _locked(connection, over), now)
            for payment_intent_id in over:
                moves = known.of(payment_intent_id)
                if moves is not None and moves[payment_intent_id].step == "held":
                    answers.run_out(moves, moves[payment_intent_id])
            await self._save(connection, known.moves)
        self.announce(known.moves)

    def announce(self, moves: Sequence[Moves]) -> None:
        """What was saved has been committed: attempts are made, and whoever waits for something is woken."""
        for status, seconds in (left for each in moves for left in each.left):
            IN_STATUS.labels(status).observe(seconds)
        if any(each.commands or each.events for each in moves):
            self._committed()
        self._call(moves)
        for each in moves:
            if all(intent.settled for intent in each.group):
                self._settled(each.group)

    async def _save(self, connection: Connection, moves: Sequence[Moves], changed: Sequence[Attempt] = ()) -> None:
        """What is to be asked at once is this process's own, where it has room: nobody needs to claim it."""
        room = self.caller.room if self.caller else 0
        for each in moves:
            room -= each.claim(room)
        await save(connection, moves, changed)

    def _call(self, moves: Sequence[Moves]) -> None:
        now = self._clock()
        made = [(attempt, each[attempt.asked.payment_intent_id]) for each in moves for attempt in each.attempts]
        own = [_claimed(each, now) for each in made if each[0].claims]
        if own and self.caller is not None:
            self.caller.begin(own)
        if len(own) < len(made):
            self._called()


class _Groups:
    """The groups that a transaction has locked or makes, each with what follows in it."""

    def __init__(self, groups: Iterable[Sequence[Intent]], now: datetime) -> None:
        self._now = now
        self.moves = [Moves(group, now) for group in groups]
        self._by_intent = {key: moves for moves in self.moves for key in moves.ids}

    def of(self, payment_intent_id: str) -> Moves | None:
        return self._by_intent.get(payment_intent_id)

    def make(self, made: Sequence[Intent], wish: Wish) -> Moves | Refused:
        """A new group, unless what is wished for it is refused."""
        moves = Moves((), self._now)
        for intent in made:
            moves.make(intent)
        refused = wish(moves)
        if refused is not None:
            return refused
        self.moves.append(moves)
        return moves


def _grant(wanted: Wanted, known: _Groups) -> Moves | Refused | Missing:
    if wanted.payment_intent_id is None:
        return known.make(wanted.made, wanted.wish)
    moves = known.of(wanted.payment_intent_id)
    if moves is None or any(not _owns(wanted, intent) for intent in moves.group):
        return Missing()
    return wanted.wish(moves) or moves


def _owns(wanted: Wanted, intent: Intent) -> bool:
    return (intent.merchant_id, intent.environment) == (wanted.merchant_id, wanted.environment)


def _result(wanted: Wanted, found: Moves | Refused | Missing | Claim) -> Result:
    if not isinstance(found, Moves):
        return found
    status, body = wanted.tell(found.group)
    return Granted(status, body, found.group)


def _answers(batch: Sequence[Wanted], results: Sequence[Result]) -> list[Told]:
    return [
        (wanted.key, result.status, result.body)
        for wanted, result in zip(batch, results, strict=True)
        if wanted.key is not None and isinstance(result, Granted)
    ]


def _recorded(known: _Groups, attempt: Attempt, answer: Found | None) -> Attempt | None:
    moves = known.of(attempt.asked.payment_intent_id)
    assert moves is not None, "an attempt has an intent"
    if attempt.operation == "refund" and answer is not None:
        return gave_back(moves, attempt, answer)
    if ends_challenge(attempt) and answer is not None:
        return ended_challenge(moves, attempt, answer)
    return too_late(moves, attempt) if answer is None else answered(moves, attempt, answer)


async def _locked(connection: Connection, ids: Iterable[str | None]) -> list[list[Intent]]:
    wanted = sorted({each for each in ids if each is not None})
    return list((await intents.lock_groups(connection, wanted)).values()) if wanted else []


def _claimed(claim: AttemptClaim, now: datetime) -> Claimed:
    attempt, intent = claim
    return Claimed(attempt, may_call(intent, now))


def _is_known_refund(attempt: Attempt) -> bool:
    return attempt.operation == "refund" and isinstance(attempt.answer, Approved | Declined)
