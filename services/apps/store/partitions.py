"""Tables in parts by time: what is old is dropped in no time, a part at once.

Events lie in one part for each week, which begins on Monday in UTC, the audit log in one for each year.
"""

from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, date, datetime, timedelta

from shared.immutable import immutable
from shared.postgres import Connection, Pool, transaction

_WEEK = timedelta(days=7)
_LOCK = 728_404


@immutable
class Parts:
    """How a table is divided; a part is known by its first day."""

    parent: str
    prefix: str
    form: str
    """What follows the prefix in a part's name."""
    after: Callable[[date], date]
    """The first day of the next part."""
    append_only: bool = False

    def name(self, first: date) -> str:
        """The part's table."""
        return f"{self.prefix}{first.strftime(self.form)}"


WEEKS = Parts("events", "events_w", "%Y%m%d", lambda first: first + _WEEK)
YEARS = Parts("audit_log", "audit_log_y", "%Y", lambda first: date(first.year + 1, 1, 1), append_only=True)


def week_of(moment: datetime) -> date:
    """The Monday of its week."""
    day = moment.astimezone(UTC).date()
    return day - timedelta(days=day.weekday())


def year_of(moment: datetime) -> date:
    """The first day of its year."""
    return date(moment.astimezone(UTC).year, 1, 1)


def beginning_of(week: date) -> datetime:
    """The first moment of the week."""
    return datetime(week.year, week.month, week.day, tzinfo=UTC)


async def ensure(pool: Pool, firsts: Iterable[date], parts: Parts = WEEKS) -> None:
    """These weeks (or years) have a part. Neither readers nor writers of others wait for it."""
    for first in sorted(set(firsts)):
        table = parts.name(first)
        async with transaction(pool) as connection:
            await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
            if await connection.fetchval("SELECT to_regclass($1)", table) is None:
                # Attaching takes a weaker lock than creating it as a part, which readers would wait for.
                await connection.execute(f"CREATE TABLE {table} (LIKE {parts.parent} INCLUDING DEFAULTS)")
                bounds = f"FROM ('{first}T00:00:00Z') TO ('{parts.after(first)}T00:00:00Z')"
                await connection.execute(f"ALTER TABLE {parts.parent} ATTACH PARTITION {table} FOR VALUES {bounds}")
                if parts.append_only:
                    await connection.execute(_APPEND_ONLY.format(table=table))


Dropped = Callable[[Connection, str], Awaitable[None]]
"""Told the name of the part, in the transaction that drops it."""


async def drop_before(pool: Pool, moment: datetime, parts: Parts = WEEKS, dropped: Dropped | None = None) -> list[date]:
    """No week (or year) is kept that had ended by then; says which went.

    Everybody who reads or writes the table waits while one goes, so it gives up (`Transient`) where it would have to
    wait.
    """
    rows = await pool.fetch(_PARTS, parts.parent)
    firsts = sorted(_first(row["relname"], parts) for row in rows)
    over = [first for first in firsts if parts.after(first) <= moment.astimezone(UTC).date()]
    for first in over:
        async with transaction(pool) as connection:
            await connection.execute("SET LOCAL lock_timeout = '500ms'")
            await connection.execute(f"DROP TABLE IF EXISTS {parts.name(first)}")
            if dropped is not None:
                await dropped(connection, parts.name(first))
    return over


def _first(table: str, parts: Parts) -> date:
    return datetime.strptime(table.removeprefix(parts.prefix), parts.form).date()  # noqa: DTZ007


_PARTS = """
SELECT child.relname FROM pg_inherits
JOIN pg_class AS child ON child.oid = inhrelid WHERE inhparent = to_regclass($1)
"""
_APPEND_ONLY = """
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()
"""
