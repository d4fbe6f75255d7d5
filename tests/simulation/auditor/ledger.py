"""The acquirer's own books, read as an outsider would: who paid what, and what is held."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

import orjson

from tests.simulation.auditor.seen import Seen
from tests.simulation.world_api import Row

_COLLECTS = ("sale", "capture")


@dataclass(slots=True)
class Account:
    """What the acquirer holds and has collected."""

    held: int = 0
    collected: int = 0
    """Of which some may have gone back."""


@dataclass(slots=True)
class Ledger:
    """By payment, as the acquirer calls it."""

    payments: dict[str, Row] = field(default_factory=dict)
    by_intent: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    accounts: dict[str, Account] = field(default_factory=lambda: defaultdict(Account))
    approved: Counter[str] = field(default_factory=Counter)
    """By intent: how many authorizations the acquirer has approved."""
    acted: list[Row] = field(default_factory=list)
    """Authorizations by which it held or collected something, or asked the buyer."""
    refunds: dict[str, tuple[str, str, int]] = field(default_factory=dict)
    """By the acquirer's name of each: the payment, the attempt, and how much went back for good."""
    came_back: dict[str, str] = field(default_factory=dict)
    """By the attempt: the acquirer's name of a refund whose money came back."""
    collected_first: list[tuple[str, frozenset[str]]] = field(default_factory=list)
    """An intent of which something is collected, and the intents that had held something until then."""

    def of_intent(self, payment_intent_id: str) -> Account:
        """Of all its payments."""
        payments = self.by_intent.get(payment_intent_id, ())
        mine = [self.accounts[name] for name in payments if name in self.accounts]
        return Account(sum(each.held for each in mine), sum(each.collected for each in mine))


def ledger_of(seen: Seen) -> Ledger:
    """Sums of its movements, in the order in which they were made."""
    ledger = Ledger({row["payment_id"]: row for row in seen.rows("sandbox.payments")})
    for name, payment in ledger.payments.items():
        ledger.by_intent[payment["payment_intent_id"]].append(name)
    held: set[str] = set()
    for row in seen.rows("sandbox.entries"):
        account, intent = ledger.accounts[row["payment_id"]], _intent_of(ledger, row)
        if row["account"] == "held":
            account.held += row["amount_minor"]
            held.add(intent)
        elif row["account"] == "merchant" and row["kind"] == "refund":
            ledger.refunds[row["movement_id"]] = (row["payment_id"], row["attempt_id"], -row["amount_minor"])
        elif row["account"] == "merchant" and row["kind"] == "refund_reversal":
            name = row["movement_id"].removesuffix("_reversal")
            _, attempt_id, amount = ledger.refunds.pop(name)
            assert (attempt_id, amount) == (row["attempt_id"], row["amount_minor"]), "all of it comes back, once"
            ledger.came_back[attempt_id] = name
        elif row["account"] == "merchant":
            account.collected += row["amount_minor"]
            if row["kind"] in _COLLECTS:
                ledger.collected_first.append((intent, frozenset(held)))
    for row in _acted(seen):
        payment = ledger.payments[row["payment_id"]]
        if row["attempt_id"] == payment["attempt_id"]:
            ledger.acted.append(row)
            if ledger.accounts.get(row["payment_id"]):
                ledger.approved[payment["payment_intent_id"]] += 1
    return ledger


def _acted(seen: Seen) -> Iterator[Row]:
    for row in seen.rows("sandbox.attempts"):
        if row["payment_id"] is not None and orjson.loads(row["answer"])["status"] != "declined":
            yield row


def _intent_of(ledger: Ledger, row: Row) -> str:
    return str(ledger.payments[row["payment_id"]]["payment_intent_id"])
