"""Schedules that would let two channels collect the same money, or one refund be sent without being set aside."""

from services.orders.core.evolve import evolve
from services.orders.core.state import Order
from shared.contracts import order_commands as c
from shared.contracts.order_events import RefundReleased, RefundReserved
from shared.contracts.order_parts import Tender
from tests.unit.test_orders_money import (
    NOW,
    PAGE,
    REGISTER,
    accepted,
    authorize,
    capture,
    event_names,
    lease,
    new_order,
    refund,
    refused,
)


def reserve(amount: int, number: int = 1) -> c.ReserveRefund:
    return c.ReserveRefund(refund_id=f"ref_{number}", amount_minor=amount)


def held(order: Order) -> list[tuple[str, int]]:
    return [(each.lease_id, each.rest) for each in order.live_leases(NOW)]


def test_a_lease_is_not_larger_because_its_holder_asks_for_more() -> None:
    order = accepted(new_order(9000), lease(1000))
    refusal = refused(order, lease(5000))
    assert (refusal.code, refusal.param) == ("LEASE_NOT_HELD", "amount_money")
    assert event_names(order, lease(1000)) == []
    order = accepted(order, capture(400, lease_id="ls_1"))
    assert event_names(order, lease(1000)) == [], "a repeat, although part of it is used"


def test_a_capture_of_what_was_authorized_under_the_lease_uses_it_once() -> None:
    order = accepted(new_order(9000), lease(9000))
    order = accepted(order, authorize(6000, lease_id="ls_1"))
    order = accepted(order, capture(6000, lease_id="ls_1"))
    assert held(order) == [("ls_1", 3000)]
    assert order.available(NOW) == 0


def test_an_authorization_that_arrives_after_its_capture_uses_the_lease_once() -> None:
    order = accepted(new_order(9000), lease(9000))
    order = accepted(order, capture(6000, lease_id="ls_1"))
    order = accepted(order, authorize(6000, lease_id="ls_1"))
    assert held(order) == [("ls_1", 3000)]
    assert order.available(NOW) == 0


def test_a_capture_beyond_what_was_authorized_uses_the_lease_for_the_rest() -> None:
    order = accepted(new_order(9000), lease(9000))
    order = accepted(order, authorize(6000, lease_id="ls_1"))
    order = accepted(order, capture(8000, lease_id="ls_1"))
    assert held(order) == [("ls_1", 1000)]


def test_a_capture_under_a_lease_that_its_authorization_did_not_name_uses_the_lease() -> None:
    order = accepted(new_order(9000), lease(9000))
    order = accepted(order, authorize(9000))
    order = accepted(order, capture(9000, lease_id="ls_1"))
    assert held(order) == []


def test_nothing_is_handed_over_to_a_lease_that_has_ended() -> None:
    order = accepted(new_order(9000), lease(1000, 2, holder=REGISTER, term_s=1))
    order = accepted(order, lease(5000, term_s=600))
    hand_over = c.HandOverLease(lease_id="ls_1", new_lease_id="ls_2", to=REGISTER)
    assert refused(order, hand_over, seconds=5).code == "LEASE_EXPIRED"
    assert order.lease("ls_1") is not None
    assert order.lease("ls_1").holder == PAGE  # type: ignore[union-attr]


def test_a_released_refund_is_not_set_aside_by_repeating_its_reservation() -> None:
    order = accepted(new_order(9000), capture(9000))
    order = accepted(accepted(order, reserve(9000)), c.ReleaseRefund(refund_id="ref_1"))
    other = accepted(order, reserve(9000, 2))
    assert refused(other, reserve(9000)).code == "REFUND_EXCEEDS_COLLECTED"
    again = accepted(order, reserve(9000))
    assert again.refund_reserved == 9000
    assert event_names(again, reserve(9000)) == []


def test_a_refund_that_failed_late_is_set_aside_anew_before_it_is_sent_again() -> None:
    order = accepted(new_order(9000), capture(9000))
    order = accepted(accepted(order, reserve(9000)), refund(9000))
    assert event_names(order, reserve(9000)) == [], "a repeat of what was reserved and sent"
    order = accepted(order, c.ReverseRefund(refund_id="ref_1", refund_reference="r-1"))
    order = accepted(order, reserve(9000))
    assert order.refund_reserved == 9000
    assert refused(order, reserve(1, 2)).code == "REFUND_EXCEEDS_COLLECTED"


