"""A connector that neither piles up calls nor goes on asking a processor that does not answer.

Libraries for circuit breakers count exceptions by the wall clock; here failures are answers, and time is the event
loop's, which simulations turn.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from prometheus_client import Gauge

from services.payments.connectors.port import Connector
from services.payments.core.asking import Answer, Asked, Found, Means, NotSent, Unknown
from shared.clock import monotonic

_IN_FLIGHT = Gauge("throughline_connector_calls_in_flight", "Questions to a processor under way", ["connector"])
_OPEN = Gauge("throughline_connector_circuit_open", "Whether a processor is left alone for a while", ["connector"])

T = TypeVar("T")
_BUSY = "too many questions to it are under way"
_LEFT_ALONE = "it has not been answering, and is left alone for a while"


class Circuit:
    """Open after so many failures in a row; after a while one call is let through, and its success closes it."""

    def __init__(self, failures: int = 20, open_s: float = 5.0, now: Callable[[], float] = monotonic) -> None:
        self._most, self._open_s, self._now = failures, open_s, now
        self._failures, self._open_until = 0, 0.0

    @property
    def open(self) -> bool:
        """Whether calls are refused, all but one now and then."""
        return self._failures >= self._most

    def admits(self) -> bool:
        """Whether to call now; whoever is told so while it is open is the one that tries."""
        if not self.open:
            return True
        if self._now() < self._open_until:
            return False
        self._open_until = self._now() + self._open_s
        return True

    def note(self, *, well: bool) -> None:
        """How a call went."""
        if well:
            self._failures = 0
            return
        self._failures += 1
        self._open_until = self._now() + self._open_s


class GuardedConnector:
    """The connector inside, with at most so many calls at once; one more waits a moment, and is then not sent.

    `Unknown` and `NotSent` are failures, everything else shows that the processor answers.
    """

    def __init__(
        self, inside: Connector, concurrency: int, *, patience_s: float = 2.0, circuit: Circuit | None = None
    ) -> None:
        self.name = inside.name
        self._inside, self._patience_s, self._circuit = inside, patience_s, circuit or Circuit()
        self._places = asyncio.Semaphore(concurrency)

    def objection(self, means: Means) -> str | None:
        """As inside."""
        return self._inside.objection(means)

    async def authorize(self, asked: Asked) -> Answer:
        """As inside, or not sent."""
        return await self._call(self._inside.authorize, asked, NotSent)

    async def capture(self, asked: Asked) -> Answer:
        """As inside, or not sent."""
        return await self._call(self._inside.capture, asked, NotSent)

    async def void(self, asked: Asked) -> Answer:
        """As inside, or not sent."""
        return await self._call(self._inside.void, asked, NotSent)

    async def refund(self, asked: Asked) -> Answer:
        """As inside, or not sent."""
        return await self._call(self._inside.refund, asked, NotSent)

    async def look_up(self, asked: Asked) -> Found:
        """As inside; a question that was not asked leaves the attempt unknown."""
        return await self._call(self._inside.look_up, asked, Unknown)

    async def _call(self, call: Callable[[Asked], Awaitable[T]], asked: Asked, refuse: Callable[[str], T]) -> T:
        async with self._place() as has_place:
            if not has_place:
                return refuse(_BUSY)
            # Asked after the wait, which may be when the processor was found not to answer.
            if not self._circuit.admits():
                return refuse(_LEFT_ALONE)
            answer = await call(asked)
            self._circuit.note(well=not isinstance(answer, Unknown | NotSent))
            _OPEN.labels(self.name).set(self._circuit.open)
            return answer

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[bool]:
        try:
            async with asyncio.timeout(self._patience_s):
                await self._places.acquire()
        except TimeoutError:
            yield False
            return
        try:
            with _IN_FLIGHT.labels(self.name).track_inprogress():
                yield True
        finally:
            self._places.release()
