"""The audit log: rows that nobody changes."""

import orjson

from services.apps.core.audit import AuditEntry
from shared.postgres import Connection

_NAMES = "entry_id, created_at, actor_type, actor_id, action, target_id, merchant_id, environment, request_id, changes"


async def insert(connection: Connection, entry_id: str, entry: AuditEntry) -> None:
    """One further entry."""
    await connection.execute(
        f"INSERT INTO audit_log ({_NAMES}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::jsonb)",
        entry_id,
        entry.at,
        entry.actor.type,
        entry.actor.id,
        entry.action,
        entry.target_id,
        entry.merchant_id,
        entry.environment,
        entry.request_id,
        orjson.dumps(entry.changes).decode(),
    )
