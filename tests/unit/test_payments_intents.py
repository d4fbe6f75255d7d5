"""The rules of payment intents: alone, held and captured in parts, canceled, lost."""

from datetime import timedelta

import pytest

from services.payments.core.asking import Declined, Means, NeverArrived, NotSent, Unknown
from services.payments.core.intents.view import shown
from shared.contracts.order_commands import AcquireLease, RecordCapture, RecordPaymentFailure, RecordVoid
from shared.immutable import replace
from tests.intents import START, Play, intent

DECLINED = Declined("insufficient_funds", "Not enough money.")


def paying(**fields: object) -> Play:
    """An intent whose processor is being asked."""
    play = Play(intent(**fields))
    assert play.confirm() is None
    play.accept()
    return play


def held(**fields: object) -> Play:
    play = paying(capture_method="manual", **fields)
    play.approve(ends_at=START + timedelta(days=7))
    play.accept()
    return play


def test_a_lease_is_taken_for_exactly_what_is_collected_before_the_processor_is_asked() -> None:
    play = Play(intent())
    play.confirm(expected=9000)
    [asked] = play.commands
    assert isinstance(asked.command, AcquireLease)
    assert (asked.command.amount_minor, asked.command.expected_outstanding_minor) == (5000, 9000)
    assert asked.command.charging
    assert not play.attempts
    play.accept()
    [attempt] = play.waiting
    assert (attempt.operation, attempt.asked.amount_minor, attempt.asked.capture) == ("authorize", 5000, True)


def test_money_that_was_collected_is_told_to_the_order_under_its_lease() -> None:
    play = paying()
    lease_id = play[1].lease_id
    play.approve()
    assert play.statuses == ["succeeded"]
    assert not play[1].settled
    [told] = play.commands
    assert isinstance(told.command, RecordCapture)
    assert (told.command.amount_minor, told.command.lease_id, told.command.payment_reference) == (
        5000,
        lease_id,
        "psp-1",
    )
    assert told.command.tender.payment_intent_id == "pi_1"
    play.accept()
    assert play[1].settled
    assert play[1].order_version == 7
    assert play.told == ["processing", "succeeded"]


def test_a_refused_lease_asks_no_processor() -> None:
    play = Play(intent())
    play.confirm()
    play.refuse(outstanding_minor=5000, available_minor=0)
    assert play.statuses == ["requires_confirmation"]
    assert not play.attempts
    refusal = play[1].last_refusal
    assert refusal is not None
    assert (refusal.code, refusal.available_money and refusal.available_money.amount) == ("ORDER_BALANCE_LEASED", 0)
    assert play[1].settled


def test_what_pays_in_one_call_ends_when_the_order_refuses() -> None:
    play = Play(intent(one_shot=True))
    play.confirm()
    play.refuse("ORDER_NOT_OPEN")
    assert play.statuses == ["failed"]


def test_a_decline_is_told_frees_the_balance_and_lets_another_card_be_tried() -> None:
    play = paying()
    first = play[1].payment_id
    play.answer(DECLINED)
    assert play.statuses == ["requires_payment_method"]
    assert play.sent() == ["acquire_lease", "record_payment_failure", "release_lease"]
    failure = play.all_commands[1].command
    assert isinstance(failure, RecordPaymentFailure)
    assert (failure.code, failure.payment_id) == ("insufficient_funds", first)
    assert play.told[-1] == "failed"
    play.accept()
    assert play.confirm(means=None) is not None
    play.confirm(means=Means("card", token="another"))
    play.accept()
    play.approve()
    assert play.statuses == ["succeeded"]
    assert play[1].payment_id != first
    assert play[1].last_decline is None


def test_a_partial_approval_keeps_what_was_approved_and_frees_the_rest() -> None:
    play = paying()
    play.approve(amount_minor=2500)
    assert play.sent() == ["acquire_lease", "record_capture", "release_lease"]
    assert play[1].captured_minor == 2500
    assert play.statuses == ["succeeded"]


