"""What happens when a merchant approves an app, and when the app uses what it got for it.

Access tokens are never kept; codes and refresh tokens only as hashes. Whatever is presented a second time ends the
grant that the first use gave: somebody else has it.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

import structlog

from services.apps import audit, installing
from services.apps.audit import AuditEntry
from services.apps.core.authorization import AuthorizationRequest, matches_challenge
from services.apps.core.errors import TokenError
from services.apps.core.partner_apps import PartnerApp, Permission, scopes_of
from services.apps.core.staff import MAY_INSTALL
from services.apps.installing import Act
from services.apps.secrets import new_secret
from services.apps.signing_keys import TokenSigner
from services.apps.store import installs, partner_apps, staff, tokens
from services.apps.store.installs import EnvironmentGrant, Install
from services.apps.store.tokens import Code, RefreshToken
from shared.auth.grants import GrantsCopy
from shared.auth.keys import hash_credential
from shared.auth.tokens import GRANT_CLAIM, audience_of
from shared.contracts.access import Environment
from shared.faults import Transient
from shared.ids import new_id
from shared.postgres import Connection, Pool, transaction

CODE_LASTS = timedelta(minutes=2)
ACCESS_LASTS = timedelta(minutes=10)
REFRESH_LASTS = timedelta(days=90)
"""Since the last use: each use gives a new token."""
REMEMBERED_FOR = timedelta(days=1)
"""What is over is still known for so long when it comes again."""

_KNOWN_WITHIN_S = 1.0
_FORGET_AT_ONCE = 1_000

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Tokens:
    """What an app gets."""

    access_token: str
    refresh_token: str
    grant: EnvironmentGrant


@dataclass(frozen=True, slots=True)
class Approval:
    """What somebody who may approve for the merchant chose."""

    merchant_id: str
    mode: Environment
    permissions: tuple[Permission, ...]


@dataclass(frozen=True, slots=True)
class Presented:
    """What an app shows for its tokens; the redirect URI is OAuth 2.0's, 2.1 no longer asks for it."""

    code: str
    redirect_uri: str | None
    verifier: str


