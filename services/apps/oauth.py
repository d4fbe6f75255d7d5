"""What happens when a merchant approves an app, and when the app uses what it got for it.

Access tokens are never kept; codes and refresh tokens only as hashes. Whatever is presented a second time ends the
grant that the first use gave: somebody else has it. But a request whose answer was lost can be repeated with its
idempotency key, as long as nobody has refreshed what it gave.
"""

import asyncio
import hmac
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from services.apps import installing
from services.apps.audit import By, changes_between, note
from services.apps.core.authorization import AuthorizationRequest, matches_challenge
from services.apps.core.errors import TokenError
from services.apps.core.partner_apps import PartnerApp, Permission, scopes_of
from services.apps.core.staff import MAY_INSTALL
from services.apps.secrets import new_secret
from services.apps.signing_keys import TokenSigner
from services.apps.store import installs, merchants, partner_apps, staff, tokens
from services.apps.store.installs import EnvironmentGrant, Install
from services.apps.store.tokens import Code, Given, RefreshToken
from shared.auth.grants import GrantsCopy
from shared.auth.keys import hash_credential
from shared.auth.tokens import GRANT_CLAIM, audience_of
from shared.contracts.access import Environment
from shared.contracts.model import Actor
from shared.faults import Transient
from shared.idempotency import KEPT_FOR
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
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True)
class Refresh:
    """An app's wish for its next tokens; `scope` can only repeat what the merchant has granted."""

    token: str
    scope: str | None = None
    idempotency_key: str | None = None


