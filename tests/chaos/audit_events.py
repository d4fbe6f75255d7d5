"""The auditor's look at public events: what merchants are shown, and what came to the plugin in each of its ways."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from math import inf

from tests.chaos.audit_topics import first_of_each
from tests.chaos.evidence import Evidence, Json, Message
from tests.chaos.findings import Findings
from tests.chaos.journal import WAYS, Arrival, Install, Journal, Way, digest_of

_SHOWN_AS = {
    "orders.order_created.v1": "order.created",
    "orders.order_paid.v1": "order.paid",
    "orders.order_partially_paid.v1": "order.partially_paid",
    "orders.order_overpaid.v1": "order.overpaid",
    "orders.refund_recorded.v1": "order.refunded",
    "orders.payment_authorized.v1": "order.payment_authorized",
    "orders.payment_captured.v1": "order.payment_captured",
    "orders.payment_failed.v1": "order.payment_failed",
    "orders.lease_granted.v1": "order.lease_granted",
    "orders.lease_released.v1": "order.lease_released",
}
"""What the load makes happen; anything else is an update of the order."""
_OF_PAYMENTS = ("payment_intent", "unmatched_money")

Thread = tuple[str, str]
"""The order that events concern, or else their subject; and their subject. In each of them events keep their order."""
Wanted = dict[tuple[Thread, int | None], list[str]]
"""What each version of an order must be shown as, and all that happened to what is no order."""


def audit_events(journal: Journal, evidence: Evidence, findings: Findings) -> None:
    """Everything that is wrong with what was told to the public."""
    _Events(journal, evidence, findings).run()


def on_topic(journal: Journal, evidence: Evidence) -> list[tuple[Install | None, Arrival]]:
    """Every message of the plugin's topic, with the install for which it was published: the newest one of that time."""
    found = []
    for topic, messages in evidence.topics.items():
        if topic.startswith("plugins."):
            for message in messages:
                body = message.body
                arrival = Arrival(message.headers["ce_id"], body["order_id"], digest_of(body), message.at_s)
                at = [
                    install
                    for install in journal.installs
                    if install.merchant_id == body["merchant_id"] and install.asked_at <= message.at_s
                ]
                found.append((at[-1] if at else None, arrival))
    return found


@dataclass(frozen=True)
class _Place:
    """An event as the merchant is shown it."""

    merchant_id: str
    thread: Thread
    number: int
    """Among the merchant's."""
    rank: int
    """Among those of its thread."""
    created_at: float
    digest: str


