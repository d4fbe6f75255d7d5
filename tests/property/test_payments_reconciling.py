"""Facts that were summed up say the same as all of them did, whatever happens afterwards."""

from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from services.payments.core.reconciling import Fact, differences, summed
from shared.contracts.sandbox import SandboxMovement
from tests.unit.test_payments_reconciling import NOW, moved, told

LATER = NOW + timedelta(days=31)
Step = tuple[str, int, int]
_STEPS = st.tuples(st.sampled_from(["sale", "hold", "capture", "void", "refund", "back"]), st.integers(1, 99),
                   st.integers(1, 2))  # fmt: skip


class _Life:
    """An order's payments, as the ledger and the order tell of them."""

    def __init__(self) -> None:
        self.at = NOW
        self.movements: list[SandboxMovement] = []
        self.facts: list[Fact] = []
        self.held = {1: 0, 2: 0}
        self.collected: set[int] = set()
        self.over: set[int] = set()
        """What was held and never collected does not begin anew: an authorization has a payment of its own."""
        self.refunds: dict[str, tuple[int, int]] = {}

    def step(self, kind: str, amount: int, payment: int) -> None:
        """Both sides hear of it, where it is possible."""
        held = self.held[payment]
        match kind:
            case "sale" if payment not in self.over:
                self._both("sale", "captured", amount, payment)
            case "hold" if not held and payment not in self.over:
                self.held[payment] = amount
                self._both("hold", "authorized", amount, payment)
            case "capture" if held:
                self.held[payment] = held - min(amount, held)
                self._both("capture", "captured", min(amount, held), payment)
            case "void" if held:
                self.held[payment] = 0
                self.over |= {payment} - self.collected
                self.movements.append(moved("void", held, payment, at=self.at))
                self._tell("voided", None, payment)
            case "refund" if payment in self.collected:
                name = f"ref/{len(self.facts)}"
                self.refunds[name] = (amount, payment)
                self._both("refund", "refunded", amount, payment, refund=name)
            case "back" if self.refunds:
                name, (sent, of) = self.refunds.popitem()
                self.movements.append(moved("refund_reversal", sent, of, at=self.at))
                self._tell("reversed", None, None, refund=name)

    def _both(self, movement: str, fact: str, amount: int, payment: int, **more: Any) -> None:
        if fact == "captured":
            self.collected.add(payment)
        self.movements.append(moved(movement, amount, payment, at=self.at))
        self._tell(fact, amount, payment, **more)

    def _tell(self, kind: str, amount: int | None, payment: int | None, **more: Any) -> None:
        self.facts.append(told(len(self.facts) + 2, kind, amount, payment, recorded_at=self.at, **more))


@given(st.lists(_STEPS, max_size=12), st.lists(_STEPS, max_size=6), st.integers(0, 9), st.integers(0, 9))
def test_the_same_differs_afterwards(first: list[Step], then: list[Step], unmoved: int, untold: int) -> None:
    life = _Life()
    for step in (*first, ("void", 1, 1), ("void", 1, 2)):
        life.step(*step)
    life.at = LATER
    before = len(life.facts)
    kept, gone = summed(life.movements, life.facts, LATER)
    rest = [fact for fact in life.facts if fact not in gone and fact.version not in {each.version for each in kept}]
    movements = len(life.movements)
    for step in then:
        life.step(*step)
    # Of what happens afterwards, something gets lost on either side.
    del life.movements[movements + unmoved : movements + unmoved + 1]
    del life.facts[before + untold : before + untold + 1]
    shorter = [*kept, *rest, *life.facts[before:]]
    assert differences(life.movements, shorter) == differences(life.movements, life.facts)
    assert len(shorter) <= len(life.facts)
