"""Fixtures for everything that needs running servers or services."""

from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, settings

from tests.leaks import pytest_configure, pytest_runtest_logreport, pytest_sessionfinish, pytest_terminal_summary
from tests.servers import Servers, servers
from tests.stack import Stack, Tenant, running_stack

__all__ = [
    "pytest_configure",
    "pytest_runtest_logreport",
    "pytest_sessionfinish",
    "pytest_terminal_summary",
    "servers",
]

# How long an example takes says more of what else the machine does than of us.
settings.register_profile("shared machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared machine")


@pytest.fixture(scope="session")
async def stack(servers: Servers) -> AsyncIterator[Stack]:
    """All services, running in this process."""
    async with running_stack(servers) as running:
        yield running


@pytest.fixture
async def tenant(stack: Stack) -> AsyncIterator[Tenant]:
    """A merchant of this test's own, with a key that may do everything."""
    made = await stack.tenant()
    yield made
    await made.http.aclose()
