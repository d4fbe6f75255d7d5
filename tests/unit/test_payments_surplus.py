"""What an order was not owed, or did not take, is shown to somebody."""

from datetime import timedelta

import pytest

from services.payments.core.asking import Approved, Declined, Means, NeverArrived, NotSent, Unknown
from services.payments.core.intents.answers import gave_back
from services.payments.core.intents.moves import Moves
from services.payments.core.intents.state import Attempt, Intent
from services.payments.core.intents.surplus import item_for_reply
from services.payments.core.resolving import Claimed, Denied, Found, GiveBack, Return, Wish, answered, decide
from services.payments.core.returning import at_its_processor, came_back, given_back, is_set_aside, not_given_back
from services.payments.core.state import Item
from shared.contracts.model import Actor
from shared.contracts.order_commands import RecordRefund, ReserveRefund
from shared.contracts.order_parts import Allocation
from shared.contracts.orders import CommandAccepted, CommandRefused
from shared.immutable import replace
from tests.intents import CARD, START, intent

NOW = START + timedelta(minutes=1)


def collected() -> Intent:
    return intent(
        step="ended",
        end="succeeded",
        captured_minor=5000,
        collected=(("pi_1.fact.2", 5000),),
        reference="psp-1",
        tries=1,
        means=CARD,
        connector="sandbox",
    )


def accepted(kind: str = "fact", **facts: object) -> CommandAccepted:
    return CommandAccepted(command_id=f"pi_1.{kind}.2", order_id="ord_1", order_version=9, facts=facts)


@pytest.mark.parametrize("kind", ["lease", "extend", "release", "order"])
def test_only_what_was_said_of_money_is_looked_at(kind: str) -> None:
    assert item_for_reply(collected(), accepted(kind, surplus_minor=5000), NOW) is None
    assert item_for_reply(collected(), accepted(), NOW) is None
    assert item_for_reply(intent(), accepted(surplus_minor=5000), NOW) is None


def test_a_surplus_is_shown_with_its_amount() -> None:
    item = item_for_reply(collected(), accepted(surplus_minor=1200), NOW)
    assert item is not None
    assert item.money.amount_money is not None
    assert (item.money.kind, item.money.amount_money.amount, item.money.order_version) == ("surplus", 1200, 9)
    assert (item.money.payment_reference, item.money.order_id) == ("psp-1", "ord_1")


@pytest.mark.parametrize(("status", "facts"), [("canceled", {"surplus_minor": 3000}), ("closed", {})])
def test_money_for_an_order_that_had_ended_is_shown(status: str, facts: dict[str, object]) -> None:
    """All of what was told now, whether or not more was collected before."""
    told = replace(collected(), collected=(("pi_1.fact.1", 2000), ("pi_1.fact.2", 3000)))
    item = item_for_reply(told, accepted(**facts, order_status=status), NOW)
    assert item is not None
    assert item.money.amount_money is not None
    assert (item.money.kind, item.money.amount_money.amount) == ("closed_order", 3000)
    assert item.money.detail == f"The order was {status} when the money came."


def test_money_that_an_order_did_not_take_is_shown_whole() -> None:
    refused = CommandRefused(command_id="pi_1.fact.2", order_id="ord_1", order_version=9, code="CURRENCY_MISMATCH")
    item = item_for_reply(collected(), refused, NOW)
    assert item is not None
    assert item.money.amount_money is not None
    assert (item.money.kind, item.money.amount_money.amount) == ("conflict", 5000)


def test_what_its_processor_gives_back_is_asked_once_and_counted_once() -> None:
    moves = Moves([collected()], NOW)
    moves.refund(moves["pi_1"], 2000, "um_1")
    moves.refund(moves["pi_1"], 3000, "um_2")
    first, second = moves.attempts
    assert (first.operation, first.asked.reference, first.asked.amount_minor) == ("refund", "psp-1", 2000)
    assert moves["pi_1"].status == "succeeded"
    after = gave_back(moves, first, Approved("ref-1", 2000))
    assert after is not None
    assert after.status == "watched"
    assert gave_back(moves, first, Approved("ref-1", 2000)) is None
    assert moves["pi_1"].refunding == (second.attempt_id,)


