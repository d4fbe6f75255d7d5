"""Requests that wait for an outcome: no transaction, thread or connection of the pool is held while they do."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Generic, TypeVar

from shared.outside import REAL, Outside
from shared.settings import Settings
from shared.watching import Watch

T = TypeVar("T")
Known = Callable[[Sequence[str]], Awaitable[Mapping[str, T]]]
"""Of these ids, those whose outcome is known, each with it."""
Fits = Callable[[T], bool]
"""Whether an outcome is the one that is waited for, and not one from before."""


class Waiting(Generic[T]):
    """Who waits in this process, and for what."""

    def __init__(self) -> None:
        self._by_id: dict[str, list[tuple[asyncio.Future[T], Fits[T]]]] = {}

    @property
    def ids(self) -> list[str]:
        """Of all that is waited for."""
        return list(self._by_id)

    @contextmanager
    def joined(self, thing_id: str, fits: Fits[T] = lambda _: True) -> Iterator["asyncio.Future[T]"]:
        """Done once somebody tells of a fitting outcome."""
        waiter = asyncio.get_running_loop().create_future(), fits
        self._by_id.setdefault(thing_id, []).append(waiter)
        try:
            yield waiter[0]
        finally:
            self._by_id[thing_id].remove(waiter)
            if not self._by_id[thing_id]:
                del self._by_id[thing_id]

    def tell(self, thing_id: str, outcome: T) -> None:
        """Whoever waits for this has it."""
        for told, fits in self._by_id.get(thing_id, ()):
            if not told.done() and fits(outcome):
                told.set_result(outcome)


class Outcomes(Generic[T]):
    """Tells whoever waits in this process when the outcome of a thing is known.

    With `own`, this process's name in its notifications, only those of others make it look: what this process itself
    brings about must then be told.
    """

    def __init__(
        self, settings: Settings, service: str, known: Known[T], outside: Outside = REAL, *, own: str | None = None
    ) -> None:
        self._known, self._waiting = known, Waiting[T]()
        self._watch = Watch(settings, service, self._look, outside, own=own)

    async def wait(
        self, thing_id: str, seconds: float, fits: Fits[T] = lambda _: True, *, just_begun: bool = False
    ) -> T | None:
        """The outcome, where there is one within the time. An outage of the database only takes time.

        What has `just_begun` is not looked for at once.
        """
        if seconds <= 0:
            return None
        with self._waiting.joined(thing_id, fits) as told, self._watch.joined(at_once=not just_begun):
            await asyncio.wait([told], timeout=seconds)
            return told.result() if told.done() else None

    def tell(self, thing_id: str, outcome: T) -> None:
        """It is known, and need not be looked for."""
        self._waiting.tell(thing_id, outcome)

    async def _look(self, _missed: bool) -> bool:
        for thing_id, outcome in (await self._known(self._waiting.ids)).items():
            self.tell(thing_id, outcome)
        return False
