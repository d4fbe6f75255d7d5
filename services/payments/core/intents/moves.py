"""What follows from one thing that happened to a group of intents, collected while it is decided."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Literal, cast

from services.payments.core.asking import Asked, Operation
from services.payments.core.identities import derived_id
from services.payments.core.intents.state import LEASE_S, Attempt, Intent, in_order
from services.payments.core.intents.view import shown
from shared.contracts.order_commands import (
    AcquireLease,
    CreateOrder,
    ExtendLease,
    OrderCommand,
    RecordAuthorization,
    RecordAuthorizationExpiry,
    RecordCapture,
    RecordPaymentFailure,
    RecordVoid,
    ReleaseLease,
)
from shared.contracts.order_parts import Context, Holder, LineItem, Method, Tender
from shared.contracts.payment_intents import IntentEvent, IntentStatus
from shared.immutable import immutable, replace

CommandKind = Literal["order", "lease", "extend", "release", "fact"]


@immutable
class Command:
    """What the order is told or asked, for an intent."""

    command_id: str
    intent: Intent
    command: OrderCommand


def kind_of(command_id: str) -> CommandKind:
    """What an intent's command was for, from its id: `pi_…\u200b.lease.3`."""
    _, kind, _ = command_id.split(".")
    return cast(CommandKind, kind)


def intent_of(command_id: str) -> str:
    """The intent that a command was for, from its id."""
    return command_id.partition(".")[0]


