"""The auditor: compares the clients' journal with what there is. It knows the public contract and no service's code."""

from collections import Counter, defaultdict

from tests.chaos.audit_events import audit_events
from tests.chaos.audit_payments import audit_payments
from tests.chaos.audit_topics import audit_topics, dead_positions
from tests.chaos.evidence import Evidence, Json
from tests.chaos.findings import Findings
from tests.chaos.journal import Journal, Promised, Told

_CAPTURED, _AUTHORIZED, _REFUNDED = (
    "orders.payment_captured.v1",
    "orders.payment_authorized.v1",
    "orders.refund_recorded.v1",
)
_EVENT_OF = {"captured": _CAPTURED, "authorized": _AUTHORIZED, "refunded": _REFUNDED}


def audit(journal: Journal, evidence: Evidence) -> Findings:
    """Everything that is wrong."""
    findings = Findings(odd=list(journal.oddities))
    _Audit(journal, evidence, findings).run()
    audit_topics(journal, evidence, findings)
    audit_events(journal, evidence, findings)
    audit_payments(journal, evidence, findings)
    return findings


class _Audit:
    def __init__(self, journal: Journal, evidence: Evidence, findings: Findings) -> None:
        self.journal, self.evidence, self.findings = journal, evidence, findings
        self.events: dict[str, list[tuple[int, str, Json]]] = defaultdict(list)
        for row in evidence.tables["history"]:
            for event in row["payload"]["events"]:
                self.events[row["order_id"]].append((row["version"], event["type"], event["data"]))
        self.stored = {row["order_id"]: row for row in evidence.tables["orders"]}

    def run(self) -> None:
        self._writes()
        self._told()
        self._orders()
        self._history()
        self._commands()
        self._left_over()
        self._past()

    def _lost(self, text: str) -> None:
        self.findings.lost.append(text)

    def _double(self, text: str) -> None:
        self.findings.double.append(text)

    def _writes(self) -> None:
        """Every key has one effect, and every answer said the same."""
        made = Counter(row["external_reference"] for row in self.evidence.tables["orders"])
        effects: Counter[str] = Counter()
        for order_id, events in self.events.items():
            for _, kind, data in events:
                if kind == "orders.note_added.v1":
                    effects[f"{order_id} {data['text']}"] += 1
                elif kind == "orders.tip_set.v1":
                    effects[f"{order_id} {data['tip_minor']}"] += 1
        for one in self.journal.writes:
            match one.kind:
                case "create":
                    count = made[one.body["external_reference"]]
                case "note":
                    count = effects[f"{one.order_id} {one.body['text']}"]
                case _:
                    count = effects[f"{one.order_id} {one.body['tip_money']['amount']}"]
            self.findings.counted[f"HTTP writes: {'abandoned' if one.abandoned else one.kind}"] += 1
            self.findings.counted["HTTP writes: sent again"] += one.attempts - 1
            told = f"{one.kind} {one.key} of {one.order_id}, answered {one.status} at attempt {one.attempts}"
            if count == 0 and one.answers:
                self._lost(f"HTTP write without effect: {told}")
            if count > 1:
                self._double(f"HTTP write with {count} effects: {told}")
            if len(one.answers) > 1:
                self._double(f"HTTP write with different answers {one.answers}: {told}")

    def _told(self) -> None:
        """Every acknowledged event is on its order once, or an item, or a dead letter."""
        waiting = {
            row["payment_reference"]
            for row in self.evidence.tables["unmatched"]
            if (row["kind"], row["status"]) == ("unknown_order", "open")
        }
        dead = dead_positions(self.evidence)
        items = Counter(
            (row["payment_reference"], row["amount_minor"], row["kind"]) for row in self.evidence.tables["unmatched"]
        )
        shown = {(item["payment_reference"], item["kind"]) for item in self.evidence.shown_unmatched}
        on_topic = {
            (message.topic, message.partition, message.offset)
            for topic, messages in self.evidence.topics.items()
            for message in messages
            if topic.startswith("channels.")
        }
        for told in self.journal.told:
            topic = f"channels.{told.channel_id}.payments"
            name = f"{told.kind} {told.reference} of {told.order_id}, {told.event_id}, told at {told.positions}"
            self.findings.counted[f"channel events: {told.fate}"] += 1
            self.findings.counted["channel events: by HTTP"] += told.by_http
            self.findings.counted["channel events: repeats"] += max(0, len(told.positions) - 1)
            if not told.accepted:
                self._lost(f"never acknowledged: {name}")
                continue
            for partition, offset in told.positions:
                if (topic, partition, offset) not in on_topic:
                    self._lost(f"acknowledged, but not on the topic: {name}")
            if told.fate == "dead":
                if any((topic, str(part), str(offset)) not in dead for part, offset in told.positions):
                    self._lost(f"garbage that is no dead letter: {name}")
            elif told.fate in ("conflict", "unknown_order"):
                count = items[told.reference, told.amount, told.fate]
                if count == 0 or (told.reference, told.fate) not in shown:
                    self._lost(f"not among unmatched money ({told.fate}): {name}")
                if count > 1:
                    self._double(f"{count} items of unmatched money: {name}")
            else:
                self._applied(told, name)
                if told.external_reference is not None and told.reference in waiting:
                    self._lost(f"on its order, and still open as unmatched money: {name}")

    def _applied(self, told: Told, name: str) -> None:
        found = [
            data["amount_minor"]
            for _, kind, data in self.events.get(told.order_id or "", ())
            if kind == _EVENT_OF[told.kind]
            and data.get("payment_reference") == told.reference
            and data.get("refund_reference") == told.refund_reference
        ]
        if not found:
            self._lost(f"not on its order: {name}")
        elif len(found) > 1:
            self._double(f"on its order {len(found)} times: {name}")
        elif found != [told.amount]:
            self._lost(f"on its order with {found} instead of {told.amount}: {name}")

    def _orders(self) -> None:
        """Stored state, and what HTTP shows, are the sums of the journal."""
        for order in self.journal.orders.values():
            self.findings.counted["orders"] += 1
            row, shown = self.stored.get(order.order_id), self.evidence.shown.get(order.order_id)
            if row is None or not shown:
                self._lost(f"promised order is not there: {order.order_id}")
                continue
            if shown["version"] != row["version"]:
                self._lost(f"{order.order_id}: HTTP shows version {shown['version']}, stored is {row['version']}")
            for what, expected, actual in _sums(order, shown):
                if expected != actual:
                    self._lost(f"{order.order_id}: {what} is {actual}, the journal says {expected}")
        promised = {order.external_reference for order in self.journal.orders.values()}
        asked = {one.body["external_reference"] for one in self.journal.writes if one.kind == "create"}
        for row in self.stored.values():
            if row["external_reference"] not in promised | asked:
                self._double(f"an order that nobody asked for: {row['order_id']}")

    def _history(self) -> None:
        """Versions 1, 2, 3 … without a gap, up to the order's own."""
        versions: dict[str, list[int]] = defaultdict(list)
        for row in self.evidence.tables["history"]:
            versions[row["order_id"]].append(row["version"])
        for order_id, row in self.stored.items():
            self.findings.counted["versions"] += row["version"]
            if versions[order_id] != list(range(1, row["version"] + 1)):
                self.findings.disorder.append(f"history of {order_id} is {versions[order_id]} at {row['version']}")

    def _commands(self) -> None:
        """No command had an effect twice."""
        for row, count in Counter(
            (row["order_id"], row["payload"]["command_id"]) for row in self.evidence.tables["history"]
        ).items():
            if count > 1:
                self._double(f"command {row[1]} made {count} versions of {row[0]}")

    def _left_over(self) -> None:
        """Nothing waits to go out, nothing waits for an answer, and payments know every order as it is."""
        for name in ("orders_outbox", "payments_outbox", "apps_outbox"):
            if rows := self.evidence.tables[name]:
                self._lost(f"{name} still has {len(rows)} messages, the oldest for {rows[0]['aggregatetype']}")
        for row in self.evidence.tables["pending_webhooks"]:
            self._lost(f"{row['delivery_id']} of {row['event_id']} is not sent, after {row['tries']} tries")
        for row in self.evidence.tables["channel_events"]:
            if row["status"] == "sent":
                self._lost(f"{row['channel_event_id']} of {row['order_id']} still waits for its outcome")
        known = {row["order_id"]: row["version"] for row in self.evidence.tables["known_orders"]}
        for order_id, row in self.stored.items():
            if known.get(order_id) != row["version"]:
                self._lost(f"payments know {order_id} at {known.get(order_id)}, it is at {row['version']}")

    def _past(self) -> None:
        """An order as HTTP shows it at a version is the order that was told of with that version."""
        told = {(message.key, message.body["version"]): message for message in self.evidence.topics["orders.events"]}
        for (order_id, version), shown in self.evidence.past.items():
            self.findings.counted["past versions read"] += 1
            message = told.get((order_id, version))
            order = message.body["order"] if message else None
            for part in ("version", "pricing", "settlement", "payments", "status", "payment_status"):
                if order is None or order[part] != shown.get(part):
                    self._lost(f"{order_id} at version {version}: {part} differs between HTTP and orders.events")


