"""Public events as they are kept, each with its position.

Whoever follows events remembers one number: a position. Positions are given out under a lock that is held until the
transaction ends, so that events become visible in the order of their positions: after an event has been seen, nothing
can appear below it. The lock is taken last, when everything else of a batch is written, and so for a few milliseconds.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

import asyncpg

from services.apps.core.event_types import TYPES_OF_ONE_APP, Reader
from services.apps.core.events import Origin, PublicEvent, Subject, created_in
from shared.faults import Transient
from shared.immutable import immutable
from shared.postgres import Connection, Pool
from shared.writes import NewRows, names_of, write

Tenant = tuple[str, str]
"""A merchant's id and an environment."""

_POSITIONS_LOCK = 728_403
_AMONG_ALL = "(position + 0)"
"""What the index of everybody's events is on. One on the position itself would look cheap for a large merchant's newest
events as well, and then be read from the newest on, through everybody else's, until a page of theirs is found."""
_LARGEST_PAGE_BYTES = 4 * 1024 * 1024
"""Events of this size are read at once at most, and the one by which it is reached, which may be large."""

_COLUMNS = (
    ("event_id", "text"),
    ("created_at", "timestamptz"),
    ("type", "text"),
    ("merchant_id", "text"),
    ("environment", "text"),
    ("order_id", "text"),
    ("order_version", "integer"),
    ("actor_type", "text"),
    ("actor_id", "text"),
    ("cause_type", "text"),
    ("cause_id", "text"),
    ("change", "bytea"),
    ("order_after", "bytea"),
    ("customer", "bytea"),
    ("subject_type", "text"),
    ("subject_id", "text"),
    ("subject_after", "bytea"),
    ("grant_id", "text"),
)
_NAMES = names_of(_COLUMNS)


@immutable
class Placed:
    """An event and its position."""

    position: int
    event: PublicEvent


@immutable
class EventFilter:
    """Which of a tenant's events are wanted, and by whom; `types` that are empty stand for all."""

    tenant: Tenant
    reader: Reader
    types: Sequence[str] = ()
    order_id: str | None = None
    created_from: datetime | None = None
    created_before: datetime | None = None

    def admits(self, event: PublicEvent) -> bool:
        """Whether an event of the tenant is one of them, whenever it happened and whatever it is about."""
        return (not self.types or event.type in self.types) and event.is_for(self.reader)


async def unknown(connection: Connection, events: Sequence[PublicEvent]) -> list[PublicEvent]:
    """Those of the events that are not kept yet, each once, in their order."""
    if not events:
        return []
    times = [event.created_at for event in events]
    rows = await connection.fetch(_KNOWN, [event.event_id for event in events], min(times), max(times))
    known = {row["event_id"] for row in rows}
    return list({event.event_id: event for event in events if event.event_id not in known}.values())


async def append(connection: Connection, events: Sequence[PublicEvent], *further: NewRows | None) -> None:
    """Keep new events, and what follows from them; the last of a transaction, because others wait until it ends.

    Raises `Transient` where another process kept one of them meanwhile: run again, they are known.
    """
    if not events:
        return
    await connection.execute("SELECT pg_advisory_xact_lock($1)", _POSITIONS_LOCK)
    try:
        await write(connection, NewRows("events", _COLUMNS, list(map(_row, events))), *further)
    except asyncpg.UniqueViolationError as error:
        raise Transient("another process kept the same events") from error


async def newest_position(database: Connection | Pool) -> int:
    """The largest position that can be seen; every event that comes later has a larger one."""
    return int(await database.fetchval(_NEWEST))


async def read(pool: Pool, tenant: Tenant, event_id: str) -> Placed | None:
    """The tenant's event, `None` when there is none or it is no longer kept."""
    created = created_in(event_id)
    if created is None:
        return None
    row = await pool.fetchrow(_READ, event_id, *created, *tenant)
    return None if row is None else _placed(row)


