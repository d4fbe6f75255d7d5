"""Every connector, each test with a merchant of its own."""

from collections.abc import AsyncIterator

import pytest

from shared.migrations import migrate
from shared.settings import Settings
from tests.contract.connectors.scene import Scene, staged
from tests.servers import Servers
from tests.stack import settings_for


@pytest.fixture(scope="session")
async def sandbox_settings(servers: Servers) -> Settings:
    """A database that knows the sandbox."""
    await migrate(servers.database_url, "sandbox")
    return settings_for(servers)


@pytest.fixture
async def scene(request: pytest.FixtureRequest, sandbox_settings: Settings) -> AsyncIterator[Scene]:
    async with staged(request.param, sandbox_settings) as made:
        yield made
