"""Asks processors: what is to be asked is saved before, what was answered is saved after, and nothing is held between.

An attempt is claimed by whoever sets about it, for as long as that takes: from the start by the process that saves it,
where it has room. Whoever finds a claim that ran out asks first what became of it: it may have been sent.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from contextvars import copy_context

import structlog
from prometheus_client import Counter, Histogram
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_exponential_jitter

from services.payments.connectors.port import Connector
from services.payments.connectors.registry import Connectors
from services.payments.core.asking import Asked, Found, NotSent, Unknown
from services.payments.core.intents.state import Attempt, ends_challenge, may_have_been_sent
from services.payments.intents import Claimed, Intents
from shared.clock import monotonic
from shared.faults import Transient
from shared.immutable import replace

log = structlog.get_logger(__name__)

ATTEMPTS = Counter(
    "throughline_payments_attempts",
    "Questions to processors, by outcome",
    ["connector", "operation", "outcome", "code"],
)
TIME = Histogram("throughline_payments_attempt_seconds", "Until a processor answered", ["connector", "operation"])

MOST_AT_ONCE = 2_000
"""Calls in flight in one process; each waits for a processor and costs next to nothing."""
_CLAIM_AT_ONCE = 200
_POLL_S = 1.0
"""How soon an attempt is found of which this process was not told, or whose time has come."""
_PAUSE_S = 1.0
_RENEW_EVERY_S = 5.0
"""How often claims of what takes that long are renewed: twice before they would run out."""
_PATIENCE_S = 15.0
"""For how long an attempt waits for its place; then its claim runs out."""
_SAVE_FOR_S = 30.0
"""For how long an answer is tried to be saved; after that the claim runs out, and it is looked up."""
_FINISH_S = 10.0


class AttemptRunner:
    """Sends what is due and looks up what is not known, as long as it runs; and at once when somebody asks.

    `due` is set by whoever has saved something to do that nobody has claimed.
    """

    def __init__(self, intents: Intents, connectors: Connectors, due: asyncio.Event) -> None:
        self._intents, self._connectors, self._due = intents, connectors, due
        self._calls: dict[asyncio.Task[None], tuple[Attempt, float]] = {}
        """What is under way, and since when."""
        self._renewed_at = monotonic()
        self._places = asyncio.Semaphore(MOST_AT_ONCE)
        self._context = copy_context()
        """Not that of whoever happens to save an attempt: calls belong to no request."""

    @property
    def room(self) -> int:
        """See `Caller`."""
        return max(0, MOST_AT_ONCE - len(self._calls))

    def begin(self, claimed: Sequence[Claimed]) -> None:
        """See `Caller`."""
        for each in claimed:
            name = f"attempt {each.attempt.attempt_id}"
            call = asyncio.create_task(self._set_about(each), name=name, context=self._context.copy())
            self._calls[call] = each.attempt, monotonic()
            call.add_done_callback(self._calls.pop)

    async def run(self) -> None:
        """Until it is canceled; calls that are under way then are waited for, a little."""
        self._context, self._intents.caller = copy_context(), self
        try:
            while True:
                try:
                    await self._renew()
                    await self._begin()
                except Transient as reason:
                    log.warning("attempts_postponed", reason=str(reason))
                    await asyncio.sleep(_PAUSE_S)
        finally:
            self._intents.caller = None
            await self._finish()

    async def look_up(self, payment_intent_id: str) -> None:
        """What became of this intent's attempt is asked and saved; nothing where there is none, or somebody does it."""
        for claimed in await self._intents.claim_unknown(payment_intent_id):
            await self._look_up(claimed)

    async def _begin(self) -> None:
        self._due.clear()
        room = min(_CLAIM_AT_ONCE, self.room)
        claimed = await self._intents.claim(room) if room else []
        self.begin(claimed)
        if len(claimed) < _CLAIM_AT_ONCE:
            with suppress(TimeoutError):
                async with asyncio.timeout(_POLL_S):
                    await self._due.wait()

    async def _renew(self) -> None:
        """What takes long stays this process's; nobody need wait longer for what a process left when it died."""
        now = monotonic()
        if now < self._renewed_at + _RENEW_EVERY_S:
            return
        long = [attempt for attempt, since in self._calls.values() if since <= now - _RENEW_EVERY_S]
        if long:
            await self._intents.renew(long)
        self._renewed_at = now

    async def _set_about(self, claimed: Claimed) -> None:
        # Several transactions may have counted on the same place.
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await self._places.acquire()
        except TimeoutError:
            return
        try:
            await self._settle(claimed)
        finally:
            self._places.release()
        if ends_challenge(claimed.attempt):
            await self.look_up(claimed.attempt.asked.payment_intent_id)

    async def _settle(self, claimed: Claimed) -> None:
        attempt = claimed.attempt
        if may_have_been_sent(attempt):
            await self._look_up(claimed)
        elif attempt.operation == "authorize" and not claimed.may_call:
            await self._save(attempt, None)
        else:
            await self._save(attempt, await self._call(attempt))

    async def _call(self, attempt: Attempt) -> Found:
        connector = self._connectors.named(attempt.connector)
        if connector is None:
            return NotSent(f"{attempt.connector} is not connected.")
        with TIME.labels(attempt.connector, attempt.operation).time():
            answer = await _operation(connector, attempt.asked)
        _count(attempt, answer)
        return answer

    async def _look_up(self, claimed: Claimed) -> None:
        attempt = replace(claimed.attempt, looks=claimed.attempt.looks + 1)
        connector = self._connectors.named(attempt.connector)
        if connector is None:
            answer: Found = Unknown(f"{attempt.connector} is not connected.")
        else:
            answer = await connector.look_up(attempt.asked)
        _count(attempt, answer)
        await self._save(attempt, answer)

    async def _save(self, attempt: Attempt, answer: Found | None) -> None:
        patiently = AsyncRetrying(
            retry=retry_if_exception_type(Transient),
            wait=wait_exponential_jitter(multiplier=0.1, max=3),
            stop=stop_after_delay(_SAVE_FOR_S),
        )
        try:
            await patiently(self._intents.record, attempt, answer)
        except Exception:
            # Nothing is lost: its claim runs out, and then its processor is asked what became of it.
            log.exception("attempt_not_saved", attempt_id=attempt.attempt_id)

    async def _finish(self) -> None:
        if self._calls:
            await asyncio.wait(set(self._calls), timeout=_FINISH_S)
        for call in set(self._calls):
            call.cancel()


async def _operation(connector: Connector, asked: Asked) -> Found:
    match asked.operation:
        case "authorize":
            return await connector.authorize(asked)
        case "capture":
            return await connector.capture(asked)
        case "void":
            return await connector.void(asked)
        case "refund":
            return await connector.refund(asked)


def _count(attempt: Attempt, answer: Found) -> None:
    code = getattr(answer, "code", "")
    ATTEMPTS.labels(attempt.connector, attempt.operation, type(answer).__name__, code).inc()