async def several(connection: Connection, event_ids: Sequence[str]) -> tuple[dict[str, PublicEvent], list[str]]:
    """Those of the events (at least one, each once) that are still kept, by id, whosever they are; and the last ids,
    for which there was no room where events are large."""
    # Ids sort by time.
    first, last = created_in(min(event_ids)), created_in(max(event_ids))
    if first is None or last is None:
        raise ValueError("not an event's id")
    rows = await connection.fetch(_bounded(_SEVERAL, "place"), event_ids, first[0], last[1])
    rest = event_ids[rows[-1]["place"] :] if _found(rows) > len(rows) else []
    return {row["event_id"]: _placed(row).event for row in rows}, list(rest)


async def page(pool: Pool, wanted: EventFilter, before: int | None, limit: int) -> tuple[list[Placed], bool]:
    """At most `limit` events, newest first, below a position, fewer where they are large; whether there are more."""
    conditions, arguments = _conditions(wanted)
    if before is not None:
        arguments.append(before)
        conditions.append(f"position < ${len(arguments)}")
    query, *values = _select(conditions, arguments, wanted, "DESC", limit + 1)
    rows = await pool.fetch_planned(_bounded(query, "position DESC"), *values)
    return [_placed(row) for row in rows[:limit]], _found(rows) > len(rows[:limit])


async def following(pool: Pool, wanted: EventFilter, after: int, limit: int) -> list[Placed]:
    """At most `limit` events, oldest first, above a position; fewer where they are large."""
    conditions, arguments = _conditions(wanted)
    arguments.append(after)
    conditions.append(f"position > ${len(arguments)}")
    query, *values = _select(conditions, arguments, wanted, "ASC", limit)
    return [_placed(row) for row in await pool.fetch_planned(_bounded(query), *values)]


async def between(
    database: Connection | Pool,
    tenants: Collection[Tenant],
    after: int,
    up_to: int,
    *,
    limit: int,
    created_from: datetime | None = None,
) -> list[Placed]:
    """At most `limit` events of these tenants, oldest first, above one position and up to another; fewer where they
    are large. Reads whatever lies between the positions, so they should not be far apart."""
    merchants, environments = [each[0] for each in tenants], [each[1] for each in tenants]
    rows = await database.fetch(_bounded(_BETWEEN), after, up_to, merchants, environments, limit, created_from)
    return [_placed(row) for row in rows]


async def position_before(database: Connection | Pool, week_began: datetime) -> int:
    """A position below that of every event that was created in this week or later, and not far below."""
    return int(await database.fetchval(_FIRST, week_began))


def _bounded(query: str, order: str = "position") -> str:
    """The query's rows while they are not too large together, each with how many rows there are; the first in any
    case."""
    size = (
        "octet_length(change) + octet_length(order_after) + coalesce(octet_length(customer), 0) "
        "+ coalesce(octet_length(subject_after), 0)"
    )
    return f"""
    SELECT * FROM (
        SELECT *, sum({size}) OVER (ORDER BY {order} ROWS UNBOUNDED PRECEDING) - ({size}) AS bytes_before,
            count(*) OVER () AS in_all
        FROM ({query}) AS found
    ) AS summed WHERE bytes_before < {_LARGEST_PAGE_BYTES} ORDER BY {order}
    """


def _found(rows: Sequence[asyncpg.Record]) -> int:
    """How many rows there are, with those that were too many."""
    return int(rows[0]["in_all"]) if rows else 0


