"""From where on an outbox has to be read.

Rows come into being in an order that need not be the order of their sequence numbers, except for one key, whose row
lock makes it so. Reading therefore starts at a floor: a number that was read half a minute ago or more, since when
every transaction that ran then has ended (a commit may wait for a replica for longer than any timeout), so that
nothing can appear below. Removed rows below the floor cost nothing however many there were.
"""

import asyncpg

_AGE_S = 30.0


async def running(connection: "asyncpg.Connection[asyncpg.Record]") -> tuple[int, int]:
    """The newest transaction that there is, and the oldest that still runs."""
    row = await connection.fetchrow(
        "SELECT pg_current_xact_id()::text::bigint, pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
    )
    assert row is not None, "a SELECT without FROM has a row"
    return row[0], row[1]


class Floor:
    """The sequence number below which nothing can appear: every transaction that ran when it was read has ended."""

    def __init__(self, now: float) -> None:
        self.value = 0
        self.newest = 0
        self._candidate = 0
        self._mark: int | None = None
        self._passed = False
        self._since = now

    def due(self, now: float) -> bool:
        """Whether it is time to ask which transactions run; to be done before the next read."""
        return now - self._since >= _AGE_S

    def looked(self, newest: int, oldest: int, now: float) -> None:
        """What `running` says now."""
        self._since = now
        if self._mark is None:
            self._candidate, self._mark = self.newest, newest
        else:
            self._passed = oldest > self._mark

    def reached(self, newest: int) -> None:
        """Everything visible up to `newest` has been read and published."""
        self.newest = max(self.newest, newest)
        if self._passed:
            self.value, self._mark, self._passed = self._candidate, None, False
