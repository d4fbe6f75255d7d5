"""The life of an install: approved, brought to life by its first exchange, changed by later ones, revoked.

Everything here happens inside a transaction that holds the install's lock. A revocation is that of the grant: once the
transaction commits, every service refuses its tokens within a second, and nothing more goes to the app's topic.

Locks are taken in one order, and so never wait for each other in a circle: the app, the merchant, its keys, installs in
the order of their ids, and last the fan-out's.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Literal

from services.apps import fan_out, grants
from services.apps.audit import By, changes_between, note
from services.apps.core.event_types import may_read
from services.apps.store import installs, tokens
from services.apps.store.installs import EnvironmentGrant, Install, InstalledApp
from services.apps.store.tokens import Code
from services.apps.telling import About, tell
from shared.contracts.access import Grant
from shared.contracts.apps import (
    EnvironmentGrantCreated,
    EnvironmentGrantRevoked,
    Installation,
    InstallCreated,
    InstallPermissionsUpdated,
    InstallRevoked,
)
from shared.contracts.model import JsonObject
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
    if install.status != "active":
        await installs.save_install(connection, replace(install, status="active", updated_at=by.at))
    await _tell(connection, by, new, _approved(install, grant, new))
    if not all(may_read(new.scopes, scope) for scope in grant.scopes):
        app = InstalledApp(new.app_id, new.grant_id, new.merchant_id, new.environment, frozenset(new.scopes))
        await fan_out.narrow(connection, app)
    return new


async def revoke(
    connection: Connection, by: By, install: Install, owned: Sequence[EnvironmentGrant], ending: Sequence[str]
) -> None:
    """These of the install's grants end, and the install with its last one; what has ended stays as it is."""
    live = [grant for grant in owned if grant.status != "revoked"]
    ended = [grant for grant in live if grant.grant_id in ending]
    over = install.status != "revoked" and len(ended) == len(live)
    for grant in ended:
        revoked = replace(grant, status="revoked", updated_at=by.at, revoked_at=by.at)
        await installs.save_grant(connection, revoked)
        await tokens.revoke_refresh(connection, grant.grant_id)
        await _note(connection, by, "environment_grant.revoked", grant, {})
        if grant.status == "active":
            await _tell(connection, by, revoked, _ended(revoked, over=over))
    await grants.publish(connection, [_announced(replace(grant, status="revoked")) for grant in ended])
    if over:
        await installs.save_install(connection, replace(install, status="revoked", updated_at=by.at, revoked_at=by.at))
    await fan_out.stop(connection, install.app_id, [(grant.merchant_id, grant.environment) for grant in ended])


async def revoke_all(connection: Connection, by: By, app_id: str) -> None:
    """Every install of the app ends."""
    for install_id in await installs.lock_live_of(connection, app_id):
        held = await installs.lock(connection, install_id)
        assert held is not None, "it is locked"
        await revoke(connection, by, *held, [grant.grant_id for grant in held[1]])


async def announce(connection: Connection, merchant_id: str, *, merchant_active: bool) -> None:
    """Every service is told what the merchant's installs are worth now; the merchant is locked by the caller."""
    held = await installs.lock_live_at(connection, merchant_id)
    status: Literal["active", "revoked"] = "active" if merchant_active else "revoked"
    await grants.publish(connection, [_announced(grant).model_copy(update={"status": status}) for grant in held])
    for grant in () if merchant_active else held:
        await fan_out.stop(connection, grant.app_id, [(grant.merchant_id, grant.environment)])


async def announce_all(connection: Connection, held: Sequence[EnvironmentGrant], inactive: Collection[str]) -> None:
    """Every service is told again what these grants are worth; they and their merchants are held by the caller."""
    told = [replace(each, status="revoked") if each.merchant_id in inactive else each for each in held]
    await grants.publish(connection, [_announced(each) for each in told])


def _approved(install: Install, before: EnvironmentGrant, now: EnvironmentGrant) -> list[About]:
    shown = _shown(now)
    if before.status != "pending_exchange":
        updated = InstallPermissionsUpdated(partner_app_install=shown, scopes_before=before.scopes)
        return [(now.install_id, updated)]
    told: list[About] = [(now.grant_id, EnvironmentGrantCreated(environment_grant=shown))]
    if install.status != "active":
        told.insert(0, (now.install_id, InstallCreated(partner_app_install=shown)))
    return told


def _ended(grant: EnvironmentGrant, *, over: bool) -> list[About]:
    shown = _shown(grant)
    told: list[About] = [(grant.grant_id, EnvironmentGrantRevoked(environment_grant=shown))]
    return [*told, (grant.install_id, InstallRevoked(partner_app_install=shown))] if over else told


def _shown(grant: EnvironmentGrant) -> Installation:
    return Installation(
        partner_app_install_id=grant.install_id,
        partner_app_id=grant.app_id,
        environment_grant_id=grant.grant_id,
        merchant_id=grant.merchant_id,
        mode=grant.environment,
        status="active" if grant.status == "active" else "revoked",
        permission_ids=grant.permission_ids,
        scopes=grant.scopes,
    )


async def _tell(connection: Connection, by: By, grant: EnvironmentGrant, told: Sequence[About]) -> None:
    await tell(connection, by, (grant.merchant_id, grant.environment), told)


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