def watched(means: Means = CARD) -> tuple[Moves, Attempt]:
    moves = Moves([replace(collected(), means=means)], NOW)
    moves.refund(moves["pi_1"], 2000, "um_1")
    after = gave_back(moves, moves.attempts[0], Approved("ref-1", 2000))
    assert after is not None
    return moves, after


def test_a_refund_is_looked_up_for_a_month_less_and_less_often() -> None:
    moves, attempt = watched()
    looks = 0
    while attempt.status == "watched":
        assert moves["pi_1"].watching == (attempt.attempt_id,)
        moves.now = attempt.due_at
        # An answer that is missing now and then says nothing of what was approved.
        found = (Approved("ref-1", 2000), Unknown("no answer"), NotSent("left alone"), NeverArrived())[looks % 4]
        looked = gave_back(moves, attempt, found)
        assert looked is not None
        assert looked.answer == Approved("ref-1", 2000)
        attempt, looks = looked, looks + 1
    assert (attempt.status, moves["pi_1"].watching) == ("ended", ())
    assert timedelta(days=30) <= attempt.updated_at - attempt.created_at < timedelta(days=60)
    assert looks < 25


def test_a_refund_that_comes_back_is_found_out_once() -> None:
    moves, attempt = watched()
    back = gave_back(moves, attempt, Declined("refund_failed", "It was sent back."))
    assert back is not None
    assert (back.status, back.answer, moves["pi_1"].watching) == (
        "ended",
        Declined("refund_failed", "It was sent back."),
        (),
    )
    assert gave_back(moves, attempt, Declined("refund_failed", "It was sent back.")) is None
    assert gave_back(moves, attempt, Approved("ref-1", 2000)) is None


def test_whoever_claimed_a_refund_before_it_was_approved_says_nothing_new() -> None:
    moves, attempt = watched()
    for answer in (Approved("ref-1", 2000), Unknown("no answer"), Declined("refund_failed", "It was sent back.")):
        assert gave_back(moves, replace(attempt, status="unknown", answer=None), answer) is None
    assert moves["pi_1"].watching == (attempt.attempt_id,)


def test_cash_that_was_paid_out_does_not_come_back() -> None:
    moves, attempt = watched(Means("cash"))
    assert (attempt.status, moves["pi_1"].watching) == ("ended", ())


def returning() -> Item:
    item = item_for_reply(collected(), accepted(surplus_minor=1200), NOW)
    assert item is not None
    claimed = decide(Found(item, None, None), Wish(Actor(type="key", id="key_1"), note="Too much"), GiveBack(), NOW)
    assert isinstance(claimed, Claimed)
    back, _ = given_back(claimed.item, "ref-1", NOW)
    return back


def test_what_came_back_before_its_order_answered_is_the_same_item_open_again() -> None:
    back = returning()
    found = came_back(back, "ref-1", "refund_failed", NOW)
    assert found is not None
    assert (found.item.money.status, found.item.money.refusal, found.again) == ("open", "refund_failed", None)
    assert found.item.money.return_reference is None
    assert (found.command.refund_reference, found.item.command_id) == ("ref-1", f"{back.money.unmatched_money_id}.3")
    assert came_back(found.item, "ref-1", "refund_failed", NOW) is None


def test_what_came_back_after_its_item_had_ended_is_an_item_of_its_own() -> None:
    back = returning()
    ended = answered(back, CommandAccepted(command_id=back.command_id or "", order_id="ord_1", order_version=10), NOW)
    found = came_back(ended, "ref-1", "refund_failed", NOW + timedelta(hours=1))
    assert found is not None
    assert found.again is not None
    old, new = found.item.money, found.again.money
    assert (old.status, old.replaced_by, old.resolved_by) == (
        "returned",
        new.unmatched_money_id,
        back.money.resolved_by,
    )
    assert (new.status, new.refusal, new.amount_money, new.split_from) == (
        "open",
        "refund_failed",
        old.amount_money,
        old.unmatched_money_id,
    )
    assert (new.resolved_by, new.resolved_at, new.return_reference, new.note, new.version) == (
        None,
        None,
        None,
        None,
        1,
    )
    assert new.created_at == NOW + timedelta(hours=1)
    assert came_back(found.item, "ref-1", "refund_failed", NOW) is None
    # Given back once more, it is another refund for the order.
    claimed = decide(Found(found.again, None, None), Wish(Actor(type="key", id="key_1")), GiveBack(), NOW)
    assert isinstance(claimed, Claimed)
    _, told = given_back(claimed.item, "ref-2", NOW)
    assert told.refund_id != found.command.refund_id


