"""A schema of its own for a test that needs tables but no service."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from shared.postgres import Pool, role_of


@asynccontextmanager
async def schema_with(database_url: str, tables: str, size: int = 10) -> AsyncIterator[Pool]:
    """An open pool on a fresh schema with these tables; the schema is gone afterwards."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    owner = await asyncpg.connect(database_url)
    pool = Pool(database_url, name, size)
    try:
        await owner.execute(f"CREATE ROLE {role_of(name)} NOLOGIN; GRANT {role_of(name)} TO CURRENT_USER")
        await owner.execute(f"CREATE SCHEMA {name} AUTHORIZATION {role_of(name)}")
        await pool.open()
        await pool.execute(tables)
        yield pool
    finally:
        await pool.close()
        await owner.execute(f"DROP SCHEMA IF EXISTS {name} CASCADE; DROP ROLE IF EXISTS {role_of(name)}")
        await owner.close()
