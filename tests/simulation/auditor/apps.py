"""What the public is told: events as they are kept, on the topics of apps, and by webhooks."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import orjson

from tests.simulation.auditor.findings import Invariant
from tests.simulation.auditor.public import Public, Thread, Told, may_be_told, public_events
from tests.simulation.auditor.seen import Seen, header
from tests.simulation.books import Consent, Receiver
from tests.simulation.world_api import Request, Row

_LATEST_S = 20.0
"""Within this time everything arrives at a receiver that is well, when nothing else is wrong; most of it is what a
thousand lifecycles in a second wait for while services take eight messages at a time."""


def audit_apps(seen: Seen) -> None:
    """Nothing, where the service was not there."""
    if not seen.books.receivers and not seen.rows("apps.events"):
        return
    told = public_events(seen)
    apps = {consent.app_id for consent in seen.books.consents}
    for app_id in sorted(apps | {name.split(".")[1] for name in seen.evidence.topics if name.startswith("plugins.")}):
        _Topic(seen, told, app_id).judge()
    requests: dict[str, list[Request]] = defaultdict(list)
    for request in seen.evidence.requests:
        requests[request.url].append(request)
    for url, receiver in seen.books.receivers.items():
        _Webhooks(seen, told, receiver, requests[url]).judge()


class _Topic:
    def __init__(self, seen: Seen, told: Told, app_id: str) -> None:
        self.seen, self.told, self.app_id = seen, told, app_id
        self.consents = [consent for consent in seen.books.consents if consent.app_id == app_id]

    def judge(self) -> None:
        there: dict[Thread, list[Public]] = defaultdict(list)
        replayed: dict[str, dict[Thread, list[Public]]] = defaultdict(lambda: defaultdict(list))
        first_s: dict[Public, float] = {}
        for record in self.seen.topic(f"plugins.{self.app_id}.orders"):
            key, event_id = (record.key or b"").decode(), header(record, "ce_id")
            event = self.told.by_id.get(event_id)
            body = orjson.loads(record.value or b"{}")
            if event is None or (event.key, event_id) != (key, body["event_id"]):
                self.seen.say(Invariant.NOTHING_INVENTED, f"{self.app_id} was told of {event_id}", key)
            elif not may_be_told(self.seen, self.consents, event, record.at_s):
                sentence = f"{self.app_id} was told of {event} at {record.at_s:.3f} s"
                self.seen.say(Invariant.NOTHING_WITHOUT_CONSENT, sentence, key)
            else:
                replay_id = header(record, "tl_replay")
                threads = replayed[replay_id] if replay_id else there
                first_s.setdefault(event, record.at_s)
                if event not in threads[event.thread]:
                    threads[event.thread].append(event)
        for thread, events in there.items():
            self._order(thread, [event.place for event in events])
        self._complete(there)
        begun = {row["replay_id"]: row for row in self.seen.rows("apps.plugin_replays") if row["app_id"] == self.app_id}
        for replay_id in sorted(begun.keys() | replayed.keys()):
            self._replay(replay_id, begun.get(replay_id), replayed[replay_id], first_s)

    def _replay(
        self, replay_id: str, row: Row | None, threads: dict[Thread, list[Public]], first_s: dict[Public, float]
    ) -> None:
        """All that had been kept, and all that the app had been told before it asked, once more and in order."""
        asked = self.seen.books.replays.get(replay_id)
        if asked is None or row is None or asked.app_id != self.app_id:
            self.seen.say(Invariant.NOTHING_INVENTED, f"{self.app_id} has a replay {replay_id} that nobody asked for")
            return
        if row["status"] != "finished":
            self.seen.say(Invariant.EVERYTHING_SETTLES, f"the replay {replay_id} is {row['status']}")
        for thread, events in threads.items():
            places = [event.place for event in events]
            if places != sorted(places):
                sentence = f"{self.app_id} was told again of its events {places}"
                self.seen.say(Invariant.TOPICS_IN_ORDER, sentence, thread[0])
        kept = {self.told.by_id[row["event_id"]]: row["position"] for row in self._kept()}
        for event, position in kept.items():
            wanted = position <= row["ends_at"] or first_s.get(event, asked.asked_s) < asked.asked_s
            if wanted and self._let_in(event, asked.asked_s) and event not in threads.get(event.thread, ()):
                self.seen.say(Invariant.NOTHING_LOST, f"{self.app_id} was not told again of {event}", event.key)

    def _kept(self) -> Iterator[Row]:
        return (row for row in self.seen.rows("apps.events") if row["event_id"] in self.told.by_id)

    def _let_in(self, event: Public, at_s: float) -> bool:
        """Whether the app may read it, from then on and for good."""
        return any(
            consent.reads
            and consent.merchant_id == event.merchant_id
            and event.concerns(consent)
            and consent.granted_s is not None
            and consent.granted_s <= at_s
            and consent.end_asked_s(of_payments=event.of_payments) is None
            for consent in self.consents
        )

    def _order(self, thread: Thread, places: list[int]) -> None:
        """In order; without a gap too, unless the merchant took the app's rights and gave them again."""
        merchant_id = self.told.threads[thread][0].merchant_id
        once = sum(consent.merchant_id == merchant_id for consent in self.consents) == 1
        gap = once and places != list(range(places[0], places[0] + len(places)))
        if places != sorted(places) or gap:
            self.seen.say(Invariant.TOPICS_IN_ORDER, f"{self.app_id} was told of its events {places}", thread[0])

    def _complete(self, there: dict[Thread, list[Public]]) -> None:
        for consent in self.consents:
            if not consent.reads or consent.granted_s is None:
                continue
            for thread, events in self.told.threads.items():
                for event in events:
                    mine = event.merchant_id == consent.merchant_id and event.concerns(consent)
                    mine = mine and consent.end_asked_s(of_payments=event.of_payments) is None
                    if mine and event.since_s >= consent.granted_s and event not in there.get(thread, ()):
                        self.seen.say(Invariant.NOTHING_LOST, f"{self.app_id} was never told of {event}", thread[0])


