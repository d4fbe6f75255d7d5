"""Staff: users, what they are at which merchant, invitations, sessions, and failed sign-ins."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from services.apps.core.staff import Failures, Role
from shared.postgres import Connection, Pool


@dataclass(frozen=True, slots=True)
class StaffUser:
    """A person; without a password one who was invited and has not come yet."""

    user_id: str
    email: str
    name: str
    password_hash: str | None


@dataclass(frozen=True, slots=True)
class Membership:
    """What the person is at a merchant."""

    merchant_id: str
    merchant_name: str
    role: Role


@dataclass(frozen=True, slots=True)
class Which:
    """Which of a person's merchants; what is empty does not matter."""

    roles: Collection[Role] | None = None
    """What the person must be there."""
    called: str = ""
    """A part of the merchant's name, in capitals or not."""
    merchant_id: str = ""
    after: str = ""
    """The id of the merchant of theirs that comes before them."""


ALL = Which()


@dataclass(frozen=True, slots=True)
class Member:
    """A person as a merchant sees them."""

    user_id: str
    email: str
    name: str
    role: Role
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Invitation:
    """A merchant's offer to a person."""

    token_hash: str
    user_id: str
    merchant_id: str
    role: Role
    invited_by: str
    created_at: datetime
    expires_at: datetime


_INVITATION = "token_hash, user_id, merchant_id, role, invited_by, created_at, expires_at"


async def user_by_email(connection: Connection | Pool, email: str) -> StaffUser | None:
    """The person with this e-mail address, as `email_key` writes it."""
    query = "SELECT user_id, email, name, password_hash FROM staff_users WHERE email = $1"
    row = await connection.fetchrow(query, email)
    return None if row is None else StaffUser(**row)


async def lock_user(connection: Connection, user_id: str) -> StaffUser | None:
    """The person; whether they have a password stays so until the transaction ends."""
    query = "SELECT user_id, email, name, password_hash FROM staff_users WHERE user_id = $1 FOR UPDATE"
    row = await connection.fetchrow(query, user_id)
    return None if row is None else StaffUser(**row)


async def insert_user(connection: Connection, user: StaffUser, now: datetime) -> None:
    """The new person, unless the e-mail address is known."""
    await connection.execute(
        """
        INSERT INTO staff_users (user_id, email, name, password_hash, created_at, updated_at)
        VALUES ($1, $2, $3, $4, $5, $5) ON CONFLICT (email) DO NOTHING
        """,
        user.user_id,
        user.email,
        user.name,
        user.password_hash,
        now,
    )


async def set_password(connection: Connection, user_id: str, password_hash: str | None, now: datetime) -> None:
    """The person signs in with this password from now on; without one not by a password at all."""
    await connection.execute(
        "UPDATE staff_users SET password_hash = $2, updated_at = $3 WHERE user_id = $1", user_id, password_hash, now
    )


async def renew_hash(pool: Pool, user_id: str, before: str, password_hash: str, now: datetime) -> None:
    """The same password with another hash, unless the person has another one by now, or none."""
    await pool.execute(
        "UPDATE staff_users SET password_hash = $3, updated_at = $4 WHERE user_id = $1 AND password_hash = $2",
        user_id,
        before,
        password_hash,
        now,
    )


async def may_choose(connection: Connection | Pool, user_id: str, invited_by: str) -> bool:
    """Whether an invitation may give a password to the person, who has none.

    One who belongs to some merchant had a password until it was reset. No merchant may come in as that person, so only
    an invitation of a platform key will do.
    """
    query = """
        SELECT NOT EXISTS (SELECT FROM staff_memberships WHERE user_id = $1)
            OR EXISTS (SELECT FROM api_keys WHERE api_key_id = $2 AND kind = 'platform')
    """
    return bool(await connection.fetchval(query, user_id, invited_by))


async def merchant_name(pool: Pool, merchant_id: str) -> str:
    """What a merchant is called; its id where it has no name here."""
    return str(await pool.fetchval("SELECT name FROM merchants WHERE merchant_id = $1", merchant_id) or merchant_id)


