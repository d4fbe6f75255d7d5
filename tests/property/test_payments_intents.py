"""Whatever clients wish, orders refuse, processors answer and networks lose: order and processor agree in the end."""

from dataclasses import dataclass, field
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from services.payments.core.asking import Approved, Declined, Found, NeverArrived, NotSent, Unknown
from services.payments.core.intents.moves import Command
from services.payments.core.intents.state import Attempt
from shared.contracts import order_commands as c
from shared.immutable import replace
from tests.intents import Play, group, intent


@dataclass
class Processor:
    """What really happened to money, by attempt and by payment; it does whatever it is asked for at most once."""

    random: Random
    truth: dict[str, Found] = field(default_factory=dict)
    held: dict[str, int] = field(default_factory=dict)
    captured: int = 0

    def ask(self, attempt: Attempt) -> Found:
        """The outcome, or none at all; asked again, the same."""
        fate = self.random.random()
        if attempt.claims > 1 and fate < 0.2:
            return NotSent("nobody can be asked what became of it")
        if attempt.attempt_id not in self.truth and attempt.status == "pending" and attempt.claims < 2:
            if fate < 0.1:
                return NotSent("no connection")
            if fate < 0.2:
                self.truth[attempt.attempt_id] = NeverArrived()
                return Unknown("the request was lost")
            self.truth[attempt.attempt_id] = self._do(attempt)
        if self.random.random() < 0.25:
            return Unknown("the reply was lost")
        return self.truth.setdefault(attempt.attempt_id, NeverArrived())

    def _do(self, attempt: Attempt) -> Found:
        asked = attempt.asked
        if asked.operation == "authorize":
            if self.random.random() < 0.3:
                return Declined("insufficient_funds", "No.")
            part = asked.partial and self.random.random() < 0.2
            amount = asked.amount_minor // 2 if part else asked.amount_minor
            reference = f"psp-{attempt.attempt_id}"
            if asked.capture:
                self.captured += amount
            else:
                self.held[reference] = amount
            return Approved(reference, amount, captured=asked.capture)
        assert asked.reference is not None
        held = self.held[asked.reference]
        if asked.operation == "capture":
            assert asked.amount_minor <= held, "more was captured than held"
            self.held[asked.reference] -= asked.amount_minor
            self.captured += asked.amount_minor
            return Approved(f"cap-{attempt.attempt_id}", asked.amount_minor)
        self.held[asked.reference] = 0
        return Approved(asked.reference, held)


@dataclass
class Order:
    """Who may collect what, and what was said to have been collected."""

    outstanding: int
    leases: dict[str, int] = field(default_factory=dict)
    held: dict[str, int] = field(default_factory=dict)
    captured: int = 0

    def answer(self, command: Command) -> str | None:
        """The code of a refusal."""
        match command.command:
            case c.AcquireLease() as wanted:
                if wanted.amount_minor > self.available:
                    return "ORDER_BALANCE_LEASED"
                self.leases[wanted.lease_id] = wanted.amount_minor
            case c.ReleaseLease(lease_id=lease_id):
                self.leases.pop(lease_id, None)
            case c.RecordAuthorization() as told:
                self.held[told.payment_id] = told.amount_minor
                self._use(told.lease_id, told.amount_minor)
            case c.RecordCapture() as told:
                self.captured += told.amount_minor
                if told.capture_reference is not None:
                    self.held[told.payment_id] -= told.amount_minor
                self._use(told.lease_id, told.amount_minor)
            case c.RecordVoid(payment_id=payment_id):
                self.held[payment_id] = 0
            case c.ExtendLease() | c.RecordPaymentFailure():
                pass
            case other:
                raise AssertionError(other)
        return None

    @property
    def available(self) -> int:
        return self.outstanding - self.captured - sum(self.leases.values()) - sum(self.held.values())

    def _use(self, lease_id: str | None, amount: int) -> None:
        if lease_id in self.leases:
            self.leases[lease_id] -= amount
            if self.leases[lease_id] <= 0:
                del self.leases[lease_id]


def _one_step(play: Play, order: Order, processor: Processor, random: Random) -> None:
    """Something that waits happens: an order's reply, or a processor's answer."""
    if play.commands and (not play.waiting or random.random() < 0.5):
        command = play.commands.pop(0)
        play.reply(command, order.answer(command))
    elif play.waiting:
        attempt = random.choice(play.waiting)
        leased = order.leases.get(play.intents[attempt.asked.payment_intent_id].lease_id or "", 0)
        if attempt.operation == "authorize" and attempt.attempt_id not in processor.truth:
            assert leased >= attempt.asked.amount_minor, "a processor was to be asked without a lease"
        answer = processor.ask(attempt)
        if attempt.status == "pending" and random.random() < 0.1:
            # Whoever has asked dies, and somebody else sets about it.
            play.attempts[attempt.attempt_id] = replace(attempt, claims=max(1, attempt.claims) + 1)
            return
        play.answer(answer, attempt)
        if random.random() < 0.2:
            play.answer(answer, attempt)


@settings(max_examples=400, deadline=None)
@given(
    st.integers(0, 2**32), st.sampled_from([(5000,), (3000, 2000), (2000, 2000, 1000)]), st.booleans(), st.booleans()
)
def test_orders_and_processors_agree_in_the_end(seed: int, amounts: tuple[int, ...], keep: bool, manual: bool) -> None:
    random = Random(seed)
    capture = "manual" if manual else "automatic"
    legs = (
        group(*amounts, keep_successful_legs=keep, capture_method=capture)
        if len(amounts) > 1
        else [intent(capture_method=capture)]
    )
    play, order, processor = Play(*legs), Order(random.choice([5000, 5000, 2500])), Processor(random)
    for number in range(1, len(legs) + 1):
        play.confirm(number)
    for _ in range(random.randint(0, 30)):
        wish = random.random()
        number = random.randint(1, len(legs))
        if wish < 0.05:
            play.cancel(number)
        elif wish < 0.15:
            play.capture(random.choice([None, 700]), number)
        elif wish < 0.2:
            play.confirm(number)
        else:
            _one_step(play, order, processor, random)
    for _ in range(500):
        if not (play.commands or play.waiting):
            break
        _one_step(play, order, processor, random)
    assert (play.commands, play.waiting) == ([], []), "it comes to rest"
    assert all(each.settled for each in play.intents.values())
    assert order.captured == processor.captured == sum(each.captured_minor for each in play.intents.values())
    assert sum(order.held.values()) == sum(processor.held.values())
    assert sum(order.held.values()) == sum(each.authorized_minor for each in play.intents.values())
    assert order.leases == {}
    assert order.captured <= order.outstanding
    if len(legs) > 1 and not keep and not manual and order.captured:
        ends = [each.status for each in play.intents.values()]
        assert "failed" not in ends, "all or none"
