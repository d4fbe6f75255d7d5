"""asyncpg's face on the engine: pools, connections and transactions of one process, over its link."""

import asyncio
import re
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import lru_cache, partial
from typing import Any, TypeVar

import asyncpg

from shared.postgres import Drivers
from tests.simulation.network import Link
from tests.simulation.postgres.engine import Database, Session, Transaction
from tests.simulation.postgres.table import Values
from tests.simulation.postgres.texts import joined_in, normal


class Row(tuple[Any, ...]):
    """A record: by place, by name, as a mapping."""

    __slots__ = ()
    places: dict[str, int] = {}

    def __getitem__(self, key: Any) -> Any:
        return tuple.__getitem__(self, self.places[key] if isinstance(key, str) else key)

    def keys(self) -> Iterable[str]:
        return self.places.keys()


@lru_cache(maxsize=1_000)
def _row_class(names: tuple[str, ...]) -> type[Row]:
    return type("Row", (Row,), {"__slots__": (), "places": {name: place for place, name in enumerate(names)}})


Rows = list[Values]
Result = Rows | str
"""Rows, or the status of a statement that gives none: `UPDATE 2`."""
Handler = Callable[..., Result | Awaitable[Result]]
"""Called with the transaction and the statement's arguments."""
_AT_ONCE = (list, str)
"""What a handler gives that waits for nothing."""
H = TypeVar("H", bound=Handler)


class Statements:
    """What each statement means, by its text; any whitespace is one blank. A text may be a pattern."""

    def __init__(self, *included: "Statements") -> None:
        self.by_text: dict[str, Handler] = {}
        self.by_form: dict[re.Pattern[str], Handler] = {}
        for others in included:
            self.by_text |= others.by_text
            self.by_form |= others.by_form
        self._found: dict[str, Handler] = {}

    def __call__(self, text: str | re.Pattern[str]) -> Callable[[H], H]:
        """Decorates the handler of this text, or of all that match the pattern, which it gets as `match`."""

        def known(handler: H) -> H:
            if isinstance(text, str):
                assert normal(text) not in self.by_text, "one meaning for a statement"
                self.by_text[normal(text)] = handler
            else:
                self.by_form[text] = handler
            return handler

        return known

    def find(self, query: str) -> Handler:
        """The handler; fails loudly for a statement that is not known."""
        handler = self._found.get(query)
        if handler is None:
            handler = self._found[query] = self._look(normal(query))
        return handler

    def _look(self, text: str) -> Handler:
        if text in self.by_text:
            return self.by_text[text]
        for form, handler in self.by_form.items():
            if (match := form.fullmatch(text)) is not None:
                return partial(handler, match=match)
        if parts := joined_in(text):
            return _one_after_the_other([(self.find(statement), taken) for statement, taken in parts])
        raise NotImplementedError(f"a statement that the simulation does not know: {text}")


def _one_after_the_other(handlers: Sequence[tuple[Handler, slice]]) -> Handler:
    """The status is that of the last one."""

    async def written(transaction: Transaction, *arguments: Any) -> Result:
        done: Result = ""
        for handler, taken in handlers:
            result = handler(transaction, *arguments[taken])
            done = result if isinstance(result, _AT_ONCE) else await result
        return done

    return written


BACKEND_GONE = asyncpg.ConnectionDoesNotExistError


def _gone() -> BaseException:
    return BACKEND_GONE("connection was closed in the middle of operation")


