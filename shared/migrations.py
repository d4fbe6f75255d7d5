"""Schema migrations: each service has its own history in its own schema, owned by its own role (alembic)."""

from functools import partial
from importlib import import_module
from pathlib import Path

import asyncpg
from alembic import command, context
from alembic.config import Config
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine

from shared.postgres import role_of, transient_errors

_MIGRATION_LOCK = 7_268_401


async def migrate(database_url: str, service: str) -> None:
    """Bring the service's schema to the newest version; several processes may ask at once, one does it.

    Asyncpg reads the address, as it does for the services: SQLAlchemy takes fewer of them.
    """
    engine = create_async_engine("postgresql+asyncpg://", async_creator=partial(asyncpg.connect, database_url))
    try:
        async with transient_errors(), engine.begin() as connection:
            await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
            await connection.run_sync(_prepare_schema, service)
            await connection.run_sync(_upgrade, service)
    finally:
        await engine.dispose()


def _prepare_schema(connection: Connection, service: str) -> None:
    """The service's role and schema; everything after this is done as that role."""
    role = role_of(service)
    known = connection.execute(text("SELECT 1 FROM pg_roles WHERE rolname = :role"), {"role": role}).scalar()
    if not known:
        connection.execute(text(f"CREATE ROLE {role} NOLOGIN"))
    connection.execute(text(f"GRANT {role} TO CURRENT_USER"))
    connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {service} AUTHORIZATION {role}"))
    connection.execute(text(f"SET LOCAL ROLE {role}"))
    connection.execute(text(f"SET LOCAL search_path TO {service}"))


def _upgrade(connection: Connection, service: str) -> None:
    package = import_module(f"services.{service}.migrations")
    config = Config()
    config.set_main_option("script_location", str(Path(str(package.__file__)).parent))
    config.attributes["connection"] = connection
    config.attributes["schema"] = service
    command.upgrade(config, "head")


def run_environment() -> None:
    """What every service's `migrations/env.py` does: run within the transaction that `migrate` opened."""
    attributes = context.config.attributes
    context.configure(connection=attributes["connection"], version_table_schema=attributes["schema"])
    context.run_migrations()
