"""What the public must be told: of orders by the versions on `orders.events`, of all else by its service's topic."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import orjson

from tests.simulation.auditor.findings import Invariant
from tests.simulation.auditor.parts import wire_name
from tests.simulation.auditor.seen import Seen, header
from tests.simulation.books import Consent, Receiver
from tests.simulation.world_api import APPS_EVENTS, PAYMENTS_EVENTS

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
_OF_PAYMENTS = {
    "payment_intent": (
        "processing",
        "requires_action",
        "requires_capture",
        "succeeded",
        "failed",
        "canceled",
        "unknown",
    ),
    "unmatched_money": ("found", "attached", "returned", "dismissed"),
}
_TOLD_AS = {
    "apps.install_created.v1": ("partner_app.install.created", _INSTALL),
    "apps.install_permissions_updated.v1": ("partner_app.install.permissions_updated", _INSTALL),
    "apps.install_revoked.v1": ("partner_app.install.revoked", _INSTALL),
    "apps.environment_grant_created.v1": ("partner_app.environment_grant.created", _GRANT),
    "apps.environment_grant_revoked.v1": ("partner_app.environment_grant.revoked", _GRANT),
    "apps.webhook_endpoint_disabled.v1": ("webhook_endpoint.disabled", _ENDPOINT),
    **{f"payments.{name}_{what}.v1": (f"{name}.{what}", name) for name, ways in _OF_PAYMENTS.items() for what in ways},
}
"""What the public calls it, and the field of the message that holds what it is about. It is told of nothing else."""

_SETTLES_S = 1.0
"""After so many calm seconds nothing that was under way can still arrive."""
_RECOVERS_S = 5.0


Thread = tuple[str, str]
"""Key and subject. Events keep their order if they are of one subject and have one key, and no other order."""


@dataclass(frozen=True, slots=True)
class Public:
    """An event as it must be told."""

    thread: Thread
    merchant_id: str
    version: int | None
    """Of the order."""
    type: str
    place: int
    """Among all events of the thread."""
    since_s: float
    """When it came to be known."""
    grant_id: str | None = None
    """Of the app to which it happened: no other app is told."""

    @property
    def key(self) -> str:
        """The order that it concerns, or what else it is about."""
        return self.thread[0]

    @property
    def of_payments(self) -> bool:
        return self.type.partition(".")[0] in _OF_PAYMENTS

    def concerns(self, whose: Consent | Receiver) -> bool:
        """Whether whoever reads orders there is told."""
        if self.of_payments:
            return whose.reads_payments
        return self.version is not None or (whose.grant_id is not None and whose.grant_id == self.grant_id)

    def __str__(self) -> str:
        return f"{self.type} {self.version or ''}".rstrip()


@dataclass(slots=True)
class Told:
    """All public events: by thread as they must be, and by the ids that they have."""

    threads: dict[Thread, list[Public]] = field(default_factory=dict)
    by_id: dict[str, Public] = field(default_factory=dict)


def public_events(seen: Seen) -> Told:
    """What must be told, and whether exactly that is kept."""
    told = Told()
    for order_id, versions in seen.events.items():
        told.threads[order_id, order_id] = list(_of(order_id, seen, versions))
    for topic in (APPS_EVENTS, PAYMENTS_EVENTS):
        for public in _of_others(seen, topic):
            told.threads.setdefault(public.thread, []).append(public)
    kept = defaultdict(list)
    for row in sorted(seen.rows("apps.events"), key=lambda row: int(row["position"])):
        kept[row["order_id"] or row["subject_id"], row["subject_id"] or row["order_id"]].append(row)
    for thread, right in told.threads.items():
        rows = kept.pop(thread, [])
        if [(row["order_version"], row["type"]) for row in rows] != [(each.version, each.type) for each in right]:
            found = [(row["order_version"], row["type"]) for row in rows]
            seen.say(Invariant.EVENTS_ONCE, f"{len(right)} events should be kept, there are {found}", thread[0])
            continue
        for row, each in zip(rows, right, strict=True):
            if row["event_id"] in told.by_id or row["merchant_id"] != each.merchant_id:
                seen.say(Invariant.EVENTS_ONCE, f"{row['event_id']} is another event's, or a stranger's", thread[0])
            told.by_id[row["event_id"]] = each
    for thread in kept:
        seen.say(Invariant.NOTHING_INVENTED, f"there are events of {thread[1]}, and it was never told of", thread[0])
    return told


def _of(order_id: str, seen: Seen, versions: Iterable[int]) -> Iterator[Public]:
    place = 0
    for version in versions:
        record = seen.events[order_id][version]
        for entry in orjson.loads(record.value or b"{}")["events"]:
            for called in _CALLED.get(wire_name(entry["type"]), _OTHERS):
                yield Public((order_id, order_id), header(record, "ce_merchantid"), version, called, place, record.at_s)
                place += 1


def _of_others(seen: Seen, topic: str) -> Iterator[Public]:
    """What a service told on its topic, whatever came again left out."""
    places: Counter[Thread] = Counter()
    known: set[str] = set()
    for record in seen.topic(topic):
        message_id, wire_type = header(record, "ce_id"), header(record, "ce_type")
        if message_id in known or wire_type not in _TOLD_AS:
            continue
        known.add(message_id)
        called, name = _TOLD_AS[wire_type]
        subject = orjson.loads(record.value or b"{}")[name]
        thread = (record.key or b"").decode(), subject[f"{name}_id"]
        merchant_id, grant_id = header(record, "ce_merchantid"), subject.get("environment_grant_id")
        yield Public(thread, merchant_id, None, called, places[thread], record.at_s, grant_id)
        places[thread] += 1


def calm_s(seen: Seen, since_s: float, until_s: float) -> float:
    """How much of that time nothing was wrong with any process or server."""
    calm, at_s = 0.0, since_s
    for begins_s, ends_s in sorted(seen.evidence.troubles):
        calm += max(0.0, min(begins_s, until_s) - at_s)
        at_s = max(at_s, ends_s + _RECOVERS_S)
    return calm + max(0.0, until_s - at_s)


def may_be_told(seen: Seen, consents: Iterable[Consent], event: Public, at_s: float) -> bool:
    """Whether one of the consents lets the app be told of the event at that moment.

    What became known after a right was taken is never told; what was known before only by what was already on its way.
    """
    for consent in consents:
        mine = consent.merchant_id == event.merchant_id and event.concerns(consent)
        if not consent.reads or not mine or at_s < consent.asked_s:
            continue
        ended_s = consent.ended_s(of_payments=event.of_payments)
        if ended_s is None or (event.since_s <= ended_s and calm_s(seen, ended_s, at_s) <= _SETTLES_S):
            return True
    return False
