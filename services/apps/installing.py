"""The life of an install: approved, brought to life by its first exchange, changed by later ones, revoked.

Everything here happens inside a transaction that holds the install's lock. A revocation is that of the grant: once the
transaction commits, every service refuses its tokens within a second.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from services.apps import audit, grants
from services.apps.audit import AuditEntry
from services.apps.store import installs, tokens
from services.apps.store.installs import EnvironmentGrant, Install
from services.apps.store.tokens import Code
from shared.contracts.access import Grant
from shared.contracts.model import Actor, JsonObject
from shared.postgres import Connection


@dataclass(frozen=True, slots=True)
class Act:
    """Who does it, when, and in which request."""

    actor: Actor
    at: datetime
    request_id: str | None = None


async def bring_to_life(
    connection: Connection, act: Act, install: Install, grant: EnvironmentGrant, code: Code
) -> EnvironmentGrant:
    """The grant as the code's approval has it; refresh tokens of an earlier exchange end."""
    new = replace(
        grant,
        status="active",
        permission_ids=code.permission_ids,
        scopes=code.scopes,
        approved_by=code.approved_by,
        updated_at=act.at,
    )
    await tokens.revoke_refresh(connection, grant.grant_id)
    if (new.status, new.permission_ids, new.scopes) == (grant.status, grant.permission_ids, grant.scopes):
        return grant
    await installs.save_grant(connection, new)
    await grants.publish(connection, [_announced(new)])
    created = grant.status == "pending_exchange"
    action = "environment_grant.created" if created else "environment_grant.permissions_updated"
    await _note(connection, act, action, new, audit.changes(_noted(grant) if not created else {}, _noted(new)))
    if install.status != "active":
        await installs.save_install(connection, replace(install, status="active", updated_at=act.at))
    return new


async def revoke(
    connection: Connection, act: Act, install: Install, owned: Sequence[EnvironmentGrant], ending: Sequence[str]
) -> None:
    """These of the install's grants end, and the install with its last one; what has ended stays as it is."""
    live = [grant for grant in owned if grant.status != "revoked"]
    ended = [grant for grant in live if grant.grant_id in ending]
    for grant in ended:
        revoked = replace(grant, status="revoked", updated_at=act.at, revoked_at=act.at)
        await installs.save_grant(connection, revoked)
        await tokens.revoke_refresh(connection, grant.grant_id)
        await _note(connection, act, "environment_grant.revoked", grant, {})
    await grants.publish(connection, [_announced(replace(grant, status="revoked")) for grant in ended])
    if install.status != "revoked" and len(ended) == len(live):
        await installs.save_install(
            connection, replace(install, status="revoked", updated_at=act.at, revoked_at=act.at)
        )


def _announced(grant: EnvironmentGrant) -> Grant:
    return Grant(
        grant_id=grant.grant_id,
        credential_hash=grant.grant_id,
        kind="installation",
        merchant_id=grant.merchant_id,
        environment=grant.environment,
        scopes=grant.scopes,
        status="active" if grant.status == "active" else "revoked",
    )


def _noted(grant: EnvironmentGrant) -> JsonObject:
    return {"permission_ids": list(grant.permission_ids), "scopes": list(grant.scopes)}


async def _note(connection: Connection, act: Act, action: str, grant: EnvironmentGrant, changes: JsonObject) -> None:
    entry = AuditEntry(
        at=act.at,
        actor=act.actor,
        action=action,
        target_id=grant.grant_id,
        merchant_id=grant.merchant_id,
        environment=grant.environment,
        request_id=act.request_id,
        changes=changes,
    )
    await audit.note(connection, entry)
