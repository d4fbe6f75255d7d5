"""Something in the database that is looked for while somebody waits: when somebody commits (NOTIFY, see
`shared/relay.py`), and now and then besides.

All that wait in one process look together, and one connection listens for all of them; none of the pool is held.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
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
"""How soon something is seen of which no notification came."""
_PAUSE_S = 1.0

Look = Callable[[bool], Awaitable[bool]]
"""Looks once, and says whether there may be more at once. It is told whether something may have been missed since the
last look, as before the first one."""


class Watch:
    """Looks for as long as anybody waits; an outage of the database only takes time.

    Notifications of `own`, as `shared.relay.Wake` names this process, do not make it look.
    """

    def __init__(
        self, settings: Settings, service: str, look: Look, outside: Outside = REAL, *, own: str | None = None
    ) -> None:
        self._settings, self._service, self._look, self._outside = settings, service, look, outside
        self._own = own
        self._news = asyncio.Event()
        self._waiting = 0
        self._task: asyncio.Task[None] | None = None

    @property
    def looks(self) -> bool:
        """Whether anything is looked for. A mistake in looking ends that, until somebody else joins."""
        return self._task is not None and not self._task.done()

    @contextmanager
    def joined(self, *, at_once: bool = True) -> Iterator[None]:
        """Somebody waits, and it is looked at once, unless there can be nothing yet."""
        self._waiting += 1
        if at_once:
            self._news.set()
        if not self.looks:
            self._task = asyncio.create_task(self._follow(), name=f"watch of {self._service}")
            self._task.add_done_callback(_log_failure)
        try:
            yield
        finally:
            self._waiting -= 1
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
                log.warning("watch_interrupted", service=self._service, reason=str(reason))
                await asyncio.sleep(_PAUSE_S)

    async def _listen(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        """Looks once it listens, so that nothing is missed in between."""
        async with transient_errors():
            await connection.add_listener(notification_of(self._service), lambda *told: self._notified(told[-1]))
        missed = True
        while not connection.is_closed():
            self._news.clear()
            if not await self._look(missed):
                await within(self._news, _POLL_S)
            missed = False
        raise Transient("database: the session was ended")

    def _notified(self, sender: str) -> None:
        if sender != self._own:
            self._news.set()


async def within(event: asyncio.Event, seconds: float) -> bool:
    """Whether it was set within the time."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (failure := task.exception()) is not None:
        log.error("watch_failed", failure=describe(failure))
