"""The life of an install: approved, brought to life by its first exchange, changed by later ones, revoked.

Everything here happens inside a transaction that holds the install's lock. A revocation is that of the grant: once the
transaction commits, every service refuses its tokens within a second, and nothing more goes to the app's topic.
"""

from collections.abc import Sequence
from typing import Literal

from services.apps import fan_out, grants
from services.apps.audit import By, changes_between, note
from services.apps.core.events import READ_SCOPE, may_read
from services.apps.store import installs, tokens
from services.apps.store.installs import EnvironmentGrant, Install
from services.apps.store.tokens import Code
from shared.contracts.access import Grant
from shared.contracts.model import JsonObject
from shared.immutable import replace
from shared.postgres import Connection


async def bring_to_life(
    connection: Connection, by: By, install: Install, grant: EnvironmentGrant, code: Code
) -> EnvironmentGrant:
    """The grant as the code's approval has it; refresh tokens of an earlier exchange end."""
    new = replace(
        grant,
        status="active",
        permission_ids=code.permission_ids,
        scopes=code.scopes,
        approved_by=code.approved_by,
        updated_at=by.at,
    )
    await tokens.revoke_refresh(connection, grant.grant_id)
    if (new.status, new.permission_ids, new.scopes) == (grant.status, grant.permission_ids, grant.scopes):
        return grant
    await installs.save_grant(connection, new)
    await grants.publish(connection, [_announced(new)])
    created = grant.status == "pending_exchange"
    action = "environment_grant.created" if created else "environment_grant.permissions_updated"
    await _note(connection, by, action, new, changes_between({} if created else _noted(grant), _noted(new)))
    if not may_read(new.scopes, READ_SCOPE):
        await fan_out.stop(connection, grant.app_id, [(grant.merchant_id, grant.environment)])
    if install.status != "active":
        await installs.save_install(connection, replace(install, status="active", updated_at=by.at))
    return new


async def revoke(
    connection: Connection, by: By, install: Install, owned: Sequence[EnvironmentGrant], ending: Sequence[str]
) -> None:
    """These of the install's grants end, and the install with its last one; what has ended stays as it is."""
    live = [grant for grant in owned if grant.status != "revoked"]
    ended = [grant for grant in live if grant.grant_id in ending]
    for grant in ended:
        revoked = replace(grant, status="revoked", updated_at=by.at, revoked_at=by.at)
        await installs.save_grant(connection, revoked)
        await tokens.revoke_refresh(connection, grant.grant_id)
        await _note(connection, by, "environment_grant.revoked", grant, {})
    await grants.publish(connection, [_announced(replace(grant, status="revoked")) for grant in ended])
    if install.status != "revoked" and len(ended) == len(live):
        await installs.save_install(connection, replace(install, status="revoked", updated_at=by.at, revoked_at=by.at))
    await fan_out.stop(connection, install.app_id, [(grant.merchant_id, grant.environment) for grant in ended])


async def announce(connection: Connection, merchant_id: str, *, merchant_active: bool) -> None:
    """Every service is told what the merchant's installs are worth now; the merchant is locked by the caller."""
    held = await installs.lock_live_at(connection, merchant_id)
    status: Literal["active", "revoked"] = "active" if merchant_active else "revoked"
    await grants.publish(connection, [_announced(grant).model_copy(update={"status": status}) for grant in held])
    for grant in () if merchant_active else held:
        await fan_out.stop(connection, grant.app_id, [(grant.merchant_id, grant.environment)])


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


async def _note(connection: Connection, by: By, action: str, grant: EnvironmentGrant, changes: JsonObject) -> None:
    entry = by.did(
        action, grant.grant_id, merchant_id=grant.merchant_id, environment=grant.environment, changes=changes
    )
    await note(connection, entry)
