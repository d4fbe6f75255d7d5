"""The auditor's look at payment intents: the clients' answers, the acquirer's own ledger, the orders, and what was told
of intents, say the same."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate

from tests.chaos.audit_topics import OF_INTENTS, first_of_each
from tests.chaos.evidence import Evidence, Json
from tests.chaos.findings import Findings
from tests.chaos.journal import Collecting, Journal

_CAPTURED, _AUTHORIZED = "orders.payment_captured.v1", "orders.payment_authorized.v1"
_MAKES_AN_INTENT = ("pay", "rival", "hold")
_END_TOLD = {"succeeded": "succeeded", "canceled": "canceled", "failed": "failed", "requires_payment_method": "failed"}
"""As what an intent's end, or a try that came to nothing, is told."""
_AT_REST = {*_END_TOLD, "requires_capture"}


def audit_payments(journal: Journal, evidence: Evidence, findings: Findings) -> None:
    """Everything that is wrong with money that was collected through intents."""
    _Payments(journal, evidence, findings).run()


@dataclass
class _Account:
    """What the acquirer's ledger says of one payment."""

    held: int = 0
    collected: int = 0
    holds: list[int] = field(default_factory=list)
    collections: list[int] = field(default_factory=list)
    """Each amount, also of a sale."""


class _Payments:
    def __init__(self, journal: Journal, evidence: Evidence, findings: Findings) -> None:
        self.journal, self.evidence, self.findings = journal, evidence, findings
        self.intents = {intent["payment_intent_id"]: intent for intent in evidence.shown_intents}
        self.acquired = {row["payment_id"]: row for row in evidence.tables["acquired"]}
        self.said: dict[tuple[str, int], Json] = {}
        """What was first heard of an intent's version."""

    def run(self) -> None:
        self._ledger()
        self._once()
        self._orders()
        self._rest()
        for one in self.journal.collecting:
            self._answered(one)
        self._asked()
        self._told()

    @cached_property
    def accounts(self) -> dict[str, _Account]:
        found: dict[str, _Account] = defaultdict(_Account)
        for row in self.evidence.tables["ledger"]:
            account, amount = found[row["payment_id"]], row["amount_minor"]
            if row["account"] == "held":
                account.held += amount
                account.holds += [amount] if row["kind"] == "hold" else []
            elif row["account"] == "merchant":
                account.collected += amount
                account.collections.append(amount)
        return dict(found)

    def _account(self, intent: Json) -> _Account:
        return self.accounts.get(intent["payment_reference"] or "", _Account())

    @cached_property
    def recorded(self) -> dict[tuple[str, str, str], list[tuple[int, int]]]:
        """By type, order and payment: in which version the order recorded which amount."""
        found = defaultdict(list)
        for row in self.evidence.tables["history"]:
            for event in row["payload"]["events"]:
                if event["type"] in (_CAPTURED, _AUTHORIZED):
                    about, order_id = event["data"], row["order_id"]
                    place = event["type"], order_id, about["payment_reference"]
                    found[place].append((row["version"], about["amount_minor"]))
        return dict(found)

    def _ledger(self) -> None:
        """Movements add up, and each payment is known to its intent, with the same sums."""
        sums: Counter[str] = Counter()
        for row in self.evidence.tables["ledger"]:
            sums[row["movement_id"]] += row["amount_minor"]
        self.findings.lost += [f"{name} of the ledger is {rest} out" for name, rest in sums.items() if rest]
        for name, row in self.acquired.items():
            self.findings.counted["payments at the acquirer"] += 1
            intent = self.intents.get(row["payment_intent_id"])
            if intent is None or intent["payment_reference"] != name:
                self.findings.double.append(
                    f"{name} is at the acquirer for {row['payment_intent_id']}, which is not its"
                )
        for intent_id, intent in self.intents.items():
            account = self._account(intent)
            sums_there = (intent["authorized_money"]["amount"], intent["captured_money"]["amount"])
            if sums_there != (account.held, account.collected):
                self.findings.lost.append(
                    f"{intent_id} has {sums_there} (held, collected), the acquirer {(account.held, account.collected)}"
                )

    def _once(self) -> None:
        """No intent was authorized twice, and no order was collected beyond its price."""
        for intent_id, times in Counter(row["payment_intent_id"] for row in self.acquired.values()).items():
            if times > 1:
                self.findings.double.append(f"{intent_id} was authorized {times} times")
        collected: Counter[str] = Counter()
        for name, account in self.accounts.items():
            collected[self.acquired.get(name, {}).get("order_id", name)] += account.held + account.collected
        for order_id, amount in collected.items():
            order = self.journal.orders.get(order_id)
            if order is None or amount > order.price:
                self.findings.double.append(f"{amount} held and collected of {order_id}: {order}")

    def _orders(self) -> None:
        """Each amount that the acquirer held or collected is on its order once, and nothing else is."""
        there = {(row["order_id"], name) for name, row in self.acquired.items()}
        for order_id, shown in self.evidence.shown.items():
            for leg in shown["payments"]:
                if leg.get("payment_intent_id") and leg["status"] != "failed":
                    there.add((order_id, leg["reference"]))
        for order_id, name in sorted(there):
            account = self.accounts.get(name, _Account())
            for what, moved, kind in (
                ("held", account.holds, _AUTHORIZED),
                ("collected", account.collections, _CAPTURED),
            ):
                recorded = [amount for _, amount in self.recorded.get((kind, order_id, name), ())]
                self._amounts(f"{what} of {name}", moved, recorded, order_id)
            held = self._leg(order_id, name).get("authorized_money", {}).get("amount")
            if held != account.held:
                self.findings.lost.append(f"{order_id} shows {held} held of {name}, the acquirer holds {account.held}")

    def _leg(self, order_id: str, name: str) -> Json:
        legs: list[Json] = self.evidence.shown.get(order_id, {}).get("payments", [])
        return next((leg for leg in legs if leg["reference"] == name), {})

    def _amounts(self, what: str, moved: list[int], recorded: list[int], order_id: str) -> None:
        if missing := Counter(moved) - Counter(recorded):
            self.findings.lost.append(f"{what}, and not on {order_id}: {sorted(missing.elements())}")
        if extra := Counter(recorded) - Counter(moved):
            self.findings.double.append(f"{what} by {order_id}, and not by the acquirer: {sorted(extra.elements())}")

    def _rest(self) -> None:
        """Nothing is under way, and nothing is unknown."""
        for row in self.evidence.tables["intents"]:
            intent = self.intents.get(row["payment_intent_id"])
            self.findings.counted[f"payment intents: {row['status']}"] += 1
            if intent is None:
                self.findings.lost.append(f"{row['payment_intent_id']} is not among the intents that HTTP lists")
            elif not row["settled"] or intent["status"] not in _AT_REST:
                self.findings.lost.append(f"{row['payment_intent_id']} did not come to rest: it is {intent['status']}")
        for row in self.evidence.tables["attempts"]:
            self.findings.counted["attempts at the acquirer"] += 1
            if row["status"] != "ended":
                self.findings.lost.append(f"{row['attempt_id']} of {row['payment_intent_id']} is {row['status']}")

    def _answered(self, one: Collecting) -> None:
        """Whatever was answered was so, and what was final stays."""
        name = f"{one.kind} {one.key} of {one.order_id}"
        self.findings.counted[f"payment requests: {one.kind}"] += 1
        self.findings.counted["payment requests: sent again"] += one.attempts - 1
        finals = [answer for answer in one.answers if answer.final]
        if not finals:
            self.findings.lost.append(f"never answered: {name}")
        if any(answer != finals[0] for answer in finals):
            self.findings.double.append(f"answered in different ways: {name}: {finals}")
        made = {tuple(intent["payment_intent_id"] for intent in answer.intents) for answer in one.answers} - {()}
        if len(made) > 1:
            self.findings.double.append(f"{name} is of {made}")
        for answer in one.answers:
            for said in answer.intents:
                self._same(said, f"an answer to {name}")
        for said in (said for answer in finals for said in answer.intents):
            self._is_on_the_order(said, name)

    def _is_on_the_order(self, said: Json, name: str) -> None:
        """What an answer calls collected is on the order by the version that it names."""
        recorded = self.recorded.get((_CAPTURED, said["order_id"], said["payment_reference"] or ""), ())
        found = sum(amount for version, amount in recorded if version <= (said["order_version"] or 0))
        if found != said["captured_money"]["amount"]:
            said_so = f"{said['captured_money']['amount']} at version {said['order_version']}"
            self.findings.lost.append(f"{name} was told of {said_so}, where its order has {found}")

    def _asked(self) -> None:
        """There is no intent that nobody asked for; and none has changed since its client was last answered."""
        may = Counter(one.order_id for one in self.journal.collecting if one.kind in _MAKES_AN_INTENT)
        for order_id, count in Counter(intent["order_id"] for intent in self.intents.values()).items():
            if count > may[order_id]:
                self.findings.double.append(f"{count} intents for {order_id}, asked for were {may[order_id]}")
        newest: dict[str, int] = defaultdict(int)
        for one in self.journal.collecting:
            for answer in one.answers:
                for said in answer.intents if answer.final else ():
                    intent_id = said["payment_intent_id"]
                    newest[intent_id] = max(newest[intent_id], said["version"])
        for intent_id, version in newest.items():
            now = self.intents.get(intent_id, {}).get("version")
            if now != version:
                self.findings.lost.append(f"{intent_id} was answered for good at version {version}, and is at {now}")

    def _told(self) -> None:
        """Each intent was told of as what it went through, once, in order; as unknown once for an attempt at most."""
        told: dict[str, list[tuple[int, str]]] = defaultdict(list)
        for message_id, message in first_of_each(self.evidence.topics["payments.events"]).items():
            kind = message.headers.get("ce_type", "")
            if not kind.startswith(OF_INTENTS):
                continue
            said = message.body["payment_intent"]
            if (said["payment_intent_id"], said["order_id"]) != (message.headers["ce_subject"], message.key):
                self.findings.double.append(f"{message_id} tells of {said['payment_intent_id']}")
            self._same(said, f"message {message_id}")
            what = kind.removeprefix(OF_INTENTS).removesuffix(".v1")
            told[said["payment_intent_id"]].append((said["version"], what))
        for intent_id in told.keys() - self.intents.keys():
            self.findings.double.append(f"payments.events tells of {intent_id}, which does not exist")
        asked = Counter(row["payment_intent_id"] for row in self.evidence.tables["attempts"])
        for intent_id, intent in self.intents.items():
            self._told_of_one(intent, told[intent_id])
            unknown = [version for version, what in told[intent_id] if what == "unknown"]
            if len(unknown) > asked[intent_id]:
                times = f"{asked[intent_id]} times asked for"
                self.findings.double.append(f"{intent_id} was unknown at {unknown}, and {times}")

    def _told_of_one(self, intent: Json, told: list[tuple[int, str]]) -> None:
        intent_id, wanted = intent["payment_intent_id"], list(_stages(intent, self._account(intent)))
        self.findings.counted["events of intents"] += len(told)
        versions = [version for version, _ in told]
        if versions != sorted(versions):
            self.findings.disorder.append(f"payments.events has {intent_id} as {told}")
        stages = [what for _, what in told if what != "unknown"]
        if Counter(wanted) - Counter(stages):
            self.findings.lost.append(f"{intent_id} was told of as {stages} instead of {wanted}")
        elif stages != wanted:
            self.findings.double.append(f"{intent_id} was told of as {stages} instead of {wanted}")

    def _same(self, said: Json, where: str) -> None:
        """A version of an intent is the same wherever it is told of; `next_action` and times are left out."""
        intent_id, version = said["payment_intent_id"], said["version"]
        now = self.intents.get(intent_id)
        if now is None or version > now["version"]:
            self.findings.lost.append(f"{where}: {intent_id} at version {version} is not there")
            return
        first = self.said.setdefault((intent_id, version), _essence(now if version == now["version"] else said))
        if _essence(said) != first:
            self.findings.double.append(f"{where}: {intent_id} at version {version} is told in two ways")


def _stages(intent: Json, account: _Account) -> Iterable[str]:
    """As what an intent must have been told, of which the money was wanted once: also as what is still held after a
    capture."""
    yield "processing"
    held = sum(account.holds)
    for collected in (0, *accumulate(account.collections)):
        if held > collected:
            yield "requires_capture"
    if intent["status"] in _END_TOLD:
        yield _END_TOLD[intent["status"]]


def _essence(intent: Json) -> Json:
    return {name: intent[name] for name in ("status", "order_version", "payment_reference", *_MONEY)}


_MONEY = ("amount_money", "authorized_money", "captured_money", "voided_money")
