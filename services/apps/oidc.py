"""Staff sign in at the company's own provider.

A flow belongs to the browser that began it: state, nonce and PKCE verifier follow from a secret that only its cookie
holds, and an answer counts once. The provider's word connects an identity with the account of the same e-mail address,
and from then on the identity alone decides whose account it is. An account that has a password is connected once that
is given too: whoever was invited first may have chosen it, and need not be who owns the address.
"""

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import structlog

from services.apps.audit import By, changes_between, note
from services.apps.connectors.oidc_provider import OidcProvider
from services.apps.core.oidc import FLOW_LASTS, Admission, Declined, Identity, Secrets, identity_of
from services.apps.secrets import new_secret
from services.apps.staff import SignedIn, Staff, TooManyAttempts, operator
from services.apps.store import identities, merchants, staff
from services.apps.store.staff import StaffUser
from shared.auth.keys import hash_credential
from shared.clock import Clock
from shared.faults import Transient
from shared.ids import new_id
from shared.postgres import Connection, Pool, transaction

log = structlog.get_logger(__name__)

Refused = Declined | Literal["stale", "refused_there", "not_vouched", "nobody", "other_identity", "wrong_password"]
"""Why somebody is not signed in."""
Parameters = Mapping[str, Sequence[str]]
"""Each parameter of the provider's answer with all its values."""


@dataclass(frozen=True, slots=True)
class CameIn:
    """Somebody is signed in, and on the way to where they wanted to go."""

    session: SignedIn
    next_path: str


@dataclass(frozen=True, slots=True)
class PasswordAsked:
    """The account's password connects it with the identity."""

    email: str


Outcome = CameIn | PasswordAsked | TooManyAttempts | Refused


