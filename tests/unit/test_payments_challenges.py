"""Challenges of buyers: while they last, and when nobody wants them any more."""

from datetime import timedelta

from services.payments.core.asking import ActionRequired, Approved, Declined, NeverArrived, NotSent, Unknown
from services.payments.core.intents.answers import ended_challenge
from services.payments.core.intents.moves import Moves
from services.payments.core.intents.state import LEASE_S, NO_CALL_WITHIN, ends_challenge
from services.payments.core.intents.view import shown
from shared.contracts.order_commands import ExtendLease
from shared.immutable import replace
from tests.intents import Play, group, intent


def paying(**fields: object) -> Play:
    """An intent whose processor is being asked."""
    play = Play(intent(**fields))
    assert play.confirm() is None
    play.accept()
    return play


def two(**fields: object) -> Play:
    """Two that pay together, the first of which is asked for."""
    play = Play(*group(3000, 2000, **fields))
    assert (play.confirm(1), play.confirm(2)) == (None, None)
    play.accept()
    return play


def challenge(play: Play, minutes: int = 15) -> ActionRequired:
    return ActionRequired("psp-1", "https://bank.example/c/1", play.now + timedelta(minutes=minutes))


def test_a_challenge_that_was_looked_at_often_is_looked_at_again_soon_after_an_answer_is_missing() -> None:
    play = paying()
    asks = challenge(play)
    attempt = play.answer(asks)
    assert attempt is not None
    looked = play.answer(asks, replace(attempt, looks=12))
    assert looked is not None
    missed = play.answer(Unknown("no answer"), replace(looked, looks=13))
    assert missed is not None
    assert (missed.status, missed.due_at) == ("challenged", looked.due_at)


def test_a_challenge_keeps_the_lease_until_it_ends() -> None:
    play = paying()
    ends_at = play.now + timedelta(minutes=15)
    attempt = play.answer(ActionRequired("psp-1", "https://bank.example/c/1", ends_at))
    assert attempt is not None
    assert play.statuses == ["requires_action"]
    assert attempt.status == "challenged"
    assert play.sent() == ["acquire_lease", "extend_lease"]
    until = play[1].lease_until
    assert until is not None
    assert until > ends_at
    action = shown(play[1]).next_action
    assert action is not None
    assert action.url == "https://bank.example/c/1"
    again = play.answer(ActionRequired("psp-1", "https://bank.example/c/1", ends_at))
    assert again is not None
    assert play.sent() == ["acquire_lease", "extend_lease"]
    assert again.due_at > play.now
    play.accept()
    play.approve()
    assert play.statuses == ["succeeded"]
    assert shown(play[1]).next_action is None


def test_a_challenge_that_nobody_wants_any_more_is_ended_and_looked_up() -> None:
    play = paying()
    challenged = play.answer(challenge(play))
    assert challenged is not None
    assert (play.cancel(), play.cancel()) == (None, None)
    _, ending = play.waiting
    assert ends_challenge(ending)
    assert (ending.operation, ending.asked.reference, play[1].settled) == ("void", "psp-1", False)
    moves = Moves(play.intents.values(), play.now)
    retried = ended_challenge(moves, ending, NotSent("no connection"))
    assert retried is not None
    assert (retried.status, moves["pi_1"].ending) == ("pending", ending.attempt_id)
    taken_over = ended_challenge(moves, replace(ending, claims=2), NotSent("no connection"))
    assert taken_over is not None
    assert taken_over.status == "unknown"
    lost = Moves(play.intents.values(), play.now)
    ended_challenge(lost, ending, NeverArrived())
    assert lost["pi_1"].ending == lost.attempts[0].attempt_id != ending.attempt_id
    over = ended_challenge(moves, ending, Approved("psp-1", 0))
    assert over is not None
    assert (over.status, moves["pi_1"].ending) == ("ended", None)
    assert ended_challenge(moves, ending, Approved("psp-1", 0)) is None
    play.answer(Declined("canceled", "It was canceled."), challenged)
    assert play.statuses == ["canceled"]


def test_a_challenge_that_comes_after_the_cancel_is_ended_and_shown_to_nobody() -> None:
    play = paying()
    assert play.cancel() is None
    challenged = play.answer(challenge(play))
    assert challenged is not None
    assert "requires_action" not in play.told
    _, ending = play.waiting
    assert ends_challenge(ending)
    play.answer(Declined("canceled", "It was canceled."), challenged)
    assert play.statuses == ["canceled"]
    assert play.sent()[-1] == "release_lease"


def test_a_challenge_is_ended_when_another_leg_is_canceled() -> None:
    play = two()
    challenged = play.answer(challenge(play))
    assert challenged is not None
    assert play.cancel(2) is None
    _, ending = play.waiting
    assert (ends_challenge(ending), ending.asked.payment_intent_id) == (True, "pi_1")
    play.answer(Declined("canceled", "It was canceled."), challenged)
    assert play.statuses == ["canceled", "canceled"]


def test_whoever_waits_for_a_challenge_of_another_leg_holds_its_part_until_then() -> None:
    play = two()
    play.answer(challenge(play))
    terms = [each.command.term_s for each in play.commands if isinstance(each.command, ExtendLease)]
    assert terms == [15 * 60 + LEASE_S] * 2
    play.accept()
    play.later(15 * 60)
    play.answer(Approved("psp-1", 3000))
    assert play.may_call(2)


def test_whoever_waits_for_a_leg_of_which_nothing_is_known_holds_its_part() -> None:
    play = two()
    attempt = play.answer(Unknown("no answer"))
    assert attempt is not None
    for _ in range(20):
        play.later((attempt.due_at - play.now).total_seconds())
        attempt = play.answer(Unknown("no answer"), attempt)
        assert attempt is not None
        play.accept()
        until = play[2].lease_until
        assert until is not None
        assert until > attempt.due_at + NO_CALL_WITHIN - timedelta(seconds=1)


def test_a_part_that_was_lost_meanwhile_is_asked_for_anew() -> None:
    play = two()
    play.answer(challenge(play))
    own, others = play.commands
    play.commands = []
    play.reply(own)
    play.reply(others, "LEASE_EXPIRED")
    play.answer(Approved("psp-1", 3000))
    play.accept()
    assert not play.may_call(2)
    [attempt] = play.waiting
    assert play.answer(None, attempt) is not None
    assert play.sent()[-2:] == ["release_lease", "acquire_lease"]
