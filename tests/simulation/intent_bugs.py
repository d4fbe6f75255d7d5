"""Bugs planted into the payments' intents, one at a time; see `tests.simulation.bugs`."""

import asyncio
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from datetime import datetime, timedelta
from typing import Any
from unittest.mock import patch

from services.payments import intents, news
from services.payments.connectors.registry import Connectors
from services.payments.core.asking import Declined
from services.payments.core.intents import answers, group
from services.payments.core.intents.moves import Moves
from services.payments.core.intents.state import Attempt, Intent
from services.payments.core.intents.view import shown
from services.payments.http import collecting, paying
from services.payments.intents import Intents
from services.payments.runner import AttemptRunner
from services.payments.store import attempts
from shared.contracts.payment_intents import PaymentIntent, PaymentIntentCanceled
from tests.simulation.bugs import Bug, plant_into

INTENT_BUGS: dict[str, Bug] = {}
"""By name, which says what is wrong."""
bug = plant_into(INTENT_BUGS)


@bug
def a_processor_is_asked_within_the_transaction() -> Iterator[None]:
    """Before what is asked is saved: the transaction may still be rolled back."""
    begin, save, follow = AttemptRunner.__init__, intents.save, Intents.follow
    connected: ContextVar[Connectors | None] = ContextVar("connected", default=None)
    by_intents: dict[Intents, Connectors] = {}

    def known(self: AttemptRunner, made: Intents, connectors: Connectors, due: asyncio.Event) -> None:
        by_intents[made] = connectors
        begin(self, made, connectors, due)

    async def following(self: Intents, news: Any) -> Any:
        connected.set(by_intents[self])
        return await follow(self, news)

    async def hasty(connection: Any, moves: Sequence[Moves], *more: Any) -> None:
        connectors = connected.get()
        for attempt in (attempt for each in moves for attempt in each.attempts):
            connector = connectors.named(attempt.connector) if connectors else None
            if connector is not None and attempt.operation == "authorize":
                await connector.authorize(attempt.asked)
        await save(connection, moves, *more)

    with (
        patch.object(AttemptRunner, "__init__", known),
        patch.object(Intents, "follow", following),
        patch.object(intents, "save", hasty),
    ):
        yield


@bug
def unknown_counts_as_declined() -> Iterator[None]:
    def declined(moves: Moves, intent: Intent, attempt: Attempt, answer: Any) -> Attempt:
        answers._declined(moves, intent, attempt, Declined("no_answer", "The processor did not answer."))
        return answers._ended(moves, attempt, answer)

    with patch.object(answers, "_unknown", declined):
        yield


@bug
def who_waits_for_an_order_is_told_that_it_failed() -> Iterator[None]:
    def hopeless(intent: Intent) -> PaymentIntent:
        told = shown(intent)
        return told.model_copy(update={"status": "failed"}) if intent.step == "leasing" else told

    with patch.object(paying, "shown", hopeless), patch.object(collecting, "shown", hopeless):
        yield


@bug
def the_lease_is_let_go_while_nobody_knows() -> Iterator[None]:
    unknown = answers._unknown

    def careless(moves: Moves, intent: Intent, attempt: Attempt, answer: Any) -> Attempt:
        return unknown(moves, moves.release(intent, "no_answer"), attempt, answer)

    with patch.object(answers, "_unknown", careless):
        yield


@bug
def it_is_tried_again_without_a_look_up() -> Iterator[None]:
    """With another id, so that the processor takes it for another payment."""

    def anew(moves: Moves, intent: Intent, attempt: Attempt, answer: Any) -> Attempt:
        moves.call(
            intent, attempt.operation, attempt.asked.amount_minor, attempt.connector, capture=attempt.asked.capture
        )
        return answers._ended(moves, attempt, answer)

    with patch.object(answers, "_unknown", anew):
        yield


@bug
def a_cancel_beats_a_completed_payment() -> Iterator[None]:
    authorized = answers._authorized

    def obedient(moves: Moves, intent: Intent, answer: Any) -> None:
        if not intent.cancel_requested:
            authorized(moves, intent, answer)
            return
        intent = moves.release(intent, "payment_canceled")
        moves.tell(moves.change(intent, step="ended", end="canceled"), PaymentIntentCanceled)
        group.advance(moves)

    with patch.object(answers, "_authorized", obedient):
        yield


@bug
def an_answer_counts_again_and_nobody_has_it_to_himself() -> Iterator[None]:
    """One of the two alone shows nowhere: what was answered before is known again, and two seldom ask at once."""
    answered = answers.answered

    def gullible(moves: Moves, attempt: Attempt, answer: Any) -> Attempt | None:
        intent = moves[attempt.asked.payment_intent_id]
        moves.change(intent, attempt_id=attempt.attempt_id)
        return answered(moves, attempt, answer)

    async def for_all(pool: Any, payment_intent_id: str, now: datetime) -> list[attempts.Claim]:
        return attempts._claims(await pool.fetch(attempts._CLAIM_UNKNOWN, payment_intent_id, now, now))

    with patch.object(news, "answered", gullible), patch.object(attempts, "claim_unknown", for_all):
        yield


@bug
def a_leg_is_collected_before_the_others_are_held() -> Iterator[None]:
    def at_once(moves: Moves, intent: Intent) -> None:
        assert intent.connector is not None
        automatic = intent.capture_method == "automatic"
        moves.call(intent, "authorize", intent.amount_minor, intent.connector, capture=automatic)

    with patch.object(group, "authorize", at_once):
        yield


@bug
def what_the_other_legs_hold_is_forgotten() -> Iterator[None]:
    with patch.object(group, "_wind_up", lambda moves: None):
        yield


@bug
def a_processor_is_asked_beside_the_order() -> Iterator[None]:
    """The order is asked for a lease, and nobody waits for what it says."""
    lease = Moves.lease

    def impatient(self: Moves, intent: Intent) -> Intent:
        leased = lease(self, intent)
        group.authorize(self, leased)
        return self[intent.payment_intent_id]

    with patch.object(Moves, "lease", impatient):
        yield


@bug
def what_is_held_again_is_not_told() -> Iterator[None]:
    tell = answers._tell_if_held

    def once(moves: Moves, intent: Intent) -> None:
        if intent.uncaptured:
            tell(moves, intent)

    with patch.object(answers, "_tell_if_held", once):
        yield


@bug
def what_never_arrived_is_given_up() -> Iterator[None]:
    """What must be done: the money stays held, and whoever asked is told that nothing is under way any more."""

    def given_up(moves: Moves, intent: Intent, attempt: Attempt) -> None:
        if attempt.operation == "authorize":
            never_arrived(moves, intent, attempt)
        else:
            moves.change(intent, step="held", cancel_requested=False)

    never_arrived = answers._never_arrived
    with patch.object(answers, "_never_arrived", given_up):
        yield


@bug
def a_look_up_that_is_not_sent_is_an_answer() -> Iterator[None]:
    with patch.object(answers, "may_have_been_sent", lambda attempt: attempt.status != "pending"):
        yield


@bug
def an_attempt_of_a_process_that_died_stays_its_own() -> Iterator[None]:
    with patch.object(attempts, "CLAIMED_FOR", timedelta(days=10)):
        yield


@bug
def a_processor_is_asked_on_a_lease_that_has_ended() -> Iterator[None]:
    with patch.object(intents, "may_call", lambda intent, _: not intent.cancel_requested):
        yield
