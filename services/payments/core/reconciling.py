"""What the acquirer's ledger says moved, against what orders say was collected: both added up, payment by payment."""

from collections.abc import Iterable
from datetime import datetime
from typing import Literal

from shared.contracts.order_parts import MethodType
from shared.contracts.sandbox import SandboxMovement
from shared.immutable import immutable, replace

FactKind = Literal["authorized", "captured", "voided", "expired", "refunded", "reversed"]

AT_THE_ACQUIRER: tuple[MethodType, ...] = ("card", "wallet")
"""What is not taken by hand."""


@immutable
class Fact:
    """What an order's event says of money that an intent moved. Its version and place name it, for ever."""

    order_id: str
    version: int
    ordinal: int
    merchant_id: str
    environment: str
    kind: FactKind
    currency: str
    recorded_at: datetime
    payment_id: str | None = None
    """None where money of a refund came back: `refund` says which."""
    reference: str | None = None
    """The acquirer's name of the payment, where the event gives it."""
    amount_minor: int | None = None
    """None for all that is held, or was refunded."""
    refund: str | None = None
    """Names one return of money within its order."""


@immutable
class Sums:
    """What became of one payment."""

    held_minor: int = 0
    captured_minor: int = 0
    refunded_minor: int = 0


@immutable
class Difference:
    """A payment of which the ledger and the order say different things."""

    order_id: str
    reference: str
    currency: str
    ledger: Sums
    order: Sums
    newest_at: datetime
    """When either side last heard of it."""


def differences(movements: Iterable[SandboxMovement], facts: Iterable[Fact]) -> list[Difference]:
    """All that there are between the movements and the facts of whole orders; none where both agree."""
    ledger, orders = _Book(), _Book()
    for movement in movements:
        ledger.move(movement)
    for payment in _by_payment(facts):
        orders.told(payment)
    return [
        Difference(*key, ledger.sums(key), orders.sums(key), max(ledger.newest(key) + orders.newest(key)))
        for key in sorted(ledger.keys | orders.keys)
        if ledger.sums(key) != orders.sums(key)
    ]


def summed(
    movements: Iterable[SandboxMovement], facts: Iterable[Fact], before: datetime
) -> tuple[list[Fact], list[Fact]]:
    """Facts that say from now on what others said too, and those others, which are not needed any more.

    Of whole orders of which both sides say the same, hold nothing, and have heard nothing since `before`: whatever is
    heard of them later, the same follows as if all facts were there. What was collected of a payment becomes one fact;
    refunds stay, since each may still come back.
    """
    moved, told = list(movements), list(facts)
    busy = {each.order_id for each in moved if each.made_at >= before}
    busy |= {fact.order_id for fact in told if fact.recorded_at >= before}
    busy |= {difference.order_id for difference in differences(moved, told)}
    busy |= _holding(moved)
    resting = [fact for fact in told if fact.order_id not in busy]
    kept = {(fact.order_id, fact.version, fact.ordinal): fact for fact in _fewest(resting)}
    gone = [fact for fact in resting if (fact.order_id, fact.version, fact.ordinal) not in kept]
    shorter = {fact.order_id for fact in gone}
    return [fact for fact in kept.values() if fact.order_id in shorter], gone


_Key = tuple[str, str, str]
"""An order, the acquirer's name of the payment, and the currency."""


