"""Payment intents, with the acquirer's ledger as the witness: nothing is collected twice, or unknown to its order."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

import orjson

from tests.simulation.auditor.findings import Invariant
from tests.simulation.auditor.ledger import Ledger, ledger_of
from tests.simulation.auditor.returns import audit_returns
from tests.simulation.auditor.seen import Seen, header, wire_type
from tests.simulation.books import Collecting
from tests.simulation.world_api import COMMANDS, NEVER_HEARD, OF_INTENTS, OUR_CHANNEL, PAYMENTS_EVENTS, Json, Row

_PROCESSOR = "sandbox"
_ENDED = ("succeeded", "canceled", "failed", "expired")
_STILL_HOLDING = ("requires_capture", "expired")
"""A leg whose capture was refused, when the others were collected already."""
_ACCEPTED = "orders.command_accepted.v1"


def audit_intents(seen: Seen) -> None:
    """When all has come to rest; the orders have been judged before."""
    _Intents(seen).judge()


@dataclass(slots=True)
class _Lease:
    """In seconds of the clock that is right: when the payments could know of it, and until when it lasts."""

    since_s: float
    until_s: float
    released_s: float = float("inf")


@dataclass(slots=True)
class _Intent:
    row: Row
    state: Json
    told: list[Json] = field(default_factory=list)

    def amount(self, name: str) -> int:
        return int(self.state.get(f"{name}_minor", 0))


class _Intents:
    def __init__(self, seen: Seen) -> None:
        self.seen, self.ledger = seen, ledger_of(seen)
        rows = seen.rows("payments.payment_intents")
        self.intents = {row["payment_intent_id"]: _Intent(row, orjson.loads(row["state"])) for row in rows}
        self.leases = _leases(seen)
        self.unheard = set(_unheard(seen, self.ledger))

    def judge(self) -> None:
        self._told()
        self._orders_know()
        self._collected_once()
        self._asked()
        self._beyond_what_was_owed()
        audit_returns(self.seen, self.ledger)
        for intent_id, intent in self.intents.items():
            self._rests(intent_id, intent)
            self._failed(intent_id, intent)
            self._says(intent_id, intent)
        self._groups()
        self._answers()

    def say(self, invariant: Invariant, sentence: str, order_id: str | None = None) -> None:
        self.seen.say(invariant, sentence, order_id)

    def _told(self) -> None:
        """First occurrences come in the order of versions, each of an intent that is there."""
        known: set[str] = set()
        for told in self.seen.topic(PAYMENTS_EVENTS):
            message_id, order_id = header(told, "ce_id"), (told.key or b"").decode()
            if not wire_type(told).startswith(OF_INTENTS) or message_id in known:
                continue
            known.add(message_id)
            body: Json = orjson.loads(told.value or b"{}")["payment_intent"]
            intent = self.intents.get(body["payment_intent_id"])
            if intent is None:
                self.say(Invariant.NOTHING_INVENTED, f"{message_id} tells of an intent that is not there", order_id)
                continue
            if intent.told and intent.told[-1]["version"] > body["version"]:
                self.say(Invariant.FIRST_IN_ORDER, f"{message_id} came after {intent.told[-1]['version']}", order_id)
            intent.told.append(body)

    def _orders_know(self) -> None:
        """Every payment of the acquirer is a payment of its order, with the same sums, and the other way round."""
        for name, account in self.ledger.accounts.items():
            payment = self.ledger.payments[name]
            fold = self.seen.folds.get(payment["order_id"])
            legs = [leg for leg in fold.legs.values() if leg.reference == name] if fold else []
            there = (sum(leg.held for leg in legs), sum(leg.captured for leg in legs))
            if there != (account.held, account.collected):
                said = (
                    f"{name}: the acquirer has {(account.held, account.collected)} (held, collected), its order {there}"
                )
                self.say(Invariant.LEDGER_IS_ON_ORDERS, said, payment["order_id"])
            if payment["payment_intent_id"] not in self.intents:
                self.say(Invariant.NOTHING_INVENTED, f"{name} was paid for no intent", payment["order_id"])
        for order_id, fold in self.seen.folds.items():
            for leg in fold.legs.values():
                if leg.reference.startswith("sbp_") and leg.reference not in self.ledger.payments:
                    self.say(Invariant.NOTHING_INVENTED, f"the acquirer knows nothing of {leg.reference}", order_id)

    def _collected_once(self) -> None:
        collected: Counter[str] = Counter()
        for name, account in self.ledger.accounts.items():
            collected[self.ledger.payments[name]["order_id"]] += account.held + account.collected
        for order_id in self.seen.books.by_intents & self.seen.folds.keys():
            fold, wanted = self.seen.folds[order_id], self.seen.books.wanted[order_id]
            most = max(collected[order_id], fold.captured + fold.authorized)
            if most > wanted.total:
                self.say(Invariant.COLLECTED_ONCE, f"{most} held and collected of {wanted.total}", order_id)
        for intent_id, times in self.ledger.approved.items():
            if times > 1:
                self.say(Invariant.COLLECTED_ONCE, f"{intent_id} was authorized {times} times")

    def _asked(self) -> None:
        """Where the acquirer acted, the attempt had been saved, and a lease was there, before it was asked."""
        asked = {}
        for question in self.seen.evidence.questions:
            asked.setdefault((question.attempt_id, question.operation), question)
            if not question.saved:
                self.say(Invariant.SAVED_BEFORE_ASKED, f"{question.attempt_id} was asked unsaved", question.order_id)
        for attempt in self.ledger.acted:
            question, payment = (
                asked.get((attempt["attempt_id"], "authorize")),
                self.ledger.payments[attempt["payment_id"]],
            )
            if question is None:
                self.say(Invariant.NOTHING_INVENTED, f"nobody asked for {attempt['attempt_id']}", payment["order_id"])
                continue
            leases = self.leases.get(payment["payment_intent_id"], ())
            at_s = question.at_s
            if not any(each.since_s <= at_s <= min(each.until_s, each.released_s) for each in leases):
                said = f"{attempt['attempt_id']} of {payment['payment_intent_id']} was asked for at {at_s:.3f} s"
                self.say(Invariant.LEASED_BEFORE_ASKED, f"{said} without a lease", payment["order_id"])

    def _beyond_what_was_owed(self) -> None:
        """What an order said it was not owed, when told of it, is one item, of as much; of all where it had ended."""
        beyond: dict[str, int] = {}
        for key, reply in self.seen.replies.items():
            asked = self.seen.asked.get(key)
            if asked is not None and key[1].startswith("pi_") and asked.kind == "record_capture":
                facts = orjson.loads(reply.value or b"{}").get("facts") or {}
                whole = asked.body["amount_minor"] if "order_status" in facts else 0
                if not_owed := whole or facts.get("surplus_minor"):
                    beyond[key[1]] = not_owed
        ours = [row for row in self.seen.rows("payments.unmatched_money") if row["channel_id"] == OUR_CHANNEL]
        rows = [row for row in ours if row["split_from"] is None]
        items = {row["event_id"]: row["amount_minor"] for row in rows}
        if items != beyond or len(items) < len(rows):
            self.say(Invariant.UNMATCHED_AS_EXPECTED, f"beyond what was owed came {beyond}, items are of {items}")

    def _rests(self, intent_id: str, intent: _Intent) -> None:
        order_id = intent.row["order_id"]
        if intent_id in self.unheard:
            if intent.row["settled"]:
                self.say(Invariant.TRIED_AGAIN, f"{intent_id} is {intent.row['status']}, and was not heard", order_id)
        elif not intent.row["settled"]:
            self.say(Invariant.INTENTS_COME_TO_REST, f"{intent_id} is {intent.row['status']} for ever", order_id)
        fold = self.seen.folds.get(order_id)
        if fold is not None and intent.row["status"] != "requires_action":
            kept = [name for name, lease in fold.leases.items() if lease.holder["id"] == intent_id]
            if kept:
                self.say(Invariant.INTENTS_COME_TO_REST, f"{intent_id} rests and leases {kept}", order_id)

    def _says(self, intent_id: str, intent: _Intent) -> None:
        order_id, sums = intent.row["order_id"], (intent.amount("authorized"), intent.amount("captured"))
        fold = self.seen.folds.get(order_id)
        payments = [leg for leg in fold.legs.values() if leg.payment_id in _payments(intent)] if fold else []
        there = (sum(leg.held for leg in payments), sum(leg.captured for leg in payments))
        if there != sums:
            self.say(Invariant.INTENTS_SAY_WHAT_IS, f"{intent_id} says {sums}, its order {there}", order_id)
        if intent.state.get("connector") == _PROCESSOR:
            account = self.ledger.of_intent(intent_id)
            if (account.held, account.collected) != sums:
                self.say(Invariant.INTENTS_SAY_WHAT_IS, f"{intent_id} says {sums}, the acquirer {account}", order_id)
        if intent.row["status"] in _ENDED or (intent.row["settled"] and intent.told):
            told = [(body["status"], body["captured_money"]["amount"]) for body in intent.told]
            right = (intent.row["status"], sums[1])
            if right not in told[-1:]:
                self.say(Invariant.INTENTS_SAY_WHAT_IS, f"{intent_id} is {right}, told was {told}", order_id)

    def _failed(self, intent_id: str, intent: _Intent) -> None:
        """The order refused it, or a processor declined."""
        refused = any(
            command_id.startswith(f"{intent_id}.") and wire_type(reply) != _ACCEPTED
            for (_, command_id), reply in self.seen.replies.items()
        )
        if intent.row["status"] == "failed" and not refused and intent.state.get("last_decline") is None:
            self.say(Invariant.NO_FALSE_END, f"{intent_id} failed, and nobody said no", intent.row["order_id"])

    def _groups(self) -> None:
        groups: dict[str, list[str]] = defaultdict(list)
        for intent_id, intent in self.intents.items():
            if intent.state.get("legs", 1) > 1 and not intent.state.get("keep_successful_legs"):
                groups[intent.row["group_id"]].append(intent_id)
        first = _first_of_each(
            self.ledger.collected_first, {each: group for group, ids in groups.items() for each in ids}
        )
        for group, ids in groups.items():
            members = [self.intents[each] for each in ids]
            empty = [each for each in members if not each.amount("captured")]
            gone = [each for each in empty if each.row["status"] not in _STILL_HOLDING]
            if len(empty) < len(members) and gone:
                self.say(Invariant.ALL_OR_NONE, f"some of {ids} were collected, some not", members[0].row["order_id"])
            by_card = {each for each in ids if self.intents[each].state.get("connector") == _PROCESSOR}
            if group in first and not by_card <= first[group]:
                early = f"of {ids} one was collected before {sorted(by_card - first[group])} were held"
                self.say(Invariant.ALL_OR_NONE, early, members[0].row["order_id"])

    def _answers(self) -> None:
        """A key makes the same intents whenever it is asked, and no more than it asks for."""
        may: Counter[str] = Counter()
        for one in self.seen.books.collecting:
            made = {ids for ids in map(_ids, one.answers) if ids}
            if len(made) > 1:
                self.say(Invariant.ANSWERS_STAY, f"{one.path} {one.key} made {made}")
            may[_order_of(one)] += one.makes
            for shown in (each for _, body in one.answers for each in _intents_in(body)):
                intent = self.intents.get(shown["payment_intent_id"])
                if intent is not None and shown.get("status") in _ENDED and shown["status"] != intent.row["status"]:
                    sentence = f"{one.path} {one.key} said {shown['status']}, it is {intent.row['status']}"
                    self.say(Invariant.NO_FALSE_END, sentence, one.order)
            for intent_id in {each for ids in made for each in ids} - self.intents.keys():
                self.say(Invariant.NOTHING_LOST, f"{intent_id} was promised and is not there", one.order)
        there = Counter(intent.row["order_id"] for intent in self.intents.values())
        for order_id, count in there.items():
            if count > may[order_id]:
                self.say(Invariant.NOTHING_INVENTED, f"{count} intents, asked for were {may[order_id]}", order_id)


def _unheard(seen: Seen, ledger: Ledger) -> Iterator[str]:
    """Intents that somebody was told are being captured or canceled, of which the acquirer never hears."""
    asked = {one.path for one in seen.books.collecting if any(status in (200, 202) for status, _ in one.answers)}
    for payment in ledger.payments.values():
        operation = NEVER_HEARD.get(payment["token"])
        wish = "cancel" if operation == "void" else operation
        if f"/v1/payment-intents/{payment['payment_intent_id']}/{wish}" in asked:
            yield payment["payment_intent_id"]


def _leases(seen: Seen) -> dict[str, list[_Lease]]:
    """By intent, from what the payments asked and what they were answered."""
    found: dict[str, dict[str, _Lease]] = defaultdict(dict)
    for (order_id, command_id), asked in seen.asked.items():
        reply = seen.replies.get((order_id, command_id))
        if (
            reply is None
            or wire_type(reply) != _ACCEPTED
            or asked.body.get("holder", {}).get("type") != "payment_intent"
        ):
            continue
        leases, body = found[asked.body["holder"]["id"]], asked.body
        if asked.kind == "acquire_lease":
            leases[body["lease_id"]] = _Lease(reply.at_s, reply.at_s + body["term_s"])
        elif asked.kind == "extend_lease":
            leases[body["lease_id"]].until_s = reply.at_s + body["term_s"]
    for told in seen.topic(COMMANDS):
        if wire_type(told) == "orders.release_lease.v1":
            body = orjson.loads(told.value or b"{}")
            lease = found.get((body.get("holder") or {}).get("id", ""), {}).get(body["lease_id"])
            if lease is not None:
                lease.released_s = min(lease.released_s, told.at_s)
    return {intent_id: list(leases.values()) for intent_id, leases in found.items()}


def _payments(intent: _Intent) -> set[str]:
    """The payments on the order that its tries were."""
    return {body["payment_id"] for body in intent.told if body.get("payment_id")}


def _first_of_each(collected: list[tuple[str, frozenset[str]]], group_of: dict[str, str]) -> dict[str, frozenset[str]]:
    found: dict[str, frozenset[str]] = {}
    for intent_id, held in collected:
        if intent_id in group_of:
            found.setdefault(group_of[intent_id], held)
    return found


def _intents_in(body: Json) -> Iterator[Json]:
    data = body.get("data", {})
    yield from data.get("payment_intents", [data] if "payment_intent_id" in data else [])


def _ids(answer: tuple[int, Json]) -> tuple[str, ...]:
    return tuple(each["payment_intent_id"] for each in _intents_in(answer[1]))


def _order_of(one: Collecting) -> str:
    made = (each["order_id"] for _, body in one.answers for each in _intents_in(body))
    return one.order or next(made, "")
