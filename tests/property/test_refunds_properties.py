"""What holds after any sequence of reservations, and of money that goes back and comes again."""

from hypothesis import given, settings

from services.orders.core.decide import Decision
from shared.contracts import order_commands as c
from tests.property.orders_model import assert_identities
from tests.property.refunds_model import Book, assert_set_aside, collected_twice, refund_steps


@given(refund_steps)
@settings(max_examples=500)
def test_a_reservation_sets_aside_its_whole_amount_of_payments_that_can_bear_it(told: list[c.OrderCommand]) -> None:
    story, book = collected_twice(), Book()
    for command in told:
        decided = story.tell(command)
        for event in decided.events if isinstance(decided, Decision) else ():
            book.note(event)
        assert_set_aside(story.order, book)
        if not isinstance(command, c.ReserveRefund) or not isinstance(decided, Decision) or not decided.events:
            continue
        reserved = story.order.refund(command.refund_id)
        assert reserved is not None
        assert sum(part.amount_minor for part in reserved.allocation) == reserved.open == command.amount_minor
        assert story.order.refund_reserved <= story.order.net_collected
        for part in reserved.allocation:
            leg = story.order.payment(part.payment_id)
            assert leg is not None
            assert book.set_aside(part.payment_id) <= leg.refundable


@given(refund_steps)
def test_a_repeated_reservation_sets_nothing_more_aside(told: list[c.OrderCommand]) -> None:
    story = collected_twice()
    for command in told:
        decided = story.tell(command)
        if isinstance(command, c.ReserveRefund) and isinstance(decided, Decision):
            again = story.tell(command)
            assert isinstance(again, Decision)
            assert again.events == ()


@given(refund_steps)
def test_the_history_of_refunds_alone_gives_the_order(told: list[c.OrderCommand]) -> None:
    story = collected_twice()
    for command in told:
        story.tell(command)
    assert_identities(story.order, story.now)
    assert story.replayed() == story.order
