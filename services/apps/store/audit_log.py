"""The audit log: rows that nobody changes."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from services.apps.core.audit import AuditEntry
from shared.conditions import value, where
from shared.contracts.access import Environment
from shared.contracts.model import Actor
from shared.postgres import Connection, Pool

_NAMES = """audit_entry_id, created_at, actor_type, actor_id, action, target_id, merchant_id, environment, request_id,
    changes"""


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which entries a list holds; every field that is set must match.

    A tenant sees what was done in its environment, and what concerns the whole merchant.
    """

    merchant_id: str | None
    environment: Environment | None
    actor_id: str | None = None
    action: str | None = None
    target_id: str | None = None
    created_from: datetime | None = None
    created_before: datetime | None = None


async def insert(connection: Connection, audit_entry_id: str, entry: AuditEntry) -> None:
    """One further entry."""
    await connection.execute(
        f"INSERT INTO audit_log ({_NAMES}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::text::jsonb)",
        audit_entry_id,
        entry.at,
        entry.actor.type,
        entry.actor.id,
        entry.action,
        entry.target_id,
        entry.merchant_id,
        entry.environment,
        entry.request_id,
        orjson.dumps(entry.changes, option=orjson.OPT_UTC_Z).decode(),
    )


async def page(
    pool: Pool, wanted: AuditFilter, after: tuple[datetime, str] | None, limit: int
) -> list[tuple[str, AuditEntry]]:
    """At most `limit` entries with their ids, newest first, that come after the position."""
    conditions, arguments = where(
        [
            ("merchant_id = {}", value(wanted.merchant_id)),
            ("(environment IS NULL OR environment = {})", value(wanted.environment)),
            ("actor_id = {}", value(wanted.actor_id)),
            ("action = {}", value(wanted.action)),
            ("target_id = {}", value(wanted.target_id)),
            ("created_at >= {}", value(wanted.created_from)),
            ("created_at < {}", value(wanted.created_before)),
            ("(created_at, audit_entry_id) < ({}, {})", after),
        ]
    )
    rows = await pool.fetch_planned(
        f"SELECT {_NAMES}::text AS changes FROM audit_log WHERE {conditions} "
        f"ORDER BY created_at DESC, audit_entry_id DESC LIMIT {int(limit)}",
        *arguments,
    )
    return [(row["audit_entry_id"], _entry(row)) for row in rows]


def _entry(row: Any) -> AuditEntry:
    return AuditEntry(
        at=row["created_at"],
        actor=Actor(type=row["actor_type"], id=row["actor_id"]),
        action=row["action"],
        target_id=row["target_id"],
        merchant_id=row["merchant_id"],
        environment=row["environment"],
        request_id=row["request_id"],
        changes=orjson.loads(row["changes"]),
    )
