"""What the public must be told: of orders by the versions on `orders.events`, of apps by `apps.events`."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import orjson

from tests.simulation.auditor.findings import Invariant
from tests.simulation.auditor.parts import wire_name
from tests.simulation.auditor.seen import Seen, header
from tests.simulation.books import Consent
from tests.simulation.world_api import APPS_EVENTS

_SAME = ("created", "opened", "canceled", "closed", "paid", "partially_paid", "overpaid")
_CALLED = {f"order_{name}": (f"order.{name}",) for name in _SAME}
_CALLED |= {
    name: (f"order.{name}",)
    for name in (
        "payment_authorized",
        "payment_captured",
        "payment_failed",
        "lease_granted",
        "lease_released",
        "lease_expired",
    )
}
_CALLED["refund_recorded"] = ("order.refunded",)
_CALLED["lease_handed_over"] = ("order.lease_released", "order.lease_granted")
_OTHERS = ("order.updated",)
_INSTALL, _GRANT, _ENDPOINT = "partner_app_install", "environment_grant", "webhook_endpoint"
_OF_APPS = {
    "apps.install_created.v1": ("partner_app.install.created", _INSTALL),
    "apps.install_permissions_updated.v1": ("partner_app.install.permissions_updated", _INSTALL),
    "apps.install_revoked.v1": ("partner_app.install.revoked", _INSTALL),
    "apps.environment_grant_created.v1": ("partner_app.environment_grant.created", _GRANT),
    "apps.environment_grant_revoked.v1": ("partner_app.environment_grant.revoked", _GRANT),
    "apps.webhook_endpoint_disabled.v1": ("webhook_endpoint.disabled", _ENDPOINT),
}
"""What the public calls it, and the field of the message that holds what it is about."""

_SETTLES_S = 1.0
"""After so many calm seconds nothing that was under way can still arrive."""
_RECOVERS_S = 5.0


@dataclass(frozen=True, slots=True)
class Public:
    """An event as it must be told."""

    key: str
    """The order, or what else it is about."""
    merchant_id: str
    version: int | None
    """Of the order."""
    type: str
    place: int
    """Among all events of the key."""
    since_s: float
    """When it came to be known."""
    grant_id: str | None = None
    """What is about no order is told to one app only, to whom it happened: that with this grant."""

    def concerns(self, grant_id: str | None) -> bool:
        """Whether whoever has this grant (None is a merchant's own) is told, if it reads orders."""
        return self.version is not None or (grant_id is not None and grant_id == self.grant_id)

    def __str__(self) -> str:
        return f"{self.type} {self.version or ''}".rstrip()


@dataclass(slots=True)
class Told:
    """All public events: by key as they must be, and by the ids that they have."""

    by_key: dict[str, list[Public]] = field(default_factory=dict)
    by_id: dict[str, Public] = field(default_factory=dict)


def public_events(seen: Seen) -> Told:
    """What must be told, and whether exactly that is kept."""
    told = Told()
    for order_id, versions in seen.events.items():
        told.by_key[order_id] = list(_of(order_id, seen, versions))
    for public in _of_apps(seen):
        told.by_key.setdefault(public.key, []).append(public)
    kept = defaultdict(list)
    for row in sorted(seen.rows("apps.events"), key=lambda row: int(row["position"])):
        kept[row["order_id"] or row["subject_id"]].append(row)
    for key, right in told.by_key.items():
        rows = kept.pop(key, [])
        if [(row["order_version"], row["type"]) for row in rows] != [(each.version, each.type) for each in right]:
            found = [(row["order_version"], row["type"]) for row in rows]
            seen.say(Invariant.EVENTS_ONCE, f"{len(right)} events should be kept, there are {found}", key)
            continue
        for row, each in zip(rows, right, strict=True):
            if row["event_id"] in told.by_id or row["merchant_id"] != each.merchant_id:
                seen.say(Invariant.EVENTS_ONCE, f"{row['event_id']} is another event's, or a stranger's", key)
            told.by_id[row["event_id"]] = each
    for key in kept:
        seen.say(Invariant.NOTHING_INVENTED, "there are events of it, and it was never told of", key)
    return told


def _of(order_id: str, seen: Seen, versions: Iterable[int]) -> Iterator[Public]:
    place = 0
    for version in versions:
        record = seen.events[order_id][version]
        for entry in orjson.loads(record.value or b"{}")["events"]:
            for called in _CALLED.get(wire_name(entry["type"]), _OTHERS):
                yield Public(order_id, header(record, "ce_merchantid"), version, called, place, record.at_s)
                place += 1


def _of_apps(seen: Seen) -> Iterator[Public]:
    """What the apps service told, whatever came again left out."""
    places: Counter[str] = Counter()
    known: set[str] = set()
    for record in seen.topic(APPS_EVENTS):
        key, message_id = (record.key or b"").decode(), header(record, "ce_id")
        if message_id not in known:
            known.add(message_id)
            called, subject = _OF_APPS[header(record, "ce_type")]
            grant_id = orjson.loads(record.value or b"{}")[subject]["environment_grant_id"]
            yield Public(key, header(record, "ce_merchantid"), None, called, places[key], record.at_s, grant_id)
            places[key] += 1


def calm_s(seen: Seen, since_s: float, until_s: float) -> float:
    """How much of that time nothing was wrong with any process or server."""
    calm, at_s = 0.0, since_s
    for begins_s, ends_s in sorted(seen.evidence.troubles):
        calm += max(0.0, min(begins_s, until_s) - at_s)
        at_s = max(at_s, ends_s + _RECOVERS_S)
    return calm + max(0.0, until_s - at_s)


def may_be_told(seen: Seen, consents: Iterable[Consent], event: Public, at_s: float) -> bool:
    """Whether one of the consents lets the app be told of the event at that moment.

    What became known after a revocation is never told; what was known before only by what was already on its way.
    """
    for consent in consents:
        mine = consent.merchant_id == event.merchant_id and event.concerns(consent.grant_id)
        if not consent.reads or not mine or at_s < consent.asked_s:
            continue
        ended_s = consent.revoked_s
        if ended_s is None or (event.since_s <= ended_s and calm_s(seen, ended_s, at_s) <= _SETTLES_S):
            return True
    return False
