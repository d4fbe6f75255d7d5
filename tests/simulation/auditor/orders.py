"""Every order is reckoned again from its published events, and every command's outcome from the rules."""

from collections.abc import Iterable
from datetime import datetime

import orjson

from tests.simulation.auditor import rules
from tests.simulation.auditor.findings import Invariant
from tests.simulation.auditor.fold import Fold
from tests.simulation.auditor.parts import moment, wire_name
from tests.simulation.auditor.seen import Asked, CommandKey, Outcome, Placed, Seen, header
from tests.simulation.auditor.sums import reckoned, shown
from tests.simulation.books import Fact
from tests.simulation.world_api import OUR_CHANNEL, Json, Told

_BALANCES = ("balance_before", "balance_after")
_ANNOUNCEMENTS = ("order_paid", "order_partially_paid", "order_overpaid")
_SUMS = ("authorized", "captured", "refunded")
_CHANNEL_FACTS = {
    "payment_authorized": "authorized",
    "payment_captured": "captured",
    "payment_failed": "failed",
    "payment_voided": "voided",
    "refund_recorded": "refunded",
}
_NOTED, _EXPIRED = "orders.note_added.v1", "orders.lease_expired.v1"
"""Leases are written off by the service itself."""
_NOTHING: dict[str, Outcome] = {}


def audit_orders(seen: Seen) -> None:
    """All orders that there are, and all outcomes that there are of others."""
    for order_id in sorted(seen.history.keys() | seen.orders.keys() | seen.events.keys() | seen.outcomes.keys()):
        _Order(seen, order_id).judge()
    _outcomes_are_there(seen)