class OAuth:
    """Approvals, and what apps exchange for them. Each step is one transaction; repeats find what is already so."""

    def __init__(
        self, pool: Pool, signer: TokenSigner, copy: GrantsCopy, issuer: str, committed: Callable[[], None]
    ) -> None:
        self._pool, self._signer, self._copy = pool, signer, copy
        self._issuer, self._committed = issuer, committed

    async def approve(self, asked: AuthorizationRequest, approval: Approval, act: Act) -> str | None:
        """A code for the app; `None` when the app is gone, or the person may not let apps in at this merchant."""
        code = new_secret("code")
        async with transaction(self._pool) as connection:
            role = await staff.role_at(connection, act.actor.id, approval.merchant_id)
            if role not in MAY_INSTALL or not await partner_apps.hold(connection, asked.app.app_id):
                return None
            grant = await self._pending_grant(connection, asked.app, approval, act)
            row = Code(
                code_hash=hash_credential(code),
                app_id=asked.app.app_id,
                grant_id=grant.grant_id,
                redirect_uri=asked.redirect_uri,
                code_challenge=asked.code_challenge,
                permission_ids=_ids(approval.permissions),
                scopes=scopes_of(approval.permissions),
                approved_by=act.actor.id,
                status="fresh",
                expires_at=act.at + CODE_LASTS,
            )
            await tokens.insert_code(connection, row)
            await audit.note(
                connection,
                AuditEntry(
                    at=act.at,
                    actor=act.actor,
                    action="environment_grant.approved",
                    target_id=grant.grant_id,
                    merchant_id=approval.merchant_id,
                    environment=approval.mode,
                    request_id=act.request_id,
                    changes=audit.changes({}, {"app_id": row.app_id, "permission_ids": list(row.permission_ids)}),
                ),
            )
        return code

    async def exchange(self, app: PartnerApp, presented: Presented, act: Act) -> Tokens | TokenError:
        """Tokens for a code; a code that already gave some ends what it gave."""
        await self._signer.ready()
        async with transaction(self._pool) as connection:
            found = await self._exchange(connection, app, presented, act)
        self._committed()
        if isinstance(found, Tokens):
            await self._until_known(found.grant.grant_id)
        return found

    async def refresh(self, app: PartnerApp, token: str, scope: str | None, act: Act) -> Tokens | TokenError:
        """The next tokens of the family; a refresh token that was used before ends its whole family.

        `scope` can only repeat what the merchant has granted.
        """
        await self._signer.ready()
        async with transaction(self._pool) as connection:
            found = await self._refresh(connection, app, hash_credential(token), scope, act=act)
        self._committed()
        return found

    async def revoke(self, app: PartnerApp, grant_id: str, act: Act) -> None:
        """The app gives back what it may do; nothing happens when it is not its own."""
        async with transaction(self._pool) as connection:
            install_id = await installs.install_of_grant(connection, grant_id)
            held = None if install_id is None else await installs.lock(connection, install_id)
            if held is not None and held[0].app_id == app.app_id:
                await installing.revoke(connection, act, *held, [grant_id])
        self._committed()

    async def tidy(self, act: Act) -> None:
        """What was approved and never exchanged ends, and what has long been over is forgotten."""
        for grant in await installs.never_exchanged(self._pool, act.at - REMEMBERED_FOR, _FORGET_AT_ONCE):
            async with transaction(self._pool) as connection:
                held = await installs.lock(connection, grant.install_id)
                pending = [each.grant_id for each in held[1] if each.status == "pending_exchange"] if held else []
                if held is not None and grant.grant_id in pending:
                    await installing.revoke(connection, act, *held, [grant.grant_id])
        self._committed()
        while await tokens.forget_over(self._pool, act.at, REMEMBERED_FOR, _FORGET_AT_ONCE):
            pass

    async def _pending_grant(
        self, connection: Connection, app: PartnerApp, approval: Approval, act: Act
    ) -> EnvironmentGrant:
        """The merchant's grant for the app, or one that waits for the exchange; the install is locked."""
        install = await installs.live_install(
            connection,
            Install(new_id("ins"), app.app_id, approval.merchant_id, "pending_exchange", act.at, act.at, None),
        )
        waiting = EnvironmentGrant(
            grant_id=new_id("grt"),
            install_id=install.install_id,
            app_id=app.app_id,
            merchant_id=approval.merchant_id,
            environment=approval.mode,
            permission_ids=_ids(approval.permissions),
            scopes=scopes_of(approval.permissions),
            status="pending_exchange",
            approved_by=act.actor.id,
            created_at=act.at,
            updated_at=act.at,
            revoked_at=None,
        )
        return await installs.live_grant(connection, waiting)

    async def _exchange(
        self, connection: Connection, app: PartnerApp, presented: Presented, act: Act
    ) -> Tokens | TokenError:
        code_hash = hash_credential(presented.code)
        known = await tokens.read_code(connection, code_hash)
        if known is None or known.app_id != app.app_id:
            return _refused_code()
        install, owned, grant = await _lock(connection, known.grant_id)
        # As it is now that nobody else can use it.
        code = await tokens.read_code(connection, code_hash) or known
        if code.status == "exchanged":
            log.warning("oauth_code_reused", app_id=app.app_id, grant_id=grant.grant_id)
            await installing.revoke(connection, act, install, owned, [grant.grant_id])
            return _refused_code()
        right = presented.redirect_uri in (None, code.redirect_uri) and matches_challenge(
            presented.verifier, code.code_challenge
        )
        usable = code.status == "fresh" and act.at < code.expires_at and grant.status != "revoked"
        if not right or not usable:
            if code.status == "fresh":
                await tokens.mark_code(connection, code_hash, "spent")
            return _refused_code()
        await tokens.mark_code(connection, code_hash, "exchanged")
        grant = await installing.bring_to_life(connection, act, install, grant, code)
        return await self._issue(connection, grant, new_id("fam"), act)

    async def _refresh(
        self, connection: Connection, app: PartnerApp, token_hash: str, scope: str | None, *, act: Act
    ) -> Tokens | TokenError:
        known = await tokens.read_refresh(connection, token_hash)
        if known is None or known.app_id != app.app_id:
            return _refused_refresh()
        install, owned, grant = await _lock(connection, known.grant_id)
        token = await tokens.read_refresh(connection, token_hash) or known
        if token.status == "used" and await tokens.family_lives(connection, token.family_id):
            log.warning("oauth_refresh_token_reused", app_id=app.app_id, grant_id=grant.grant_id)
            await installing.revoke(connection, act, install, owned, [grant.grant_id])
        if token.status != "active" or act.at >= token.expires_at or grant.status != "active":
            return _refused_refresh()
        if set((scope or "").split()) - set(grant.scopes):
            return TokenError("invalid_scope", "scope names more than the merchant has granted.")
        await tokens.use_refresh(connection, token_hash)
        return await self._issue(connection, grant, token.family_id, act)

    async def _issue(self, connection: Connection, grant: EnvironmentGrant, family_id: str, act: Act) -> Tokens:
        secret = new_secret("refresh")
        row = RefreshToken(
            token_hash=hash_credential(secret),
            app_id=grant.app_id,
            grant_id=grant.grant_id,
            family_id=family_id,
            status="active",
            created_at=act.at,
            expires_at=act.at + REFRESH_LASTS,
        )
        await tokens.insert_refresh(connection, row)
        now = int(act.at.timestamp())
        claims = {
            "iss": self._issuer,
            "aud": audience_of(self._issuer),
            "sub": grant.install_id,
            "client_id": grant.app_id,
            "iat": now,
            "exp": now + int(ACCESS_LASTS.total_seconds()),
            "jti": new_id("jti"),
            "scope": " ".join(grant.scopes),
            GRANT_CLAIM: grant.grant_id,
        }
        return Tokens(self._signer.sign(claims), secret, grant)

    async def _until_known(self, grant_id: str) -> None:
        """The first call with the token is not refused because the grant is still on its way."""
        with suppress(TimeoutError, Transient):
            async with asyncio.timeout(_KNOWN_WITHIN_S):
                while await self._copy.find(grant_id) is None:  # noqa: ASYNC110 - it has no event for one grant
                    await asyncio.sleep(0.01)


async def _lock(connection: Connection, grant_id: str) -> tuple[Install, list[EnvironmentGrant], EnvironmentGrant]:
    install_id = await installs.install_of_grant(connection, grant_id)
    held = None if install_id is None else await installs.lock(connection, install_id)
    assert held is not None, "a code or token of a grant that never was"
    install, owned = held
    return install, owned, next(grant for grant in owned if grant.grant_id == grant_id)


def _ids(permissions: tuple[Permission, ...]) -> tuple[str, ...]:
    return tuple(permission.permission_id for permission in permissions)


def _refused_code() -> TokenError:
    """One answer for every reason: it must not say which."""
    return TokenError("invalid_grant", "The code is not valid for this client, redirect_uri and code_verifier.")


def _refused_refresh() -> TokenError:
    return TokenError("invalid_grant", "The refresh token is not valid for this client.")
