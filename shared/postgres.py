"""PostgreSQL: one pool per process, each service confined to its own schema and role, and errors told apart."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import asyncpg
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_exponential_jitter

from shared.faults import Transient

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    Connection = asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]
else:
    Connection = asyncpg.Connection

# A frozen process must not keep its locks: the server ends transactions that idle or take this long.
_SESSION_LIMITS = {
    "idle_in_transaction_session_timeout": "10s",
    "transaction_timeout": "30s",
    "lock_timeout": "10s",
}

# A connection whose other end vanished without a word is given up after so long; longer than the wait for a lock.
_COMMAND_S = 15
_ACQUIRE_S = 10
_CLOSE_S = 5
_START_S = 60

_TRANSIENT = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.exceptions.TransactionRollbackError,
    asyncpg.exceptions.LockNotAvailableError,
    asyncpg.exceptions.OperatorInterventionError,
    asyncpg.exceptions.InsufficientResourcesError,
    asyncpg.exceptions.PostgresSystemError,
    # A session that took too long, and a server that was demoted to a standby.
    asyncpg.exceptions.InvalidTransactionStateError,
    asyncpg.exceptions.ObjectInUseError,
    # Nothing that a message says leads to these: credentials, rights or tables are being changed.
    asyncpg.exceptions.InvalidAuthorizationSpecificationError,
    asyncpg.exceptions.InvalidCatalogNameError,
    asyncpg.exceptions.InvalidSchemaNameError,
    asyncpg.exceptions.InsufficientPrivilegeError,
    asyncpg.exceptions.UndefinedTableError,
    asyncpg.exceptions.UndefinedColumnError,
    asyncpg.exceptions.InvalidCachedStatementError,
    asyncpg.exceptions.OutdatedSchemaCacheError,
    ConnectionError,
    TimeoutError,
    OSError,
)


class transient_errors:
    """Turns what a later try can cure (lost connections, deadlocks, a server that starts or stops) into `Transient`."""

    __slots__ = ()

    async def __aenter__(self) -> None: ...

    async def __aexit__(self, kind: object, error: BaseException | None, _: object) -> None:
        if isinstance(error, asyncpg.InternalClientError):
            # The server has ended the session and said so, and asyncpg has read that, but not yet seen the socket's
            # end.
            if str(error).startswith("cannot switch to state"):
                raise Transient("database: the session was ended") from error
        elif isinstance(error, _TRANSIENT) and not isinstance(error, asyncpg.exceptions.DataError):
            task = asyncio.current_task()
            if task is not None and task.cancelling() and isinstance(error.__context__, asyncio.CancelledError):
                # A connection that broke while its user was being canceled: whoever retries would never end. A time
                # limit that ran out cancels too, and takes that back.
                raise asyncio.CancelledError from error
            raise Transient(f"database: {type(error).__name__}") from error


@dataclass(frozen=True, slots=True)
class Drivers:
    """How a process reaches PostgreSQL; each is called, and awaited, like asyncpg's function."""

    create_pool: Callable[..., Any] = asyncpg.create_pool
    connect: Callable[..., Any] = asyncpg.connect


REAL_DRIVERS = Drivers()


def role_of(service: str) -> str:
    """The database role that owns nothing but the service's schema."""
    return f"throughline_{service}"


