"""Requests that wait for an outcome: no transaction, thread or connection of the pool is held while they do.

All that wait in one process ask the database together: when somebody commits (NOTIFY, see `shared/relay.py`), and now
and then besides. One connection listens for as long as anybody waits.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress

import asyncpg
import structlog

from shared.faults import Transient
from shared.isolation import describe
from shared.outside import REAL, Outside
from shared.postgres import connect, transient_errors
from shared.relay import notification_of
from shared.settings import Settings

log = structlog.get_logger(__name__)

_POLL_S = 1.0
"""How soon an outcome is seen of which no notification came."""
_PAUSE_S = 1.0

Known = Callable[[Sequence[str]], Awaitable[Collection[str]]]
"""Of these ids, those whose outcome is known."""


class Outcomes:
    """Tells whoever waits in this process when the outcome of a thing is known."""

    def __init__(self, settings: Settings, service: str, known: Known, outside: Outside = REAL) -> None:
        self._settings, self._service, self._known, self._outside = settings, service, known, outside
        self._waiting: dict[str, list[asyncio.Event]] = {}
        self._task: asyncio.Task[None] | None = None
        self._joined = asyncio.Event()

    async def wait(self, thing_id: str, seconds: float) -> bool:
        """Whether the outcome was known within the time. An outage of the database only takes time."""
        if seconds <= 0:
            return False
        with self._wanted(thing_id) as known:
            return await _within(known, seconds)

    @contextmanager
    def _wanted(self, thing_id: str) -> Iterator[asyncio.Event]:
        known = asyncio.Event()
        self._waiting.setdefault(thing_id, []).append(known)
        self._joined.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._follow(), name=f"outcomes of {self._service}")
            self._task.add_done_callback(_log_failure)
        try:
            yield known
        finally:
            self._waiting[thing_id].remove(known)
            if not self._waiting[thing_id]:
                del self._waiting[thing_id]
            if not self._waiting and self._task is not None:
                self._task.cancel()
                self._task = None

    async def _follow(self) -> None:
        url = self._settings.database_url.get_secret_value()
        while True:
            try:
                connection = await connect(url, self._service, self._outside.postgres)
                try:
                    await self._listen(connection)
                finally:
                    connection.terminate()
            except Transient as reason:
                log.warning("waiting_interrupted", service=self._service, reason=str(reason))
                await asyncio.sleep(_PAUSE_S)

    async def _listen(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        """Asks once it listens, so that nothing is missed in between."""
        news = self._joined
        async with transient_errors():
            await connection.add_listener(notification_of(self._service), lambda *_: news.set())
        while not connection.is_closed():
            news.clear()
            for thing_id in await self._known(list(self._waiting)):
                for known in self._waiting.get(thing_id, ()):
                    known.set()
            await _within(news, _POLL_S)
        raise Transient("database: the session was ended")


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (failure := task.exception()) is not None:
        log.error("waiting_failed", failure=describe(failure))


async def _within(event: asyncio.Event, seconds: float) -> bool:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()
