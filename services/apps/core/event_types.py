"""Which events there are, what patterns name some of them, and who is told of which."""

from collections.abc import Collection, Iterable
from typing import Final

from shared.immutable import immutable

READ_SCOPE: Final = "orders.read"
"""Nobody is told of anything without it."""
CUSTOMER_SCOPE: Final = "customers.read"
"""Without it, an event does not hold who the customer is."""


@immutable
class Family:
    """Types with the same beginning, and who is told of them."""

    types: tuple[str, ...]
    scope: str
    """What a reader must be allowed to read."""
    of_one_app: bool = False
    """Of apps, only the one that it is about is told, and needs no scope for it."""


def _types(beginning: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{beginning}.{name}" for name in names)


FAMILIES: Final = {
    "order": Family(
        _types(
            "order",
            "created",
            "updated",
            "opened",
            "canceled",
            "closed",
            "paid",
            "partially_paid",
            "overpaid",
            "refunded",
            "payment_authorized",
            "payment_captured",
            "payment_failed",
            "lease_granted",
            "lease_released",
            "lease_expired",
        ),
        READ_SCOPE,
    ),
    "payment_intent": Family(
        _types(
            "payment_intent",
            "processing",
            "requires_action",
            "requires_capture",
            "succeeded",
            "failed",
            "canceled",
            "unknown",
        ),
        "payments.read",
    ),
    "unmatched_money": Family(_types("unmatched_money", "found", "attached", "returned", "dismissed"), "payments.read"),
    "partner_app": Family(
        _types(
            "partner_app",
            "install.created",
            "install.permissions_updated",
            "install.revoked",
            "environment_grant.created",
            "environment_grant.revoked",
        ),
        "apps.read",
        of_one_app=True,
    ),
    "webhook_endpoint": Family(_types("webhook_endpoint", "disabled"), "webhooks.read", of_one_app=True),
}
"""By the first word of the type."""

EVENT_TYPES: Final = tuple(name for family in FAMILIES.values() for name in family.types)
EVENT_SCOPES: Final = tuple(dict.fromkeys((READ_SCOPE, CUSTOMER_SCOPE, *(each.scope for each in FAMILIES.values()))))
"""On which it depends what somebody is told."""
TYPES_OF_ONE_APP: Final = tuple(name for family in FAMILIES.values() if family.of_one_app for name in family.types)


def _beginnings(name: str) -> list[str]:
    """`a.*` and `a.b.*` of `a.b.c`."""
    words = name.split(".")
    return [".".join([*words[:count], "*"]) for count in range(1, len(words))]


PATTERNS: Final = (*EVENT_TYPES, *dict.fromkeys(each for name in EVENT_TYPES for each in _beginnings(name)), "*")
"""What names a type, or several: all that begin so, or all."""


@immutable
class Reader:
    """Who wants to be told: what it may do, and whether it is an installed app."""

    scopes: Collection[str]
    grant_id: str | None = None
    """An app's environment grant; `None` for the merchant itself."""

    def is_told(self, event_type: str, grant_id: str | None) -> bool:
        """Whether it sees an event of this type; `grant_id` is that of the app that the event is about."""
        family = FAMILIES.get(event_type.partition(".")[0])
        if family is None or not may_read(self.scopes, READ_SCOPE):
            return False
        if family.of_one_app and self.grant_id is not None:
            return grant_id == self.grant_id
        return may_read(self.scopes, family.scope)

    def hidden_types(self) -> list[str]:
        """The types of which it is told nothing."""
        return [name for name in EVENT_TYPES if not self.is_told(name, self.grant_id)]


def may_read(scopes: Collection[str], scope: str) -> bool:
    """Whether these scopes allow to read what `scope` names; whoever may write may read."""
    return scope in scopes or scope.removesuffix(".read") + ".write" in scopes


def told_beyond(scopes: Collection[str], own: Collection[str]) -> list[str]:
    """What these scopes let events tell that somebody's own do not."""
    return [scope for scope in EVENT_SCOPES if may_read(scopes, scope) and not may_read(own, scope)]


def common_scopes(scopes: Collection[str], own: Collection[str]) -> list[str]:
    """What both may do; of what one may write and the other only read, reading is left."""
    narrowed = (scope if may_read(own, scope) else scope.replace(".write", ".read") for scope in scopes)
    return sorted({scope for scope in narrowed if may_read(own, scope)})


def types_like(patterns: Iterable[str]) -> list[str]:
    """The types that the patterns name. Raises `ValueError` with the one that is none of `PATTERNS`."""
    wanted: set[str] = set()
    for pattern in patterns:
        if pattern not in PATTERNS:
            raise ValueError(pattern)
        wanted.update(known for known in EVENT_TYPES if is_like(known, pattern))
    return sorted(wanted)


def is_like(event_type: str, pattern: str) -> bool:
    """Whether a pattern names this type; a star stands for whole words: `order.*`, but not `order.pay*`."""
    if pattern.endswith(".*"):
        return event_type.startswith(pattern[:-1])
    return pattern in ("*", event_type)