def test_authorize_capture_in_two_parts_and_void_the_rest() -> None:
    play = held()
    assert play.statuses == ["requires_capture"]
    assert play[1].authorized_minor == 5000
    refused = play.capture(5001)
    assert refused is not None
    assert refused.code == "CAPTURE_EXCEEDS_AUTHORIZED"
    for _ in range(2):
        assert play.capture(2000) is None
        play.approve(reference="cap")
        play.accept()
    assert (play[1].captured_minor, play[1].authorized_minor, play.statuses) == (4000, 1000, ["requires_capture"])
    assert play.told == ["processing", *["requires_capture"] * 3]
    captures = [each.command for each in play.all_commands if isinstance(each.command, RecordCapture)]
    assert len({capture.capture_reference for capture in captures}) == 2
    assert play.cancel() is None
    play.approve()
    assert (play[1].voided_minor, play.statuses) == (1000, ["succeeded"])
    assert isinstance(play.all_commands[-1].command, RecordVoid)


def test_a_hold_that_is_canceled_is_voided() -> None:
    play = held()
    play.cancel()
    assert play.waiting[0].operation == "void"
    play.approve()
    assert play.statuses == ["canceled"]
    again = play.cancel()
    assert again is None
    refused = play.capture()
    assert refused is not None
    assert refused.code == "INTENT_NOT_IN_STATE"


@pytest.mark.parametrize("code", ["authorization_expired", "authorization_voided"])
def test_a_capture_of_what_has_ended_at_the_processor_ends_the_intent(code: str) -> None:
    play = held()
    play.capture()
    play.answer(Declined(code, "It is over."))
    assert play.statuses == ["expired" if code == "authorization_expired" else "canceled"]
    assert play[1].authorized_minor == 0


def test_another_decline_of_a_capture_leaves_the_hold() -> None:
    play = held()
    play.capture()
    play.answer(Declined("do_not_honor", "No."))
    assert play.statuses == ["requires_capture"]
    assert play[1].authorized_minor == 5000
    assert play.told == ["processing", "requires_capture", "requires_capture"]


def test_the_public_hears_what_came_of_what_was_unknown() -> None:
    play = held()
    play.capture(3000)
    play.answer(Unknown("no answer"))
    play.approve(reference="cap")
    assert play.told == ["processing", "requires_capture", "unknown", "requires_capture"]


def test_a_canceled_intent_that_waits_for_its_lease_gives_it_back() -> None:
    play = Play(intent())
    play.confirm()
    play.cancel()
    assert play.statuses == ["processing"]
    play.accept()
    assert play.statuses == ["canceled"]
    assert play.sent() == ["acquire_lease", "release_lease"]
    assert not play.attempts


def test_a_completed_payment_beats_a_cancel() -> None:
    play = paying()
    assert play.cancel() is None
    play.approve()
    assert play.statuses == ["succeeded"]


def test_money_held_for_a_canceled_intent_is_let_go() -> None:
    play = paying(capture_method="manual")
    play.cancel()
    play.approve()
    assert play.waiting[0].operation == "void"
    play.approve()
    assert play.statuses == ["canceled"]


def test_no_answer_is_unknown_keeps_the_lease_and_is_looked_up() -> None:
    play = paying()
    attempt = play.answer(Unknown("no answer"))
    assert attempt is not None
    assert play.statuses == ["unknown"]
    assert attempt.status == "unknown"
    assert attempt.due_at > play.now
    assert play.cancel() is None
    assert play.statuses == ["unknown"]
    play.later(280)
    play.answer(Unknown("still none"))
    assert play.sent() == ["acquire_lease", "extend_lease"]
    assert play.told.count("unknown") == 1
    play.approve()
    assert play.statuses == ["succeeded"]


def test_what_never_arrived_frees_the_balance() -> None:
    play = paying()
    play.answer(Unknown("no answer"))
    play.answer(NeverArrived())
    assert play.statuses == ["requires_payment_method"]
    assert play.sent() == ["acquire_lease", "record_payment_failure", "release_lease"]
    decline = play[1].last_decline
    assert decline is not None
    assert decline.code == "not_processed"


