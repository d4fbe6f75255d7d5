"""What holds after any sequence of commands."""

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from services.orders.core.decide import Decision
from services.orders.core.evolve import fold
from services.orders.core.refusal import Refusal
from services.orders.core.view import order_view
from services.orders.lines import LinesJson
from services.orders.store.state import decode_state, encode_state
from shared.contracts import order_commands as c
from shared.contracts.order_events import OrderPaid
from shared.money import percent_of, spread
from tests.property.orders_model import START, Story, assert_identities, commands, creations, steps

MONEY_FACTS = (
    c.RecordAuthorization,
    c.RecordCapture,
    c.RecordVoid,
    c.RecordPaymentFailure,
    c.RecordRefund,
)


@given(creations, steps)
def test_identities_hold_after_every_command(creation: c.CreateOrder, told: list[tuple[c.OrderCommand, int]]) -> None:
    story = Story.begun(creation)
    assert_identities(story.order, START)
    for command, seconds in told:
        before = story.order
        decided = story.tell(command, seconds)
        assert_identities(story.order, story.now)
        if isinstance(decided, Refusal) or not decided.events:
            assert story.order == before
        else:
            assert story.order.version == before.version + 1


@given(creations, steps)
def test_history_alone_gives_the_order(creation: c.CreateOrder, told: list[tuple[c.OrderCommand, int]]) -> None:
    story = Story.begun(creation)
    versions = [story.order]
    for command, seconds in told:
        decided = story.tell(command, seconds)
        versions += [story.order] if isinstance(decided, Decision) and decided.events else []
    assert story.replayed() == story.order
    assert story.followed() == versions
    assert [version for version, _, _ in story.history] == list(range(1, story.order.version + 1))


@given(creations, steps)
def test_whoever_listens_knows_which_orders_are_paid_and_of_no_draft(
    creation: c.CreateOrder, told: list[tuple[c.OrderCommand, int]]
) -> None:
    story = Story.begun(creation)
    for command, seconds in told:
        story.tell(command, seconds)
    order, paid, before = None, False, "unpaid"
    for version, events, at in story.history:
        order = fold(order, "ord_1", version, events, at)
        announced = any(isinstance(event, OrderPaid) for event in events)
        assert not (announced and order.status == "draft")
        paid = announced or (paid and order.payment_status == before)
        before = order.payment_status
        assert order.status == "draft" or paid == (order.payment_status == "paid")


@given(creations, steps)
def test_stored_order_is_read_back_unchanged(creation: c.CreateOrder, told: list[tuple[c.OrderCommand, int]]) -> None:
    story = Story.begun(creation)
    for command, seconds in told:
        story.tell(command, seconds)
    read = decode_state(encode_state(story.order))
    assert read == story.order
    assert order_view(read, story.now) == order_view(story.order, story.now)


@given(creations, steps)
def test_lines_are_told_as_they_are_at_each_version(
    creation: c.CreateOrder, told: list[tuple[c.OrderCommand, int]]
) -> None:
    story, lines = Story.begun(creation), LinesJson()
    for command, seconds in told:
        story.tell(command, seconds)
        told_lines = orjson.loads(orjson.dumps(lines.of(story.order)))
        assert told_lines == order_view(story.order, story.now)["line_items"]


REPEATABLE = (*MONEY_FACTS, c.AcquireLease, c.ReserveRefund, c.ReleaseLease, c.CancelOrder, c.CloseOrder, c.SetTip)


@given(creations, steps, commands)
def test_the_same_command_at_once_again_changes_no_money(
    creation: c.CreateOrder, told: list[tuple[c.OrderCommand, int]], command: c.OrderCommand
) -> None:
    story = Story.begun(creation)
    for each, seconds in told:
        story.tell(each, seconds)
    first = story.tell(command)
    if isinstance(first, Refusal) or not isinstance(command, REPEATABLE) or _partial_void(command):
        return
    after = story.order
    again = story.tell(command)
    used_up = isinstance(command, c.AcquireLease) and after.lease(command.lease_id) is None
    assert used_up or (isinstance(again, Decision) and again.events == () and story.order == after)


def _partial_void(command: c.OrderCommand) -> bool:
    """Voids of a part have no reference that tells a repeat from a second one: the inbox does that."""
    return isinstance(command, c.RecordVoid) and command.amount_minor is not None


@given(creations, steps)
def test_leases_and_money_never_exceed_what_is_owed_when_granted(
    creation: c.CreateOrder, told: list[tuple[c.OrderCommand, int]]
) -> None:
    story = Story.begun(creation)
    for command, seconds in told:
        decided = story.tell(command, seconds)
        if isinstance(command, c.AcquireLease) and isinstance(decided, Decision) and decided.events:
            order = story.order
            assert order.leased(story.now) + order.authorized + order.net_collected <= order.net_total


@given(creations, steps)
def test_money_facts_in_the_orders_currency_are_never_refused_for_the_orders_state(
    creation: c.CreateOrder, told: list[tuple[c.OrderCommand, int]]
) -> None:
    story = Story.begun(creation)
    for command, seconds in told:
        decided = story.tell(command, seconds)
        if isinstance(command, MONEY_FACTS) and isinstance(decided, Refusal):
            expected = "CURRENCY_MISMATCH" if command.currency != "EUR" else "PAYMENT_REFERENCE_REUSED"
            assert decided.code == expected


@given(creations, steps)
def test_reserved_and_sent_refunds_never_exceed_what_was_collected_when_reserved(
    creation: c.CreateOrder, told: list[tuple[c.OrderCommand, int]]
) -> None:
    story = Story.begun(creation)
    for command, seconds in told:
        decided = story.tell(command, seconds)
        if isinstance(command, c.ReserveRefund) and isinstance(decided, Decision) and decided.events:
            assert story.order.refund_reserved <= story.order.net_collected
            reserved = story.order.refund(command.refund_id)
            assert reserved is not None
            assert sum(part.amount_minor for part in reserved.allocation) == reserved.reserved


@given(st.integers(0, 10**12), st.lists(st.integers(0, 10**9), min_size=1, max_size=30))
def test_spread_parts_add_up_and_are_fair(total: int, weights: list[int]) -> None:
    parts = spread(total, weights)
    assert sum(parts) == total
    whole = sum(weights)
    if whole:
        assert all(abs(part * whole - total * weight) < whole for part, weight in zip(parts, weights, strict=True))
    if total <= whole:
        assert all(part <= weight for part, weight in zip(parts, weights, strict=True))


@given(st.integers(-(10**9), 10**9), st.sampled_from(["0", "0.5", "19", "50", "100"]))
@settings(max_examples=50)
def test_a_percentage_and_its_negative_round_alike(amount: int, percentage: str) -> None:
    from decimal import Decimal

    assert percent_of(-amount, Decimal(percentage)) == -percent_of(amount, Decimal(percentage))
