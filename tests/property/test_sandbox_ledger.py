"""Whatever is asked of the acquirer, in whatever order: its ledger adds up."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import get_args

from hypothesis import given
from hypothesis import strategies as st

from services.sandbox.core.payment import Change, Movement, Payment
from services.sandbox.core.rules import Decision, answer_challenge, authorize, change_payment, settled
from shared.contracts.sandbox import Operation, SandboxOutcome, SandboxRequest, Token

START = datetime(2026, 11, 22, tzinfo=UTC)
AMOUNTS = st.integers(0, 60)


@dataclass
class Ledger:
    """A payment with all that moved because of it."""

    now: datetime = START
    payment: Payment | None = None
    movements: list[Movement] = field(default_factory=list)
    found: dict[str, SandboxOutcome] = field(default_factory=dict)

    def request(self, operation: Operation, amount: int, **more: object) -> SandboxRequest:
        given = {
            "merchant_id": "mer_1",
            "environment": "test",
            "attempt_id": f"att_{len(self.found)}",
            "operation": operation,
            "amount_minor": amount,
            "currency": "EUR",
            "order_id": "ord_1",
            "payment_intent_id": "pi_1",
        }
        return SandboxRequest.model_validate(given | more)

    def take(self, request: SandboxRequest, decision: Decision) -> None:
        self.found[request.attempt_id] = decision.answer
        if decision.change is not None:
            self.become(decision.change)

    def become(self, change: Change) -> None:
        self.payment = change.payment
        self.movements += change.movements
        self.found |= dict(change.outcomes)

    def balances(self) -> Counter[str]:
        found: Counter[str] = Counter()
        for movement in self.movements:
            found[movement.source] -= movement.amount_minor
            found[movement.target] += movement.amount_minor
        return found


Step = tuple[str, int]
STEPS = st.lists(
    st.tuples(st.sampled_from(["capture", "void", "refund", "turn", "answer", "refuse"]), AMOUNTS), max_size=12
)
WAITS = [timedelta(0), timedelta(seconds=1), timedelta(seconds=3), timedelta(minutes=15), timedelta(days=7)]


def lived(token: Token, amount: int, capture: bool, steps: Sequence[Step]) -> Ledger:
    ledger = Ledger()
    request = ledger.request("authorize", amount, token=token, capture=capture, partial=True)
    ledger.take(request, authorize(request, "sbp_1", "sbm_0", ledger.now))
    for number, (step, chosen) in enumerate(steps, start=1):
        if ledger.payment is None:
            break
        match step:
            case "turn":
                ledger.now += WAITS[chosen % len(WAITS)]
            case "answer" | "refuse":
                approves = step == "answer"
                ledger.become(answer_challenge(ledger.payment, approves, f"sbm_{number}", ledger.now))
            case "capture" | "void" | "refund":
                request = ledger.request(step, chosen)
                before = settled(ledger.payment, ledger.now)
                ledger.take(request, change_payment(before, request, f"sbm_{number}", ledger.now))
        holds(ledger)
    return ledger


def holds(ledger: Ledger) -> None:
    payment, balances = ledger.payment, ledger.balances()
    assert payment is not None
    assert sum(balances.values()) == 0
    assert balances["held"] == payment.held_minor >= 0
    assert balances["merchant"] == payment.collected_minor >= 0
    assert payment.held_minor + payment.collected_minor <= payment.amount_minor
    assert all(movement.amount_minor > 0 for movement in ledger.movements)
    assert len({movement.movement_id for movement in ledger.movements}) == len(ledger.movements)


@given(st.sampled_from(get_args(Token)), AMOUNTS, st.booleans(), STEPS)
def test_the_ledger_adds_up_after_every_step(token: Token, amount: int, capture: bool, steps: list[Step]) -> None:
    lived(token, amount, capture, steps)


@given(st.sampled_from(get_args(Token)), AMOUNTS, st.booleans(), STEPS)
def test_what_is_found_is_what_moved(token: Token, amount: int, capture: bool, steps: list[Step]) -> None:
    ledger = lived(token, amount, capture, steps)
    back = Counter(each.attempt_id for each in ledger.movements if each.kind == "refund_reversal")
    for attempt_id, outcome in ledger.found.items():
        moved = sum(
            movement.amount_minor
            for movement in ledger.movements
            if movement.attempt_id == attempt_id and movement.kind != "refund_reversal"
        )
        if outcome.status == "approved":
            assert moved == outcome.amount_minor
        else:
            assert moved == 0 or back[attempt_id] == 1


@given(AMOUNTS, STEPS)
def test_nothing_stays_held_for_ever(amount: int, steps: list[Step]) -> None:
    ledger = lived("sandbox_approve", amount, False, steps)
    if ledger.payment is not None:
        ledger.now += timedelta(days=7)
        ledger.become(settled(ledger.payment, ledger.now))
        holds(ledger)
        assert ledger.balances()["held"] == 0
        assert settled(ledger.payment, ledger.now).movements == ()
