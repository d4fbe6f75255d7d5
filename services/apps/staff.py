"""People sign in and out; guessing is held up; the tokens of a session are known only to its browser.

Every attempt counts as failed before the password is looked at, so that a hundred at once are no more than one after
another. An unknown address takes as long as a wrong password, and is answered alike.
"""

import asyncio
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

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
    Patience,
    Role,
    after_failure,
    email_key,
)
from services.apps.secrets import new_secret
from services.apps.store import identities, staff
from services.apps.store.staff import Invitation, Membership, StaffUser
from shared.auth.keys import hash_credential
from shared.clock import Clock
from shared.contracts.model import Actor
from shared.faults import Transient
from shared.ids import new_id
from shared.postgres import Connection, Pool, transaction

_HASHES_AT_ONCE = 4
"""Each takes 64 MiB and a core for a tenth of a second."""

WayIn = Literal["signed_in", "password", "choose", "sign_in", "reset"]
"""How somebody accepts an invitation: as who they are signed in, with their password, with a new one, not before they
have signed in at the provider, or not by this one, because their password was reset."""

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
        waiting = await self._count({_account(email): ACCOUNT, _address(address): ADDRESS})
        if waiting is not None:
            return waiting
        user = await staff.user_by_email(self._pool, email_key(email))
        if not await self._fits(None if user is None else user.password_hash, password) or user is None:
            if user is not None:
                async with transaction(self._pool) as connection:
                    await self.note_failure(connection, user, request_id)
            return None
        async with transaction(self._pool) as connection:
            known = await staff.lock_user(connection, user.user_id)
            if known is None or known.password_hash is None:
                # It was reset while we looked at it.
                return None
            await staff.forgive(connection, _account(email), _address(address))
            session = await self.begin_session(connection, user, before, request_id)
        await self._renew_hash(user, password)
        return session

    async def begin_session(
        self, connection: Connection, user: StaffUser, before: str | None, request_id: str, **facts: object
    ) -> SignedIn:
        """The person is signed in once the transaction commits; `facts` go into the audit log."""
        now, secret = self._clock(), new_secret("session")
        if before is not None:
            await staff.end_session(connection, hash_credential(before))
        await staff.insert_session(connection, hash_credential(secret), user.user_id, now, now + SESSION_LASTS)
        await self._note_sign_in(connection, user, "staff_user.signed_in", request_id, **facts)
        return SignedIn(user, secret)

    async def count_address(self, address: str) -> TooManyAttempts | None:
        """An attempt that guesses at no account counts as failed, unless nobody is heard from there now."""
        return await self._count({_address(address): ADDRESS})

    async def forgive_address(self, connection: Connection, address: str) -> None:
        """The attempt has not failed."""
        await staff.forgive(connection, None, _address(address))

    async def proves(self, user: StaffUser, password: str, address: str) -> TooManyAttempts | bool:
        """Whether it is the person's password; counted like any other guess."""
        account = _account(user.email)
        waiting = await self._count({account: ACCOUNT, _address(address): ADDRESS})
        if waiting is not None:
            return waiting
        if not await self._fits(user.password_hash, password):
            return False
        async with transaction(self._pool) as connection:
            await staff.forgive(connection, account, _address(address))
        return True

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
            await self._note_sign_in(connection, session.user, "staff_user.signed_out", request_id)

    async def note_failure(self, connection: Connection, user: StaffUser, request_id: str, **facts: object) -> None:
        """Somebody tried to come in as this person, and could not; `facts` go into the audit log."""
        await self._note_sign_in(connection, user, "staff_user.sign_in_failed", request_id, **facts)

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
        self, secret: str, password: str, address: str, session: SignedIn | None, request_id: str
    ) -> StaffUser | TooManyAttempts | None:
        """The invited person belongs to the merchant. Who is new chooses this password; others are signed in, or must
        know theirs: whoever invites them has seen the invitation too."""
        found = await staff.read_invitation(self._pool, hash_credential(secret), self._clock())
        if found is None:
            return None
        invitation, user = found
        way = await self.way_in(invitation, user, session)
        if way in ("sign_in", "reset"):
            return None
        if way == "password":
            proof = await self.proves(user, password, address)
            if proof is not True:
                return proof or None
        chosen = await self._hash(password) if way == "choose" else None
        by = By(operator(user.user_id), self._clock(), request_id)
        async with transaction(self._pool) as connection:
            known = await staff.lock_user(connection, user.user_id)
            if known is None or not await staff.take_invitation(connection, invitation.token_hash):
                return None
            if chosen is not None:
                if await _way_in(connection, invitation, known) != "choose":
                    raise Transient("somebody came in otherwise in this moment")
                await staff.set_password(connection, user.user_id, chosen, by.at)
            await staff.save_membership(connection, user.user_id, invitation.merchant_id, invitation.role, by.at)
            await _note(connection, by, "staff_user.joined", user.user_id, invitation.merchant_id, role=invitation.role)
        return user

    async def way_in(self, invitation: Invitation, user: StaffUser, session: SignedIn | None) -> WayIn:
        """How the person accepts the invitation."""
        if session is not None and session.user.user_id == user.user_id:
            return "signed_in"
        return await _way_in(self._pool, invitation, user)

    async def change_password(
        self, session: SignedIn, password: str, new: str, address: str, request_id: str
    ) -> TooManyAttempts | bool:
        """Whether it was the person's password; if so the new one is from now on, and their other sessions are over."""
        user = session.user
        proof = await self.proves(user, password, address)
        if proof is not True:
            return proof
        chosen = await self._hash(new)
        async with transaction(self._pool) as connection:
            known = await staff.lock_user(connection, user.user_id)
            if known is None or known.password_hash != user.password_hash:
                return False
            await staff.set_password(connection, user.user_id, chosen, self._clock())
            await staff.end_sessions(connection, user.user_id, but=hash_credential(session.secret))
            await self._note_sign_in(connection, user, "staff_user.password_changed", request_id)
        return True

    async def reset_password(
        self, connection: Connection, by: By, email: str
    ) -> tuple[StaffUser, list[Membership]] | None:
        """The person has no password any more, no session and no open invitation; `None` when nobody has this address.

        What they are at which merchant stays. The next invitation of a platform key lets them choose a password.
        """
        found = await staff.user_by_email(connection, email_key(email))
        user = None if found is None else await staff.lock_user(connection, found.user_id)
        if user is None:
            return None
        await staff.set_password(connection, user.user_id, None, by.at)
        await staff.end_sessions(connection, user.user_id)
        await staff.withdraw_invitations(connection, user.user_id)
        belongs = await staff.memberships(connection, user.user_id)
        concerned: list[str | None] = [each.merchant_id for each in belongs]
        for merchant_id in concerned or [None]:
            await _note(connection, by, "staff_user.password_reset", user.user_id, merchant_id)
        return user, belongs

    async def tidy(self) -> None:
        """Forgets what no longer counts."""
        await staff.forget_over(self._pool, self._clock(), FAILURES_COUNT_FOR)

    async def _count(self, subjects: Mapping[str, Patience]) -> TooManyAttempts | None:
        """Counts the attempt as one that failed, unless nobody is heard now."""
        now = self._clock()
        async with transaction(self._pool) as connection:
            known = await staff.lock_failures(connection, list(subjects))
            until = [each.locked_until for each in known.values() if each.locks(now)]
            if until:
                longest = max(moment for moment in until if moment is not None)
                return TooManyAttempts(int((longest - now).total_seconds()) + 1)
            for subject, patience in subjects.items():
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
            hashed = await self._hash(password)
            await staff.renew_hash(self._pool, user.user_id, user.password_hash, hashed, self._clock())

    async def _note_sign_in(
        self, connection: Connection, user: StaffUser, action: str, request_id: str, **facts: object
    ) -> None:
        """Each merchant that the person belongs to can read it."""
        by = By(operator(user.user_id), self._clock(), request_id)
        for membership in await staff.memberships(connection, user.user_id):
            await _note(connection, by, action, user.user_id, membership.merchant_id, **facts)


def _account(email: str) -> str:
    return f"account:{sha256(email_key(email).encode()).hexdigest()}"


def _address(address: str) -> str:
    return f"address:{address}"


async def _way_in(connection: Connection | Pool, invitation: Invitation, user: StaffUser) -> WayIn:
    """For somebody who is not signed in."""
    if user.password_hash is not None:
        return "password"
    if await identities.is_connected(connection, user.user_id):
        return "sign_in"
    return "choose" if await staff.may_choose(connection, user.user_id, invitation.invited_by) else "reset"


async def _note(
    connection: Connection, by: By, action: str, user_id: str, merchant_id: str | None, **facts: object
) -> None:
    await note(connection, by.did(action, user_id, merchant_id=merchant_id, changes=changes_between({}, facts)))
