"""Money on an order: facts are applied whatever the order's state, leases keep others out, refunds are set aside."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from services.orders.core.decide import Decision, DecisionContext, decide_and_apply, outcome_facts
from services.orders.core.refusal import Refusal
from services.orders.core.state import Order
from shared.contracts import order_commands as c
from shared.contracts.order_parts import Allocation, Holder, LineItem, Method, Tender

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
CONTEXT = DecisionContext("ord_1", "mer_1", "test", NOW, "1001")
PAGE = Holder(type="checkout_session", id="cs_1")
REGISTER = Holder(type="device", id="dev_1")


def context(seconds: int = 0) -> DecisionContext:
    return replace(CONTEXT, now=NOW + timedelta(seconds=seconds))


def new_order(total: int = 9000, currency: str = "EUR") -> Order:
    line = LineItem(line_item_id="li_1", name="Rain jacket", unit_price_minor=total)
    return accepted(None, c.CreateOrder(currency=currency, line_items=(line,)))


def accepted(order: Order | None, command: c.OrderCommand, seconds: int = 0) -> Order:
    decided = decide_and_apply(order, command, context(seconds))
    assert isinstance(decided, Decision), decided
    return decided.order


def refused(order: Order, command: c.OrderCommand, seconds: int = 0) -> Refusal:
    decided = decide_and_apply(order, command, context(seconds))
    assert isinstance(decided, Refusal), decided
    return decided


def event_names(order: Order | None, command: c.OrderCommand, seconds: int = 0) -> list[str]:
    decided = decide_and_apply(order, command, context(seconds))
    assert isinstance(decided, Decision), decided
    return [type(event).__name__ for event in decided.events]


def capture(amount: int, number: int = 1, currency: str = "EUR", **more: object) -> c.RecordCapture:
    return c.RecordCapture(
        payment_id=f"pay_{number}", payment_reference=f"psp-{number}", amount_minor=amount, currency=currency, **more
    )


def authorize(amount: int, number: int = 1, **more: object) -> c.RecordAuthorization:
    return c.RecordAuthorization(
        payment_id=f"pay_{number}", payment_reference=f"psp-{number}", amount_minor=amount, currency="EUR", **more
    )


def lease(amount: int, number: int = 1, holder: Holder = PAGE, **more: object) -> c.AcquireLease:
    return c.AcquireLease(lease_id=f"ls_{number}", holder=holder, amount_minor=amount, **more)


def refund(amount: int, number: int = 1, **more: object) -> c.RecordRefund:
    return c.RecordRefund(
        refund_id=f"ref_{number}",
        refund_reference=f"r-{number}",
        payment_id="pay_1",
        amount_minor=amount,
        currency="EUR",
        **more,
    )


def test_captures_lead_from_unpaid_over_partially_paid_to_paid() -> None:
    order = new_order()
    assert (order.payment_status, order.outstanding) == ("unpaid", 9000)
    assert event_names(order, capture(4000)) == ["PaymentCaptured", "OrderPartiallyPaid"]
    order = accepted(order, capture(4000))
    assert (order.payment_status, order.outstanding, order.version) == ("partially_paid", 5000, 2)
    assert event_names(order, capture(5000, 2)) == ["PaymentCaptured", "OrderPaid"]
    order = accepted(order, capture(5000, 2))
    assert (order.payment_status, order.outstanding, order.credit) == ("paid", 0, 0)


@pytest.mark.parametrize(
    ("prepare", "status", "payment_status", "told"),
    [
        ([], "open", "overpaid", {"surplus_minor": 500}),
        ([c.CancelOrder()], "canceled", "overpaid", {"surplus_minor": 9500, "order_status": "canceled"}),
        ([c.CloseOrder()], "closed", "overpaid", {"surplus_minor": 500, "order_status": "closed"}),
    ],
)
def test_captured_money_is_on_the_order_whatever_its_state(
    prepare: list[c.OrderCommand], status: str, payment_status: str, told: dict[str, object]
) -> None:
    before = new_order()
    for command in prepare:
        before = accepted(before, command)
    after = accepted(before, capture(9500))
    assert (after.status, after.captured, after.payment_status) == (status, 9500, payment_status)
    assert outcome_facts(before, after) == told


def test_capture_under_an_expired_lease_is_applied() -> None:
    order = accepted(new_order(), lease(9000, term_s=60))
    assert event_names(order, capture(9000, lease_id="ls_1"), 61) == ["PaymentCaptured", "LeaseExpired", "OrderPaid"]
    order = accepted(order, capture(9000, lease_id="ls_1"), 61)
    assert (order.captured, order.leases) == (9000, ())


def test_capture_in_another_currency_is_refused_and_changes_nothing() -> None:
    order = new_order()
    assert refused(order, capture(9000, currency="USD")).code == "CURRENCY_MISMATCH"


def test_the_same_reference_again_changes_nothing_with_the_same_amount_and_is_refused_with_another() -> None:
    order = accepted(new_order(), capture(4000))
    assert event_names(order, capture(4000)) == []
    refusal = refused(order, capture(4001))
    assert (refusal.code, refusal.facts) == ("PAYMENT_REFERENCE_REUSED", {"recorded_minor": 4000})


def test_several_captures_of_one_payment_are_told_apart_by_their_reference() -> None:
    order = accepted(new_order(), authorize(9000))
    assert (order.payment_status, order.authorized, order.available(NOW)) == ("authorized", 9000, 0)
    order = accepted(order, capture(3000, capture_reference="a"))
    order = accepted(order, capture(3000, capture_reference="b"))
    order = accepted(order, capture(3000, capture_reference="b"))
    assert (order.captured, order.authorized) == (6000, 3000)


def test_a_void_before_its_authorization_keeps_the_hold_from_counting() -> None:
    void = c.RecordVoid(payment_id="pay_1", payment_reference="psp-1", currency="EUR")
    order = accepted(accepted(new_order(), void), authorize(9000))
    assert (order.authorized, order.payment_status, order.payments[0].status) == (0, "unpaid", "voided")


def test_a_lease_keeps_others_out_until_it_ends() -> None:
    order = accepted(new_order(), lease(6000, term_s=60))
    assert (order.leased(NOW), order.available(NOW)) == (6000, 3000)
    refusal = refused(order, lease(3001, 2, REGISTER))
    assert refusal.code == "ORDER_BALANCE_LEASED"
    assert [blocker.id for blocker in refusal.blockers] == ["ls_1"]
    assert refusal.facts == {"outstanding_minor": 9000, "available_minor": 3000}
    assert accepted(order, lease(3000, 2, REGISTER)).available(NOW) == 0
    assert event_names(order, lease(9000, 2, REGISTER), 60) == ["LeaseGranted", "LeaseExpired"]


@pytest.mark.parametrize(
    ("prepare", "command", "code"),
    [
        ([], lease(9001), "OUTSTANDING_CHANGED"),
        ([capture(9000)], lease(1), "ORDER_ALREADY_PAID"),
        ([c.CancelOrder()], lease(1), "ORDER_NOT_OPEN"),
        ([], lease(9000, expected_outstanding_minor=8999), "OUTSTANDING_CHANGED"),
        ([lease(9000)], lease(9000, holder=REGISTER), "LEASE_NOT_HELD"),
        ([], c.ExtendLease(lease_id="ls_9", holder=PAGE), "LEASE_EXPIRED"),
        ([lease(5000)], c.ExtendLease(lease_id="ls_1", holder=REGISTER), "LEASE_NOT_HELD"),
        ([lease(5000)], c.ReleaseLease(lease_id="ls_1", holder=REGISTER), "LEASE_NOT_HELD"),
        (
            [lease(5000, charging=True)],
            c.HandOverLease(lease_id="ls_1", new_lease_id="ls_2", to=REGISTER),
            "ORDER_BALANCE_LEASED",
        ),
        ([capture(9000)], c.CancelOrder(), "ORDER_HAS_MONEY"),
        ([authorize(9000)], c.CloseOrder(), "ORDER_HAS_MONEY"),
        ([capture(5000)], c.ReserveRefund(refund_id="ref_1", amount_minor=5001), "REFUND_EXCEEDS_COLLECTED"),
        ([capture(5000)], c.RemoveLineItem(line_item_id="li_1"), "EDIT_CONTRADICTS_MONEY"),
        ([lease(5000)], c.RemoveLineItem(line_item_id="li_1"), "EDIT_CONTRADICTS_MONEY"),
        ([c.CloseOrder()], c.SetTip(tip_minor=1), "ORDER_NOT_OPEN"),
        ([], c.RemoveCharge(charge_id="chg_9"), "NOT_FOUND"),
    ],
)
def test_requests_are_refused_with_a_stable_code(
    prepare: list[c.OrderCommand], command: c.OrderCommand, code: str
) -> None:
    order = new_order()
    for each in prepare:
        order = accepted(order, each)
    assert refused(order, command).code == code


def test_a_lease_goes_to_another_holder_without_a_gap() -> None:
    order = accepted(new_order(), lease(9000))
    order = accepted(order, c.HandOverLease(lease_id="ls_1", new_lease_id="ls_2", to=REGISTER))
    [held] = order.live_leases(NOW)
    assert (held.lease_id, held.holder, held.rest, held.fence) == ("ls_2", REGISTER, 9000, 3)
    assert order.available(NOW) == 0


def test_money_taken_under_a_lease_uses_it_up() -> None:
    order = accepted(accepted(new_order(), lease(9000)), capture(4000, lease_id="ls_1"))
    assert (order.leased(NOW), order.outstanding, order.available(NOW)) == (5000, 5000, 0)
    order = accepted(order, capture(5000, 2, lease_id="ls_1"))
    assert (order.leases, order.payment_status) == ((), "paid")


def test_canceling_ends_leases() -> None:
    order = accepted(new_order(), lease(9000))
    assert event_names(order, c.CancelOrder(reason="Changed mind")) == ["OrderCanceled", "LeaseReleased"]
    order = accepted(order, c.CancelOrder())
    assert (order.leases, order.outstanding, order.net_total, order.payment_status) == ((), 0, 0, "unpaid")


def test_a_refund_reduces_the_total_or_reopens_the_balance() -> None:
    paid = accepted(new_order(), capture(9000))
    reduced = accepted(paid, refund(2000))
    assert (reduced.net_total, reduced.outstanding, reduced.payment_status) == (7000, 0, "paid")
    reopened = accepted(paid, refund(2000, effect="reopen_balance"))
    assert (reopened.net_total, reopened.outstanding, reopened.payment_status) == (9000, 2000, "partially_paid")
    assert (reduced.refund_status, reopened.refund_status) == ("partially_refunded", "partially_refunded")


def test_refunding_a_surplus_leaves_the_total_alone() -> None:
    order = accepted(new_order(), capture(9500))
    order = accepted(order, refund(500))
    assert (order.net_total, order.credit, order.payment_status) == (9000, 0, "paid")


def test_two_refunds_of_the_same_money_cannot_both_be_reserved() -> None:
    order = accepted(new_order(), capture(9000))
    order = accepted(order, c.ReserveRefund(refund_id="ref_1", amount_minor=6000))
    refusal = refused(order, c.ReserveRefund(refund_id="ref_2", amount_minor=3001))
    assert (refusal.code, refusal.facts) == ("REFUND_EXCEEDS_COLLECTED", {"refundable_minor": 3000})
    order = accepted(order, c.ReleaseRefund(refund_id="ref_1"))
    assert accepted(order, c.ReserveRefund(refund_id="ref_2", amount_minor=9000)).refund_reserved == 9000


def test_what_is_too_much_is_set_aside_once() -> None:
    def beyond(number: int, amount: int) -> c.ReserveRefund:
        return c.ReserveRefund(refund_id=f"ref_{number}", amount_minor=amount, only_credit=True)

    order = accepted(new_order(), capture(9500))
    refusal = refused(order, beyond(1, 501))
    assert (refusal.code, refusal.facts) == ("SURPLUS_GONE", {"refundable_minor": 500})
    order = accepted(order, beyond(1, 300))
    assert refused(order, beyond(2, 201)).code == "SURPLUS_GONE"
    assert accepted(order, beyond(2, 200)).refund_reserved == 500


def test_a_refund_that_fails_late_puts_the_money_back() -> None:
    paid = accepted(new_order(), capture(9000))
    order = accepted(paid, c.ReserveRefund(refund_id="ref_1", amount_minor=9000))
    order = accepted(order, refund(9000))
    assert (order.refund_status, order.net_collected, order.net_total) == ("refunded", 0, 0)
    order = accepted(order, c.ReverseRefund(refund_id="ref_1", refund_reference="r-1"))
    assert (order.refund_status, order.net_collected, order.net_total) == ("none", 9000, 9000)
    assert (order.payment_status, order.refund_reserved) == ("paid", 0)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("reverse_order", [("pay_3", 1000), ("pay_2", 500)]),
        ("gift_card_first", [("pay_1", 1000), ("pay_3", 500)]),
        ("cash_last", [("pay_2", 1000), ("pay_1", 500)]),
    ],
)
def test_a_refund_proposes_which_payments_bear_it(policy: str, expected: list[tuple[str, int]]) -> None:
    order = new_order()
    for number, kind in ((1, "gift_card"), (2, "card"), (3, "cash")):
        order = accepted(order, capture(1000, number, tender=Tender(method=Method(type=kind))))
    order = accepted(order, c.ReserveRefund(refund_id="ref_1", amount_minor=1500, policy=policy))
    assert [(part.payment_id, part.amount_minor) for part in order.refunds[0].allocation] == expected


def test_a_refund_over_named_payments_must_fit_them() -> None:
    order = accepted(new_order(), capture(1000))
    order = accepted(order, capture(1000, 2))
    named = (Allocation(payment_id="pay_1", amount_minor=1200),)
    refusal = refused(order, c.ReserveRefund(refund_id="ref_1", amount_minor=1200, payments=named))
    assert refusal.code == "REFUND_EXCEEDS_COLLECTED"


def test_another_tenants_order_is_not_found() -> None:
    order = new_order()
    for other in (replace(CONTEXT, merchant_id="mer_2"), replace(CONTEXT, environment="live")):
        decided = decide_and_apply(order, capture(9000), other)
        assert decided == Refusal("NOT_FOUND", "There is no such order.")


def test_a_stale_expected_version_is_refused_with_the_current_one() -> None:
    decided = decide_and_apply(new_order(), c.SetTip(tip_minor=1), replace(CONTEXT, expected_version=7))
    assert isinstance(decided, Refusal)
    assert (decided.code, decided.facts) == ("VERSION_CONFLICT", {"current_version": 1})
