"""API keys: what one may hold, when it ends, and what every service is told of it."""

from collections.abc import Iterable
from datetime import datetime
from typing import Literal

from shared.contracts.access import Environment, Grant
from shared.immutable import immutable, replace

KeyStatus = Literal["active", "expired", "revoked"]


@immutable
class ApiKey:
    """A key without its secrets. A platform's belongs to no merchant."""

    api_key_id: str
    kind: Literal["api_key", "platform"]
    merchant_id: str | None
    environment: Environment
    name: str
    scopes: tuple[str, ...]
    allowed_origins: tuple[str, ...]
    prefix: str | None
    """How the newest secret begins; not known of a key that was made elsewhere."""
    created_at: datetime
    expires_at: datetime | None = None
    overlap_ends_at: datetime | None = None
    """When the secret that was rotated last ends."""
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None

    def status(self, now: datetime) -> KeyStatus:
        """What it is worth at this time."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and now >= self.expires_at else "active"


@immutable
class Secret:
    """What is kept of one secret of a key; a key that was rotated has several for a while."""

    credential_hash: str
    api_key_id: str
    created_at: datetime
    ends_at: datetime | None = None


def rotated(secret: Secret, at: datetime) -> Secret:
    """A secret that another has taken the place of: it ends then, or earlier where it would have."""
    return replace(secret, ends_at=earliest(secret.ends_at, at))


def grant_of(key: ApiKey, secret: Secret, *, merchant_active: bool) -> Grant:
    """What every service is told of the key under this secret."""
    holds = merchant_active and key.revoked_at is None
    return Grant(
        grant_id=key.api_key_id,
        credential_hash=secret.credential_hash,
        kind=key.kind,
        merchant_id=key.merchant_id,
        environment=key.environment,
        scopes=key.scopes,
        status="active" if holds else "revoked",
        name=key.name,
        expires_at=earliest(key.expires_at, secret.ends_at),
        allowed_origins=key.allowed_origins,
    )


def earliest(*moments: datetime | None) -> datetime | None:
    """The first of the moments; `None` is never."""
    given = [moment for moment in moments if moment is not None]
    return min(given) if given else None


def outlives(ends: datetime | None, other: datetime | None) -> bool:
    """Whether what ends at `ends` is still there when `other` has come; `None` is never."""
    return other is not None and (ends is None or ends > other)


def missing(wanted: Iterable[str], held: Iterable[str]) -> list[str]:
    """The scopes that whoever holds these cannot pass on; writing includes reading."""
    own = set(held)
    own |= {scope.removesuffix(".write") + ".read" for scope in own if scope.endswith(".write")}
    return [scope for scope in wanted if scope not in own]
