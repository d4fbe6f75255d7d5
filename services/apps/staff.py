"""People sign in and out; guessing is held up; the tokens of a session are known only to its browser.

Every attempt counts as failed before the password is looked at, so that a hundred at once are no more than one after
another. An unknown address takes as long as a wrong password, and is answered alike.
"""

import asyncio
import hmac
from dataclasses import dataclass
from hashlib import sha256

import structlog
from argon2 import PasswordHasher
from argon2.exceptions import VerificationError

from services.apps.audit import By, changes_between, note
from services.apps.core.staff import (
    ACCOUNT,
    ADDRESS,
    FAILURES_COUNT_FOR,
    INVITATION_LASTS,
    SESSION_LASTS,
    Role,
    after_failure,
    email_key,
)
from services.apps.secrets import new_secret
from services.apps.store import staff
from services.apps.store.staff import Invitation, StaffUser
from shared.auth.keys import hash_credential
from shared.clock import Clock
from shared.contracts.model import Actor
from shared.ids import new_id
from shared.postgres import Connection, Pool, transaction

_HASHES_AT_ONCE = 4
"""Each takes 64 MiB and a core for a tenth of a second."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A session with the secret that its browser shows."""

    user: StaffUser
    secret: str

    @property
    def csrf_token(self) -> str:
        """What a form of this session holds, and no other page can know."""
        return csrf_token(self.secret)


@dataclass(frozen=True, slots=True)
class TooManyAttempts:
    """Nobody is heard for a while, whatever the password."""

    retry_after_s: int


def operator(user_id: str) -> Actor:
    """A person of the staff as the one who caused what follows."""
    return Actor(type="operator", id=user_id)


def csrf_token(secret: str) -> str:
    """Follows from the browser's secret, so that nothing needs to be kept; says nothing about it."""
    return hmac.new(secret.encode(), b"csrf", sha256).hexdigest()


