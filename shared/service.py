"""What every service's process consists of, put together the same way: pool, grants, relay, consumers, jobs, probes.

A service's `app.py` makes one `ServiceProcess` and adds its consumers, jobs and controllers; the process makes the HTTP
app of them. In the role
`api` the process answers requests, in the role `worker` it consumes, relays and runs jobs, in the role `all` both.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import structlog
from litestar import Litestar
from litestar.types import ControllerRouterHandler
from tenacity import AsyncRetrying, retry_if_exception_type, wait_exponential_jitter

from shared import idempotency, kafka, telemetry
from shared.auth.grants import GrantsCopy
from shared.faults import Transient
from shared.http.app import http_app
from shared.http.health import Health
from shared.kafka import BatchConsumer, BatchHandler, DeadLetters
from shared.outbox_age import MEASURE_EVERY_S, MeasureOutboxJob
from shared.outside import REAL, Outside
from shared.postgres import Pool, open_patiently, transaction
from shared.relay import Relay, Wake, announce
from shared.settings import Role, Settings

log = structlog.get_logger(__name__)

Job = Callable[[], Awaitable[None]]

_FORGET_EVERY_S = 60.0
_FORGET_AT_ONCE = 5_000
_REPORT_EVERY_S = 60.0


class ServiceProcess:
    """One process of one service; connects when its app starts, and lets go of everything when it stops."""

    def __init__(self, service: str, settings: Settings, role: Role, outside: Outside = REAL) -> None:
        self.service, self.settings, self.role, self.outside = service, settings, role, outside
        clock, clients = outside.clock, outside.kafka
        self.clock = clock
        self.pool = Pool(
            settings.database_url.get_secret_value(), service, settings.database_pool_size, outside.postgres
        )
        self.grants = GrantsCopy(settings.kafka, service, clock, clients=clients)
        self.health = Health()
        self.wake = Wake()
        self.relay = Relay(settings, service, self.wake, outside)
        self._dead_letters = DeadLetters(settings.kafka, clock, clients)
        self._broker = kafka.broker(settings.kafka, clients)
        self._consumers: list[BatchConsumer] = []
        self._controllers: Sequence[ControllerRouterHandler] = ()
        self._state: dict[str, Any] = {}
        self._background: list[tuple[str, Callable[[], Awaitable[None]]]] = []
        self._closing: list[Job] = []
        self._failed: dict[str, str] = {}
        self.every(_FORGET_EVERY_S, "jobs.forget_idempotency_keys", self._forget_idempotency_keys)
        self.every(MEASURE_EVERY_S, "jobs.measure_outbox", MeasureOutboxJob(self.pool, service))

    @property
    def serves(self) -> bool:
        """Whether this process answers requests of clients."""
        return self.role in ("api", "all")

    @property
    def works(self) -> bool:
        """Whether this process consumes, relays and runs jobs."""
        return self.role in ("worker", "all")

    def consume(
        self, name: str, handler: BatchHandler, *, topics: Sequence[str] = (), pattern: str | None = None
    ) -> BatchConsumer:
        """Workers hand batches of these topics to `handler`, in the consumer group `<service>.<name>`."""
        consumer = BatchConsumer(
            self._broker,
            name=name,
            group_id=f"{self.service}.{name}",
            topics=topics,
            pattern=pattern,
            handler=handler,
            dead_letters=self._dead_letters,
            batch_size=self.settings.consumer_batch_size,
            lanes=self.settings.consumer_lanes,
            pace_s=self.settings.consumer_pace_ms / 1000,
            session_timeout_ms=self.settings.kafka.session_timeout_ms,
        )
        self._consumers.append(consumer)
        return consumer

    def every(self, seconds: float, name: str, job: Job) -> None:
        """Workers run `job` again and again; an outage only postpones it."""

        async def repeat() -> None:
            while True:
                await asyncio.sleep(seconds)
                try:
                    await job()
                except Transient as error:
                    log.warning("job_postponed", job=name, reason=str(error))

        self._background.append((name, repeat))

    def at_start(self, name: str, job: Job) -> None:
        """Workers run `job` once when they start; after an outage again, until it is done."""

        async def once() -> None:
            patiently = AsyncRetrying(
                retry=retry_if_exception_type(Transient), wait=wait_exponential_jitter(multiplier=0.1, max=3)
            )
            await patiently(job)

        self._background.append((name, once))

    def beside(self, name: str, run: Job) -> None:
        """Workers run this for as long as they live; the process is no longer alive once it ends."""
        self._background.append((name, run))

    def at_stop(self, close: Job) -> None:
        """Run once when the process has stopped its work; a process that is killed does not."""
        self._closing.append(close)

    def serve(self, controllers: Sequence[ControllerRouterHandler], **state: Any) -> None:
        """What answers requests, and what the controllers find in the app's state. Comes last: the probes are made."""
        self._controllers, self._state = controllers, state
        self.health.add_readiness("database", self.pool.unreachable)
        self.health.add_liveness("background", self._ended)
        if self.works:
            self.health.add_readiness("relay", self.relay.ready)
            for consumer in self._consumers:
                self.health.add_liveness(consumer.name, consumer.alive)
                self.health.add_readiness(consumer.name, consumer.ready)

    def app(self) -> Litestar:
        """The HTTP app, which runs the process for as long as its lifespan; a worker's has only probes and metrics."""
        app = http_app(
            service=self.service,
            controllers=self._controllers if self.serves else [],
            health=self.health,
            lifespan=[lambda _: self.running()],
            settings=self.settings,
            grants=self.grants,
            middleware=[telemetry.server_spans],
        )
        app.state.update(self._state)
        return app

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Connected and at work for as long as the context lasts."""
        await open_patiently(self.pool)
        tasks = [self._spawn("announce", lambda: announce(self.settings, self.service, self.wake, self.outside))]
        if self.works:
            tasks.append(self._spawn("relay", self.relay.run))
            tasks += [self._spawn(name, repeat) for name, repeat in self._background]
            for consumer in self._consumers:
                await consumer.start()
        if self.serves:
            tasks.append(self._spawn("uses", self._report_uses))
        try:
            async with self.grants.running(self.pool):
                yield
        finally:
            await self._stop(tasks)

    async def _stop(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        await asyncio.gather(*(consumer.stop() for consumer in self._consumers))
        await self._dead_letters.stop()
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task
        for close in self._closing:
            await close()
        with suppress(Transient):
            await self.grants.uses.report(self.pool)
        await self.pool.close()

    def _spawn(self, name: str, run: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        async def supervised() -> None:
            try:
                await run()
            except Exception as error:
                # Not acknowledged, not hidden: the process is no longer alive and will be restarted.
                self._failed[name] = f"{name}: ended with {type(error).__name__}"
                log.exception("background_task_failed", task=name)

        return asyncio.create_task(supervised(), name=name)

    def _ended(self) -> str | None:
        return "; ".join(self._failed.values()) or None

    async def _report_uses(self) -> None:
        while True:
            await asyncio.sleep(_REPORT_EVERY_S)
            try:
                if await self.grants.uses.report(self.pool):
                    self.wake()
            except Transient as error:
                log.warning("uses_not_reported", reason=str(error))

    async def _forget_idempotency_keys(self) -> None:
        while True:
            async with transaction(self.pool) as connection:
                forgotten = await idempotency.forget_expired(connection, self.clock(), _FORGET_AT_ONCE)
            if forgotten < _FORGET_AT_ONCE:
                return
