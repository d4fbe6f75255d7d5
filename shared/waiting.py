"""Requests that wait for an outcome: no transaction, thread or connection of the pool is held while they do."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import contextmanager

from shared.outside import REAL, Outside
from shared.settings import Settings
from shared.watching import Watch, within

Known = Callable[[Sequence[str]], Awaitable[Collection[str]]]
"""Of these ids, those whose outcome is known."""


class Outcomes:
    """Tells whoever waits in this process when the outcome of a thing is known."""

    def __init__(self, settings: Settings, service: str, known: Known, outside: Outside = REAL) -> None:
        self._known = known
        self._waiting: dict[str, list[asyncio.Event]] = {}
        self._watch = Watch(settings, service, self._look, outside)

    async def wait(self, thing_id: str, seconds: float) -> bool:
        """Whether the outcome was known within the time. An outage of the database only takes time."""
        if seconds <= 0:
            return False
        with self._wanted(thing_id) as known, self._watch.joined():
            return await within(known, seconds)

    @contextmanager
    def _wanted(self, thing_id: str) -> Iterator[asyncio.Event]:
        known = asyncio.Event()
        self._waiting.setdefault(thing_id, []).append(known)
        try:
            yield known
        finally:
            self._waiting[thing_id].remove(known)
            if not self._waiting[thing_id]:
                del self._waiting[thing_id]

    async def _look(self, _missed: bool) -> bool:
        for thing_id in await self._known(list(self._waiting)):
            for known in self._waiting.get(thing_id, ()):
                known.set()
        return False