class OAuth:
    """Approvals, and what apps exchange for them. Each step is one transaction; repeats find what is already so."""

    def __init__(
        self, pool: Pool, signer: TokenSigner, copy: GrantsCopy, issuer: str, committed: Callable[[], None]
    ) -> None:
        self._pool, self._signer, self._copy = pool, signer, copy
        self._issuer, self._committed = issuer, committed

    async def approve(self, asked: AuthorizationRequest, approval: Approval, by: By) -> str | None:
        """A code for the app, which ends those that it has not exchanged yet; `None` when the app is gone, the merchant
        not active, or the person may not install."""
        code = new_secret("code")
        async with transaction(self._pool) as connection:
            role = await staff.role_at(connection, by.actor.id, approval.merchant_id)
            if role not in MAY_INSTALL or not await partner_apps.hold(connection, asked.app.app_id):
                return None
            if await merchants.hold_status(connection, approval.merchant_id) != "active":
                return None
            grant = await self._pending_grant(connection, asked.app, approval, by)
            row = Code(
                code_hash=hash_credential(code),
                app_id=asked.app.app_id,
                grant_id=grant.grant_id,
                redirect_uri=asked.redirect_uri,
                code_challenge=asked.code_challenge,
                permission_ids=_ids(approval.permissions),
                scopes=scopes_of(approval.permissions),
                approved_by=by.actor.id,
                status="fresh",
                expires_at=by.at + CODE_LASTS,
            )
            await tokens.spend_codes(connection, grant.grant_id, by.at)
            await tokens.insert_code(connection, row)
            fields = {"app_id": row.app_id, "permission_ids": list(row.permission_ids)}
            entry = by.did(
                "environment_grant.approved",
                grant.grant_id,
                merchant_id=approval.merchant_id,
                environment=approval.mode,
                changes=changes_between({}, fields),
            )
            await note(connection, entry)
        return code

    async def exchange(self, app: PartnerApp, presented: Presented, by: By) -> Tokens | TokenError:
        """Tokens for a code; a code that already gave some ends what it gave."""
        await self._signer.ready()
        async with transaction(self._pool) as connection:
            found = await self._exchange(connection, app, presented, by)
        self._committed()
        if isinstance(found, Tokens):
            await self._until_known(found.grant.grant_id)
        return found

    async def refresh(self, app: PartnerApp, asked: Refresh, by: By) -> Tokens | TokenError:
        """The next tokens of the family; a refresh token that was used before ends its whole family."""
        await self._signer.ready()
        async with transaction(self._pool) as connection:
            found = await self._refresh(connection, app, asked, by)
        self._committed()
        return found

    async def revoke(self, app: PartnerApp, grant_id: str, by: By) -> None:
        """The app gives back what it may do; nothing happens when it is not its own."""
        async with transaction(self._pool) as connection:
            held = await installs.lock_by_grant(connection, grant_id)
            if held is not None and held[0].app_id == app.app_id:
                await installing.revoke(connection, by, *held, [grant_id])
        self._committed()

    async def tidy(self, now: datetime) -> None:
        """What was approved and never exchanged ends, and what has long been over is forgotten."""
        by = By(Actor(type="system", id="apps"), now)
        for grant in await installs.never_exchanged(self._pool, by.at - REMEMBERED_FOR, _FORGET_AT_ONCE):
            async with transaction(self._pool) as connection:
                held = await installs.lock(connection, grant.install_id)
                pending = [each.grant_id for each in held[1] if each.status == "pending_exchange"] if held else []
                if held is not None and grant.grant_id in pending:
                    await installing.revoke(connection, by, *held, [grant.grant_id])
        self._committed()
        while await tokens.forget_over(self._pool, by.at, REMEMBERED_FOR, _FORGET_AT_ONCE):
            pass

    async def _pending_grant(
        self, connection: Connection, app: PartnerApp, approval: Approval, by: By
    ) -> EnvironmentGrant:
        """The merchant's grant for the app, or one that waits for the exchange; the install is locked."""
        install = await installs.live_install(
            connection,
            Install(new_id("ins"), app.app_id, approval.merchant_id, "pending_exchange", by.at, by.at, None),
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
            approved_by=by.actor.id,
            created_at=by.at,
            updated_at=by.at,
            revoked_at=None,
        )
        return await installs.live_grant(connection, waiting)

    async def _exchange(
        self, connection: Connection, app: PartnerApp, presented: Presented, by: By
    ) -> Tokens | TokenError:
        code_hash = hash_credential(presented.code)
        known = await tokens.read_code(connection, code_hash)
        if known is None or known.app_id != app.app_id:
            return _refused_code()
        whose = await installs.whose(connection, known.grant_id)
        # The merchant before the install, as everybody who locks both.
        open_for_business = whose is not None and await merchants.hold_status(connection, whose[1]) == "active"
        install, owned, grant = await _lock(connection, known.grant_id)
        # As it is now that nobody else can use it.
        code = await tokens.read_code(connection, code_hash) or known
        right = presented.redirect_uri in (None, code.redirect_uri) and matches_challenge(
            presented.verifier, code.code_challenge
        )
        if code.status == "exchanged":
            unheard = await _unheard(connection, code.given, presented.idempotency_key, by.at) if right else None
            if unheard is None:
                log.warning("oauth_code_reused", app_id=app.app_id, grant_id=grant.grant_id)
                await installing.revoke(connection, by, install, owned, [grant.grant_id])
                return _refused_code()
            await tokens.replace_refresh(connection, unheard.token_hash)
            found = await self._issue(connection, grant, unheard.family_id, by, unheard)
        else:
            usable = code.status == "fresh" and by.at < code.expires_at and grant.status != "revoked"
            if not (right and usable and open_for_business):
                if code.status == "fresh":
                    await tokens.spend_code(connection, code_hash)
                return _refused_code()
            grant = await installing.bring_to_life(connection, by, install, grant, code)
            found = await self._issue(connection, grant, new_id("fam"), by)
        await tokens.exchange_code(connection, code_hash, _given(found, presented.idempotency_key))
        return found

    async def _refresh(self, connection: Connection, app: PartnerApp, asked: Refresh, by: By) -> Tokens | TokenError:
        token_hash = hash_credential(asked.token)
        known = await tokens.read_refresh(connection, token_hash)
        if known is None or known.app_id != app.app_id:
            return _refused_refresh()
        install, owned, grant = await _lock(connection, known.grant_id)
        token = await tokens.read_refresh(connection, token_hash) or known
        unheard = await _unheard(connection, token.given, asked.idempotency_key, by.at)
        again = token.status in ("used", "replaced") and unheard is None
        if again and await tokens.family_lives(connection, token.family_id):
            log.warning("oauth_refresh_token_reused", app_id=app.app_id, grant_id=grant.grant_id)
            await installing.revoke(connection, by, install, owned, [grant.grant_id])
        usable = token.status == "active" or unheard is not None
        if not usable or by.at >= token.expires_at or grant.status != "active":
            return _refused_refresh()
        if set((asked.scope or "").split()) - set(grant.scopes):
            return TokenError("invalid_scope", "scope names more than the merchant has granted.")
        if unheard is not None:
            await tokens.replace_refresh(connection, unheard.token_hash)
        found = await self._issue(connection, grant, token.family_id, by, unheard)
        await tokens.use_refresh(connection, token_hash, _given(found, asked.idempotency_key))
        return found

    async def _issue(
        self,
        connection: Connection,
        grant: EnvironmentGrant,
        family_id: str,
        by: By,
        instead_of: RefreshToken | None = None,
    ) -> Tokens:
        secret = new_secret("refresh")
        row = RefreshToken(
            token_hash=hash_credential(secret),
            app_id=grant.app_id,
            grant_id=grant.grant_id,
            family_id=family_id,
            status="active",
            created_at=by.at if instead_of is None else instead_of.created_at,
            expires_at=by.at + REFRESH_LASTS,
        )
        await tokens.insert_refresh(connection, row)
        now = int(by.at.timestamp())
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
    held = await installs.lock_by_grant(connection, grant_id)
    assert held is not None, "a code or token of a grant that never was"
    install, owned = held
    return install, owned, next(grant for grant in owned if grant.grant_id == grant_id)


async def _unheard(
    connection: Connection, given: Given | None, idempotency_key: str | None, now: datetime
) -> RefreshToken | None:
    """What was given for this key already and nobody has used: the app asks again because the answer was lost."""
    if given is None or given.idempotency_hash is None or idempotency_key is None:
        return None
    if not hmac.compare_digest(given.idempotency_hash, hash_credential(idempotency_key)):
        return None
    token = await tokens.read_refresh(connection, given.successor_hash)
    lately = token is not None and now < token.created_at + KEPT_FOR
    return token if token is not None and lately and token.status == "active" else None


def _given(found: Tokens, idempotency_key: str | None) -> Given:
    key_hash = None if idempotency_key is None else hash_credential(idempotency_key)
    return Given(hash_credential(found.refresh_token), key_hash)


def _ids(permissions: tuple[Permission, ...]) -> tuple[str, ...]:
    return tuple(permission.permission_id for permission in permissions)


def _refused_code() -> TokenError:
    """One answer for every reason: it must not say which."""
    return TokenError("invalid_grant", "The code is not valid for this client, redirect_uri and code_verifier.")


def _refused_refresh() -> TokenError:
    return TokenError("invalid_grant", "The refresh token is not valid for this client.")
