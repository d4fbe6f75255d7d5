"""What an intent collects where nobody named an amount, and what must be owed for it."""

import pytest

from services.payments.core.asking import Declined, Means
from shared.contracts.order_commands import AcquireLease
from tests.intents import Play, intent


def asked(play: Play) -> tuple[int, int | None]:
    """The amount of the lease that the order is asked for, and what it must owe."""
    [command] = play.commands
    assert isinstance(command.command, AcquireLease)
    return command.command.amount_minor, command.command.expected_outstanding_minor


def refusal(play: Play) -> str | None:
    found = play[1].last_refusal
    return found and found.code


def test_an_amount_that_nobody_named_has_not_changed_when_nothing_is_owed() -> None:
    for follows, code in ((True, "ORDER_ALREADY_PAID"), (False, "OUTSTANDING_CHANGED")):
        play = Play(intent(follows=follows))
        play.confirm()
        play.refuse("OUTSTANDING_CHANGED", outstanding_minor=0, available_minor=0)
        assert (refusal(play), play.sent()) == (code, ["acquire_lease"])


def test_an_amount_that_nobody_named_follows_what_is_owed() -> None:
    play = Play(intent(follows=True))
    play.confirm()
    assert asked(play) == (5000, 5000)
    play.refuse("OUTSTANDING_CHANGED", outstanding_minor=7000)
    assert asked(play) == (7000, 7000)
    for _ in range(3):
        play.refuse("OUTSTANDING_CHANGED", outstanding_minor=8000)
    assert play.statuses == ["requires_confirmation"]


def test_what_the_client_says_is_owed_is_never_replaced_by_what_is() -> None:
    play = Play(intent(follows=True))
    play.confirm(expected=10_000)
    assert asked(play) == (10_000, 10_000)
    play.refuse("OUTSTANDING_CHANGED", outstanding_minor=12_000)
    assert (play.commands, refusal(play)) == ([], "OUTSTANDING_CHANGED")
    play.confirm(expected=0)
    assert asked(play) == (1, 0)


def test_what_the_client_said_when_the_intent_was_made_holds_for_every_try() -> None:
    play = Play(intent(expected_outstanding_minor=9000))
    play.confirm()
    assert asked(play) == (5000, 9000)
    play.accept()
    play.answer(Declined("do_not_honor", "No."))
    play.accept()
    play.confirm(means=Means("card", token="another"))
    assert asked(play) == (5000, 9000)


def test_what_completes_an_order_is_all_that_it_owes_at_every_try() -> None:
    play = Play(intent(completion="complete_order"))
    refused = play.confirm(expected=9000)
    assert refused is not None
    assert (refused.code, refused.param) == ("VALIDATION_FAILED", "expected_outstanding_money")
    play.confirm()
    assert asked(play) == (5000, 5000)
    play.refuse("OUTSTANDING_CHANGED", outstanding_minor=9000)
    assert refusal(play) == "OUTSTANDING_CHANGED"


@pytest.mark.parametrize(("owed", "then"), [(7000, ["acquire_lease", "acquire_lease"]), (0, ["acquire_lease"])])
def test_an_order_that_seems_to_owe_nothing_is_asked_whether_it_does(owed: int, then: list[str]) -> None:
    play = Play(intent(follows=True, amount_minor=0))
    play.confirm()
    assert asked(play) == (1, 0)
    play.refuse("OUTSTANDING_CHANGED" if owed else "ORDER_ALREADY_PAID", outstanding_minor=owed)
    assert play.sent() == then
    if owed:
        assert asked(play) == (7000, 7000)
    else:
        assert refusal(play) == "ORDER_ALREADY_PAID"


def test_less_cash_than_is_owed_by_now_pays_nothing() -> None:
    play = Play(intent(follows=True))
    play.confirm(means=Means("cash", tendered_minor=6000))
    play.refuse("OUTSTANDING_CHANGED", outstanding_minor=7000)
    assert (play.commands, refusal(play)) == ([], "OUTSTANDING_CHANGED")


def test_whoever_cancels_is_not_told_that_the_lease_was_refused() -> None:
    play = Play(intent())
    play.confirm()
    assert play.cancel() is None
    play.refuse()
    assert (play.statuses, refusal(play)) == (["canceled"], None)
