"""The audit log: every administrative act is noted in the transaction that does it."""

from services.apps.core.audit import AuditEntry, By, changes_between
from services.apps.store import audit_log
from shared.ids import new_id
from shared.postgres import Connection

__all__ = ["AuditEntry", "By", "changes_between", "note"]


async def note(connection: Connection, entry: AuditEntry) -> None:
    """The entry is in the log for ever once the transaction commits: the database refuses to change or delete it."""
    await audit_log.insert(connection, new_id("aud"), entry)
