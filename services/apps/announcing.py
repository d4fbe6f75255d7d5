"""Every word about access is published again, for a topic of grants that was lost or a cluster that is new.

What was revoked is said again too: of a service that missed it, the copy would go on admitting it. Each step is one
transaction that holds the rows that it speaks of, so that what happens meanwhile has the last word.
"""

import asyncio
from collections.abc import Awaitable, Callable

from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from services.apps import installing, keys, signing_keys
from services.apps.store import api_keys, installs, merchants
from shared.clock import Clock
from shared.faults import Transient
from shared.immutable import immutable
from shared.postgres import Connection, Pool, transaction

_AT_ONCE = 500
_MOST_WAITING = 5_000
"""Messages in the outbox above which nothing is added: what happens now goes first."""
_LOOK_AGAIN_S = 0.2
_TRIES = 5


@immutable
class Progress:
    """How far it is: API keys and environment grants together."""

    done: int
    of: int
    waiting: bool
    """Whether it waits until the services' workers have published what is there."""


Report = Callable[[Progress], None]
Step = Callable[[Connection, str | None, str], Awaitable[list[str]]]
"""Announces the next rows of a merchant, or of all, after an id; says their ids."""


class Announcer:
    """Puts the grants of all merchants, or of one, in the outbox; the workers of `apps` publish them."""

    def __init__(self, pool: Pool, clock: Clock, report: Report, merchant_id: str | None = None) -> None:
        self._pool, self._clock, self._report, self._merchant_id = pool, clock, report, merchant_id
        self._done = self._of = 0

    async def run(self) -> int:
        """Everything, once; says of how many keys and environment grants. May be run again at any time."""
        self._of = await api_keys.count(self._pool, self._merchant_id)
        self._of += await installs.count_announced(self._pool, self._merchant_id)
        if self._merchant_id is None:
            async with transaction(self._pool) as connection:
                await signing_keys.announce_all(connection, self._clock())
        for step in (_keys, _installs):
            last: str | None = ""
            while last is not None:
                await self._room()
                last = await self._step(step, last)
        return self._done

    async def _step(self, step: Step, after: str) -> str | None:
        """The next rows; the id of the last one, `None` when there are no more."""
        announced: list[str] = []
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(Transient),
            wait=wait_exponential_jitter(multiplier=0.1, max=3),
            stop=stop_after_attempt(_TRIES),
            reraise=True,
        ):
            with attempt:
                async with transaction(self._pool) as connection:
                    announced = await step(connection, self._merchant_id, after)
        self._done += len(announced)
        self._tell(waiting=False)
        return announced[-1] if len(announced) == _AT_ONCE else None

    async def _room(self) -> None:
        while await self._pool.fetchval(_WAITING) >= _MOST_WAITING:
            self._tell(waiting=True)
            await asyncio.sleep(_LOOK_AGAIN_S)

    def _tell(self, *, waiting: bool) -> None:
        self._report(Progress(self._done, self._of, waiting))


async def _keys(connection: Connection, merchant_id: str | None, after: str) -> list[str]:
    found = await api_keys.following(connection, merchant_id, after, _AT_ONCE)
    inactive = await merchants.hold_inactive(connection, {key.merchant_id for key in found if key.merchant_id})
    ids = [key.api_key_id for key in found]
    await keys.announce_all(connection, await api_keys.hold(connection, ids), inactive)
    return ids


async def _installs(connection: Connection, merchant_id: str | None, after: str) -> list[str]:
    found = await installs.following(connection, merchant_id, after, _AT_ONCE)
    inactive = await merchants.hold_inactive(connection, {grant.merchant_id for grant in found})
    ids = [grant.grant_id for grant in found]
    await installing.announce_all(connection, await installs.hold(connection, ids), inactive)
    return ids


_WAITING = f"SELECT count(*) FROM (SELECT FROM outbox LIMIT {_MOST_WAITING}) AS waiting"