class _Events:
    def __init__(self, journal: Journal, evidence: Evidence, findings: Findings) -> None:
        self.journal, self.evidence, self.findings = journal, evidence, findings
        self.places: dict[str, _Place] = {}
        self.threads: dict[tuple[str, Thread], list[_Place]] = defaultdict(list)
        """By merchant, in their order."""
        self.told: set[tuple[str, Thread]] = set()
        """Those of which the plugin is told whoever they are about: of orders and of payments."""

    def run(self) -> None:
        wanted = self._wanted()
        for merchant_id, listed in self.evidence.events.items():
            self._listed(merchant_id, listed, wanted[merchant_id])
        published: dict[int, list[Arrival]] = defaultdict(list)
        for install, arrival in on_topic(self.journal, self.evidence):
            if install is None:
                self.findings.leaked.append(f"{arrival.event_id} is on the plugin's topic, and nobody had let it in")
            else:
                published[id(install)].append(arrival)
        for install in self.journal.installs:
            for way in WAYS:
                arrivals = published[id(install)] if way == "topic" else install.arrivals[way]
                self._told(install, way, arrivals)
            self._in_turn(install.arrivals["webhook"])
        self._read()

    def _wanted(self) -> dict[str, Wanted]:
        """By merchant: what must be shown of orders and of payments."""
        found: dict[str, Wanted] = defaultdict(lambda: defaultdict(list))
        for message in self.evidence.topics["orders.events"]:
            body = message.body
            shown = [_SHOWN_AS.get(event["type"], "order.updated") for event in body["events"]]
            found[message.headers.get("ce_merchantid", "")][(message.key, message.key), body["version"]] = shown
        for message in first_of_each(self.evidence.topics["payments.events"]).values():
            for name in _OF_PAYMENTS:
                family, _, what = message.headers.get("ce_type", "").partition(f"{name}_")
                if family == "payments." and what:
                    thread = message.key, message.headers["ce_subject"]
                    found[message.headers["ce_merchantid"]][thread, None].append(f"{name}.{what.removesuffix('.v1')}")
        return found

    def _listed(self, merchant_id: str, listed: list[Json], wanted: Wanted) -> None:
        """Every version of every order is there as its events, once, and in the order of the versions; so is what was
        told of payments."""
        shown: Wanted = defaultdict(list)
        newest: dict[Thread, int] = defaultdict(int)
        for number, event in enumerate(listed):
            subject, version = event["subject"], event["order_version"]
            thread = event["order_id"] or subject["id"], subject["id"]
            self.findings.counted["public events"] += 1
            if event["event_id"] in self.places:
                self.findings.double.append(f"{event['event_id']} is listed twice")
            if event["merchant_id"] != merchant_id:
                self.findings.leaked.append(f"{event['event_id']} is shown to {merchant_id}, and not its own")
            if version is not None:
                if version < newest[thread]:
                    self.findings.disorder.append(f"events of {thread}: version {version} after {newest[thread]}")
                newest[thread] = version
            if subject["type"] in ("order", *_OF_PAYMENTS):
                shown[thread, version].append(event["type"])
                self.told.add((merchant_id, thread))
            same = self.threads[merchant_id, thread]
            created_at = datetime.fromisoformat(event["created_at"]).timestamp()
            place = _Place(merchant_id, thread, number, len(same), created_at, digest_of(event))
            self.places[event["event_id"]] = place
            same.append(place)
        for about in wanted.keys() | shown.keys():
            due, there = wanted.get(about, []), shown.get(about, [])
            if due != there:
                wrong = self.findings.double if len(there) > len(due) else self.findings.lost
                wrong.append(f"{about} is shown as {there} instead of {due}")

    def _told(self, install: Install, way: Way, arrivals: Iterable[Arrival]) -> None:
        """What came is what is shown, in order at its first occurrence, and only while the plugin was let in."""
        seen: dict[Thread, list[int]] = defaultdict(list)
        last = -1
        for arrival in arrivals:
            place = self.places.get(arrival.event_id)
            name = f"{arrival.event_id} of {arrival.order_id} by {way}"
            if place is None:
                self.findings.double.append(f"{name}: there is no such event")
                continue
            if place.merchant_id != install.merchant_id:
                self.findings.leaked.append(f"{name}: it is another merchant's")
            elif self._too_late(install, way, place):
                self.findings.leaked.append(f"{name}: it happened after the plugin was thrown out")
            if place.digest != arrival.digest:
                self.findings.double.append(f"{name}: it says something else there")
            if place.rank in seen[place.thread]:
                self.findings.counted[f"{way}: told again"] += 1
                continue
            seen[place.thread].append(place.rank)
            self.findings.counted[f"{way}: events"] += 1
            if way == "stream" and place.number < last:
                self.findings.disorder.append(f"{name}: after a later one")
            last = max(last, place.number)
        for thread, ranks in seen.items():
            if ranks != sorted(ranks):
                self.findings.disorder.append(f"{way} told of {thread} as {ranks}")
        self._complete(install, way, seen)

    def _too_late(self, install: Install, way: Way, place: _Place) -> bool:
        """A stream ends soon after a revocation; topic and webhooks have nothing of what happens after it."""
        return way != "stream" and install.revoked_at is not None and place.created_at > install.revoked_at

    def _complete(self, install: Install, way: Way, seen: dict[Thread, list[int]]) -> None:
        """Nothing of orders and payments is missing since the plugin listened; after a revocation, nothing in between.

        Of installs the plugin is told only of its own, and not of their ends.
        """
        since = install.listens_from.get(way)
        if since is None:
            if install.revoked_at is None:
                self.findings.lost.append(f"the plugin never listened by {way} at {install.merchant_id}")
            return
        for merchant_id, thread in self.told:
            due = [place.rank for place in self.threads[merchant_id, thread] if place.created_at >= since]
            came = set(seen.get(thread, ()))
            if merchant_id != install.merchant_id or not due:
                continue
            end = max(came, default=-1) if install.revoked_at is not None else due[-1]
            if missing := set(range(due[0], end + 1)) - came:
                self.findings.lost.append(f"{way} did not tell of events {sorted(missing)} of {thread}")

    def _in_turn(self, attempts: list[Arrival]) -> None:
        """Of each thread, no webhook is tried before the one before it was received."""
        received: dict[str, float] = {}
        for attempt in attempts:
            if attempt.received_at is not None:
                received.setdefault(attempt.event_id, attempt.received_at)
        newest: dict[Thread, tuple[int, str]] = {}
        for attempt in attempts:
            place = self.places.get(attempt.event_id)
            rank, event_id = newest.get(place.thread, (-1, "")) if place else (-1, "")
            if place is None or place.rank <= rank:
                continue
            newest[place.thread] = place.rank, attempt.event_id
            if event_id and received.get(event_id, inf) > attempt.at:
                self.findings.disorder.append(
                    f"webhook {attempt.event_id} of {place.thread} was tried, and {event_id} not yet received"
                )

    def _read(self) -> None:
        """The plugin's own client read the topic whole."""
        messages: dict[tuple[int, int], Message] = {
            (message.partition, message.offset): message
            for topic, found in self.evidence.topics.items()
            if topic.startswith("plugins.")
            for message in found
        }
        for place, message in messages.items():
            if self.journal.read.get(place) != message.headers["ce_id"]:
                self.findings.lost.append(f"the plugin did not read its topic at {place}")