class _Webhooks:
    """Of one receiver."""

    def __init__(self, seen: Seen, told: Told, receiver: Receiver, requests: Sequence[Request]) -> None:
        self.seen, self.told, self.receiver, self.requests = seen, told, receiver, requests
        rows = seen.rows("apps.webhook_endpoints")
        self.endpoint = next((row for row in rows if row["endpoint_id"] == receiver.endpoint_id), None)
        self.arrived: dict[Thread, dict[Public, float]] = defaultdict(dict)
        """When each first came, by order."""
        self.understood: dict[Public, float] = {}

    def judge(self) -> None:
        for request in self.requests:
            self._request(request)
        deliveries: dict[Public, Row] = {}
        for row in self.seen.rows("apps.webhook_deliveries"):
            if row["endpoint_id"] == self.receiver.endpoint_id:
                event = self.told.by_id.get(row["event_id"])
                if event is None or event in deliveries:
                    self._say(Invariant.NOTHING_TWICE, f"{row['event_id']} is to be sent twice", row["order_id"])
                else:
                    deliveries[event] = row
        due = [event for events in self.told.threads.values() for event in events]
        held_up: set[str] = set()
        for event in sorted(due, key=lambda event: deliveries[event]["seq"] if event in deliveries else 0):
            if self._delivery(event, deliveries.get(event), event.key in held_up):
                held_up.add(event.key)

    def _say(self, invariant: Invariant, sentence: str, key: str | None) -> None:
        self.seen.say(invariant, f"{self.receiver.manner} {self.receiver.endpoint_id}: {sentence}", key)

    def _request(self, request: Request) -> None:
        event, at_s = self.told.by_id.get(request.event_id), request.at_s
        if event is None or request.body["event_id"] != request.event_id or not self._asked(event):
            self._say(Invariant.NOTHING_INVENTED, f"was told of {request.event_id}", request.body["order_id"])
            return
        consents: list[Consent] = [self.receiver.consent] if self.receiver.consent else []
        if consents and not may_be_told(self.seen, consents, event, at_s):
            self._say(Invariant.NOTHING_WITHOUT_CONSENT, f"was told of {event} at {at_s:.3f} s", event.key)
        if event not in self.arrived[event.thread]:
            self._first(event, at_s)
        if request.understood_s is not None:
            self.understood.setdefault(event, request.understood_s)

    def _first(self, event: Public, at_s: float) -> None:
        """Everything before it that was ever sent has been received, and nothing after it was sent."""
        for other, first_s in self.arrived[event.thread].items():
            if other.place > event.place or self.understood.get(other, at_s + 1) > at_s:
                sentence = f"{event} was sent {at_s - first_s:.3f} s after {other}"
                self._say(Invariant.WEBHOOKS_ONE_BY_ONE, sentence, event.key)
        self.arrived[event.thread][event] = at_s
        if self.receiver.manner == "well" and not self.seen.evidence.troubles and at_s - event.since_s > _LATEST_S:
            self._say(Invariant.NOBODY_IS_HELD_UP, f"waited {at_s - event.since_s:.1f} s", event.key)

    def _asked(self, event: Public) -> bool:
        fits = event.type in self.receiver.types or "*" in self.receiver.types
        return fits and event.merchant_id == self.receiver.merchant_id and event.concerns(self.receiver)

    def _delivery(self, event: Public, row: Row | None, held_up: bool) -> bool:
        """Whether what comes after it with the same key waits with it."""
        since_s, consent = self.receiver.since_s, self.receiver.consent
        if row is None:
            due = since_s is not None and event.since_s >= since_s and self._asked(event)
            active = self.endpoint is not None and self.endpoint["status"] == "active"
            if due and active and (consent is None or consent.end_asked_s(of_payments=event.of_payments) is None):
                self._say(Invariant.WEBHOOKS_ARRIVE, f"{event} is not even waiting", event.key)
            return held_up
        assert self.endpoint is not None
        disabled, failing = self.endpoint["status"] != "active", self.endpoint["failures"] > 0
        status, has_failed = row["status"], row["tries"] > 0
        may_not = consent is not None and consent.end_asked_s(of_payments=event.of_payments) is not None
        right = {
            "delivered": event in self.understood,
            "pending": (has_failed or held_up or failing) and not disabled,
            "failed": self.receiver.manner == "gone" or may_not,
            "canceled": disabled,
        }[status]
        if not right:
            self._say(Invariant.WEBHOOKS_ARRIVE, f"{event} counts as {status} after {row['tries']} tries", event.key)
        return held_up or status == "pending"