class Pool:
    """Connections that see one service's schema only, as the service's role.

    Made without a running event loop and before the server is there; `open` connects. What a later try can cure is
    raised as `Transient`.
    """

    def __init__(self, database_url: str, service: str, size: int, drivers: Drivers = REAL_DRIVERS) -> None:
        self._database_url, self._service, self._size, self._drivers = database_url, service, size, drivers
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None

    async def open(self) -> None:
        """Connect; raises `Transient` while the server is away."""
        async with transient_errors():
            self._pool = await self._drivers.create_pool(
                self._database_url,
                min_size=min(2, self._size),
                max_size=self._size,
                command_timeout=_COMMAND_S,
                server_settings=_server_settings(self._service),
                reset=_nothing,
            )

    async def close(self) -> None:
        """Close all connections; those in use are given a few seconds to finish."""
        pool, self._pool = self._pool, None
        if pool is not None:
            try:
                async with asyncio.timeout(_CLOSE_S):
                    await pool.close()
            except TimeoutError:
                pool.terminate()

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[Connection]:
        """A connection for as long as the context lasts."""
        if self._pool is None:
            raise Transient("database: not connected")
        async with transient_errors(), self._pool.acquire(timeout=_ACQUIRE_S) as connection:
            yield connection

    async def fetch(self, query: str, *arguments: Any) -> list[asyncpg.Record]:
        """All rows of one statement."""
        async with self.acquire() as connection:
            return await connection.fetch(query, *arguments)

    async def fetch_planned(self, query: str, *arguments: Any) -> list[asyncpg.Record]:
        """All rows of one statement, planned for these very arguments, which takes a round trip more.

        PostgreSQL plans a statement that comes often once for all: for a tenant with as many rows as most have. Of one
        that has a million times as many, such a plan may read and sort all.
        """
        async with self.acquire() as connection:
            statement = await connection.prepare(query, name="")
            return await statement.fetch(*arguments)

    async def fetchrow(self, query: str, *arguments: Any) -> asyncpg.Record | None:
        """The first row of one statement."""
        async with self.acquire() as connection:
            return await connection.fetchrow(query, *arguments)

    async def fetchval(self, query: str, *arguments: Any) -> Any:
        """The first column of the first row of one statement."""
        async with self.acquire() as connection:
            return await connection.fetchval(query, *arguments)

    async def execute(self, query: str, *arguments: Any) -> str:
        """The status of one statement."""
        async with self.acquire() as connection:
            return await connection.execute(query, *arguments)

    async def unreachable(self) -> str | None:
        """A readiness check: why the database does not answer, or None."""
        try:
            async with asyncio.timeout(1.5):
                await self.fetchval("SELECT 1")
        except (Transient, TimeoutError):
            return "the database does not answer"
        return None


async def open_patiently(pool: Pool) -> None:
    """Connected; waits up to a minute for a server that is away, and then raises `Transient`."""
    patiently = AsyncRetrying(
        retry=retry_if_exception_type(Transient),
        wait=wait_exponential_jitter(multiplier=0.1, max=2),
        stop=stop_after_delay(_START_S),
        reraise=True,
    )
    await patiently(pool.open)


async def _nothing(_: Connection) -> None:
    """Whoever has a connection of the pool leaves nothing behind in its session but what a rollback ends, and asyncpg
    sees to that itself. Its own clearing of the session would be one more round trip after each use."""


async def connect(
    database_url: str, service: str, drivers: Drivers = REAL_DRIVERS, **limits: str
) -> "asyncpg.Connection[asyncpg.Record]":
    """One connection of its own (LISTEN, session-level advisory locks); `limits` are further server settings."""
    async with transient_errors():
        connection: asyncpg.Connection[asyncpg.Record] = await drivers.connect(
            database_url, command_timeout=_COMMAND_S, server_settings=_server_settings(service) | limits
        )
    return connection


def _server_settings(service: str) -> dict[str, str]:
    names = {"application_name": f"throughline-{service}", "role": role_of(service), "search_path": service}
    return names | _SESSION_LIMITS


@asynccontextmanager
async def transaction(pool: Pool) -> AsyncIterator[Connection]:
    """One transaction; commits on leaving, rolls back on an error, which is `Transient` where a later try can help."""
    async with pool.acquire() as connection, connection.transaction():
        yield connection


async def wait_until_reachable(database_url: str, timeout_s: float) -> None:
    """Returns once the server answers; raises `Transient` when it has not by then, or does not know the user."""
    deadline = asyncio.get_running_loop().time() + timeout_s
    while True:
        try:
            connection = await asyncpg.connect(database_url, timeout=2)
        except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.exceptions.ClientConfigurationError) as error:
            raise Transient(f"database: {error}") from error
        except (OSError, asyncpg.PostgresError, TimeoutError) as error:
            if asyncio.get_running_loop().time() > deadline:
                raise Transient("database: not reachable") from error
            await asyncio.sleep(0.1)
        else:
            await connection.close()
            return
