"""Intents that pay together: all or none, unless what succeeded is to be kept."""

import pytest

from services.payments.core.asking import Approved, Declined, Unknown
from tests.intents import Play, group

DECLINED = Declined("insufficient_funds", "Not enough money.")


def paying(*amounts: int, **fields: object) -> Play:
    play = Play(*group(*amounts, **fields))
    for number in range(1, len(amounts) + 1):
        assert play.confirm(number) is None
    return play


def hold(play: Play) -> None:
    asked = play.waiting[0].asked
    play.answer(Approved(f"psp-{asked.payment_intent_id}", asked.amount_minor))
    play.accept()


def test_every_leg_holds_its_lease_before_the_first_processor_is_asked() -> None:
    play = paying(3000, 2000)
    play.reply(play.commands.pop(0))
    assert not play.attempts
    play.accept()
    [attempt] = play.waiting
    assert (attempt.asked.payment_intent_id, attempt.asked.capture) == ("pi_1", False)


def test_nothing_is_collected_before_everything_is_held() -> None:
    play = paying(3000, 2000)
    play.accept()
    hold(play)
    assert play.waiting[0].asked.payment_intent_id == "pi_2"
    assert play.waiting[0].operation == "authorize"
    hold(play)
    assert [each.operation for each in play.waiting] == ["capture", "capture"]
    play.approve()
    play.approve()
    assert play.statuses == ["succeeded", "succeeded"]


def test_a_leg_without_a_lease_stops_all_before_any_processor_is_asked() -> None:
    play = paying(3000, 2000)
    first, second = play.commands
    play.commands = []
    play.reply(second, "ORDER_BALANCE_LEASED")
    play.reply(first)
    play.accept()
    assert play.statuses == ["canceled", "failed"]
    assert not play.attempts
    assert play.sent() == ["acquire_lease", "acquire_lease", "release_lease"]


def test_what_was_authorized_is_voided_when_a_later_leg_is_declined() -> None:
    play = paying(3000, 2000, 1000)
    play.accept()
    hold(play)
    play.answer(DECLINED)
    play.accept()
    assert play.statuses == ["processing", "failed", "canceled"]
    [void] = play.waiting
    assert (void.operation, void.asked.payment_intent_id) == ("void", "pi_1")
    play.approve()
    assert play.statuses == ["canceled", "failed", "canceled"]
    assert not any(command.startswith("record_capture") for command in play.sent())


def test_what_succeeded_is_kept_where_that_is_wished() -> None:
    play = paying(3000, 2000, 1000, keep_successful_legs=True)
    play.accept()
    hold(play)
    play.answer(DECLINED)
    play.accept()
    [capture] = play.waiting
    assert (capture.operation, capture.asked.payment_intent_id) == ("capture", "pi_1")
    play.approve()
    assert play.statuses == ["succeeded", "failed", "canceled"]


@pytest.mark.parametrize("keep", [False, True])
def test_a_leg_of_which_nothing_is_known_keeps_the_others_waiting(keep: bool) -> None:
    play = paying(3000, 2000, keep_successful_legs=keep)
    play.accept()
    play.answer(Unknown("no answer"))
    play.accept()
    assert play.statuses == ["unknown", "processing"]
    assert len(play.attempts) == 1
    hold(play)
    assert play.waiting[0].asked.payment_intent_id == "pi_2"


def test_canceling_one_leg_ends_all() -> None:
    play = paying(3000, 2000)
    play.accept()
    hold(play)
    play.cancel(1)
    hold(play)
    play.approve()
    play.approve()
    assert play.statuses == ["canceled", "canceled"]
