"""Events as they happen, for any number of readers in this process, which ask the database once for all of them.

A reader has no queue, only a position, so a slow one costs no memory. What was kept lately lies in memory once for each
tenant that is read, within a limit; a reader that is behind it reads from the database until it has caught up.
Nothing is skipped, because events become visible in the order of their positions (see `store/events.py`).
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from itertools import takewhile

from services.apps.store import events as store
from services.apps.store.events import EventFilter, Placed, Tenant
from shared.faults import Transient
from shared.outside import REAL, Outside
from shared.postgres import Pool
from shared.settings import Settings
from shared.watching import Watch, within

_AT_ONCE = 200
_FEED_EVENTS = 500
_FEED_BYTES = 512 * 1024
_LONGEST_WAIT_S = 0.5


class _Feed:
    """The newest events of one tenant: all of them above the position `since`, as soon as that is known."""

    def __init__(self) -> None:
        self.readers = 0
        self.since: int | None = None
        self.news = asyncio.Event()
        self._events: deque[Placed] = deque()
        self._bytes = 0

    def put(self, placed: Placed) -> None:
        self._events.append(placed)
        self._bytes += _size(placed)
        while len(self._events) > _FEED_EVENTS or self._bytes > _FEED_BYTES:
            oldest = self._events.popleft()
            self._bytes -= _size(oldest)
            self.since = oldest.position

    def forget(self) -> None:
        """Events may have been missed: readers find them in the database."""
        self._events.clear()
        self._bytes, self.since = 0, None

    def tell(self) -> None:
        """Wake whoever waits."""
        self.news.set()
        self.news = asyncio.Event()

    def after(self, position: int) -> list[Placed] | None:
        """The events above a position; `None` when some of them may not be here."""
        if self.since is None or position < self.since:
            return None
        found = list(takewhile(lambda placed: placed.position > position, reversed(self._events)))
        return found[::-1]


class LiveEvents:
    """Follows events for as long as somebody reads."""

    def __init__(self, settings: Settings, pool: Pool, outside: Outside = REAL) -> None:
        self._pool = pool
        self._feeds: dict[Tenant, _Feed] = {}
        self._position = 0
        self._watch = Watch(settings, "apps", self._look, outside)

    async def read(self, wanted: EventFilter, after: int) -> AsyncGenerator[list[Placed], None]:
        """The events that are wanted above a position, some at a time and for ever; often none, when a while passed.

        Raises `Transient` while the database is away, or when nothing brings news any more.
        """
        position = after
        with self._joined(wanted.tenant) as feed, self._watch.joined():
            while True:
                if not self._watch.looks:
                    raise Transient("nothing follows events any more")
                news, known_to = feed.news, feed.since
                found = feed.after(position)
                if found is None:
                    found = await store.following(self._pool, wanted, position, _AT_ONCE)
                    if not found and known_to is not None:
                        # Whatever was up to there could be seen when we asked, and nothing was.
                        position = max(position, known_to)
                        continue
                if found:
                    position = found[-1].position
                    yield [placed for placed in found if wanted.admits(placed.event)]
                    continue
                await within(news, _LONGEST_WAIT_S)
                yield []

    @contextmanager
    def _joined(self, tenant: Tenant) -> Iterator[_Feed]:
        feed = self._feeds.setdefault(tenant, _Feed())
        feed.readers += 1
        try:
            yield feed
        finally:
            feed.readers -= 1
            if not feed.readers:
                del self._feeds[tenant]

    async def _look(self, missed: bool) -> bool:
        """Give out what is new; False when nothing was."""
        newest = await store.newest_position(self._pool)
        if missed:
            self._position = newest
            for feed in self._feeds.values():
                feed.forget()
        joined = [feed for feed in self._feeds.values() if feed.since is None]
        for feed in joined:
            feed.since = self._position
        found = []
        if newest > self._position:
            found = await store.between(self._pool, list(self._feeds), self._position, newest, limit=_AT_ONCE)
            self._position = found[-1].position if found else newest
        told = {}
        for placed in found:
            tenant = (placed.event.merchant_id, placed.event.environment)
            # Its last reader may have left meanwhile.
            if tenant in self._feeds:
                told[tenant] = self._feeds[tenant]
                told[tenant].put(placed)
        for feed in (*told.values(), *joined):
            feed.tell()
        return bool(found)


def _size(placed: Placed) -> int:
    event = placed.event
    subject = len(event.subject.after) if event.subject else 0
    return len(event.change) + len(event.order) + len(event.customer or b"") + subject