async def insert_invitation(connection: Connection, invitation: Invitation) -> None:
    """A new invitation; the person's earlier ones to the merchant end."""
    await connection.execute(
        "DELETE FROM staff_invitations WHERE user_id = $1 AND merchant_id = $2",
        invitation.user_id,
        invitation.merchant_id,
    )
    await connection.execute(
        f"INSERT INTO staff_invitations ({_INVITATION}) VALUES ($1, $2, $3, $4, $5, $6, $7)",
        invitation.token_hash,
        invitation.user_id,
        invitation.merchant_id,
        invitation.role,
        invitation.invited_by,
        invitation.created_at,
        invitation.expires_at,
    )


async def read_invitation(pool: Pool, token_hash: str, now: datetime) -> tuple[Invitation, StaffUser] | None:
    """The invitation and whom it is for, while it lasts."""
    row = await pool.fetchrow(
        f"SELECT {_INVITATION} FROM staff_invitations WHERE token_hash = $1 AND expires_at > $2", token_hash, now
    )
    if row is None:
        return None
    query = "SELECT user_id, email, name, password_hash FROM staff_users WHERE user_id = $1"
    user = await pool.fetchrow(query, row["user_id"])
    return None if user is None else (Invitation(**row), StaffUser(**user))


async def take_invitation(connection: Connection, token_hash: str) -> bool:
    """Whether it was still there; it is gone afterwards."""
    return bool(
        await connection.execute("DELETE FROM staff_invitations WHERE token_hash = $1", token_hash) == "DELETE 1"
    )


async def withdraw_invitations(connection: Connection, user_id: str) -> None:
    """No invitation of the person is open any more, at any merchant."""
    await connection.execute("DELETE FROM staff_invitations WHERE user_id = $1", user_id)


async def save_membership(connection: Connection, user_id: str, merchant_id: str, role: Role, now: datetime) -> None:
    """The person has this role at the merchant from now on."""
    await connection.execute(
        """
        INSERT INTO staff_memberships (user_id, merchant_id, role, created_at) VALUES ($1, $2, $3, $4)
        ON CONFLICT (user_id, merchant_id) DO UPDATE SET role = excluded.role
        """,
        user_id,
        merchant_id,
        role,
        now,
    )


async def end_membership(connection: Connection, user_id: str, merchant_id: str) -> bool:
    """Whether the person belonged to the merchant; no longer, nor by an open invitation."""
    await connection.execute(
        "DELETE FROM staff_invitations WHERE user_id = $1 AND merchant_id = $2", user_id, merchant_id
    )
    done = await connection.execute(
        "DELETE FROM staff_memberships WHERE user_id = $1 AND merchant_id = $2", user_id, merchant_id
    )
    return bool(done == "DELETE 1")


async def role_at(connection: Connection, user_id: str, merchant_id: str) -> Role | None:
    """What the person is at the merchant; stays so until the transaction ends."""
    query = "SELECT role FROM staff_memberships WHERE user_id = $1 AND merchant_id = $2 FOR SHARE"
    found: Role | None = await connection.fetchval(query, user_id, merchant_id)
    return found


async def memberships(
    connection: Connection | Pool, user_id: str, which: Which = ALL, limit: int | None = None
) -> list[Membership]:
    """Where the person belongs, in the order of the merchants' names."""
    rows = await connection.fetch(
        """
        WITH mine AS (
            SELECT merchant_id, name, role FROM staff_memberships JOIN merchants USING (merchant_id) WHERE user_id = $1
        )
        SELECT merchant_id, name AS merchant_name, role FROM mine
        WHERE ($2::text[] IS NULL OR role = ANY($2)) AND ($3 = '' OR merchant_id = $3)
            AND strpos(lower(name), lower($4)) > 0
            AND ($5 = '' OR (name, merchant_id) > (SELECT name, merchant_id FROM mine WHERE merchant_id = $5))
        ORDER BY name, merchant_id LIMIT $6
        """,
        user_id,
        None if which.roles is None else sorted(which.roles),
        which.merchant_id,
        which.called,
        which.after,
        limit,
    )
    return [Membership(**row) for row in rows]


