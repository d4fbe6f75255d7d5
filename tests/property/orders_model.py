"""Random commands on one order, and the identities that hold after any sequence of them."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from services.orders.core.decide import Decision, DecisionContext, decide_and_apply
from services.orders.core.evolve import fold, follow, summed
from services.orders.core.refusal import Refusal
from services.orders.core.state import Order
from shared.contracts import order_commands as c
from shared.contracts.order_events import OrderEvent
from shared.contracts.order_parts import Charge, Discount, Holder, LineItem, Method, Tax, Tender

START = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
FIRST = DecisionContext("ord_1", "mer_1", "test", START, "1001")

amounts = st.one_of(st.integers(1, 20_000), st.sampled_from([1, 2, 3, 999_999_999_999]))
small = st.integers(1, 12_000)
numbers = st.integers(0, 3)
percentages = st.sampled_from(["0", "5", "7", "10", "19", "33.3333", "100"])
quantities = st.sampled_from(["1", "2", "3", "0.5", "1.255", "0.001", "7"])
prices = st.integers(0, 9_999)


def _ids(prefix: str) -> st.SearchStrategy[str]:
    return numbers.map(lambda number: f"{prefix}_{number}")


taxes = st.lists(st.builds(Tax, name=st.just("VAT"), percentage=percentages, inclusive=st.booleans()), max_size=2).map(
    tuple
)
lines = st.builds(
    LineItem, line_item_id=_ids("li"), name=st.just("Thing"), quantity=quantities, unit_price_minor=prices, taxes=taxes
)
charges = st.builds(Charge, charge_id=_ids("chg"), name=st.just("Shipping"), amount_minor=prices, taxes=taxes)
discounts = st.one_of(
    st.builds(Discount, discount_id=_ids("dis"), name=st.just("Spring"), percentage=percentages),
    st.builds(Discount, discount_id=_ids("dis"), name=st.just("Coupon"), amount_minor=small),
    st.builds(
        Discount,
        discount_id=_ids("dis"),
        name=st.just("One"),
        amount_minor=small,
        line_item_ids=_ids("li").map(lambda one: (one,)),
    ),
)
holders = _ids("cs").map(lambda name: Holder(type="checkout_session", id=name))
tenders = st.sampled_from(
    [Tender(source="pos", method=Method(type="cash")), Tender(source="checkout", channel_id="chn_web"), Tender()]
)
currencies = st.sampled_from(["EUR", "EUR", "EUR", "EUR", "USD"])
payments = {"payment_id": _ids("pay"), "payment_reference": numbers.map(str), "currency": currencies, "tender": tenders}
references = st.one_of(st.none(), numbers.map(str))
leases = st.one_of(st.none(), _ids("ls"))

creations = st.builds(
    c.CreateOrder,
    currency=st.just("EUR"),
    draft=st.sampled_from([False, False, False, True]),
    line_items=st.lists(lines, max_size=4, unique_by=lambda line: line.line_item_id).map(tuple),
    charges=st.lists(charges, max_size=2, unique_by=lambda charge: charge.charge_id).map(tuple),
    tip_minor=st.integers(0, 500),
)
commands = st.one_of(
    st.builds(c.AddLineItem, line_item=lines),
    st.builds(c.UpdateLineItem, line_item_id=_ids("li"), quantity=quantities, unit_price_minor=prices),
    st.builds(c.RemoveLineItem, line_item_id=_ids("li")),
    st.builds(c.AddCharge, charge=charges),
    st.builds(c.UpdateCharge, charge_id=_ids("chg"), amount_minor=prices),
    st.builds(c.RemoveCharge, charge_id=_ids("chg")),
    st.builds(c.ApplyDiscount, discount=discounts),
    st.builds(c.RemoveDiscount, discount_id=_ids("dis")),
    st.builds(c.SetTip, tip_minor=st.integers(0, 900)),
    st.builds(c.UpdateOrder, external_reference=references, metadata=st.just({"a": "b"})),
    st.builds(c.AddNote, note_id=_ids("note"), text=st.just("Call back")),
    st.builds(c.OpenOrder),
    st.builds(c.CancelOrder),
    st.builds(c.CloseOrder),
    st.builds(
        c.AcquireLease,
        lease_id=_ids("ls"),
        holder=holders,
        amount_minor=small,
        term_s=st.integers(1, 600),
        charging=st.booleans(),
    ),
    st.builds(c.ExtendLease, lease_id=_ids("ls"), holder=holders, term_s=st.integers(1, 600)),
    st.builds(c.ReleaseLease, lease_id=_ids("ls"), holder=st.one_of(st.none(), holders)),
    st.builds(c.HandOverLease, lease_id=_ids("ls"), new_lease_id=_ids("ls"), to=holders),
    st.builds(c.ExpireLeases),
    st.builds(c.RecordAuthorization, amount_minor=amounts, lease_id=leases, **payments),
    st.builds(c.RecordCapture, amount_minor=amounts, capture_reference=references, lease_id=leases, **payments),
    st.builds(c.RecordVoid, amount_minor=st.one_of(st.none(), amounts), **payments),
    st.builds(c.RecordAuthorizationExpiry, payment_id=_ids("pay")),
    st.builds(c.RecordPaymentFailure, code=st.sampled_from(["declined", "timeout"]), **payments),
    st.builds(
        c.ReserveRefund,
        refund_id=_ids("ref"),
        amount_minor=small,
        effect=st.sampled_from(["reduce_total", "reopen_balance"]),
        policy=st.sampled_from(["reverse_order", "gift_card_first", "cash_last"]),
        only_credit=st.booleans(),
    ),
    st.builds(
        c.RecordRefund,
        refund_id=_ids("ref"),
        refund_reference=numbers.map(str),
        amount_minor=amounts,
        effect=st.sampled_from(["reduce_total", "reopen_balance"]),
        **payments,
    ),
    st.builds(c.ReleaseRefund, refund_id=_ids("ref")),
    st.builds(c.ReverseRefund, refund_id=_ids("ref"), refund_reference=numbers.map(str)),
)
steps = st.lists(st.tuples(commands, st.integers(0, 400)), max_size=25)


@dataclass
class Story:
    """One order through a sequence of commands, with what was decided and recorded."""

    order: Order
    now: datetime = START
    history: list[tuple[int, tuple[OrderEvent, ...], datetime]] = field(default_factory=list)

    @classmethod
    def begun(cls, creation: c.CreateOrder) -> "Story":
        decided = decide_and_apply(None, creation, FIRST)
        assert isinstance(decided, Decision)
        return cls(decided.order, history=[(1, decided.events, START)])

    def tell(self, command: c.OrderCommand, seconds: int = 0) -> Decision | Refusal:
        """Handle one command, `seconds` after the one before."""
        self.now += timedelta(seconds=seconds)
        context = DecisionContext("ord_1", "mer_1", "test", self.now)
        decided = decide_and_apply(self.order, command, context)
        if isinstance(decided, Decision):
            if decided.events:
                self.history.append((decided.order.version, decided.events, self.now))
            self.order = decided.order
        return decided

    def replayed(self) -> Order | None:
        """The order from its history alone."""
        order: Order | None = None
        for version, events, at in self.history:
            order = fold(order, "ord_1", version, events, at)
        return order

    def followed(self) -> list[Order]:
        """The order at each version, with sums that were worked out for that version only."""
        order: Order | None = None
        found = []
        for version, events, at in self.history:
            order = follow(order, "ord_1", version, events, at)
            found.append(summed(order))
        return found


def assert_identities(order: Order, now: datetime) -> None:
    """What the documentation promises of every order, in minor units."""
    pricing = order.pricing
    added = sum(
        share
        for part, priced in zip((*order.lines, *order.charges), (*pricing.lines, *pricing.charges), strict=True)
        for tax, share in zip(part.taxes, priced.taxes, strict=True)
        if not tax.inclusive
    )
    assert pricing.total == pricing.subtotal - pricing.discount + pricing.charge + added + pricing.tip
    assert pricing.subtotal == sum(part.subtotal for part in pricing.lines)
    assert pricing.discount == sum(part.discount for part in pricing.lines) == sum(pricing.discounts)
    assert pricing.tax == sum(sum(part.taxes) for part in (*pricing.lines, *pricing.charges))
    assert pricing.total == sum(part.total for part in (*pricing.lines, *pricing.charges)) + pricing.tip
    assert all(0 <= part.discount <= part.subtotal and part.total >= 0 for part in pricing.lines)
    assert order.net_total == pricing.total - order.returned
    assert 0 <= order.returned <= pricing.total
    assert order.net_collected == order.captured - order.refunded
    assert order.outstanding == max(0, order.net_total - order.net_collected)
    assert order.credit == max(0, order.net_collected - order.net_total)
    assert order.available(now) == max(0, order.outstanding - order.authorized - order.leased(now))
    assert order.leased(now) == sum(lease.rest for lease in order.leases if now < lease.expires_at)
