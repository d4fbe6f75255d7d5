"""Whatever a channel repeats, and in whatever order and batches: one command per distinct reference."""

from collections.abc import Sequence
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from services.payments.core.settling import settle
from services.payments.core.state import Arrival, Channel, Item, KeptEvent, KnownOrder, KnownOrders, Leg
from services.payments.core.taking import sent_again, take_all
from shared.contracts.channels import CHANNEL_EVENTS, ChannelEvent
from shared.contracts.orders import CommandAccepted, CommandRefused

NOW = datetime(2026, 11, 21, 10, tzinfo=UTC)
CHANNEL = Channel("chn_web", "mer_1", "test", "active", "checkout")
ORDER = KnownOrder("ord_1", "mer_1", "test", "web-1", "EUR", "open", 9000, 1)
KNOWN = KnownOrders({"ord_1": ORDER}, {("mer_1", "test", "web-1"): [ORDER]})


@st.composite
def events(draw: st.DrawFn, amounts: st.SearchStrategy[int]) -> ChannelEvent:
    kind = draw(st.sampled_from(sorted(CHANNEL_EVENTS)))
    body = {
        "external_reference": "web-1",
        "payment_reference": draw(st.sampled_from(["psp-1", "psp-2"])),
        "amount_money": {"amount": draw(amounts), "currency": "EUR"},
        "refund_reference": draw(st.sampled_from(["re-1", "re-2"])),
        "capture_reference": draw(st.sampled_from([None, "c-1"])),
    }
    return CHANNEL_EVENTS[kind].model_validate(body)


class Service:
    """What the service keeps between batches."""

    def __init__(self) -> None:
        self.kept: dict[str, KeptEvent] = {}
        self.legs: dict[str, Leg] = {}
        self.items: dict[str, Item] = {}
        self.commands: list[str] = []

    def take(self, batch: Sequence[Arrival], orders: KnownOrders) -> None:
        for taken in take_all(batch, self.kept, self.legs, orders, NOW):
            self.legs[taken.leg.payment_id] = taken.leg
            if taken.item is not None:
                self.items.setdefault(taken.item.money.unmatched_money_id, taken.item)
            if taken.kept is not None:
                assert taken.kept.channel_event_id not in self.kept
                self.keep(taken.kept)

    def keep(self, kept: KeptEvent) -> None:
        self.kept[kept.channel_event_id] = kept
        if kept.status == "sent":
            assert kept.command_id is not None
            self.commands.append(kept.command_id)

    def order_appears(self) -> None:
        for kept in [kept for kept in self.kept.values() if kept.status == "waiting"]:
            self.keep(sent_again(kept, self.legs[kept.payment_id], KNOWN))


def arrivals_of(told: Sequence[ChannelEvent]) -> list[Arrival]:
    return [Arrival(CHANNEL, f"evt-{number}", event) for number, event in enumerate(told)]


@given(
    told=st.lists(events(st.just(9000)), min_size=1, max_size=12),
    data=st.data(),
)
def test_repeats_and_disorder_make_one_command_per_reference(told: list[ChannelEvent], data: st.DataObject) -> None:
    repeated = data.draw(st.permutations(told * 2))
    cut = data.draw(st.integers(0, len(repeated)))
    service = Service()
    arrivals = arrivals_of(repeated)
    service.take(arrivals[:cut], KNOWN)
    service.take(arrivals[cut:], KNOWN)
    distinct = {arrival.channel_event_id for arrival in arrivals_of(told)}
    assert sorted(service.commands) == sorted(distinct)
    assert not service.items
    assert {kept.payment_id for kept in service.kept.values()} == set(service.legs)


@given(told=st.lists(events(st.integers(1, 3)), min_size=1, max_size=12))
def test_the_first_word_stands_and_each_other_is_shown_once(told: list[ChannelEvent]) -> None:
    service = Service()
    arrivals = arrivals_of(told)
    service.take(arrivals + arrivals, KNOWN)
    said: dict[str, set[str]] = {}
    for arrival in arrivals:
        said.setdefault(arrival.channel_event_id, set()).add(repr(arrival.event.amount_money))
    assert sorted(service.commands) == sorted(said)
    assert len(service.items) == sum(len(contents) - 1 for contents in said.values())
    assert all(item.money.kind == "conflict" for item in service.items.values())


@given(told=st.lists(events(st.just(9000)), min_size=1, max_size=8), appears_after=st.integers(0, 8))
def test_whenever_the_order_appears_all_of_its_money_reaches_it(told: list[ChannelEvent], appears_after: int) -> None:
    service = Service()
    arrivals = arrivals_of(told)
    service.take(arrivals[:appears_after], KnownOrders())
    assert not service.commands
    service.order_appears()
    service.take(arrivals[appears_after:], KNOWN)
    assert sorted(service.commands) == sorted({arrival.channel_event_id for arrival in arrivals})


@given(event=events(st.just(9000)), refusals=st.integers(0, 3))
def test_each_attempt_is_another_command_until_the_order_takes_it(event: ChannelEvent, refusals: int) -> None:
    service = Service()
    service.take(arrivals_of([event]), KNOWN)
    [kept] = service.kept.values()
    for _ in range(refusals):
        assert kept.command_id is not None
        refused = CommandRefused(command_id=kept.command_id, order_id="ord_1", order_version=0, code="NOT_FOUND")
        service.kept[kept.channel_event_id] = settle(kept, refused, NOW).kept
        service.order_appears()
        [kept] = service.kept.values()
    assert kept.command_id is not None
    accepted = CommandAccepted(command_id=kept.command_id, order_id="ord_1", order_version=2)
    assert settle(kept, accepted, NOW).kept.status == "applied"
    assert len(set(service.commands)) == len(service.commands) == refusals + 1