class OidcSignIn:
    """Sign-in at one provider. Raises `ProviderAway` where that cannot be asked."""

    def __init__(self, pool: Pool, clock: Clock, staff_: Staff, provider: OidcProvider) -> None:
        self._pool, self._clock, self._staff, self._provider = pool, clock, staff_, provider
        settings = provider.settings
        self._admission = Admission(settings.allowed_domains, settings.roles_claim, settings.join_role)
        self._join_merchant_id = settings.join_merchant_id

    @property
    def name(self) -> str:
        """What people call the provider."""
        return self._provider.settings.name

    async def begin(self, next_path: str) -> tuple[str, str]:
        """Where to send the browser, and the secret that it keeps meanwhile."""
        secret = new_secret("oidc")
        url = await self._provider.authorization_url(Secrets.of(secret))
        await identities.begin_flow(self._pool, hash_credential(secret), next_path, self._clock() + FLOW_LASTS)
        return url, secret

    async def finish(
        self, secret: str | None, answer: Parameters, address: str, before: str | None, request_id: str
    ) -> Outcome:
        """What comes of the provider's answer in the browser that shows `secret`; an answer counts once."""
        waiting = await self._staff.count_address(address)
        if waiting is not None:
            return waiting
        if secret is None or not _belongs(answer, secret):
            return "stale"
        flow_hash = hash_credential(secret)
        next_path = await identities.take_answer(self._pool, flow_hash, self._clock())
        if next_path is None:
            return "stale"
        found = await self._identity(answer, secret)
        if not isinstance(found, Identity):
            return found
        async with transaction(self._pool) as connection:
            come = await self._come(connection, found, flow_hash, request_id)
            if isinstance(come, str):
                return come
            await self._staff.forgive_address(connection, address)
            if isinstance(come, PasswordAsked):
                return come
            session = await self._begin_session(connection, flow_hash, come, before, request_id)
        return CameIn(session, next_path)

    async def connect(
        self, secret: str | None, password: str, address: str, before: str | None, request_id: str
    ) -> Outcome:
        """The account for which the provider has vouched is connected, if this is its password."""
        if secret is None:
            return "stale"
        flow_hash = hash_credential(secret)
        asked = await identities.waiting(self._pool, flow_hash, self._clock())
        if asked is None:
            return "stale"
        proof = await self._staff.proves(asked.user, password, address)
        if proof is not True:
            if proof is False:
                async with transaction(self._pool) as connection:
                    await self._note_failure(connection, asked.user, request_id)
            return proof or "wrong_password"
        async with transaction(self._pool) as connection:
            if not await self._connect(connection, asked.subject, asked.user, request_id):
                return "other_identity"
            session = await self._begin_session(connection, flow_hash, asked.user, before, request_id)
        return CameIn(session, asked.next_path)

    async def waits_for_password(self, secret: str | None) -> PasswordAsked | None:
        """Whose password the browser's flow waits for."""
        asked = None if secret is None else await identities.waiting(self._pool, hash_credential(secret), self._clock())
        return None if asked is None else PasswordAsked(asked.user.email)

    async def _identity(self, answer: Parameters, secret: str) -> Identity | Refused:
        found: Identity | Refused
        metadata = await self._provider.metadata()
        issuers = answer.get("iss", ())
        # An answer of another provider must not be taken for one of this (RFC 9207).
        if any(issuer != metadata.issuer for issuer in issuers):
            return "not_vouched"
        if metadata.authorization_response_iss_parameter_supported and not issuers:
            return "not_vouched"
        codes = answer.get("code", ())
        if "error" in answer or len(codes) != 1:
            return "refused_there"
        claims = await self._provider.claims_of(codes[0], Secrets.of(secret))
        found = "not_vouched" if claims is None else identity_of(claims, self._admission)
        if not isinstance(found, Identity):
            log.warning("oidc_sign_in_refused", reason=found)
        return found

    async def _come(
        self, connection: Connection, identity: Identity, flow_hash: str, request_id: str
    ) -> StaffUser | PasswordAsked | Refused:
        """Whose account it is; connected with the identity, or new, where that is in order."""
        known = await identities.user_of(connection, self._provider.issuer, identity.subject)
        if known is not None:
            return known
        found = await staff.user_by_email(connection, identity.email)
        if found is None:
            return await self._join(connection, identity, request_id)
        user = await staff.lock_user(connection, found.user_id)
        assert user is not None, "staff are never deleted"
        if user.password_hash is not None:
            await identities.await_password(connection, flow_hash, identity.subject, user.user_id)
            return PasswordAsked(user.email)
        if await self._connect(connection, identity.subject, user, request_id):
            return user
        await self._note_failure(connection, user, request_id)
        return "other_identity"

    async def _join(self, connection: Connection, identity: Identity, request_id: str) -> StaffUser | Refused:
        merchant_id, role, now = self._join_merchant_id, identity.role, self._clock()
        if merchant_id is None or role is None:
            return "nobody"
        if await merchants.hold_status(connection, merchant_id) is None:
            log.error("oidc_join_merchant_missing", merchant_id=merchant_id)
            return "nobody"
        new = StaffUser(new_id("usr"), identity.email, identity.name, None)
        await staff.insert_user(connection, new, now)
        if await staff.lock_user(connection, new.user_id) is None or not await identities.connect(
            connection, self._provider.issuer, identity.subject, new.user_id, now
        ):
            raise Transient("somebody came in otherwise in this moment")
        await staff.save_membership(connection, new.user_id, merchant_id, role, now)
        by = By(operator(new.user_id), now, request_id)
        changes = changes_between({}, {"role": role, "provider": self._provider.issuer})
        await note(connection, by.did("staff_user.joined", new.user_id, merchant_id=merchant_id, changes=changes))
        return new

    async def _connect(self, connection: Connection, subject: str, user: StaffUser, request_id: str) -> bool:
        now, issuer = self._clock(), self._provider.issuer
        if not await identities.connect(connection, issuer, subject, user.user_id, now):
            return False
        by = By(operator(user.user_id), now, request_id)
        for membership in await staff.memberships(connection, user.user_id):
            changes = changes_between({}, {"provider": issuer})
            entry = by.did("staff_user.connected", user.user_id, merchant_id=membership.merchant_id, changes=changes)
            await note(connection, entry)
        return True

    async def _note_failure(self, connection: Connection, user: StaffUser, request_id: str) -> None:
        await self._staff.note_failure(connection, user, request_id, provider=self._provider.issuer)

    async def _begin_session(
        self, connection: Connection, flow_hash: str, user: StaffUser, before: str | None, request_id: str
    ) -> SignedIn:
        await identities.end_flow(connection, flow_hash)
        return await self._staff.begin_session(connection, user, before, request_id, provider=self._provider.issuer)


def _belongs(answer: Parameters, secret: str) -> bool:
    """Whether the answer is to the flow of the browser that shows the secret."""
    states = answer.get("state", ())
    return len(states) == 1 and hmac.compare_digest(states[0].encode(), Secrets.of(secret).state.encode())
