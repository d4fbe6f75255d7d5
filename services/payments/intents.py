"""Payment intents in the database: what is wished for, and what follows from replies and answers, in batches."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from prometheus_client import Histogram

from services.payments.core.asking import Approved, Found
from services.payments.core.intents import answers
from services.payments.core.intents.answers import may_call
from services.payments.core.intents.moves import Moves
from services.payments.core.intents.replies import Reply
from services.payments.core.intents.state import Attempt, Intent, Refused
from services.payments.core.state import Item
from services.payments.messages import found_messages
from services.payments.news import Answered, Groups, News, about, recorded, refunds_of, surplus
from services.payments.resolving import given_back
from services.payments.saving import save
from services.payments.store import attempts, intents, unmatched
from services.payments.store.attempts import Claim as AttemptClaim
from shared import idempotency, outbox
from shared.batcher import Batcher
from shared.clock import Clock
from shared.idempotency import Claim, Fresh, IdempotencyKey
from shared.postgres import Connection, Pool, transaction
from shared.writes import Write

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
        self._pool, self._clock, self._committed, self.called, self._settled = pool, clock, committed, called, settled
        self._followed: Batcher[News, None] = Batcher(self.follow, concurrent=1)
        self.caller: Caller | None = None
        """Makes attempts as soon as they are saved here, where it has room; all others are claimed later."""

    async def run(self, batch: Sequence[Wanted]) -> list[Result]:
        """What became of each; what was refused has changed nothing, and its idempotency key stays unused."""
        now = self._clock()
        async with transaction(self._pool) as connection:
            claims = await idempotency.claim(connection, [wanted.key for wanted in batch], now)
            fresh = [wanted for wanted, claim in zip(batch, claims, strict=True) if isinstance(claim, Fresh)]
            known = Groups(await _locked(connection, (wanted.payment_intent_id for wanted in fresh)), now)
            granted = [
                (wanted, _grant(wanted, known)) if isinstance(claim, Fresh) else (wanted, claim)
                for wanted, claim in zip(batch, claims, strict=True)
            ]
            results = [_result(wanted, found) for wanted, found in granted]
            await self._save(connection, known.moves, (), idempotency.answers_of(_answers(batch, results), now))
        self._announce(known.moves)
        return results

    async def remember(self, told: Sequence[Told]) -> list[None]:
        """Repeats are given the answers of those that had waited for an outcome."""
        # Several repeats may have waited together, and a key has one row.
        rows = {(key.scope, key.key): (key, status, body) for key, status, body in told}
        async with self._pool.acquire() as connection:
            await idempotency.remember(connection, list(rows.values()), self._clock())
        return [None] * len(told)

    async def replied(self, replies: Sequence[Reply]) -> None:
        """What the orders said to commands for intents is saved, all of it at once."""
        await self._followed.submit(tuple(replies))

    async def record(self, attempt: Attempt, answer: Found | None) -> None:
        """What a processor answered is saved; `None` where it was too late to ask."""
        await self._followed.submit(Answered(attempt, answer))

    async def follow(self, news: Sequence[News]) -> list[None]:
        """What follows from orders' replies and processors' answers, in one transaction."""
        now = self._clock()
        async with transaction(self._pool) as connection:
            known = Groups(await _locked(connection, (name for each in news for name in about(each))), now)
            items: list[Item] = []
            after: list[Attempt] = []
            refunds: list[tuple[Approved | None, Attempt]] = []
            for each in news:
                if isinstance(each, Answered):
                    changed = list(recorded(known, each))
                    after += changed
                    refunds += refunds_of(each, changed)
                else:
                    items += surplus(known, each, now)
            await self._save(connection, known.moves, after)
            opened = await unmatched.open_items(connection, items)
            await outbox.put(connection, found_messages(opened, now))
            await given_back(connection, refunds, now)
        self._announce(known.moves)
        return [None] * len(news)

    async def claim(self, limit: int) -> list[Claimed]:
        """Attempts that are due, from now on the caller's."""
        now = self._clock()
        return [_claimed(each, now) for each in await attempts.claim(self._pool, now, limit)]

    async def claim_unknown(self, payment_intent_id: str) -> list[Claimed]:
        """The attempt of this intent of which nothing is known yet, unless somebody else asks just now."""
        now = self._clock()
        return [_claimed(each, now) for each in await attempts.claim_unknown(self._pool, payment_intent_id, now)]

    async def renew(self, mine: Sequence[Attempt]) -> None:
        """Claimed attempts stay the caller's, who is still at them."""
        await attempts.renew(self._pool, mine, self._clock())

    async def run_out(self) -> None:
        """Authorizations whose time is over end; their orders hear of it."""
        now = self._clock()
        async with transaction(self._pool) as connection:
            over = await intents.run_out(connection, now, _RUN_OUT_AT_ONCE)
            known = Groups(await _locked(connection, over), now)
            for payment_intent_id in over:
                moves = known.of(payment_intent_id)
                if moves is not None and moves[payment_intent_id].step == "held":
                    answers.run_out(moves, moves[payment_intent_id])
            await self._save(connection, known.moves)
        self._announce(known.moves)

    def _announce(self, moves: Sequence[Moves]) -> None:
        """What was saved has been committed: attempts are made, and whoever waits for something is woken."""
        for status, seconds in (left for each in moves for left in each.left):
            IN_STATUS.labels(status).observe(seconds)
        if any(each.commands or each.events for each in moves):
            self._committed()
        self._call(moves)
        for each in moves:
            if all(intent.settled for intent in each.group):
                self._settled(each.group)

    async def _save(
        self, connection: Connection, moves: Sequence[Moves], answered: Sequence[Attempt] = (), *further: Write | None
    ) -> None:
        """What is to be asked at once is this process's own, where it has room: nobody needs to claim it."""
        room = self.caller.room if self.caller else 0
        for each in moves:
            room -= each.claim(room)
        await save(connection, moves, answered, *further)

    def _call(self, moves: Sequence[Moves]) -> None:
        now = self._clock()
        made = [(attempt, each[attempt.asked.payment_intent_id]) for each in moves for attempt in each.attempts]
        own = [_claimed(each, now) for each in made if each[0].claims]
        if own and self.caller is not None:
            self.caller.begin(own)
        if len(own) < len(made):
            self.called()


def _grant(wanted: Wanted, known: Groups) -> Moves | Refused | Missing:
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


async def _locked(connection: Connection, ids: Iterable[str | None]) -> list[list[Intent]]:
    wanted = sorted({each for each in ids if each is not None})
    return list((await intents.lock_groups(connection, wanted)).values()) if wanted else []


def _claimed(claim: AttemptClaim, now: datetime) -> Claimed:
    attempt, intent = claim
    return Claimed(attempt, may_call(intent, now))