def _sums(order: Promised, shown: Json) -> list[tuple[str, object, object]]:
    """What, what it must be, what it is."""
    pricing, settlement = shown["pricing"], shown["settlement"]
    captured = sum(leg.captured for leg in order.legs.values())
    refunded = sum(leg.refunded for leg in order.legs.values())
    net_total = pricing["net_total_money"]["amount"]
    legs = {leg["reference"]: leg for leg in shown["payments"] if leg["status"] != "failed"}
    sums: list[tuple[str, object, object]] = [
        ("the tip", order.tip, pricing["tip_money"]["amount"]),
        ("the total", order.price + order.tip, pricing["total_money"]["amount"]),
        ("captured", captured, settlement["captured_money"]["amount"]),
        ("refunded", refunded, settlement["refunded_money"]["amount"]),
        ("collected", captured - refunded, settlement["net_collected_money"]["amount"]),
        ("outstanding", max(0, net_total - captured + refunded), settlement["outstanding_money"]["amount"]),
        ("credit", max(0, captured - refunded - net_total), settlement["credit_money"]["amount"]),
        ("its payments", sorted(order.legs), sorted(legs)),
        ("declined payments", order.declined, len(shown["payments"]) - len(legs)),
    ]
    for reference, leg in order.legs.items():
        if (told := legs.get(reference)) is not None:
            of_leg = tuple(told[f"{name}_money"]["amount"] for name in ("captured", "refunded", "authorized"))
            sums.append((f"payment {reference}", (leg.captured, leg.refunded, leg.held), of_leg))
    return sums
