"""Unmatched money that somebody attaches or returns: what may be done, what orders are told, what they answer."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.payments.core.identities import derived_id
from services.payments.core.proposals import clues_of, rank, reference_key
from services.payments.core.resolving import Attach, Claimed, Denied, Dismiss, Found, Return, Wish, answered, decide
from services.payments.core.state import Item, KnownOrder
from services.payments.messages import found_messages
from shared.contracts.model import Actor, Money, PositiveMoney
from shared.contracts.order_commands import RecordAuthorization, RecordCapture, RecordRefund
from shared.contracts.orders import CommandAccepted, CommandRefused
from shared.contracts.payments import UnmatchedMoney

NOW = datetime(2026, 11, 21, 10, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
BY = Actor(type="key", id="key_1")
ORDER = KnownOrder("ord_1", "mer_1", "test", "web-8812", "EUR", "open", 9000, 3, placed_at=NOW)
TO_ORDER, BACK = Attach("ord_1"), Return("transfer-1", NOW)


def eur(amount: int) -> Money:
    return Money(amount=amount, currency="EUR")


def item(kind: str = "captured", **fields: Any) -> Item:
    """90.00 for an order that nobody knows; on an order, if `order_id` is given."""
    event: dict[str, Any] = {
        "external_reference": "WEB 8812",
        "payment_reference": "psp-1",
        "amount_money": {"amount": 9000, "currency": "EUR"},
        "method": {"type": "card"},
        "source": "checkout",
    }
    event |= {"refund_reference": "re-1"} if kind == "refunded" else {}
    money = UnmatchedMoney(
        unmatched_money_id="um_1",
        kind="unknown_order",
        status="open",
        detail="No order.",
        amount_money=eur(9000),
        channel_id="chn_web",
        event_type=f"channel.payment.{kind}.v1",
        event_id="evt_1",
        event=event,
        payment_id="pay_1",
        payment_reference="psp-1",
        external_reference="WEB 8812",
        created_at=NOW,
    )
    return Item("mer_1", "test", "cev_1", money.model_copy(update=fields))


def wish(part: int | None = None, **more: Any) -> Wish:
    return Wish(BY, None if part is None else PositiveMoney(amount=part, currency="EUR"), **more)


def attached(what: Item, wanted: Wish | None = None, order: KnownOrder | None = ORDER) -> Claimed:
    claimed = decide(Found(what, "waiting", order), wanted or wish(), TO_ORDER, NOW)
    assert isinstance(claimed, Claimed), claimed
    return claimed


def returned(what: Item, wanted: Wish | None = None, order: KnownOrder | None = None) -> Claimed:
    claimed = decide(Found(what, "waiting", order), wanted or wish(note="Sent back."), BACK, NOW)
    assert isinstance(claimed, Claimed), claimed
    return claimed


def surplus(amount: int = 500) -> Item:
    """What the order has beyond what it was owed."""
    money = item(amount_money=eur(amount), order_id="ord_1", order_version=3)
    return replace(money, money=money.money.model_copy(update={"kind": "surplus"}))


def test_the_order_is_told_of_the_whole_as_of_a_capture_of_its_own() -> None:
    claimed = attached(item())
    money = claimed.item.money
    assert (money.status, money.attaching_to, money.version, money.order_id) == ("attaching", "ord_1", 2, None)
    assert (money.resolved_by, money.resolved_at, claimed.rest) == (BY, None, None)
    assert claimed.item.command_id == "um_1.1"
    assert isinstance(claimed.command, RecordCapture)
    told = claimed.command
    assert (told.payment_id, told.payment_reference, told.capture_reference) == ("pay_1", "psp-1", "um_1")
    assert (told.amount_minor, told.currency, told.tender.channel_id) == (9000, "EUR", "chn_web")


def test_the_rest_of_a_part_is_an_item_of_its_own() -> None:
    claimed = attached(item(status="return_due", overdue_at=NOW, version=4, refusal="refund_failed"), wish(6000))
    assert isinstance(claimed.command, RecordCapture)
    assert (claimed.command.amount_minor, claimed.item.money.amount_money) == (6000, eur(6000))
    assert claimed.rest is not None
    rest = claimed.rest.money
    assert (rest.amount_money, rest.status, rest.split_from, rest.version) == (eur(3000), "return_due", "um_1", 1)
    assert (rest.created_at, rest.overdue_at, claimed.rest.attempt) == (NOW, NOW, 0)
    assert rest.refusal == "refund_failed", "what its processor refused waits for a person, in parts too"
    again = attached(item(version=5), wish(6000)).rest
    assert again is not None
    assert len({"um_1", rest.unmatched_money_id, again.money.unmatched_money_id}) == 3
    whole = attached(item(), wish(9000))
    assert whole.rest is None


def test_the_rest_is_told_of_when_it_comes_to_be_and_not_as_old_as_its_money_is() -> None:
    rest = attached(item(), wish(6000)).rest
    assert rest is not None
    [told] = found_messages([rest], LATER)
    assert (told.envelope.time, rest.money.created_at) == (LATER, NOW)
    assert told.envelope.id == f"{rest.money.unmatched_money_id}.found"


def test_what_is_held_or_went_out_is_told_as_it_was() -> None:
    held, out = attached(item("authorized")).command, attached(item("refunded")).command
    assert isinstance(held, RecordAuthorization)
    assert isinstance(out, RecordRefund)
    assert (held.payment_reference, out.refund_reference, out.payment_id) == ("psp-1", "re-1", "pay_1")


def test_money_that_is_on_an_order_can_only_be_left_there() -> None:
    claimed = attached(surplus())
    assert (claimed.item.money.status, claimed.item.money.resolved_at, claimed.command) == ("attached", NOW, None)
    denied = decide(Found(surplus(), "applied", None), wish(), Attach("ord_2"), NOW)
    assert isinstance(denied, Denied)
    assert (denied.code, denied.param) == ("MONEY_IS_ON_AN_ORDER", "order_id")


def test_what_went_back_is_noted_at_once_where_no_order_has_it() -> None:
    claimed = returned(item())
    money = claimed.item.money
    assert (money.status, money.resolved_at, money.version, claimed.command) == ("returned", NOW, 2, None)
    assert (money.resolved_by, money.return_reference, money.note) == (BY, "transfer-1", "Sent back.")


def test_an_order_is_told_of_the_refund_of_its_surplus() -> None:
    claimed = returned(surplus(), wish(200), replace(ORDER, credit_minor=500))
    assert claimed.item.money.status == "returning"
    assert claimed.rest is not None
    assert claimed.rest.money.amount_money == eur(300)
    told = claimed.command
    assert isinstance(told, RecordRefund)
    assert (told.refund_id, told.refund_reference) == (derived_id("ref", "um_1"), "transfer-1")
    assert (told.amount_minor, told.payment_id, told.effect) == (200, "pay_1", "reopen_balance")


def test_a_surplus_that_is_gone_is_not_returned_again() -> None:
    denied = decide(Found(surplus(), "applied", replace(ORDER, credit_minor=499)), wish(), BACK, NOW)
    assert isinstance(denied, Denied)
    assert denied.code == "SURPLUS_GONE"
    not_yet_known = replace(ORDER, version=2, credit_minor=0)
    assert returned(surplus(), order=not_yet_known).item.money.status == "returning"


@pytest.mark.parametrize("status", ["attaching", "returning", "attached", "returned", "dismissed", "replaced"])
def test_nothing_is_done_twice(status: str) -> None:
    found = Found(conflict(status=status), "by_hand", ORDER, told_otherwise=True)
    for decision in (TO_ORDER, BACK, Dismiss()):
        denied = decide(found, wish(), decision, NOW)
        assert isinstance(denied, Denied)
        assert denied.code == "UNMATCHED_MONEY_NOT_OPEN"


def test_money_whose_order_is_being_told_is_nobodys_to_take() -> None:
    denied = decide(Found(item(), "sent", ORDER), wish(), TO_ORDER, NOW)
    assert isinstance(denied, Denied)
    assert denied.code == "UNMATCHED_MONEY_NOT_OPEN"
    assert isinstance(decide(Found(conflict(), "sent", ORDER), wish(), TO_ORDER, NOW), Claimed)


@pytest.mark.parametrize(
    ("what", "wanted", "order", "code"),
    [
        (item(version=2), wish(expected_version=1), ORDER, "VERSION_CONFLICT"),
        (item(), wish(9001), ORDER, "VALIDATION_FAILED"),
        (item(), Wish(BY, PositiveMoney(amount=1, currency="USD")), ORDER, "VALIDATION_FAILED"),
        (item("authorized"), wish(1), ORDER, "VALIDATION_FAILED"),
        (item(), wish(), None, "NOT_FOUND"),
        (item(), wish(), replace(ORDER, currency="USD"), "CURRENCY_MISMATCH"),
        (item("failed"), wish(), ORDER, "UNMATCHED_MONEY_NOT_MOVABLE"),
    ],
)
def test_what_cannot_be_attached(what: Item, wanted: Wish, order: KnownOrder | None, code: str) -> None:
    denied = decide(Found(what, "waiting", order), wanted, TO_ORDER, NOW)
    assert isinstance(denied, Denied)
    assert denied.code == code
    assert denied.current_version == (2 if code == "VERSION_CONFLICT" else None)


def test_what_went_out_cannot_go_back() -> None:
    for kind in ("refunded", "voided"):
        denied = decide(Found(item(kind), "waiting", None), wish(), BACK, NOW)
        assert isinstance(denied, Denied)
        assert denied.code == "UNMATCHED_MONEY_NOT_MOVABLE"


def conflict(moved: str = "captured", kind: str = "conflict", **fields: Any) -> Item:
    """Something else than was told before."""
    told = item(moved, **fields)
    return replace(told, money=told.money.model_copy(update={"kind": kind}))


def test_a_conflict_without_money_is_dismissed_by_somebody() -> None:
    found = Found(conflict(version=3), "applied", None, told_otherwise=True)
    claimed = decide(found, wish(note="Told twice."), Dismiss(), NOW)
    assert isinstance(claimed, Claimed)
    money = claimed.item.money
    assert (money.status, money.version, money.resolved_at) == ("dismissed", 4, NOW)
    assert (money.resolved_by, money.note, money.order_id) == (BY, "Told twice.", None)
    assert (claimed.command, claimed.rest) == (None, None)


@pytest.mark.parametrize("kind", ["failed", "voided"])
def test_a_conflict_of_what_never_moved_can_always_be_dismissed(kind: str) -> None:
    assert isinstance(decide(Found(conflict(kind), None, None), wish(), Dismiss(), NOW), Claimed)


@pytest.mark.parametrize("kind", ["unknown_order", "closed_order", "currency", "surplus"])
def test_money_is_not_dismissed(kind: str) -> None:
    found = Found(conflict(kind=kind), "applied", ORDER, told_otherwise=True)
    denied = decide(found, wish(), Dismiss(), NOW)
    assert isinstance(denied, Denied)
    assert denied.code == "MONEY_TO_PLACE"


@pytest.mark.parametrize("event_status", ["refused", None])
def test_what_only_the_conflict_tells_of_is_not_dismissed(event_status: Any) -> None:
    """The order refused it, or it is of a payment of another order: its money is nowhere else."""
    denied = decide(Found(conflict(), event_status, None), wish(), Dismiss(), NOW)
    assert isinstance(denied, Denied)
    assert denied.code == "MONEY_TO_PLACE"


def accepted(**facts: Any) -> CommandAccepted:
    return CommandAccepted(command_id="um_1.1", order_id="ord_1", order_version=7, facts=facts)


def test_the_orders_answer_ends_an_item() -> None:
    money = answered(attached(item()).item, accepted(), LATER).money
    assert (money.status, money.order_id, money.order_version, money.version) == ("attached", "ord_1", 7, 3)
    assert (money.attaching_to, money.surplus_money, money.resolved_at) == (None, None, LATER)
    overpaid = answered(attached(item()).item, accepted(surplus_minor=400), LATER).money
    assert overpaid.surplus_money == eur(400)
    back = answered(returned(surplus(), order=replace(ORDER, credit_minor=500)).item, accepted(), LATER).money
    assert (back.status, back.return_reference, back.order_id) == ("returned", "transfer-1", "ord_1")


def test_what_an_order_refuses_is_open_again_and_asked_anew() -> None:
    refused = CommandRefused(command_id="um_1.1", order_id="ord_1", order_version=7, code="PAYMENT_REFERENCE_REUSED")
    again = answered(attached(item(), wish(note="Mine.")).item, refused, LATER)
    money = again.money
    assert (money.status, money.refusal, money.version) == ("open", "PAYMENT_REFERENCE_REUSED", 3)
    assert (money.attaching_to, money.resolved_by, money.note, money.resolved_at) == (None, None, None, None)
    claimed = attached(again)
    assert (claimed.item.command_id, claimed.item.money.refusal) == ("um_1.2", None)


@pytest.mark.parametrize(
    ("name", "key"),
    [("web-8812", "8812"), ("WEB 08812", "8812"), ("8812", "8812"), ("No. 12", "no12"), ("A-B", "ab"), ("--", None)],
)
def test_names_that_are_alike_share_a_key(name: str, key: str | None) -> None:
    assert reference_key(name) == key


def order(order_id: str, reference: str | None, **fields: Any) -> KnownOrder:
    return replace(ORDER, order_id=order_id, external_reference=reference, **fields)


def ranked(what: Item, *candidates: KnownOrder, customer: str | None = None) -> list[tuple[str, list[str]]]:
    clues = clues_of(what, customer)
    assert clues is not None
    found = rank(what, clues, candidates)
    assert [each.score for each in found] == sorted((each.score for each in found), reverse=True)
    return [(each.order.order_id, [reason.code for reason in each.reasons]) for each in found]


def test_the_likeliest_orders_come_first_with_their_reasons() -> None:
    long_ago = NOW - timedelta(days=9)
    assert ranked(
        item(),
        order("ord_a", None, placed_at=long_ago),
        order("ord_b", "shop-8812", outstanding_minor=1, placed_at=long_ago),
        order("ord_c", "web-8812", outstanding_minor=1, placed_at=long_ago),
        order("ord_d", "web8812"),
        order("ord_e", None, outstanding_minor=1, customer_id="cus_1", placed_at=long_ago),
        order("ord_f", None, outstanding_minor=1),
        order("ord_g", "web-8812", currency="USD"),
        order("ord_h", "web-8812", status="canceled"),
        customer="cus_1",
    ) == [
        ("ord_d", ["reference_equal", "amount_equal", "near_in_time"]),
        ("ord_c", ["reference_equal"]),
        ("ord_a", ["amount_equal"]),
        ("ord_b", ["reference_alike"]),
        ("ord_e", ["same_customer"]),
    ]


def test_equally_likely_orders_come_nearest_first_and_always_in_one_order() -> None:
    days = [order(f"ord_{day}", None, placed_at=NOW - timedelta(days=2 + day)) for day in range(7)]
    same = order("ord_00", None, placed_at=NOW - timedelta(days=2))
    wanted = ["ord_0", "ord_00", "ord_1", "ord_2", "ord_3"]
    assert [name for name, _ in ranked(item(), *days, same)] == wanted
    assert [name for name, _ in ranked(item(), same, *reversed(days))] == wanted


def test_money_on_an_order_has_no_other_and_money_that_went_out_is_owed_by_none() -> None:
    assert clues_of(surplus(), None) is None
    assert clues_of(item("voided", amount_money=None), None) is None
    assert ranked(item("refunded"), order("ord_a", None)) == []
