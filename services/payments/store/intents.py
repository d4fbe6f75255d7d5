"""Payment intents: locked by group."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from services.payments.core.intents.state import Intent
from shared.conditions import value, where
from shared.postgres import Connection, Pool
from shared.stored import decoder_of, encode_state
from shared.writes import Write, columns_of, names_of, unnested

decode = decoder_of(Intent)

_COLUMNS = (
    ("payment_intent_id", "text"),
    ("merchant_id", "text"),
    ("environment", "text"),
    ("order_id", "text"),
    ("group_id", "text"),
    ("created_at", "timestamptz"),
    ("status", "text"),
    ("settled", "boolean"),
    ("updated_at", "timestamptz"),
    ("status_since", "timestamptz"),
    ("authorization_ends_at", "timestamptz"),
    ("state", "jsonb"),
)
_NAMES = names_of(_COLUMNS)
_SAVE = f"""
INSERT INTO payment_intents ({_NAMES}) SELECT * FROM {unnested(_COLUMNS)} AS new ({_NAMES})
ON CONFLICT (payment_intent_id) DO UPDATE SET status = excluded.status, settled = excluded.settled,
    updated_at = excluded.updated_at, status_since = excluded.status_since,
    authorization_ends_at = excluded.authorization_ends_at, state = excluded.state
"""
_LOCK_GROUPS = """
SELECT state::text AS state FROM payment_intents WHERE group_id IN (
    SELECT group_id FROM payment_intents WHERE payment_intent_id = ANY($1::text[])
) ORDER BY payment_intent_id FOR UPDATE
"""
_READ = """
SELECT state::text AS state FROM payment_intents
WHERE (merchant_id, environment, payment_intent_id) IN (SELECT * FROM unnest($1::text[], $2::text[], $3::text[]))
"""
_SETTLED = """
SELECT state::text AS state FROM payment_intents AS intent WHERE group_id = ANY($1::text[]) AND NOT EXISTS (
    SELECT FROM payment_intents AS other WHERE other.group_id = intent.group_id AND NOT other.settled
)
"""
_RUN_OUT = """
SELECT payment_intent_id FROM payment_intents
WHERE status = 'requires_capture' AND authorization_ends_at <= $1
ORDER BY authorization_ends_at LIMIT $2
"""

Named = tuple[str, str, str]
"""An intent: its merchant, environment and id."""


async def lock_groups(connection: Connection, payment_intent_ids: Sequence[str]) -> dict[str, list[Intent]]:
    """By group: all intents of the groups of these; locked in the order of their ids until the transaction ends."""
    return _by_group(await connection.fetch(_LOCK_GROUPS, payment_intent_ids))


async def read(pool: Pool, names: Sequence[Named]) -> list[Intent | None]:
    """Each of the intents; another tenant's reads as not there. One statement."""
    wanted = sorted(set(names))
    rows = await pool.fetch(_READ, *columns_of(wanted))
    known = {_named(intent): intent for intent in (decode(row["state"]) for row in rows)}
    return [known.get(name) for name in names]


async def read_group(pool: Pool, merchant_id: str, environment: str, group_id: str) -> list[Intent]:
    """The intents that pay together."""
    rows = await pool.fetch(
        "SELECT state::text AS state FROM payment_intents "
        "WHERE group_id = $3 AND merchant_id = $1 AND environment = $2",
        merchant_id,
        environment,
        group_id,
    )
    return [decode(row["state"]) for row in rows]


async def settled(pool: Pool, group_ids: Sequence[str]) -> dict[str, list[Intent]]:
    """By group, those of the groups in which nothing is under way that somebody should wait for."""
    return _by_group(await pool.fetch(_SETTLED, group_ids))


def saved(intents: Sequence[Intent]) -> Write | None:
    """Intents as they are now: new ones, and ones that are locked."""
    return Write(_SAVE, columns_of(list(map(_row, intents))), len(intents)) if intents else None


async def run_out(connection: Connection, now: datetime, limit: int) -> list[str]:
    """Intents that hold money whose authorization has ended by now, the longest ago first."""
    rows = await connection.fetch(_RUN_OUT, now, limit)
    return [row["payment_intent_id"] for row in rows]


@dataclass(frozen=True, slots=True)
class IntentFilter:
    """Which intents a list holds; every field that is set must match."""

    merchant_id: str
    environment: str
    equal: dict[str, str] = field(default_factory=dict)
    """Column → value, for `status` and `order_id`."""
    created_from: datetime | None = None
    created_before: datetime | None = None


async def page(pool: Pool, wanted: IntentFilter, after: tuple[datetime, str] | None, limit: int) -> list[Intent]:
    """At most `limit` intents, newest first, that come after the position."""
    assert wanted.equal.keys() <= {"status", "order_id"}
    conditions, arguments = where(
        [
            ("merchant_id = {}", (wanted.merchant_id,)),
            ("environment = {}", (wanted.environment,)),
            *((f"{column} = {{}}", (wish,)) for column, wish in wanted.equal.items()),
            ("created_at >= {}", value(wanted.created_from)),
            ("created_at < {}", value(wanted.created_before)),
            ("(created_at, payment_intent_id) < ({}, {})", after),
        ]
    )
    rows = await pool.fetch_planned(
        f"SELECT state::text AS state FROM payment_intents WHERE {conditions} "
        f"ORDER BY created_at DESC, payment_intent_id DESC LIMIT {int(limit)}",
        *arguments,
    )
    return [decode(row["state"]) for row in rows]


def _named(intent: Intent) -> Named:
    return intent.merchant_id, intent.environment, intent.payment_intent_id


def _by_group(rows: Sequence[Any]) -> dict[str, list[Intent]]:
    groups: dict[str, list[Intent]] = {}
    for row in rows:
        intent = decode(row["state"])
        groups.setdefault(intent.group_id, []).append(intent)
    return groups


def _row(intent: Intent) -> tuple[Any, ...]:
    return (
        intent.payment_intent_id,
        intent.merchant_id,
        intent.environment,
        intent.order_id,
        intent.group_id,
        intent.created_at,
        intent.status,
        intent.settled,
        intent.updated_at,
        intent.status_since or intent.created_at,
        intent.authorization_ends_at,
        encode_state(intent).decode(),
    )