class Staff:
    """Accounts, sessions and invitations."""

    def __init__(self, pool: Pool, clock: Clock, hasher: PasswordHasher | None = None) -> None:
        self._pool, self._clock = pool, clock
        self._hasher = hasher or PasswordHasher()
        self._hashing = asyncio.Semaphore(_HASHES_AT_ONCE)
        self._nobodys: str | None = None

    async def sign_in(
        self, email: str, password: str, address: str, before: str | None, request_id: str
    ) -> SignedIn | TooManyAttempts | None:
        """A session of its own, whatever the browser showed `before`, which ends; `None` when this is nobody."""
        now, account = self._clock(), f"account:{sha256(email_key(email).encode()).hexdigest()}"
        waiting = await self._count(account, f"address:{address}")
        if waiting is not None:
            return waiting
        user = await staff.user_by_email(self._pool, email_key(email))
        if not await self._fits(None if user is None else user.password_hash, password) or user is None:
            if user is not None:
                await self._note_sign_in(user, "staff_user.sign_in_failed", request_id)
            return None
        secret = new_secret("session")
        async with transaction(self._pool) as connection:
            await staff.forgive(connection, account, f"address:{address}")
            if before is not None:
                await staff.end_session(connection, hash_credential(before))
            await staff.insert_session(connection, hash_credential(secret), user.user_id, now, now + SESSION_LASTS)
        await self._note_sign_in(user, "staff_user.signed_in", request_id)
        await self._renew_hash(user, password)
        return SignedIn(user, secret)

    async def signed_in(self, secret: str | None) -> SignedIn | None:
        """Whose session the browser shows."""
        if not secret:
            return None
        user = await staff.user_of_session(self._pool, hash_credential(secret), self._clock())
        return None if user is None else SignedIn(user, secret)

    async def sign_out(self, session: SignedIn, request_id: str) -> None:
        """The session is over."""
        async with transaction(self._pool) as connection:
            await staff.end_session(connection, hash_credential(session.secret))
        await self._note_sign_in(session.user, "staff_user.signed_out", request_id)

    async def invite(
        self, connection: Connection, by: By, merchant_id: str, *, email: str, name: str, role: Role
    ) -> tuple[StaffUser, str, Invitation]:
        """The person, the secret of the invitation, and it; whether the address was known before nobody learns."""
        new = StaffUser(new_id("usr"), email_key(email), name, None)
        await staff.insert_user(connection, new, by.at)
        user = await staff.user_by_email(connection, new.email) or new
        secret = new_secret("invitation")
        invitation = Invitation(
            token_hash=hash_credential(secret),
            user_id=user.user_id,
            merchant_id=merchant_id,
            role=role,
            invited_by=by.actor.id,
            created_at=by.at,
            expires_at=by.at + INVITATION_LASTS,
        )
        await staff.insert_invitation(connection, invitation)
        await _note(connection, by, "staff_user.invited", user.user_id, merchant_id, role=role)
        return user, secret, invitation

    async def join(
        self, secret: str, password: str, address: str, request_id: str
    ) -> StaffUser | TooManyAttempts | None:
        """The invited person belongs to the merchant; who is new chooses this password, others must know theirs."""
        found = await staff.read_invitation(self._pool, hash_credential(secret), self._clock())
        if found is None:
            return None
        invitation, user = found
        by = By(operator(user.user_id), self._clock(), request_id)
        if user.password_hash is not None:
            account = f"account:{sha256(user.email.encode()).hexdigest()}"
            waiting = await self._count(account, f"address:{address}")
            if waiting is not None:
                return waiting
            if not await self._fits(user.password_hash, password):
                return None
        chosen = None if user.password_hash is not None else await self._hash(password)
        async with transaction(self._pool) as connection:
            if not await staff.take_invitation(connection, invitation.token_hash):
                return None
            if chosen is not None:
                await staff.set_password(connection, user.user_id, chosen, by.at)
            await staff.save_membership(connection, user.user_id, invitation.merchant_id, invitation.role, by.at)
            await _note(connection, by, "staff_user.joined", user.user_id, invitation.merchant_id, role=invitation.role)
        return user

    async def tidy(self) -> None:
        """Forgets what no longer counts."""
        await staff.forget_over(self._pool, self._clock(), FAILURES_COUNT_FOR)

    async def _count(self, account: str, address: str) -> TooManyAttempts | None:
        """Counts the attempt as one that failed, unless nobody is heard now."""
        now = self._clock()
        async with transaction(self._pool) as connection:
            known = await staff.lock_failures(connection, [account, address])
            until = [each.locked_until for each in known.values() if each.locks(now)]
            if until:
                longest = max(moment for moment in until if moment is not None)
                return TooManyAttempts(int((longest - now).total_seconds()) + 1)
            for subject, patience in ((account, ACCOUNT), (address, ADDRESS)):
                await staff.save_failures(connection, subject, after_failure(known.get(subject), patience, now))
        return None

    async def _fits(self, password_hash: str | None, password: str) -> bool:
        if self._nobodys is None:
            self._nobodys = await self._hash(new_secret("session"))
        async with self._hashing:
            try:
                await asyncio.to_thread(self._hasher.verify, password_hash or self._nobodys, password)
            except VerificationError:
                return False
        return password_hash is not None

    async def _hash(self, password: str) -> str:
        async with self._hashing:
            return await asyncio.to_thread(self._hasher.hash, password)

    async def _renew_hash(self, user: StaffUser, password: str) -> None:
        """Passwords hashed with the cost of another day are hashed anew when they come by."""
        if user.password_hash is not None and self._hasher.check_needs_rehash(user.password_hash):
            await staff.set_password(self._pool, user.user_id, await self._hash(password), self._clock())

    async def _note_sign_in(self, user: StaffUser, action: str, request_id: str) -> None:
        """Each merchant that the person belongs to can read it."""
        by = By(operator(user.user_id), self._clock(), request_id)
        async with transaction(self._pool) as connection:
            for membership in await staff.memberships(connection, user.user_id):
                await _note(connection, by, action, user.user_id, membership.merchant_id)


async def _note(connection: Connection, by: By, action: str, user_id: str, merchant_id: str, **facts: object) -> None:
    await note(connection, by.did(action, user_id, merchant_id=merchant_id, changes=changes_between({}, facts)))