class _Order:
    def __init__(self, seen: Seen, order_id: str) -> None:
        self.seen, self.order_id = seen, order_id
        self.fold = seen.folds[order_id] = Fold()
        self.outcomes = seen.outcomes.get(order_id, _NOTHING)
        self.makers: set[str] = set()
        self.first: str | None = None
        """The command that made the order."""

    def say(self, invariant: Invariant, sentence: str) -> None:
        self.seen.say(invariant, sentence, self.order_id)

    def judge(self) -> None:
        rows, told = self.seen.history.get(self.order_id, []), self.seen.events.get(self.order_id, {})
        if [row["version"] for row in rows] != list(range(1, len(rows) + 1)):
            self.say(Invariant.VERSIONS_GAP_FREE, f"its history has {[row['version'] for row in rows]}")
            return
        if extra := told.keys() - set(range(1, len(rows) + 1)):
            self.say(Invariant.NOTHING_INVENTED, f"versions {sorted(extra)} were told of and are not in its history")
        if self.seen.finished and len(told) < len(rows):
            self.say(Invariant.NOTHING_LOST, f"{len(rows)} versions, only {sorted(told)} on orders.events")
        payloads = [orjson.loads(row["payload"]) for row in rows]
        self.makers = {payload["command_id"] for payload in payloads}
        self.first = payloads[0]["command_id"] if payloads else None
        if len(self.makers) < len(payloads):
            self.say(Invariant.NOTHING_TWICE, "one command made two versions")
        answered = self._answered_without_effect()
        try:
            for version, payload in enumerate(payloads, start=1):
                self._version(version, payload, told.get(version))
                for command_id, outcome in answered.pop(version, ()):
                    self._without_effect(command_id, outcome)
        except (KeyError, TypeError, ValueError) as fault:
            self.say(Invariant.HISTORY_FOLDS_TO_STATE, f"its history does not fold: {fault!r}")
            return
        self._refused_unseen(answered.pop(0, ()))
        if answered:
            self.say(Invariant.DOES_WHAT_IT_SAYS, f"outcomes name the versions {sorted(answered)}, which are not there")
        self._stored(len(rows))

    def _answered_without_effect(self) -> dict[int, list[tuple[str, Outcome]]]:
        """By the version at which they were answered: refused, or already so."""
        found: dict[int, list[tuple[str, Outcome]]] = {}
        for command_id, outcome in self.outcomes.items():
            if command_id not in self.makers:
                found.setdefault(outcome.version, []).append((command_id, outcome))
        return found

    def _version(self, version: int, payload: Json, told: Told | None) -> None:
        fold, at = self.fold, moment(payload["recorded_at"])
        asked = self.seen.asked.get((self.order_id, payload["command_id"]))
        if asked is not None:
            self._made(asked, payload, at)
        elif self.order_id not in self.seen.by_http and payload["events"][0]["type"] != _EXPIRED:
            self.say(Invariant.NOTHING_INVENTED, f"nobody asked for version {version}")
        balance, status = fold.balance, fold.announced_status if version > 1 else "unpaid"
        fold.apply(payload["events"], at)
        kinds = [wire_name(event["type"]) for event in payload["events"]]
        self._outcome_of_maker(version, payload["command_id"], max(0, -fold.balance) - max(0, -balance))
        self._rules_of_money(kinds, at)
        self._announced(kinds, status, balance, payload["events"])
        balances = tuple(payload[name]["amount"] for name in _BALANCES)
        if balances != (balance, fold.balance) or payload["previous_version"] != version - 1:
            self.say(Invariant.IDENTITIES, f"version {version}: balances {balances}, not {(balance, fold.balance)}")
        self._place(version, payload["events"])
        if version == 1:
            self._as_asked()
        if told is not None:
            self._told(version, payload, told, at)

    def _made(self, asked: Asked, payload: Json, at: datetime) -> None:
        """The command had to be accepted, and the version is what it asked for."""
        first, name = payload["events"][0], payload["command_id"]
        if self.fold.version == 0:
            right = rules.MADE if asked.kind == "create_order" else "NOT_FOUND"
        elif asked.merchant_id != self.fold.merchant_id:
            right = "NOT_FOUND"
        else:
            right = rules.expected(self.fold, asked.kind, asked.body, at)
        if right != rules.MADE:
            self.say(_invariant_of(asked, right), f"{asked.kind} {name} made version {payload['version']}, not {right}")
        if wire_name(first["type"]) != rules.LEADING_EVENT.get(asked.kind):
            self.say(Invariant.DOES_WHAT_IT_SAYS, f"{asked.kind} {name} made {first['type']}")
        elif field := rules.carried_over(asked.kind, asked.body, first["data"]):
            self.say(Invariant.DOES_WHAT_IT_SAYS, f"{asked.kind} {name}: {field} is another in its event")

    def _outcome_of_maker(self, version: int, command_id: str, surplus: int) -> None:
        outcome = self.outcomes.get(command_id)
        if outcome is None:
            self.say(Invariant.OUTCOME_RECORDED, f"{command_id} made version {version}, and no outcome is recorded")
            return
        if (outcome.version, outcome.code) != (version, None):
            recorded = f"{outcome.code or 'accepted'} at {outcome.version}"
            self.say(Invariant.DOES_WHAT_IT_SAYS, f"{command_id} made version {version}, recorded is {recorded}")
        self._facts(command_id, outcome, max(0, surplus))

    def _facts(self, command_id: str, outcome: Outcome, surplus: int) -> None:
        ended = self.fold.status in ("closed", "canceled")
        right = ({"surplus_minor": surplus} if surplus else {}) | ({"order_status": self.fold.status} if ended else {})
        if outcome.facts != right:
            self.say(Invariant.OUTCOME_BY_THE_RULES, f"{command_id} was told {outcome.facts}, not {right}")

    def _without_effect(self, command_id: str, outcome: Outcome) -> None:
        asked = self.seen.asked.get((self.order_id, command_id))
        if asked is None or asked.merchant_id != self.fold.merchant_id:
            if asked is not None:
                self.say(Invariant.OUTCOME_BY_THE_RULES, f"{command_id} is another merchant's and saw the order")
            return
        right = rules.expected(self.fold, asked.kind, asked.body, outcome.at)
        said = outcome.code or rules.ALREADY
        if said != right:
            invariant = _invariant_of(asked, said)
            self.say(invariant, f"{asked.kind} {command_id} at version {outcome.version}: {said}, not {right}")
        if outcome.code is None:
            self._facts(command_id, outcome, 0)

    def _refused_unseen(self, answered: Iterable[tuple[str, Outcome]]) -> None:
        """Only who asked before the order was there, or for another merchant, is told that it is not."""
        created = self.seen.asked.get((self.order_id, self.first)) if self.first else None
        for command_id, outcome in answered:
            asked = self.seen.asked.get((self.order_id, command_id))
            if outcome.code != "NOT_FOUND":
                self.say(Invariant.OUTCOME_BY_THE_RULES, f"{command_id} got {outcome.code or 'accepted'} of no order")
            elif asked and created and asked.merchant_id == self.fold.merchant_id:
                later = asked.partition == created.partition and asked.offset > created.offset
                if later:
                    self.say(Invariant.OUTCOME_BY_THE_RULES, f"{command_id} came after its order and did not find it")

    def _rules_of_money(self, kinds: list[str], at: datetime) -> None:
        fold = self.fold
        if "lease_granted" in kinds:
            taken, owed = fold.leased(at) + fold.authorized, max(0, fold.balance)
            if taken > owed:
                self.say(Invariant.LEASES_NOT_OVER_GRANTED, f"version {fold.version}: {taken} taken of {owed}")
        if fold.only_leased and fold.balance < 0:
            self.say(Invariant.HOLDERS_DO_NOT_OVER_COLLECT, f"version {fold.version}: {-fold.balance} too much")
        if "order_canceled" in kinds and (fold.authorized or fold.net_collected > 0):
            self.say(Invariant.CANCELED_OWES_NOTHING, f"canceled at version {fold.version} while it held money")
        if fold.status == "canceled" and fold.total != fold.returned:
            self.say(Invariant.CANCELED_OWES_NOTHING, f"version {fold.version}: it is worth something")
        if "refund_reserved" in kinds and fold.reserved > fold.net_collected:
            reserved = f"{fold.reserved} reserved of {fold.net_collected}"
            self.say(Invariant.REFUNDS_WITHIN_COLLECTED, f"version {fold.version}: {reserved}")

    def _announced(self, kinds: list[str], before: str, balance: int, events: list[Json]) -> None:
        after, credit = self.fold.announced_status, max(0, -self.fold.balance)
        right = f"order_{after}" if after != before and after in ("paid", "partially_paid") else None
        if after == "overpaid":
            right = "order_overpaid" if credit > max(0, -balance) else None
        said = [event for kind, event in zip(kinds, events, strict=True) if kind in _ANNOUNCEMENTS]
        names = [wire_name(event["type"]) for event in said]
        if names != ([right] if right else []):
            self.say(Invariant.ANNOUNCED, f"version {self.fold.version}: {names}, not {right or 'nothing'}")
        elif right == "order_overpaid" and said[0]["data"]["credit_minor"] != credit:
            self.say(Invariant.ANNOUNCED, f"version {self.fold.version}: a credit of another size")

    def _place(self, version: int, events: list[Json]) -> None:
        for event in events:
            if event["type"] == _NOTED:
                self.seen.notes[event["data"]["text"]] += 1
            kind, data = _CHANNEL_FACTS.get(wire_name(event["type"])), event["data"]
            channel_id = data.get("tender", {}).get("channel_id")
            # What went back of an intent's money no channel told: `audit_returns` judges it.
            if kind is not None and channel_id not in (None, OUR_CHANNEL):
                detail = data.get("refund_reference" if kind == "refunded" else "capture_reference")
                fact: Fact = (channel_id, kind, data["payment_reference"], detail)
                fold, amount = self.fold, data.get("amount_minor")
                placed = Placed(self.order_id, fold.merchant_id, version, amount, fold.currency)
                self.seen.placed[fact].append(placed)

    def _as_asked(self) -> None:
        wanted, fold = self.seen.books.wanted.get(self.order_id), self.fold
        if wanted is None:
            return
        right = (wanted.merchant_id, wanted.currency, wanted.total, wanted.external_reference)
        is_so = (fold.merchant_id, fold.currency, fold.total, fold.details.get("external_reference"))
        if is_so != right:
            self.say(Invariant.ORDER_AS_ASKED, f"it began as {is_so}, asked was {right}")

    def _told(self, version: int, payload: Json, told: Told, at: datetime) -> None:
        message = orjson.loads(told.value or b"{}")
        order, cause, first = message.pop("order"), payload.pop("command_id"), payload["events"][0]["type"]
        if message != payload:
            self.say(Invariant.HISTORY_IS_TOLD, f"version {version} is told otherwise than it is recorded")
        if (header(told, "ce_type"), header(told, "ce_causationid")) != (first, cause):
            self.say(Invariant.HISTORY_IS_TOLD, f"version {version} has another type or cause")
        if order is not None:
            said, right = shown(order), reckoned(self.fold, at)
            if said != right:
                differ = {name: (said[name], right[name]) for name in right if said[name] != right[name]}
                self.say(Invariant.IDENTITIES, f"version {version} (shown, right): {differ}")

    def _stored(self, versions: int) -> None:
        """The row, and the state in it."""
        row = self.seen.orders.get(self.order_id)
        if row is None or not versions:
            if row is not None or versions:
                self.say(Invariant.HISTORY_FOLDS_TO_STATE, "there is a row or a history, but not both")
            return
        fold = self.fold
        right = (versions, fold.status, fold.payment_status, fold.refund_status, fold.total, fold.merchant_id)
        names = ("version", "status", "payment_status", "refund_status", "total_minor", "merchant_id")
        is_so = tuple(row[name] for name in names)
        if is_so != right or row["external_reference"] != fold.details.get("external_reference"):
            self.say(Invariant.HISTORY_FOLDS_TO_STATE, f"stored is {is_so}, its history gives {right}")
        state = orjson.loads(row["state"])
        kept = (state["version"], state["returned"], state["tip"], *map(state["settlement"].get, _SUMS))
        owes = (versions, fold.returned, fold.tip, fold.authorized, fold.captured, fold.refunded)
        leases = {lease["lease_id"]: lease["amount"] - lease["used"] for lease in state["leases"]}
        if kept != owes or leases != {lease_id: lease.rest for lease_id, lease in fold.leases.items()}:
            self.say(Invariant.HISTORY_FOLDS_TO_STATE, f"its state is {kept} {leases}, its history gives {owes}")