def test_what_is_left_of_a_reservation_is_no_more_than_that() -> None:
    order = accepted(new_order(9000), capture(9000))
    order = accepted(accepted(order, reserve(6000)), refund(2000))
    order = accepted(order, c.ReverseRefund(refund_id="ref_1", refund_reference="r-1"))
    assert order.refund_reserved == 4000
    assert event_names(order, reserve(4000)) == []
    assert refused(order, reserve(6000)).code == "PAYMENT_REFERENCE_REUSED"


def test_two_payments_without_a_channel_may_say_the_same_reference() -> None:
    order = new_order(9000)
    for number in (1, 2):
        cash = c.RecordCapture(
            payment_id=f"pay_{number}", payment_reference="cash", amount_minor=4500, currency="EUR", tender=Tender()
        )
        order = accepted(order, cash)
    assert (order.captured, len(order.payments), order.payment_status) == (9000, 2, "paid")
    assert event_names(order, cash) == []


def test_a_channel_names_one_payment_by_one_reference() -> None:
    order = new_order(9000)
    web = Tender(channel_id="chn_web")
    order = accepted(order, capture(4500, tender=web))
    again = c.RecordCapture(
        payment_id="pay_9", payment_reference="psp-1", amount_minor=4500, currency="EUR", tender=web
    )
    assert event_names(order, again) == []


def test_a_refund_that_was_sent_after_its_release_is_set_aside_anew_as_a_whole() -> None:
    order = accepted(new_order(9000), capture(9000))
    order = accepted(accepted(order, reserve(5000)), c.ReleaseRefund(refund_id="ref_1"))
    order = accepted(order, refund(5000))
    order = accepted(order, reserve(4000))
    assert order.refund_reserved == 4000
    assert event_names(order, reserve(4000)) == []
    assert refused(order, reserve(1, 2)).code == "REFUND_EXCEEDS_COLLECTED"


def test_a_refund_that_was_sent_before_it_was_ever_reserved_is_set_aside_as_a_whole() -> None:
    order = accepted(accepted(new_order(9000), capture(9000)), refund(5000))
    order = accepted(order, reserve(4000))
    assert order.refund_reserved == 4000
    assert event_names(order, reserve(4000)) == []
    assert refused(order, reserve(1, 2)).code == "REFUND_EXCEEDS_COLLECTED"


def test_what_a_refund_sent_before_is_not_counted_against_its_new_plan() -> None:
    order = accepted(accepted(new_order(200), capture(100)), capture(100, 2))
    order = accepted(accepted(order, reserve(50)), refund(30).model_copy(update={"payment_id": "pay_2"}))
    order = accepted(order, c.ReleaseRefund(refund_id="ref_1"))
    order = accepted(order, reserve(20))
    other = accepted(order, reserve(70, 2))
    planned = [{part.payment_id: part.amount_minor for part in each.allocation} for each in other.refunds]
    assert planned == [{"pay_2": 20}, {"pay_2": 50, "pay_1": 20}]


def test_what_was_reserved_again_before_reservations_said_so_counts_as_it_did() -> None:
    """History that is kept gives the order that is kept beside it."""
    reserved = {"refund_id": "ref_1", "effect": "reduce_total", "allocation": []}
    order = accepted(new_order(9000), capture(9000))
    for event in (
        RefundReserved.model_validate({**reserved, "amount_minor": 5000}),
        RefundReleased(refund_id="ref_1", amount_minor=5000),
        RefundReserved.model_validate({**reserved, "amount_minor": 4000}),
    ):
        order = evolve(order, event, NOW)
    kept = order.refund("ref_1")
    assert kept is not None
    assert (kept.reserved, kept.released, kept.sent_before, kept.open) == (9000, 5000, 0, 4000)


def test_a_refund_of_before_that_comes_back_leaves_the_new_reservation_alone() -> None:
    order = accepted(accepted(new_order(9000), capture(9000)), refund(5000))
    order = accepted(order, reserve(4000))
    order = accepted(order, c.ReverseRefund(refund_id="ref_1", refund_reference="r-1"))
    assert (order.net_collected, order.refund_reserved) == (9000, 4000)