class Connection:
    """One session and the way to it."""

    def __init__(self, session: Session, link: Link, statements: Statements) -> None:
        self._session, self._link, self._statements = session, link, statements

    async def fetch(self, query: str, *arguments: Any) -> list[Row]:
        result = await self._statement(query, arguments)
        if isinstance(result, str) or not result:
            return []
        made = _row_class(tuple(result[0]))
        return [made(row.values()) for row in result]

    async def prepare(self, query: str, *, name: str) -> "_Prepared":
        """A statement without a name, which nobody keeps."""
        assert name == "", "named statements would be kept"
        await self._link.travel(_gone)
        return _Prepared(self, query)

    async def fetchrow(self, query: str, *arguments: Any) -> Row | None:
        rows = await self.fetch(query, *arguments)
        return rows[0] if rows else None

    async def fetchval(self, query: str, *arguments: Any) -> Any:
        rows = await self.fetch(query, *arguments)
        return rows[0][0] if rows else None

    async def execute(self, query: str, *arguments: Any) -> str:
        result = await self._statement(query, arguments)
        return result if isinstance(result, str) else f"SELECT {len(result)}"

    async def executemany(self, query: str, each: Iterable[Sequence[Any]]) -> None:
        handler = self._statements.find(query)

        async def work(transaction: Transaction) -> Result:
            for arguments in each:
                result = handler(transaction, *arguments)
                if not isinstance(result, _AT_ONCE):
                    await result
            return ""

        await self._work(work)

    async def copy_records_to_table(self, name: str, *, records: Iterable[Any], columns: Sequence[str]) -> str:
        async def work(transaction: Transaction) -> Result:
            table, count = transaction.database[name], 0
            for record in records:
                await transaction.insert(table, dict(zip(columns, record, strict=True)))
                count += 1
            return f"COPY {count}"

        return str(await self._work(work))

    def transaction(self) -> "_Block":
        return _Block(self)

    def begin(self) -> None:
        """A transaction that lasts until it is ended."""
        if self._session.closed:
            raise _gone()
        if self._session.transaction is not None:
            raise NotImplementedError("savepoints")
        self._session.transaction = Transaction(self._session.database, self._session)

    async def end(self, *, well: bool) -> None:
        """Committed, or rolled back. What a dead process has begun is the server's to end."""
        transaction = self._session.transaction
        assert transaction is not None, "it has begun"
        if well:
            await self._commit(transaction)
        elif not self._link.dead:
            transaction.roll_back()
            self._session.transaction = None

    async def _commit(self, transaction: Transaction) -> None:
        try:
            await self._link.travel(_gone)
            transaction.check()
            failed = transaction.failed
            transaction.roll_back() if failed else transaction.commit()
            self._session.transaction = None
            # The answer may be lost although the commit was not.
            await self._link.travel(_gone)
        except BaseException:
            # Also where nobody waits for the answer any more: asyncpg gives up a connection that it was cancelled on.
            if not self._link.dead:
                self._session.end()
            raise

    def another(self) -> "Connection":
        """A session of its own, for planted bugs."""
        return Connection(self._session.database.connect(), self._link, self._statements)

    async def add_listener(self, channel: str, callback: Callable[..., None]) -> None:
        await self._link.travel(_gone)
        link = self._link

        def told(payload: str) -> None:
            if not link.dead:
                callback(self, 0, channel, payload)

        self._session.listens.setdefault(channel, []).append(told)

    def terminate(self) -> None:
        if not self._link.dead:
            self._session.end()

    async def close(self) -> None:
        self.terminate()

    def is_closed(self) -> bool:
        return self._session.closed

    def is_in_transaction(self) -> bool:
        return self._session.transaction is not None

    async def _statement(self, query: str, arguments: Sequence[Any]) -> Result:
        return await self._work(self._statements.find(query), *arguments)

    async def _work(self, work: Handler, *arguments: Any) -> Result:
        try:
            await self._link.travel(_gone)
        except BACKEND_GONE:
            self._session.end()
            raise
        if self._session.closed:
            raise _gone()
        transaction = self._session.transaction
        if transaction is None:
            return await self._alone(work, arguments)
        if transaction.failed:
            raise asyncpg.InFailedSQLTransactionError("current transaction is aborted")
        try:
            result = work(transaction, *arguments)
            return result if isinstance(result, _AT_ONCE) else await result
        except BaseException:
            transaction.failed = True
            raise

    async def _alone(self, work: Handler, arguments: Sequence[Any]) -> Result:
        """A statement that is its own transaction."""
        transaction = self._session.transaction = Transaction(self._session.database, self._session)
        try:
            result = work(transaction, *arguments)
            if not isinstance(result, _AT_ONCE):
                result = await result
        except BaseException:
            transaction.roll_back()
            raise
        finally:
            self._session.transaction = None
        transaction.commit()
        if transaction.writes:
            await self._link.travel(_gone)
        return result


