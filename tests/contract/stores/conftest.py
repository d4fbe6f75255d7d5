"""Every test runs on the real PostgreSQL and on the one in memory."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

import pytest

from tests.contract.stores.store import Store, in_memory, migrated, on_postgresql
from tests.servers import Servers

LAST = "test_every_statement_is_proved"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What looks at all that was executed comes after it."""
    items.sort(key=lambda item: item.name.startswith(LAST))


@pytest.fixture(scope="session")
async def migrated_url(servers: Servers) -> AsyncIterator[str]:
    async with migrated(servers.database_url) as url:
        yield url


@pytest.fixture(params=["memory", pytest.param("postgresql", marks=pytest.mark.servers)])
def database_url(request: pytest.FixtureRequest) -> str | None:
    """Where the server is; None for the one in memory."""
    return None if request.param == "memory" else request.getfixturevalue("migrated_url")


def _store(service: str, url: str | None) -> AbstractAsyncContextManager[Store]:
    return in_memory(service) if url is None else on_postgresql(service, url)


@pytest.fixture
async def orders(database_url: str | None) -> AsyncIterator[Store]:
    async with _store("orders", database_url) as store:
        yield store


@pytest.fixture
async def payments(database_url: str | None) -> AsyncIterator[Store]:
    async with _store("payments", database_url) as store:
        yield store


@pytest.fixture
async def apps(database_url: str | None) -> AsyncIterator[Store]:
    async with _store("apps", database_url) as store:
        yield store


@pytest.fixture
async def sandbox(database_url: str | None) -> AsyncIterator[Store]:
    async with _store("sandbox", database_url) as store:
        yield store


@pytest.fixture(params=["orders", "payments"])
async def either(request: pytest.FixtureRequest, database_url: str | None) -> AsyncIterator[Store]:
    """The tables that all services have."""
    async with _store(request.param, database_url) as store:
        yield store