def test_what_its_claimant_died_of_before_sending_is_asked_anew() -> None:
    play = paying()
    first = play.waiting[0]
    play.answer(NeverArrived())
    second = play.waiting[0]
    assert second.attempt_id != first.attempt_id
    assert second.operation == "authorize"
    play.approve()
    assert play.statuses == ["succeeded"]


def test_a_lost_capture_is_asked_anew() -> None:
    play = held()
    play.capture(3000)
    play.answer(Unknown("no answer"))
    play.answer(NeverArrived())
    [again] = play.waiting
    assert (again.operation, again.asked.amount_minor) == ("capture", 3000)


def test_captures_that_get_lost_again_and_again_are_asked_more_and_more_seldom() -> None:
    play = held()
    play.capture(3000)
    pauses = []
    for _ in range(4):
        play.answer(Unknown("no answer"))
        play.answer(NeverArrived())
        pauses.append((play.waiting[0].due_at - play.now).total_seconds())
    assert pauses == [1, 2, 4, 8]
    play.approve()
    assert play[1].lost == 0


def test_an_answer_that_comes_twice_counts_once() -> None:
    play = paying()
    attempt = play.waiting[0]
    play.approve()
    before = play[1]
    play.answer(DECLINED, attempt)
    assert play[1] == before
    assert play.sent() == ["acquire_lease", "record_capture"]


def test_a_processor_out_of_reach_declines_and_frees_the_balance() -> None:
    play = paying()
    play.answer(NotSent("no connection"))
    assert play.statuses == ["requires_payment_method"]
    decline = play[1].last_decline
    assert decline is not None
    assert decline.code == "processor_unavailable"


def test_a_look_up_that_is_not_sent_says_nothing_of_what_somebody_who_died_may_have_sent() -> None:
    play = paying()
    taken_over = replace(play.waiting[0], claims=2)
    attempt = play.answer(NotSent("no connection"), taken_over)
    assert attempt is not None
    assert (attempt.status, play.statuses) == ("unknown", ["unknown"])
    assert play[1].last_decline is None
    play.approve()
    assert play.statuses == ["succeeded"]


def test_a_void_that_cannot_be_sent_is_tried_again() -> None:
    play = held()
    play.cancel()
    attempt = play.answer(NotSent("no connection"))
    assert attempt is not None
    assert attempt.status == "pending"
    assert attempt.due_at > play.now
    assert play.statuses == ["processing"]


def test_a_lease_that_runs_out_before_the_call_is_taken_anew() -> None:
    play = paying()
    assert play.may_call()
    play.later(280)
    assert not play.may_call()
    play.answer(None)
    assert play.sent() == ["acquire_lease", "release_lease", "acquire_lease"]
    first, _, second = (command.command for command in play.all_commands)
    assert isinstance(first, AcquireLease)
    assert isinstance(second, AcquireLease)
    assert first.lease_id != second.lease_id
    play.accept()
    play.approve()
    assert play.statuses == ["succeeded"]


def test_whoever_looks_at_an_unknown_outcome_often_does_not_put_off_the_next_look() -> None:
    play = paying()
    unknown = play.answer(Unknown("no answer"))
    assert unknown is not None
    play.later(60)
    looked = play.answer(Unknown("no answer"), replace(unknown, looks=12))
    assert looked is not None
    assert looked.due_at == play.now + timedelta(seconds=30)


def test_cash_less_than_the_amount_is_refused_and_change_is_told() -> None:
    play = Play(intent())
    refused = play.confirm(means=Means("cash", tendered_minor=4999))
    assert refused is not None
    assert refused.code == "VALIDATION_FAILED"
    assert play.statuses == ["requires_payment_method"]
    play.confirm(means=Means("cash", tendered_minor=6000))
    play.accept()
    play.approve()
    method = shown(play[1]).method
    assert method is not None
    assert method.change_money is not None
    assert method.change_money.amount == 1000


def test_confirming_twice_or_after_a_cancel_is_refused() -> None:
    play = paying()
    refused = play.confirm()
    assert refused is not None
    assert refused.code == "INTENT_NOT_IN_STATE"
    other = Play(intent())
    other.cancel()
    assert other.statuses == ["canceled"]
    late = other.confirm()
    assert late is not None
    assert late.code == "INTENT_NOT_IN_STATE"