class _Prepared:
    def __init__(self, connection: Connection, query: str) -> None:
        self._connection, self._query = connection, query

    async def fetch(self, *arguments: Any) -> list[Row]:
        return await self._connection.fetch(self._query, *arguments)


class _Block:
    """A transaction for as long as the context lasts."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def __aenter__(self) -> None:
        self._connection.begin()

    async def __aexit__(self, kind: object, *_: object) -> None:
        await self._connection.end(well=kind is None)


class Pool:
    """asyncpg's pool: at most so many connections, those that broke are replaced."""

    def __init__(self, connect: Callable[[], Awaitable[Connection]], size: int) -> None:
        self._connect, self._size = connect, size
        self._idle: list[Connection] = []
        self._out = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    def acquire(self, *, timeout: float) -> "_Lent":
        return _Lent(self, timeout)

    async def lend(self, timeout: float) -> Connection:
        """One that works, as soon as one is free."""
        if self._out >= self._size:
            async with asyncio.timeout(timeout):
                await self._turn()
        self._out += 1
        try:
            return await self._take()
        except BaseException:
            self._one_is_free()
            raise

    def give_back(self, connection: Connection, *, well: bool) -> None:
        """It is not used any more; who has waited longest is next."""
        if well and not connection.is_closed() and not connection.is_in_transaction():
            self._idle.append(connection)
        self._one_is_free()

    def _one_is_free(self) -> None:
        self._out -= 1
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(None)
                break

    async def _turn(self) -> None:
        """Until one is free."""
        while self._out >= self._size:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(future)
            await future

    async def _take(self) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
        return await self._connect()

    async def close(self) -> None:
        self.terminate()

    def terminate(self) -> None:
        for connection in self._idle:
            connection.terminate()
        self._idle.clear()


class _Lent:
    """A connection of the pool for as long as the context lasts."""

    __slots__ = ("_connection", "_pool", "_timeout")
    _connection: Connection

    def __init__(self, pool: Pool, timeout: float) -> None:
        self._pool, self._timeout = pool, timeout

    async def __aenter__(self) -> Connection:
        self._connection = await self._pool.lend(self._timeout)
        return self._connection

    async def __aexit__(self, kind: object, *_: object) -> None:
        self._pool.give_back(self._connection, well=kind is None)


class PostgresOf:
    """The drivers of one process: `server_settings` name the schema, which is a database of its own here."""

    def __init__(self, databases: dict[str, Database], statements: dict[str, Statements], link: Link) -> None:
        self._databases, self._statements, self._link = databases, statements, link
        self.sessions: list[tuple[Session, float | None]] = []
        """With after how many seconds the server ends one that idles outside of a transaction."""

    def drivers(self) -> Drivers:
        return Drivers(create_pool=self._create_pool, connect=self._connect)

    async def _create_pool(self, _: str, *, max_size: int, server_settings: dict[str, str], **__: Any) -> Pool:
        pool = Pool(lambda: self._connect("", server_settings=server_settings), max_size)
        async with pool.acquire(timeout=60):
            return pool

    async def _connect(self, _: str, *, server_settings: dict[str, str], **__: Any) -> Connection:
        await self._link.travel(lambda: ConnectionRefusedError("cut"))
        schema = server_settings["search_path"]
        session = self._databases[schema].connect()
        limit = server_settings.get("idle_session_timeout")
        self.sessions = [each for each in self.sessions if not each[0].closed]
        self.sessions.append((session, None if limit is None else float(limit.removesuffix("s"))))
        return Connection(session, self._link, self._statements[schema])