class Moves:
    """Changes of the intents of one group; what the order is told; what processors are asked; what the public hears."""

    def __init__(self, intents: Iterable[Intent], now: datetime) -> None:
        self.now = now
        self._before = {intent.payment_intent_id: intent for intent in intents}
        self._after = dict(self._before)
        self._told: list[tuple[str, type[IntentEvent]]] = []
        self.commands: list[Command] = []
        self.attempts: list[Attempt] = []

    def __getitem__(self, payment_intent_id: str) -> Intent:
        return self._after[payment_intent_id]

    @property
    def group(self) -> tuple[Intent, ...]:
        """All intents as they are now, in the order in which they are tried."""
        return in_order(list(self._after.values()))

    @property
    def changed(self) -> list[Intent]:
        """Those that are no longer as they were."""
        return [intent for key, intent in self._after.items() if intent is not self._before.get(key)]

    @property
    def ids(self) -> Iterable[str]:
        """Of all intents of the group."""
        return self._after.keys()

    @property
    def left(self) -> list[tuple[IntentStatus, float]]:
        """The statuses that intents have left, each with the seconds that it lasted."""
        pairs = ((before, self._after[key]) for key, before in self._before.items())
        return [
            (before.status, (self.now - (before.status_since or before.created_at)).total_seconds())
            for before, after in pairs
            if before.status != after.status
        ]

    @property
    def events(self) -> list[tuple[str, str, IntentEvent]]:
        """What the public hears, with the intents as they are in the end; each with its merchant and environment."""
        told = ((self._after[key], event) for key, event in self._told)
        return [(intent.merchant_id, intent.environment, event(payment_intent=shown(intent))) for intent, event in told]

    def claim(self, most: int) -> int:
        """New attempts that are due, at most so many, are their maker's own from the start; how many they are."""
        due = [number for number, attempt in enumerate(self.attempts) if attempt.due_at <= self.now][:most]
        for number in due:
            self.attempts[number] = replace(self.attempts[number], claims=1)
        return len(due)

    def make(self, intent: Intent) -> None:
        """A new intent of the group."""
        self._after[intent.payment_intent_id] = intent

    def change(self, intent: Intent, **changes: Any) -> Intent:
        """The intent with the changes; its version grows once."""
        key = intent.payment_intent_id
        before = self._before.get(key)
        version = before.version + 1 if before else 1
        after = replace(intent, version=version, updated_at=self.now, **changes)
        if after.status != intent.status:
            after = replace(after, status_since=self.now)
        self._after[key] = after
        return after

    def tell(self, intent: Intent, event: type[IntentEvent]) -> None:
        """Let the public hear of it."""
        self._told.append((intent.payment_intent_id, event))

    def make_order(self, intent: Intent, line: str) -> Intent:
        """An order for the intent's amount, with one line."""
        item = LineItem(
            line_item_id=derived_id("li", intent.payment_intent_id),
            name=line,
            unit_price_minor=intent.amount_minor,
            metadata={},
        )
        context = Context(location_id=intent.location_id, device_id=intent.device_id, operator_id=intent.operator_id)
        command = CreateOrder(
            currency=intent.currency, source=intent.source, line_items=(item,), context=context, metadata={}
        )
        return self._ask(intent, "order", command)

    def lease(self, intent: Intent) -> Intent:
        """Ask the order for a lease on exactly what is to be collected."""
        leases = intent.leases + 1
        lease_id = derived_id("ls", intent.payment_intent_id, str(leases))
        intent = self.change(
            intent,
            step="leasing",
            leases=leases,
            lease_id=lease_id,
            # It is granted later than now, so it ends no sooner than this.
            lease_until=self.now + timedelta(seconds=LEASE_S),
            last_refusal=None,
        )
        command = AcquireLease(
            lease_id=lease_id,
            holder=_holder(intent),
            # Where nothing seems to be owed, the order is asked for the least, and says what is owed.
            amount_minor=intent.amount_minor or 1,
            term_s=LEASE_S,
            charging=True,
            expected_outstanding_minor=intent.guard_minor,
        )
        return self._ask(intent, "lease", command)

    def extend(self, intent: Intent, until: datetime | None = None) -> Intent:
        """Keep the lease while the outcome is not known: for the usual time, or until then and a little longer."""
        if intent.lease_id is None:
            return intent
        term_s = LEASE_S if until is None else int((until - self.now).total_seconds()) + LEASE_S
        term_s = min(max(term_s, LEASE_S), 24 * 60 * 60)
        intent = self.change(intent, lease_until=self.now + timedelta(seconds=term_s))
        return self._ask(
            intent,
            "extend",
            ExtendLease(lease_id=_lease(intent), holder=_holder(intent), term_s=term_s, charging=True),
        )

    def release(self, intent: Intent, reason: str) -> Intent:
        """Give back what is left of the lease."""
        if intent.lease_id is None:
            return intent
        command = ReleaseLease(lease_id=intent.lease_id, holder=_holder(intent), reason=reason)
        return self._ask(self.change(intent, lease_id=None, lease_until=None), "release", command)

    def failed(self, intent: Intent, attempt_id: str, code: str, message: str) -> Intent:
        """The order hears of a try that came to nothing."""
        command = RecordPaymentFailure(
            payment_id=_payment(intent),
            payment_reference=intent.reference or attempt_id,
            amount_minor=intent.amount_minor,
            currency=intent.currency,
            code=code,
            message=message,
            lease_id=intent.lease_id,
            tender=tender(intent),
        )
        return self._ask(intent, "fact", command)

    def authorized(self, intent: Intent, amount_minor: int) -> Intent:
        """The order hears that money is held for it."""
        command = RecordAuthorization(
            payment_id=_payment(intent),
            payment_reference=_reference(intent),
            amount_minor=amount_minor,
            currency=intent.currency,
            lease_id=intent.lease_id,
            authorized_at=self.now,
            tender=tender(intent),
        )
        return self._ask(intent, "fact", command)

    def captured(self, intent: Intent, amount_minor: int, capture_reference: str | None) -> Intent:
        """The order hears that money was collected: at once, or by a capture of what was held."""
        command = RecordCapture(
            payment_id=_payment(intent),
            payment_reference=_reference(intent),
            capture_reference=capture_reference,
            amount_minor=amount_minor,
            currency=intent.currency,
            lease_id=intent.lease_id if capture_reference is None else None,
            captured_at=self.now,
            tender=tender(intent),
        )
        intent = self._ask(intent, "fact", command)
        return self.change(intent, collected=(*intent.collected, (intent.unanswered[-1], amount_minor)))

    def voided(self, intent: Intent, amount_minor: int | None) -> Intent:
        """The order hears that a hold, or this much of it, has ended."""
        command = RecordVoid(
            payment_id=_payment(intent),
            payment_reference=_reference(intent),
            amount_minor=amount_minor,
            currency=intent.currency,
            tender=tender(intent),
        )
        return self._ask(intent, "fact", command)

    def ran_out(self, intent: Intent) -> Intent:
        """The order hears that a hold has ended by itself."""
        return self._ask(intent, "fact", RecordAuthorizationExpiry(payment_id=_payment(intent)))

    def call(
        self,
        intent: Intent,
        operation: Operation,
        amount_minor: int,
        connector: str,
        *,
        capture: bool = False,
        pause: timedelta = timedelta(0),
    ) -> Intent:
        """Ask the processor, once this is saved; or after a pause."""
        intent = self._attempt(intent, operation, amount_minor, connector, capture=capture, pause=pause)
        return self.change(intent, step="calling", attempt_id=self.attempts[-1].attempt_id)

    def end_challenge(self, intent: Intent, pause: timedelta = timedelta(0)) -> Intent:
        """Ask the processor to end the buyer's challenge; what became of the payment is then looked up."""
        assert intent.connector is not None, "what is under way is with somebody"
        intent = self._attempt(intent, "void", 0, intent.connector, pause=pause)
        return self.change(intent, ending=self.attempts[-1].attempt_id)

    def refund(
        self, intent: Intent, amount_minor: int, unmatched_money_id: str, pause: timedelta = timedelta(0)
    ) -> Intent:
        """Ask the processor to give back what the order was not owed, once this is saved; or after a pause."""
        assert intent.connector is not None, "what was collected was taken by somebody"
        intent = self._attempt(
            intent, "refund", amount_minor, intent.connector, unmatched_money_id=unmatched_money_id, pause=pause
        )
        return self.change(intent, refunding=(*intent.refunding, self.attempts[-1].attempt_id))

    def _attempt(
        self,
        intent: Intent,
        operation: Operation,
        amount_minor: int,
        connector: str,
        *,
        capture: bool = False,
        unmatched_money_id: str | None = None,
        pause: timedelta = timedelta(0),
    ) -> Intent:
        assert intent.means is not None, "there is something to pay with"
        attempts = intent.attempts + 1
        asked = Asked(
            attempt_id=derived_id("att", intent.payment_intent_id, str(attempts)),
            operation=operation,
            amount_minor=amount_minor,
            currency=intent.currency,
            means=intent.means,
            merchant_id=intent.merchant_id,
            environment=intent.environment,
            order_id=intent.order_id,
            payment_intent_id=intent.payment_intent_id,
            capture=capture,
            partial=intent.completion == "partial_payment",
            reference=None if operation == "authorize" else _reference(intent),
            return_url=intent.return_url,
            unmatched_money_id=unmatched_money_id,
        )
        self.attempts.append(Attempt(asked, connector, self.now, self.now, self.now + pause))
        return self.change(intent, attempts=attempts)

    def _ask(self, intent: Intent, kind: CommandKind, command: OrderCommand) -> Intent:
        commands = intent.commands + 1
        command_id = f"{intent.payment_intent_id}.{kind}.{commands}"
        intent = self.change(intent, commands=commands, unanswered=(*intent.unanswered, command_id))
        self.commands.append(Command(command_id, intent, command))
        return intent


def tender(intent: Intent) -> Tender:
    """Where and how the money is taken, as the order keeps it."""
    means = intent.means
    method = None
    if means is not None:
        brand, last4 = intent.shown_brand or means.brand, intent.shown_last4 or means.last4
        method = Method(type=means.type, brand=brand, last4=last4)
    return Tender(
        source=intent.source,
        method=method,
        payment_intent_id=intent.payment_intent_id,
        location_id=intent.location_id,
        device_id=intent.device_id,
        operator_id=intent.operator_id,
    )


def _holder(intent: Intent) -> Holder:
    return Holder(type="payment_intent", id=intent.payment_intent_id)


def _lease(intent: Intent) -> str:
    assert intent.lease_id is not None, "there is a lease"
    return intent.lease_id


def _payment(intent: Intent) -> str:
    assert intent.payment_id is not None, "it was confirmed"
    return intent.payment_id


def _reference(intent: Intent) -> str:
    assert intent.reference is not None, "the processor named the payment"
    return intent.reference