async def members(pool: Pool, merchant_id: str, after: tuple[datetime, str] | None, limit: int) -> list[Member]:
    """At most `limit` people of the merchant, those that came last first, that come after the position."""
    rows = await pool.fetch(
        """
        SELECT m.user_id, u.email, u.name, m.role, m.created_at
        FROM staff_memberships AS m JOIN staff_users AS u USING (user_id)
        WHERE m.merchant_id = $1 AND ($2::timestamptz IS NULL OR (m.created_at, m.user_id) < ($2, $3))
        ORDER BY m.created_at DESC, m.user_id DESC LIMIT $4
        """,
        merchant_id,
        *(after or (None, None)),
        limit,
    )
    return [Member(**row) for row in rows]


async def insert_session(
    connection: Connection, session_hash: str, user_id: str, now: datetime, expires_at: datetime
) -> None:
    """A new session."""
    await connection.execute(
        "INSERT INTO staff_sessions (session_hash, user_id, created_at, expires_at) VALUES ($1, $2, $3, $4)",
        session_hash,
        user_id,
        now,
        expires_at,
    )


async def user_of_session(pool: Pool, session_hash: str, now: datetime) -> StaffUser | None:
    """Who is signed in with it."""
    row = await pool.fetchrow(
        """
        SELECT user_id, email, name, password_hash FROM staff_sessions JOIN staff_users USING (user_id)
        WHERE session_hash = $1 AND expires_at > $2
        """,
        session_hash,
        now,
    )
    return None if row is None else StaffUser(**row)


async def end_session(connection: Connection, session_hash: str) -> None:
    """The session is over."""
    await connection.execute("DELETE FROM staff_sessions WHERE session_hash = $1", session_hash)


async def end_sessions(connection: Connection, user_id: str, but: str = "") -> None:
    """The person is signed in nowhere, but in the session with this hash."""
    await connection.execute("DELETE FROM staff_sessions WHERE user_id = $1 AND session_hash <> $2", user_id, but)


async def lock_failures(connection: Connection, subjects: Sequence[str]) -> dict[str, Failures]:
    """What is remembered of these, for nobody else to change meanwhile: two who fail at once are both counted."""
    for subject in sorted(subjects):
        await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", f"sign-in:{subject}")
    rows = await connection.fetch(
        "SELECT subject, failures, failed_at, locked_until FROM sign_in_failures WHERE subject = ANY($1::text[])",
        list(subjects),
    )
    return {row["subject"]: Failures(row["failures"], row["failed_at"], row["locked_until"]) for row in rows}


async def save_failures(connection: Connection, subject: str, failures: Failures) -> None:
    """What is remembered from now on."""
    await connection.execute(
        """
        INSERT INTO sign_in_failures (subject, failures, failed_at, locked_until) VALUES ($1, $2, $3, $4)
        ON CONFLICT (subject) DO UPDATE SET failures = excluded.failures, failed_at = excluded.failed_at,
            locked_until = excluded.locked_until
        """,
        subject,
        failures.failures,
        failures.failed_at,
        failures.locked_until,
    )


async def forgive(connection: Connection, account: str | None, address: str) -> None:
    """Whoever comes in has not guessed: the account starts anew, and the address has failed once less."""
    if account is not None:
        await connection.execute("DELETE FROM sign_in_failures WHERE subject = $1", account)
    await connection.execute(
        """
        UPDATE sign_in_failures SET failures = failures - 1, locked_until = NULL
        WHERE subject = $1 AND failures > 0
        """,
        address,
    )


async def forget_over(pool: Pool, now: datetime, failures_count_for: timedelta) -> None:
    """Sessions, invitations, sign-ins under way and failures that no longer count are gone."""
    overdue: tuple[tuple[str, Any], ...] = (
        ("staff_sessions WHERE expires_at <= $1", now),
        ("staff_invitations WHERE expires_at <= $1", now),
        ("oidc_flows WHERE expires_at <= $1", now),
        ("sign_in_failures WHERE failed_at < $1", now - failures_count_for),
    )
    for what, before in overdue:
        await pool.execute(f"DELETE FROM {what}", before)
