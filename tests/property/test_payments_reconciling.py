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
        self.collected = {1: 0, 2: 0}
        self.refunds: dict[str, tuple[int, int]] = {}

    def step(self, kind: str, amount: int, payment: int) -> None:
        """Both sides hear of it, where it is possible."""
        held, collected = self.held[payment], self.collected[payment]
        match kind:
            case "sale" if not held:
                self.collected[payment] += amount
                self._both("sale", "captured", amount, payment)
            case "hold" if not held:
                self.held[payment] = amount
                self._both("hold", "authorized", amount, payment)
            case "capture" if held:
                self.held[payment] = held - min(amount, held)
                self.collected[payment] += min(amount, held)
                self._both("capture", "captured", min(amount, held), payment)
            case "void" if held:
                self.held[payment] = 0
                self.movements.append(moved("void", held, payment, at=self.at))
                self._tell("voided", None, payment)
            case "refund" if collected:
                name, sent = f"ref/{len(self.facts)}", min(amount, collected)
                self.refunds[name] = (sent, payment)
                self.collected[payment] -= sent
                self._both("refund", "refunded", sent, payment, refund=name)
            case "back" if self.refunds:
                name, (sent, of) = self.refunds.popitem()
                self.collected[of] += sent
                self.movements.append(moved("refund_reversal", sent, of, at=self.at))
                self._tell("reversed", None, None, refund=name)

    def _both(self, movement: str, fact: str, amount: int, payment: int, **more: Any) -> None:
        self.movements.append(moved(movement, amount, payment, at=self.at))
        self._tell(fact, amount, payment, **more)

    def _tell(self, kind: str, amount: int | None, payment: int | None, **more: Any) -> None:
        self.facts.append(told(len(self.facts) + 2, kind, amount, payment, recorded_at=self.at, **more))


@given(st.lists(_STEPS, max_size=12), st.lists(_STEPS, max_size=6), st.booleans(), st.integers(0, 9))
def test_the_same_payments_differ_afterwards(first: list[Step], then: list[Step], of_ledger: bool, lost: int) -> None:
    life = _Life()
    for step in (*first, ("void", 1, 1), ("void", 1, 2)):
        life.step(*step)
    life.at = LATER
    known, moved_before = len(life.facts), len(life.movements)
    kept, gone = summed(life.movements, life.facts, LATER)
    versions = {fact.version for fact in (*kept, *gone)}
    before = [*kept, *(fact for fact in life.facts if fact.version not in versions)]
    for step in then:
        life.step(*step)
    assert differences(life.movements, [*before, *life.facts[known:]]) == differences(life.movements, life.facts) == []
    # Of what happens afterwards, something gets lost on one side.
    if of_ledger:
        del life.movements[moved_before + lost : moved_before + lost + 1]
    else:
        del life.facts[known + lost : known + lost + 1]
    assert _payments(life, [*before, *life.facts[known:]]) == _payments(life, life.facts)
    assert len(before) <= known


def _payments(life: _Life, facts: list[Fact]) -> list[tuple[str, str]]:
    return [(difference.reference, difference.currency) for difference in differences(life.movements, facts)]
