"""Intents without a database: what is asked of orders and processors is answered by whoever tests."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from services.payments.core.asking import Approved, Found, Means
from services.payments.core.intents import wishes
from services.payments.core.intents.answers import answered, may_call, too_late
from services.payments.core.intents.moves import Command, Moves
from services.payments.core.intents.replies import replied
from services.payments.core.intents.state import Attempt, Intent, Refused
from shared.contracts.model import Actor
from shared.contracts.orders import CommandAccepted, CommandRefused

START = datetime(2026, 11, 22, 10, tzinfo=UTC)
CARD = Means("card", token="sandbox_approve")


def intent(number: int = 1, **fields: Any) -> Intent:
    """A new intent of 50.00 EUR."""
    known: dict[str, Any] = {
        "payment_intent_id": f"pi_{number}",
        "merchant_id": "mer_1",
        "environment": "test",
        "order_id": "ord_1",
        "amount_minor": 5000,
        "currency": "EUR",
        "created_by": Actor(type="key", id="key_1"),
        "created_at": START,
        "updated_at": START,
        "group_id": "pi_1",
    }
    return Intent(**(known | fields))


class Play:
    """A group of intents, the commands and attempts that wait, and what was told."""

    def __init__(self, *intents: Intent) -> None:
        self.now = START
        self.intents = {each.payment_intent_id: each for each in intents}
        self.commands: list[Command] = []
        self.all_commands: list[Command] = []
        self.attempts: dict[str, Attempt] = {}
        self.told: list[str] = []

    def __getitem__(self, number: int) -> Intent:
        return self.intents[f"pi_{number}"]

    def wish(self, wish: Any) -> Refused | None:
        """A client wants something: `wish(moves)`."""
        moves = Moves(self.intents.values(), self.now)
        refused: Refused | None = wish(moves)
        self._keep(moves)
        return refused

    def confirm(self, number: int = 1, means: Means | None = CARD, expected: int | None = None) -> Refused | None:
        return self.wish(lambda moves: wishes.confirm(moves, moves[f"pi_{number}"], means, "sandbox", expected))

    def capture(self, amount: int | None = None, number: int = 1) -> Refused | None:
        return self.wish(lambda moves: wishes.capture(moves, moves[f"pi_{number}"], amount))

    def cancel(self, number: int = 1) -> Refused | None:
        return self.wish(lambda moves: wishes.cancel(moves, moves[f"pi_{number}"]))

    def accept(self) -> None:
        """The order accepts all that it was asked, also what follows from that."""
        while self.commands:
            self.reply(self.commands.pop(0))

    def refuse(self, code: str = "ORDER_BALANCE_LEASED", **facts: int) -> None:
        """The order refuses the first thing that it was asked."""
        self.reply(self.commands.pop(0), code, **facts)

    def reply(self, command: Command, code: str | None = None, **facts: int) -> None:
        about: dict[str, Any] = {"command_id": command.command_id, "order_id": "ord_1", "order_version": 7}
        reply = CommandRefused(**about, code=code, facts=facts) if code else CommandAccepted(**about)
        moves = Moves(self.intents.values(), self.now)
        replied(moves, command.intent.payment_intent_id, reply)
        self._keep(moves)

    def answer(self, answer: Found | None, attempt: Attempt | None = None) -> Attempt | None:
        """The processor answers the attempt that waits; `None`: it was too late to ask it."""
        attempt = attempt or self.waiting[0]
        moves = Moves(self.intents.values(), self.now)
        after = too_late(moves, attempt) if answer is None else answered(moves, attempt, answer)
        if after is not None:
            self.attempts[after.attempt_id] = after
        self._keep(moves)
        return after

    def approve(self, **fields: Any) -> Attempt | None:
        """The processor does what it was asked."""
        asked = self.waiting[0].asked
        known = {"reference": "psp-1", "amount_minor": asked.amount_minor}
        if asked.operation == "authorize":
            known["captured"] = asked.capture
        return self.answer(Approved(**(known | fields)))

    @property
    def waiting(self) -> list[Attempt]:
        """Attempts that have no answer."""
        return [attempt for attempt in self.attempts.values() if attempt.status != "ended"]

    @property
    def statuses(self) -> list[str]:
        return [each.status for each in self.intents.values()]

    def sent(self) -> list[str]:
        """The types of all commands that the order was sent, in order."""
        return [command.command.wire_type.removeprefix("orders.").removesuffix(".v1") for command in self.all_commands]

    def may_call(self, number: int = 1) -> bool:
        return may_call(self[number], self.now)

    def later(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def _keep(self, moves: Moves) -> None:
        for each in moves.changed:
            self.intents[each.payment_intent_id] = each
        self.commands += moves.commands
        self.all_commands += moves.commands
        self.attempts |= {attempt.attempt_id: attempt for attempt in moves.attempts}
        self.told += [event.wire_type.split(".")[1].removeprefix("payment_intent_") for _, _, event in moves.events]


def group(*amounts: int, **fields: Any) -> Sequence[Intent]:
    """Intents that pay together."""
    legs = len(amounts)
    return [
        intent(number, amount_minor=amount, ordinal=number - 1, legs=legs, one_shot=True, **fields)
        for number, amount in enumerate(amounts, start=1)
    ]