def test_a_refund_of_which_nothing_is_known_is_looked_up_and_one_that_never_arrived_is_asked_anew() -> None:
    moves = Moves([collected()], NOW)
    moves.refund(moves["pi_1"], 2000, "um_1")
    [attempt] = moves.attempts
    unknown = gave_back(moves, attempt, Unknown("no answer"))
    assert unknown is not None
    assert (unknown.status, unknown.due_at > NOW) == ("unknown", True)
    not_sent = gave_back(moves, attempt, NotSent("no connection"))
    assert not_sent is not None
    assert not_sent.status == "pending"
    gave_back(moves, unknown, NeverArrived())
    anew = moves.attempts[-1]
    assert (anew.asked.amount_minor, anew.asked.unmatched_money_id) == (2000, "um_1")
    assert moves["pi_1"].refunding == (anew.attempt_id,)


@pytest.mark.parametrize(("facts", "only_credit"), [({}, True), ({"order_status": "closed"}, False)])
def test_what_goes_back_through_its_processor_is_set_aside_first(facts: dict[str, object], only_credit: bool) -> None:
    item = item_for_reply(collected(), accepted(surplus_minor=1200, **facts), NOW)
    assert item is not None
    wish = Wish(Actor(type="key", id="key_1"))
    claimed = decide(Found(item, None, None), wish, GiveBack(), NOW)
    assert isinstance(claimed, Claimed)
    amount = 1200 if only_credit else 5000
    command, asked = claimed.command, claimed.item
    assert isinstance(command, ReserveRefund)
    assert (command.amount_minor, command.effect, command.only_credit) == (amount, "reopen_balance", only_credit)
    assert command.payments == (Allocation(payment_id=item.money.payment_id, amount_minor=amount),)
    assert (asked.money.status, asked.asked_at, is_set_aside(asked)) == ("returning", NOW, True)
    assert at_its_processor(asked).asked_at is None
    back, told = given_back(at_its_processor(asked), "ref-1", NOW)
    assert (back.money.return_reference, back.command_id, told.amount_minor, told.refund_id) == (
        "ref-1",
        f"{item.money.unmatched_money_id}.2",
        amount,
        command.refund_id,
    )
    assert not is_set_aside(back)
    again, let_go = not_given_back(at_its_processor(asked), "exceeds_captured")
    assert (again.money.status, again.money.refusal, again.money.resolved_by) == ("open", "exceeds_captured", None)
    assert (let_go.refund_id, again.command_id) == (command.refund_id, back.command_id)


def test_only_what_an_intent_collected_goes_back_through_its_processor() -> None:
    item = item_for_reply(collected(), accepted(surplus_minor=1200), NOW)
    assert item is not None
    elsewhere = replace(item, money=item.money.model_copy(update={"channel_id": "chn_web"}))
    denied = decide(Found(elsewhere, None, None), Wish(Actor(type="key", id="key_1")), GiveBack(), NOW)
    assert isinstance(denied, Denied)
    assert denied.code == "UNMATCHED_MONEY_NOT_MOVABLE"


@pytest.mark.parametrize(("means", "told"), [(CARD, "external"), (Means("cash"), "cash")])
def test_what_a_person_gives_back_is_known_from_what_the_processor_does(means: Means, told: str) -> None:
    """Else the processor's ledger and the order would differ for ever."""
    item = item_for_reply(replace(collected(), means=means), accepted(surplus_minor=1200), NOW)
    assert item is not None
    claimed = decide(Found(item, None, None), Wish(Actor(type="key", id="key_1")), Return("transfer-1"), NOW)
    assert isinstance(claimed, Claimed)
    assert isinstance(claimed.command, RecordRefund)
    assert claimed.command.tender.method is not None
    assert claimed.command.tender.method.type == told
    _, by_its_processor = given_back(claimed.item, "ref-1", NOW)
    assert by_its_processor.tender.method is not None
    assert by_its_processor.tender.method.type == means.type