def _invariant_of(asked: Asked, said: str) -> Invariant:
    if asked.kind in rules.FACTS and said not in (rules.ALREADY, *rules.FACT_REFUSALS):
        return Invariant.FACTS_ARE_TAKEN
    return Invariant.OUTCOME_BY_THE_RULES


def _outcomes_are_there(seen: Seen) -> None:
    """Whatever was asked is recorded once and answered, in the same words."""
    for command_key in seen.asked:
        order_id, command_id = command_key
        outcome, reply = seen.outcomes.get(order_id, _NOTHING).get(command_id), seen.replies.get(command_key)
        if outcome is None:
            if seen.finished or reply is not None:
                seen.say(Invariant.OUTCOME_RECORDED, f"command {command_id} has no recorded outcome", order_id)
        elif reply is not None:
            _same_outcome(seen, command_key, outcome, reply)
        elif seen.finished:
            seen.say(Invariant.ONE_OUTCOME, f"command {command_id} has no reply", order_id)
    for (order_id, command_id), heard in seen.books.heard.items():
        outcome = seen.outcomes.get(order_id, _NOTHING).get(command_id)
        if seen.only(order_id) and (outcome is None or _in_short(heard) != (outcome.version, outcome.code)):
            seen.say(Invariant.ONE_OUTCOME, f"somebody read another outcome of {command_id}", order_id)


def _same_outcome(seen: Seen, command_key: CommandKey, outcome: Outcome, reply: Told) -> None:
    body = orjson.loads(reply.value or b"{}")
    accepted = header(reply, "ce_type") == "orders.command_accepted.v1"
    about = (body["order_id"], body["command_id"])
    if _in_short(body) != (outcome.version, outcome.code) or body["facts"] != outcome.facts or about != command_key:
        seen.say(
            Invariant.ONE_OUTCOME, f"command {command_key[1]} was answered otherwise than recorded", command_key[0]
        )
    if accepted != (outcome.code is None):
        seen.say(Invariant.ONE_OUTCOME, f"the reply to {command_key[1]} is of the wrong type", command_key[0])


def _in_short(reply: Json) -> tuple[int, str | None]:
    return reply["order_version"], reply.get("code")
