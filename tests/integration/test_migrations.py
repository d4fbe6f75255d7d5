"""Migrating a database, by whatever address the services take for it."""

import asyncpg
import pytest

from shared.migrations import migrate
from tests.servers import Servers

pytestmark = pytest.mark.servers


@pytest.mark.parametrize("scheme", ["postgresql", "postgres"])
@pytest.mark.parametrize("options", ["", "?sslmode=prefer&application_name=migrations"])
async def test_any_address_that_the_services_take_is_migrated(servers: Servers, scheme: str, options: str) -> None:
    url = servers.database_url.replace("postgresql://", f"{scheme}://", 1) + options
    await migrate(url, "sandbox")
    connection = await asyncpg.connect(url)
    try:
        assert await connection.fetchval("SELECT count(*) FROM sandbox.alembic_version") == 1
    finally:
        await connection.close()
