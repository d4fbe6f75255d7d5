"""Who staff are at the company's provider, and sign-ins there that are under way."""

from dataclasses import dataclass
from datetime import datetime

from services.apps.store.staff import StaffUser
from shared.postgres import Connection, Pool


@dataclass(frozen=True, slots=True)
class Waiting:
    """Somebody for whom the provider vouched, and who still has to give the password of the account."""

    user: StaffUser
    subject: str
    next_path: str


async def begin_flow(pool: Pool, flow_hash: str, next_path: str, expires_at: datetime) -> None:
    """A browser is on its way to the provider."""
    await pool.execute(
        "INSERT INTO oidc_flows (flow_hash, next_path, expires_at) VALUES ($1, $2, $3)",
        flow_hash,
        next_path,
        expires_at,
    )


async def take_answer(pool: Pool, flow_hash: str, now: datetime) -> str | None:
    """Where the browser wants to go, when its flow is open and had no answer before; `None` otherwise."""
    next_path: str | None = await pool.fetchval(
        """
        UPDATE oidc_flows SET answered = true
        WHERE flow_hash = $1 AND NOT answered AND expires_at > $2 RETURNING next_path
        """,
        flow_hash,
        now,
    )
    return next_path


async def await_password(connection: Connection, flow_hash: str, subject: str, user_id: str) -> None:
    """The flow goes on when the account's password comes."""
    await connection.execute(
        "UPDATE oidc_flows SET subject = $2, user_id = $3 WHERE flow_hash = $1", flow_hash, subject, user_id
    )


async def waiting(pool: Pool, flow_hash: str, now: datetime) -> Waiting | None:
    """Who is to give a password; `None` when nobody is, or no longer."""
    row = await pool.fetchrow(
        """
        SELECT user_id, email, name, password_hash, subject, next_path
        FROM oidc_flows JOIN staff_users USING (user_id) WHERE flow_hash = $1 AND expires_at > $2
        """,
        flow_hash,
        now,
    )
    if row is None:
        return None
    user = StaffUser(row["user_id"], row["email"], row["name"], row["password_hash"])
    return Waiting(user, row["subject"], row["next_path"])


async def end_flow(connection: Connection, flow_hash: str) -> bool:
    """Whether it was still there; it is gone afterwards."""
    return bool(await connection.execute("DELETE FROM oidc_flows WHERE flow_hash = $1", flow_hash) == "DELETE 1")


async def user_of(connection: Connection | Pool, issuer: str, subject: str) -> StaffUser | None:
    """Whose account is connected with this identity."""
    row = await connection.fetchrow(
        """
        SELECT user_id, email, name, password_hash FROM staff_identities JOIN staff_users USING (user_id)
        WHERE issuer = $1 AND subject = $2
        """,
        issuer,
        subject,
    )
    return None if row is None else StaffUser(**row)


async def is_connected(connection: Connection | Pool, user_id: str) -> bool:
    """Whether the account is connected with an identity at a provider."""
    query = "SELECT EXISTS (SELECT FROM staff_identities WHERE user_id = $1)"
    return bool(await connection.fetchval(query, user_id))


async def connect(connection: Connection, issuer: str, subject: str, user_id: str, now: datetime) -> bool:
    """Whether the account is connected with this identity from now on: neither has another already."""
    done = await connection.execute(
        """
        INSERT INTO staff_identities (issuer, subject, user_id, created_at) VALUES ($1, $2, $3, $4)
        ON CONFLICT DO NOTHING
        """,
        issuer,
        subject,
        user_id,
        now,
    )
    return bool(done == "INSERT 0 1")
