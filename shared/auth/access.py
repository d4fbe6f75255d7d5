"""What one credential may do, as a request sees it."""

from dataclasses import dataclass
from datetime import datetime

from shared.contracts.access import Environment, GrantKind
from shared.contracts.model import Actor

_ACTOR_TYPES = {"api_key": "key", "installation": "app", "platform": "platform"}


@dataclass(frozen=True, slots=True)
class Access:
    """An active grant. A platform's belongs to no merchant; every other one to exactly one, in one environment."""

    grant_id: str
    credential_hash: str
    kind: GrantKind
    merchant_id: str | None
    environment: Environment
    scopes: frozenset[str]
    allowed_origins: tuple[str, ...] = ()
    api_version: str | None = None
    """The API version that the credential was pinned to on its first use, None before that."""
    expires_at: datetime | None = None

    def has(self, scope: str) -> bool:
        """Whether it may do what `scope` names; whoever may write may read."""
        return scope in self.scopes or (
            scope.endswith(".read") and scope.removesuffix(".read") + ".write" in self.scopes
        )

    @property
    def actor(self) -> Actor:
        """The credential as the one who caused what follows."""
        return Actor(type=_ACTOR_TYPES[self.kind], id=self.grant_id)

    @property
    def merchant(self) -> str:
        """The merchant that it belongs to; only for routes of merchants, which refuse platform grants before."""
        if self.merchant_id is None:
            raise AssertionError("a platform grant passed the guard of a merchant's route")
        return self.merchant_id


@dataclass(frozen=True, slots=True)
class KnownGrant:
    """A grant as the copy holds it: also one that is revoked or over."""

    access: Access
    active: bool

    def at(self, now: datetime) -> Access | None:
        """What it allows at this time, None when it allows nothing."""
        expires_at = self.access.expires_at
        over = expires_at is not None and now >= expires_at
        return self.access if self.active and not over else None
