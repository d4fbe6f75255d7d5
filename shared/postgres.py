"""PostgreSQL: one pool per process, each service confined to its own schema and role, and errors told apart."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
from alembic import command
from alembic.config import Config
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from shared.faults import Transient

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy
    from sqlalchemy import Connection as SyncConnection

    Connection = asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]
    Pool = asyncpg.Pool[asyncpg.Record]
else:
    Connection = asyncpg.Connection
    Pool = asyncpg.Pool

# A frozen process must not keep its locks: the server ends transactions that idle or take this long.
_SESSION_LIMITS = {
    "idle_in_transaction_session_timeout": "10s",
    "transaction_timeout": "30s",
    "lock_timeout": "10s",
}

_TRANSIENT = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.exceptions.TransactionRollbackError,
    asyncpg.exceptions.LockNotAvailableError,
    asyncpg.exceptions.OperatorInterventionError,
    asyncpg.exceptions.InsufficientResourcesError,
    asyncpg.exceptions.IdleInTransactionSessionTimeoutError,
    asyncpg.exceptions.ObjectInUseError,
    ConnectionError,
    TimeoutError,
    OSError,
)


@asynccontextmanager
async def transient_errors() -> AsyncIterator[None]:
    """Turns what a later try can cure (lost connections, deadlocks, a server that starts or stops) into `Transient`."""
    try:
        yield
    except _TRANSIENT as error:
        if isinstance(error, asyncpg.exceptions.DataError):
            raise
        raise Transient(f"database: {type(error).__name__}") from error


def role_of(service: str) -> str:
    """The database role that owns nothing but the service's schema."""
    return f"throughline_{service}"


async def connect_pool(database_url: str, service: str, size: int) -> Pool:
    """A pool whose connections see the service's schema only, as the service's role.

    Raises `Transient` while the server is away.
    """
    async with transient_errors():
        return await asyncpg.create_pool(
            database_url,
            min_size=min(2, size),
            max_size=size,
            command_timeout=30,
            server_settings=_server_settings(service),
        )


async def connect(database_url: str, service: str, **limits: str) -> "asyncpg.Connection[asyncpg.Record]":
    """One connection of its own (LISTEN, session-level advisory locks); `limits` are further server settings."""
    async with transient_errors():
        return await asyncpg.connect(
            database_url, command_timeout=30, server_settings=_server_settings(service) | limits
        )


def _server_settings(service: str) -> dict[str, str]:
    names = {"application_name": f"throughline-{service}", "role": role_of(service), "search_path": service}
    return names | _SESSION_LIMITS


@asynccontextmanager
async def transaction(pool: Pool) -> AsyncIterator[Connection]:
    """One transaction; commits on leaving, rolls back on an error, which is `Transient` where a later try can help."""
    async with transient_errors(), pool.acquire(timeout=10) as connection, connection.transaction():
        yield connection


_MIGRATION_LOCK = 7_268_401


async def migrate(database_url: str, service: str) -> None:
    """Bring the service's schema to the newest version; several processes may ask at once, one does it."""
    engine = create_async_engine(database_url.replace("postgresql://", "postgresql+asyncpg://", 1))
    try:
        async with transient_errors(), engine.begin() as connection:
            await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
            await _prepare_schema(connection.run_sync, service)
            await connection.run_sync(_upgrade, service)
    finally:
        await engine.dispose()


async def _prepare_schema(run_sync: object, service: str) -> None:
    def prepare(connection: "SyncConnection") -> None:
        role = role_of(service)
        known = connection.execute(text("SELECT 1 FROM pg_roles WHERE rolname = :role"), {"role": role}).scalar()
        if not known:
            connection.execute(text(f"CREATE ROLE {role} NOLOGIN"))
        connection.execute(text(f"GRANT {role} TO CURRENT_USER"))
        connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {service} AUTHORIZATION {role}"))
        connection.execute(text(f"SET LOCAL ROLE {role}"))
        connection.execute(text(f"SET LOCAL search_path TO {service}"))

    await run_sync(prepare)  # type: ignore[operator]


def _upgrade(connection: "SyncConnection", service: str) -> None:
    package = import_module(f"services.{service}.migrations")
    config = Config()
    config.set_main_option("script_location", str(Path(str(package.__file__)).parent))
    config.attributes["connection"] = connection
    config.attributes["schema"] = service
    command.upgrade(config, "head")


async def wait_until_reachable(database_url: str, timeout_s: float) -> None:
    """Returns once the server answers; raises `Transient` when it has not by then."""
    deadline = asyncio.get_running_loop().time() + timeout_s
    while True:
        try:
            connection = await asyncpg.connect(database_url, timeout=2)
        except (OSError, asyncpg.PostgresError, TimeoutError) as error:
            if asyncio.get_running_loop().time() > deadline:
                raise Transient("database: not reachable") from error
            await asyncio.sleep(0.1)
        else:
            await connection.close()
            return