class _Book:
    """One side, added up."""

    def __init__(self) -> None:
        self._sums: dict[_Key, Sums] = {}
        self._newest: dict[_Key, datetime] = {}

    @property
    def keys(self) -> set[_Key]:
        return set(self._sums)

    def sums(self, key: _Key) -> Sums:
        return self._sums.get(key, Sums())

    def newest(self, key: _Key) -> list[datetime]:
        return [self._newest[key]] if key in self._newest else []

    def add(self, key: _Key, at: datetime, held: int = 0, captured: int = 0, refunded: int = 0) -> None:
        old = self.sums(key)
        self._sums[key] = Sums(old.held_minor + held, old.captured_minor + captured, old.refunded_minor + refunded)
        self._newest[key] = max([at, *self.newest(key)])

    def move(self, movement: SandboxMovement) -> None:
        """The ledger's accounts say what a movement does, whatever its kind."""
        amount = movement.amount_minor
        gives_back = movement.kind in ("refund", "refund_reversal")
        sign = {movement.source: -amount, movement.target: amount}
        merchant = sign.get("merchant", 0)
        self.add(
            (movement.order_id, movement.payment_id, movement.currency),
            movement.made_at,
            held=sign.get("held", 0),
            captured=0 if gives_back else merchant,
            refunded=-merchant if gives_back else 0,
        )

    def told(self, facts: list[Fact]) -> None:
        """The facts of one payment, in the order in which its order recorded them."""
        reference = next((fact.reference for fact in facts if fact.reference is not None), None)
        if reference is None:
            return
        sums, given = Sums(), dict[str | None, int]()
        for fact in facts:
            sums = _after(sums, fact, given)
        newest = max(fact.recorded_at for fact in facts)
        key = (facts[0].order_id, reference, facts[0].currency)
        self.add(key, newest, sums.held_minor, sums.captured_minor, sums.refunded_minor)


def _after(sums: Sums, fact: Fact, given: dict[str | None, int]) -> Sums:
    """`given` is what the payment's refunds were, by their names."""
    amount = fact.amount_minor or 0
    match fact.kind:
        case "authorized":
            return replace(sums, held_minor=sums.held_minor + amount)
        case "captured":
            held = max(0, sums.held_minor - amount)
            return replace(sums, held_minor=held, captured_minor=sums.captured_minor + amount)
        case "voided":
            held = 0 if fact.amount_minor is None else max(0, sums.held_minor - amount)
            return replace(sums, held_minor=held)
        case "expired":
            return replace(sums, held_minor=0)
        case "refunded":
            given[fact.refund] = amount
            return replace(sums, refunded_minor=sums.refunded_minor + amount)
        case "reversed":
            return replace(sums, refunded_minor=sums.refunded_minor - given.pop(fact.refund, 0))


def _holding(movements: Iterable[SandboxMovement]) -> set[str]:
    """Orders for which the acquirer holds something."""
    book = _Book()
    for movement in movements:
        book.move(movement)
    return {key[0] for key in book.keys if book.sums(key).held_minor}


def _fewest(facts: Iterable[Fact]) -> list[Fact]:
    """From which the same follows; nothing is held."""
    kept: list[Fact] = []
    for payment in _by_payment(facts):
        captures = [fact for fact in payment if fact.kind == "captured"]
        came_back = {fact.refund for fact in payment if fact.kind == "reversed"}
        refunds = [fact for fact in payment if fact.kind == "refunded" and fact.refund not in came_back]
        if captures:
            kept += [replace(captures[0], amount_minor=sum(fact.amount_minor or 0 for fact in captures)), *refunds]
        elif refunds and any(fact.reference is not None for fact in payment):
            kept += payment
    return kept


def _by_payment(facts: Iterable[Fact]) -> list[list[Fact]]:
    """The facts of each payment that an intent moved; a refund that came back belongs to the payment that it was of."""
    found: dict[tuple[str, str], list[Fact]] = {}
    refunds: dict[tuple[str, str | None], list[Fact]] = {}
    for fact in sorted(facts, key=lambda fact: (fact.order_id, fact.version, fact.ordinal)):
        if fact.payment_id is None:
            of = refunds.get((fact.order_id, fact.refund))
        else:
            of = found.setdefault((fact.order_id, fact.payment_id), [])
        if of is None:
            continue
        of.append(fact)
        if fact.kind == "refunded":
            refunds[fact.order_id, fact.refund] = of
    return list(found.values())
