"""The composition root of the sandbox: the only place that builds its parts. It needs PostgreSQL, and no Kafka."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from litestar import Litestar

from services.sandbox.acquirer import SandboxAcquirer, Sleep
from services.sandbox.http import ChallengeController, SandboxController, Wiring
from shared import telemetry
from shared.http.app import http_app
from shared.http.health import Health
from shared.outside import REAL, Outside
from shared.postgres import Pool, open_patiently
from shared.settings import Role, Settings

SERVICE = "sandbox"


class SandboxProcess:
    """One process of the sandbox; it connects when its app starts. It works alike in every role."""

    def __init__(self, settings: Settings, outside: Outside = REAL, sleep: Sleep = asyncio.sleep) -> None:
        self._settings, sandbox = settings, settings.sandbox
        url, size = settings.database_url.get_secret_value(), settings.database_pool_size
        self._pool = Pool(url, SERVICE, size, outside.postgres)
        self.acquirer = SandboxAcquirer(self._pool, outside.clock, sandbox.secret, settings.public_base_url, sleep)
        self.health = Health()
        self.health.add_readiness("database", self._pool.unreachable)

    def app(self) -> Litestar:
        """The HTTP app, which runs the process for as long as its lifespan."""
        app = http_app(
            service=SERVICE,
            controllers=[SandboxController, ChallengeController],
            health=self.health,
            lifespan=[lambda _: self.running()],
            settings=self._settings,
            middleware=[telemetry.server_spans],
        )
        app.state.sandbox = Wiring(self.acquirer, self._settings.sandbox.secret, self._settings.public_base_url)
        return app

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Connected for as long as the context lasts."""
        if not self._settings.sandbox.secret.get_secret_value():
            raise ValueError("SANDBOX_SECRET is not set: any long random text")
        await open_patiently(self._pool)
        try:
            yield
        finally:
            await self._pool.close()


def create_process(settings: Settings, _role: Role, outside: Outside = REAL) -> SandboxProcess:
    """One process; it connects when the app's lifespan begins."""
    return SandboxProcess(settings, outside)


def create_app(settings: Settings, role: Role) -> Litestar:
    """Its HTTP app."""
    return create_process(settings, role).app()
