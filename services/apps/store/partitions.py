"""Events lie in one partition for each week, which begins on Monday in UTC: a whole week is dropped in no time."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta

from shared.postgres import Pool, transaction

_WEEK = timedelta(days=7)
_PREFIX = "events_w"
_LOCK = 728_404


def week_of(moment: datetime) -> date:
    """The Monday of its week."""
    day = moment.astimezone(UTC).date()
    return day - timedelta(days=day.weekday())


def beginning_of(week: date) -> datetime:
    """The first moment of the week."""
    return datetime(week.year, week.month, week.day, tzinfo=UTC)


async def ensure(pool: Pool, weeks: Iterable[date]) -> None:
    """These weeks have a partition. Neither readers nor writers of other weeks wait for it."""
    for week in sorted(set(weeks)):
        table = f"{_PREFIX}{week:%Y%m%d}"
        async with transaction(pool) as connection:
            await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
            if await connection.fetchval("SELECT to_regclass($1)", table) is None:
                # Attaching takes a weaker lock than creating it as a partition, which readers would wait for.
                await connection.execute(f"CREATE TABLE {table} (LIKE events INCLUDING DEFAULTS)")
                bounds = f"FROM ('{week}T00:00:00Z') TO ('{week + _WEEK}T00:00:00Z')"
                await connection.execute(f"ALTER TABLE events ATTACH PARTITION {table} FOR VALUES {bounds}")


async def drop_before(pool: Pool, moment: datetime) -> list[date]:
    """No week is kept that had ended by then; says which went.

    Everybody who reads or writes events waits while one goes, so it gives up (`Transient`) where it would have to wait.
    """
    rows = await pool.fetch(_WEEKS)
    weeks = sorted(datetime.strptime(row["relname"].removeprefix(_PREFIX), "%Y%m%d").date() for row in rows)  # noqa: DTZ007
    over = [week for week in weeks if week + _WEEK <= moment.astimezone(UTC).date()]
    for week in over:
        async with transaction(pool) as connection:
            await connection.execute("SET LOCAL lock_timeout = '500ms'")
            await connection.execute(f"DROP TABLE IF EXISTS {_PREFIX}{week:%Y%m%d}")
    return over


_WEEKS = """
SELECT child.relname FROM pg_inherits
JOIN pg_class AS child ON child.oid = inhrelid WHERE inhparent = 'events'::regclass
"""
