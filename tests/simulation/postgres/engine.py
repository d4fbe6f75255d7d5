"""Transactions and locks on tables; no statements, no network."""

import asyncio
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from heapq import merge
from itertools import takewhile

import asyncpg

from tests.simulation.postgres.table import Key, Ordered, Table, Values

Where = Callable[[Values], bool]

_LOCK_TIMEOUT_S = 10.0


def _always(_: Values) -> bool:
    return True


class Transaction:
    """READ COMMITTED: sees what is committed when it looks, and its own writes. Handlers of statements work on this."""

    def __init__(self, database: "Database", session: "Session") -> None:
        self.database, self.session = database, session
        self.id: int | None = None
        self.started_at = database.clock()
        self.writes: dict[Table, dict[Key, Values | None]] = {}
        self.locks: list[Hashable] = []
        self.advisory: list[Hashable] = []
        self.queues: list[dict[Transaction, bool]] = []
        self.over = False
        self._end_awaited: asyncio.Future[None] | None = None
        self.waits_for: Transaction | None = None
        self.notifications: list[tuple[str, str]] = []
        self.failed = False

    def number(self) -> int:
        """Its place among all transactions, which it gets when it first locks or writes."""
        if self.id is None:
            self.id = self.database.next_transaction()
            self.database.running[self.id] = self
        return self.id

    # Reading

    def get(self, table: Table, key: Key) -> Values | None:
        """The row as this transaction sees it now."""
        own = self.writes.get(table)
        if own is not None and key in own:
            return own[key]
        return table.rows.get(key)

    def scan(self, table: Table) -> Iterator[Values]:
        """All rows, in no promised order."""
        own = self.writes.get(table, {})
        for key, row in list(table.rows.items()):
            if key not in own:
                yield row
        for written in list(own.values()):
            if written is not None:
                yield written

    def find(self, table: Table, index: str, value: Hashable) -> list[Values]:
        """The rows with this key in an index."""
        own = self.writes.get(table, {})
        found = [table.rows[key] for key in table.found(index, value) if key not in own]
        if own:
            key_of = table.indexes[index].of
            found += [row for row in own.values() if row is not None and key_of(row) == value]
        return found

    def in_order(self, table: Table, index: str, value: Hashable) -> Iterator[Values]:
        """The same one after the other, as the index orders them."""
        own, ordered = self.writes.get(table, {}), table.indexes[index]
        assert isinstance(ordered, Ordered)
        committed = (table.rows[key] for key in ordered.keys(value) if key not in own)
        mine = [row for row in own.values() if row is not None and ordered.of(row) == value]
        return merge(committed, sorted(mine, key=ordered.place), key=ordered.place) if mine else committed

    # Locking and writing

    async def lock(self, table: Table, key: Key, *, skip: bool = False) -> bool:
        """The row's lock until the transaction ends; waits for it, or gives False where `skip` says not to."""
        return await self._lock((table.name, key), skip)

    async def _lock(self, name: Hashable, skip: bool) -> bool:
        locks = self.database.locks
        while (holder := locks.get(name)) is not None:
            if holder is self:
                return True
            if skip:
                return False
            await self._wait_for(holder)
        self._hold(name)
        return True

    def _hold(self, name: Hashable) -> None:
        self.number()
        self.database.locks[name] = self
        self.locks.append(name)

    async def _wait_for(self, holder: "Transaction") -> None:
        other: Transaction | None = holder
        while other is not None:
            if other is self:
                raise asyncpg.DeadlockDetectedError("deadlock detected")
            other = other.waits_for
        self.waits_for = holder
        try:
            done, _ = await asyncio.wait(
                [holder.ended(), self.ended()], timeout=_LOCK_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            self.waits_for = None
        self.check()
        if not done:
            raise asyncpg.LockNotAvailableError("canceling statement due to lock timeout")

    async def lock_rows(
        self, table: Table, keys: Iterable[Key], where: Where = _always, *, skip: bool = False, limit: int | None = None
    ) -> list[Values]:
        """Those rows that are there now and match, and still do once they are locked, in the order of the keys."""
        matching = (key for key in keys if (row := self.get(table, key)) is not None and where(row))
        rows: list[Values] = []
        # Who skips what is locked waits for nobody, and need look no further than the limit.
        for key in matching if skip else list(matching):
            if len(rows) == limit:
                break
            if await self.lock(table, key, skip=skip):
                row = self.get(table, key)
                if row is not None and where(row):
                    rows.append(row)
        return rows

    async def insert(self, table: Table, given: Values) -> None:
        """A new row; waits for whoever is inserting the same key, and fails when it is there."""
        if await self.insert_new(table, given) is None:
            raise asyncpg.UniqueViolationError(f"duplicate key value violates unique constraint on {table.name}")

    async def insert_new(self, table: Table, given: Values) -> Values | None:
        """The new row, or None where its key is there (ON CONFLICT DO NOTHING)."""
        row = table.row(given)
        key = table.key(row)
        while (holder := self.database.locks.get((table.name, key))) not in (None, self):
            if self.get(table, key) is not None and key not in holder.writes.get(table, ()):
                return None
            await self._wait_for(holder)
        if self.get(table, key) is not None:
            return None
        if holder is None:
            self._hold((table.name, key))
        if table.unique:
            await self.put(table, row)
        else:
            self._write(table, key, row)
        return row

    async def upsert(
        self, table: Table, rows: Iterable[Values], change: Callable[[Values, Values], Values | None]
    ) -> list[Values]:
        """Inserts; what is there becomes what `change` makes of it and the given, or stays where that is None."""
        written: dict[Key, Values] = {}
        for given in rows:
            row = await self.insert_new(table, given)
            while row is None:
                key = table.key(given)
                if key in written:
                    raise asyncpg.CardinalityViolationError("a row cannot be affected a second time")
                await self.lock(table, key)
                there = self.get(table, key)
                if there is None:
                    row = await self.insert_new(table, given)
                    continue
                row = change(there, given)
                if row is None:
                    break
                await self.put(table, row)
            if row is not None:
                written[table.key(row)] = row
        return list(written.values())

    async def put(self, table: Table, row: Values) -> None:
        """A row whose lock this transaction holds."""
        key = table.key(row)
        for name in table.unique:
            await self._take(table, name, self.get(table, key), row)
        self._write(table, key, row)

    def _write(self, table: Table, key: Key, row: Values | None) -> None:
        if table not in self.writes:
            self.writes[table] = {}
        self.writes[table][key] = row

    async def _take(self, table: Table, name: str, before: Values | None, after: Values) -> None:
        """Waits for whoever is giving a row this key of a unique index, or is taking it from one."""
        key_of = table.indexes[name].of
        old, new = None if before is None else key_of(before), key_of(after)
        if old == new:
            return
        for taken in (old, new):
            if taken is not None:
                await self._lock((table.name, name, taken), skip=False)
        if new is not None and self.find(table, name, new):
            raise asyncpg.UniqueViolationError(f"duplicate key value violates unique constraint {name}")

    def remove(self, table: Table, key: Key) -> None:
        """A row whose lock this transaction holds."""
        self._write(table, key, None)

    def try_advisory(self, number: Hashable) -> bool:
        """`pg_try_advisory_xact_lock`."""
        holder = self.database.advisory.get(number)
        if holder is None:
            self.database.advisory[number] = self
            self.advisory.append(number)
            return True
        return holder is self or holder is self.session

    async def advisory_lock(self, number: Hashable, *, shared: bool = False) -> None:
        """`pg_advisory_xact_lock`, or the shared one; whoever asked earlier comes first."""
        queue = self.database.queues.setdefault(number, {})
        if queue.setdefault(self, shared) and not shared:
            raise NotImplementedError("a shared lock that becomes exclusive")
        self.queues.append(queue)
        try:
            while (before := self._in_the_way(queue, shared)) is not None:
                await self._wait_for(before)
        except BaseException:
            queue.pop(self, None)
            raise

    def _in_the_way(self, queue: "dict[Transaction, bool]", shared: bool) -> "Transaction | None":
        earlier = takewhile(lambda asked: asked[0] is not self, queue.items())
        return next((other for other, shares in earlier if not (shared and shares)), None)

    # Ending

    def ended(self) -> "asyncio.Future[None]":
        """Done when it has ended; only of one that has not."""
        if self._end_awaited is None:
            self._end_awaited = asyncio.get_running_loop().create_future()
        return self._end_awaited

    def check(self) -> None:
        """Raises when the session has gone."""
        if self.over:
            raise asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")

    def commit(self) -> None:
        """Everything at one instant."""
        if not self.over:
            for table, rows in self.writes.items():
                for key, row in rows.items():
                    table.apply(key, row)
            self._end()
            for channel, payload in self.notifications:
                self.database.notify(channel, payload)

    def roll_back(self) -> None:
        """As if it had never been; a repeat does nothing."""
        if not self.over:
            self._end()

    def _end(self) -> None:
        for name in self.locks:
            del self.database.locks[name]
        for number in self.advisory:
            del self.database.advisory[number]
        for queue in self.queues:
            queue.pop(self, None)
        if self.id is not None:
            del self.database.running[self.id]
        self.over = True
        if self._end_awaited is not None:
            self._end_awaited.set_result(None)


@dataclass(eq=False)
class Session:
    """One connection as the server sees it."""

    database: "Database"
    transaction: Transaction | None = None
    listens: dict[str, list[Callable[[str], None]]] = field(default_factory=dict)
    closed: bool = False

    def end(self) -> None:
        """Its transaction is rolled back, its locks are free; a repeat does nothing."""
        if self.closed:
            return
        self.closed = True
        if self.transaction is not None:
            self.transaction.roll_back()
        self.database.leave(self)


class Database:
    """One service's schema, and the sessions that use it."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self.clock = clock
        self.tables: dict[str, Table] = {}
        self.locks: dict[Hashable, Transaction] = {}
        self.advisory: dict[Hashable, Transaction | Session] = {}
        self.shared_advisory: dict[Hashable, set[Session]] = {}
        self.queues: dict[Hashable, dict[Transaction, bool]] = {}
        """Who holds or awaits an advisory lock for its transaction, in the order of asking, and whether it shares."""
        self.running: dict[int, Transaction] = {}
        self.sessions: dict[Session, None] = {}
        self.down = False
        self._transactions = 0

    def add(self, *tables: Table) -> None:
        """Create tables."""
        self.tables.update({table.name: table for table in tables})

    def __getitem__(self, name: str) -> Table:
        return self.tables[name]

    def next_transaction(self) -> int:
        """Numbers that grow."""
        self._transactions += 1
        return self._transactions

    def connect(self) -> Session:
        """A new session; refused while the server is down."""
        if self.down:
            raise ConnectionRefusedError("the server is down")
        session = Session(self)
        self.sessions[session] = None
        return session

    def leave(self, session: Session) -> None:
        """What a session held beside its transaction is free."""
        self.sessions.pop(session, None)
        for number in [number for number, holder in self.advisory.items() if holder is session]:
            del self.advisory[number]
        for members in self.shared_advisory.values():
            members.discard(session)

    def crash(self) -> None:
        """Every session ends; what was committed stays."""
        for session in list(self.sessions):
            session.end()

    def notify(self, channel: str, payload: str) -> None:
        """Tell all who listen."""
        for session in list(self.sessions):
            for told in session.listens.get(channel, ()):
                told(payload)