def _conditions(wanted: EventFilter) -> tuple[list[str], list[Any]]:
    conditions, arguments = ["merchant_id = $1", "environment = $2"], list[Any](wanted.tenant)
    for condition, value in (
        ("order_id = ", wanted.order_id),
        ("created_at >= ", wanted.created_from),
        ("created_at < ", wanted.created_before),
    ):
        if value is not None:
            arguments.append(value)
            conditions.append(f"{condition}${len(arguments)}")
    if hidden := wanted.reader.hidden_types():
        arguments.append(hidden)
        conditions.append(f"type <> ALL(${len(arguments)}::text[])")
    if wanted.reader.grant_id is not None:
        arguments += [wanted.reader.grant_id, list(TYPES_OF_ONE_APP)]
        conditions.append(f"(grant_id = ${len(arguments) - 1} OR type <> ALL(${len(arguments)}::text[]))")
    return conditions, arguments


def _select(conditions: list[str], arguments: list[Any], wanted: EventFilter, order: str, limit: int) -> list[Any]:
    """A query and its arguments. Of several types, each is read in order by its own index, then all are merged."""
    arguments.append(limit)
    last = f"ORDER BY position {order} LIMIT ${len(arguments)}"
    plain = f"SELECT position, {_NAMES} FROM events WHERE {' AND '.join(conditions)}"
    if not wanted.types:
        return [f"{plain} {last}", *arguments]
    hidden = wanted.reader.hidden_types()
    arguments.append([name for name in wanted.types if name not in hidden])
    each = f"{plain} AND type = wanted.name {last}"
    names = f"unnest(${len(arguments)}::text[]) AS wanted (name)"
    return [f"SELECT found.* FROM {names} CROSS JOIN LATERAL ({each}) AS found {last}", *arguments]


_KNOWN = """
SELECT event_id FROM events WHERE event_id = ANY($1::text[]) AND created_at >= $2 AND created_at <= $3
"""
_READ = f"""
SELECT position, {_NAMES} FROM events
WHERE event_id = $1 AND created_at >= $2 AND created_at < $3 AND merchant_id = $4 AND environment = $5
"""
_SEVERAL = f"""
SELECT position, {_NAMES}, array_position($1::text[], event_id) AS place
FROM events WHERE event_id = ANY($1::text[]) AND created_at >= $2 AND created_at < $3
"""
_NEWEST = f"SELECT coalesce(max({_AMONG_ALL}), 0) FROM events"
_BETWEEN = f"""
SELECT position, {_NAMES} FROM events
WHERE {_AMONG_ALL} > $1 AND {_AMONG_ALL} <= $2
    AND (merchant_id, environment) IN (SELECT * FROM unnest($3::text[], $4::text[]))
    AND ($6::timestamptz IS NULL OR created_at >= $6)
ORDER BY {_AMONG_ALL} LIMIT $5
"""
_FIRST = f"""
SELECT coalesce(min({_AMONG_ALL}) - 1, (SELECT max({_AMONG_ALL}) FROM events), 0) FROM events WHERE created_at >= $1
"""


def _row(event: PublicEvent) -> tuple[Any, ...]:
    cause, subject = event.cause, event.subject
    return (
        event.event_id,
        event.created_at,
        event.type,
        event.merchant_id,
        event.environment,
        event.order_id,
        event.order_version,
        event.actor.type,
        event.actor.id,
        cause.type if cause else None,
        cause.id if cause else None,
        event.change,
        event.order,
        event.customer,
        subject.type if subject else None,
        subject.id if subject else None,
        subject.after if subject else None,
        event.grant_id,
    )


def _placed(row: asyncpg.Record) -> Placed:
    event = PublicEvent(
        event_id=row["event_id"],
        type=row["type"],
        created_at=row["created_at"],
        merchant_id=row["merchant_id"],
        environment=row["environment"],
        order_id=row["order_id"],
        order_version=row["order_version"],
        actor=Origin(row["actor_type"], row["actor_id"]),
        cause=Origin(row["cause_type"], row["cause_id"]) if row["cause_type"] else None,
        change=row["change"],
        order=row["order_after"],
        customer=row["customer"],
        subject=Subject(row["subject_type"], row["subject_id"], row["subject_after"]) if row["subject_type"] else None,
        grant_id=row["grant_id"],
    )
    return Placed(row["position"], event)
