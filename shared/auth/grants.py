"""A service's own copy of the grants: a request is authorised without a network hop, from memory or one indexed read.

A revocation works in every process of the service as soon as its tail has seen the record, well within a second.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from shared.auth import table
from shared.auth.access import Access
from shared.auth.cache import GrantCache, KeyCache
from shared.auth.tail import GrantsTail
from shared.auth.tokens import AccessTokens
from shared.auth.uses import Uses
from shared.clock import Clock, utc_now
from shared.faults import Transient
from shared.isolation import describe
from shared.kafka.clients import REAL_CLIENTS, Clients
from shared.postgres import Pool
from shared.settings import KafkaSettings
from shared.topics import ACCESS_GRANTS

_log = structlog.get_logger(__name__)


class GrantsCopy:
    """Grants by credential hash; answers while Kafka is away, raises `Transient` while the database is."""

    def __init__(
        self,
        kafka: KafkaSettings,
        service: str,
        clock: Clock = utc_now,
        topic: str = ACCESS_GRANTS,
        clients: Clients = REAL_CLIENTS,
    ) -> None:
        self._clock = clock
        self._cache = GrantCache()
        self.uses = Uses(service, clock)
        self._keys = KeyCache()
        self._tail = GrantsTail(kafka, service, topic, self._cache, clients, keys=self._keys)
        self._pool: Pool | None = None
        self._task: asyncio.Task[None] | None = None

    async def find(self, credential_hash: str) -> Access | None:
        """What the credential allows now; None when it is unknown, revoked or expired."""
        if self._cache.is_unsaved(credential_hash):
            raise Transient("database: a change of this grant cannot be saved")
        known, grant = self._cache.get(credential_hash)
        if not known:
            generation = self._cache.generation
            grant = await table.load_grant(self._database(), credential_hash)
            self._cache.put(credential_hash, grant, generation)
        return None if grant is None else grant.at(self._clock())

    def remembers(self, credential_hash: str) -> bool:
        """Whether `find` answers from memory, and so tells nobody anything that costs a look into the database."""
        known, _ = self._cache.get(credential_hash)
        return known

    def access_tokens(self, issuer: str) -> AccessTokens:
        """What tells the issuer's access tokens, by this copy's signing keys."""
        return AccessTokens(self._keys, self._database, issuer, self._clock)

    async def pin_version(self, access: Access, version: str) -> None:
        """Pins a credential to the API version of its first use; a later call changes nothing."""
        await table.pin_version(self._database(), access.credential_hash, version)
        self._cache.drop({access.credential_hash})

    async def origin_is_listed(self, origin: str) -> bool:
        """Whether any active grant lets pages of this browser origin call."""
        return await table.origin_is_listed(self._database(), origin)

    @asynccontextmanager
    async def running(self, pool: Pool) -> AsyncIterator[None]:
        """Answers from `pool` and follows the topic for as long as the context lasts."""
        self._pool = pool
        task = asyncio.create_task(self._tail.run(pool), name="grants-tail")
        task.add_done_callback(_log_failure)
        self._task = task
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            self._task = self._pool = None

    async def wait_until_ready(self) -> None:
        """Returns once the copy has caught up for the first time."""
        await self._tail.caught_up.wait()

    def is_ready(self) -> bool:
        """Whether the copy has once caught up with what the topic held when this process came."""
        return self._tail.caught_up.is_set()

    def not_ready(self) -> str | None:
        """A readiness check: None, or why requests cannot be authorised yet."""
        return None if self.is_ready() else "the copy of the grants has not caught up yet"

    def stalled(self) -> str | None:
        """A liveness check: None, or that the tail has ended, or for how long it has not even tried."""
        ended = self._task is not None and self._task.done()
        return "the grants tail has ended" if ended else self._tail.stalled()

    def _database(self) -> Pool:
        if self._pool is None:
            raise Transient("the copy of the grants is not running")
        return self._pool


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (failure := task.exception()) is not None:
        _log.error("grants tail failed", failure=describe(failure))
