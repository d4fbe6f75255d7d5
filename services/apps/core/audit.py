"""What the audit log says of one administrative act."""

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime

from shared.contracts.access import Environment
from shared.contracts.model import Actor, JsonObject
from shared.immutable import immutable


@immutable
class AuditEntry:
    """Who did what to what. An act that concerns the whole merchant has no environment, a platform's no merchant."""

    at: datetime
    actor: Actor
    action: str
    """What it is about and what was done to it: `api_key.revoked`."""
    target_id: str
    merchant_id: str | None = None
    environment: Environment | None = None
    request_id: str | None = None
    changes: JsonObject = field(default_factory=dict)
    """As `changes_between` makes it; never a secret, nor the hash of one."""


@immutable
class By:
    """Who acts, when, and in which request."""

    actor: Actor
    at: datetime
    request_id: str | None = None

    def did(
        self,
        action: str,
        target_id: str,
        *,
        merchant_id: str | None,
        environment: Environment | None = None,
        changes: JsonObject | None = None,
    ) -> AuditEntry:
        """The entry that says so."""
        return AuditEntry(
            self.at, self.actor, action, target_id, merchant_id, environment, self.request_id, changes or {}
        )


def changes_between(before: Mapping[str, object], after: Mapping[str, object]) -> JsonObject:
    """The fields that differ, as `{"name": {"from": "A", "to": "B"}}`; what is not there counts as null."""
    names = dict.fromkeys([*before, *after])
    return {
        name: {"from": before.get(name), "to": after.get(name)} for name in names if before.get(name) != after.get(name)
    }
