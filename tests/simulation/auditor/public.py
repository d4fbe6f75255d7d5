"""What the public must be told of an order, by the versions on `orders.events`."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import orjson

from tests.simulation.auditor.findings import Invariant
from tests.simulation.auditor.parts import wire_name
from tests.simulation.auditor.seen import Seen, header
from tests.simulation.books import Consent

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

_SETTLES_S = 1.0
"""After so many calm seconds nothing that was under way can still arrive."""
_RECOVERS_S = 5.0


@dataclass(frozen=True, slots=True)
class Public:
    """An event as it must be told."""

    order_id: str
    merchant_id: str
    version: int
    type: str
    place: int
    """Among all events of the order."""
    since_s: float
    """When its version came to be known."""


@dataclass(slots=True)
class Told:
    """All public events: by order as they must be, and by the ids that they have."""

    by_order: dict[str, list[Public]] = field(default_factory=dict)
    by_id: dict[str, Public] = field(default_factory=dict)
    ids: dict[Public, str] = field(default_factory=dict)


def public_events(seen: Seen) -> Told:
    """What must be told, and whether exactly that is kept."""
    told = Told()
    kept = defaultdict(list)
    for row in sorted(seen.rows("apps.events"), key=lambda row: int(row["position"])):
        kept[row["order_id"]].append(row)
    for order_id, versions in seen.events.items():
        right = told.by_order[order_id] = list(_of(order_id, seen, versions))
        rows = kept.pop(order_id, [])
        if [(row["order_version"], row["type"]) for row in rows] != [(each.version, each.type) for each in right]:
            found = [(row["order_version"], row["type"]) for row in rows]
            seen.say(Invariant.EVENTS_ONCE, f"{len(right)} events should be kept, there are {found}", order_id)
            continue
        for row, each in zip(rows, right, strict=True):
            if row["event_id"] in told.by_id or row["merchant_id"] != each.merchant_id:
                seen.say(Invariant.EVENTS_ONCE, f"{row['event_id']} is another event's, or a stranger's", order_id)
            told.by_id[row["event_id"]], told.ids[each] = each, row["event_id"]
    for order_id in kept:
        seen.say(Invariant.NOTHING_INVENTED, "there are events of it, and it was never told of", order_id)
    return told


def _of(order_id: str, seen: Seen, versions: Iterable[int]) -> Iterator[Public]:
    place = 0
    for version in versions:
        record = seen.events[order_id][version]
        for entry in orjson.loads(record.value or b"{}")["events"]:
            for called in _CALLED.get(wire_name(entry["type"]), _OTHERS):
                yield Public(order_id, header(record, "ce_merchantid"), version, called, place, record.at_s)
                place += 1


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
        if not consent.reads or consent.merchant_id != event.merchant_id or at_s < consent.asked_s:
            continue
        ended_s = consent.revoked_s
        if ended_s is None or (event.since_s <= ended_s and calm_s(seen, ended_s, at_s) <= _SETTLES_S):
            return True
    return False
