"""Rows to begin with."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from services.orders.core.decide import Decision, DecisionContext, decide_and_apply
from services.orders.core.state import Order
from services.orders.store.history import HistoryRow
from services.payments.core.state import Arrival, Channel, Item, KeptEvent, KnownOrder
from shared.contracts import order_commands as c
from shared.contracts.channels import CHANNEL_EVENTS
from shared.contracts.model import Money
from shared.contracts.order_parts import LineItem
from shared.contracts.payments import UnmatchedMoney

NOW = datetime(2026, 11, 21, 10, 0, 0, 123456, tzinfo=UTC)
SECOND = timedelta(seconds=1)
CHANNEL = Channel("chn_web", "mer_1", "test", "active", "checkout")


def order(order_id: str = "ord_1", *, at: datetime = NOW, number: str = "1001", **changes: Any) -> Order:
    """A new order of one thing."""
    line = LineItem(line_item_id="li_1", name="Thing", unit_price_minor=12_000)
    context = DecisionContext(order_id, "mer_1", "test", at, number)
    made = decide_and_apply(None, c.CreateOrder(currency="EUR", line_items=(line,)), context)
    assert isinstance(made, Decision)
    return replace(made.order, **changes)


def history(order_id: str, *versions: int, at: datetime = NOW) -> list[HistoryRow]:
    """A row per version, a second apart."""
    return [
        HistoryRow(order_id, version, "orders.order_edited.v1", b'{"events": []}', at + version * SECOND)
        for version in versions
    ]


def arrival(reference: str, **more: Any) -> Arrival:
    """A capture of 90.00."""
    body = {"order_id": "ord_1", "payment_reference": reference, "amount_money": {"amount": 9000, "currency": "EUR"}}
    event = CHANNEL_EVENTS["channel.payment.captured.v1"].model_validate(body | more)
    return Arrival(CHANNEL, f"evt_{reference}", event)


def kept(reference: str, *, named: str | None = "ord_1", called: str | None = None, **fields: Any) -> KeptEvent:
    """The capture as it is kept; `channel_event_id` is `cev_` and the reference."""
    told = arrival(reference, order_id=named, external_reference=called)
    made = KeptEvent(
        channel_event_id=f"cev_{reference}",
        channel_id="chn_web",
        merchant_id="mer_1",
        environment="test",
        event_id=told.event_id,
        event=told.event,
        payment_id=told.payment_id,
        status="waiting",
    )
    return replace(made, **fields)


def sent(reference: str, **fields: Any) -> KeptEvent:
    """With a command under way to ord_1."""
    return kept(reference, **{"status": "sent", "order_id": "ord_1", "currency": "EUR", "attempt": 1, **fields})


def known(order_id: str = "ord_1", **fields: Any) -> KnownOrder:
    return replace(KnownOrder(order_id, "mer_1", "test", "web-1", "EUR", "open", 9000, 1), **fields)


def item(name: str = "um_1", *, at: datetime = NOW, event: str = "cev_1", **fields: Any) -> Item:
    """An open unmatched item."""
    money = UnmatchedMoney(
        unmatched_money_id=name,
        kind="unknown_order",
        status="open",
        detail="No order.",
        amount_money=Money(amount=9000, currency="EUR"),
        channel_id="chn_web",
        event_type="channel.payment.captured.v1",
        event_id="evt_1",
        event={"payment_reference": "psp-1", "nested": [1, {"a": None}]},
        payment_id="pay_1",
        payment_reference="psp-1",
        created_at=at,
    )
    return Item("mer_1", "test", event, money.model_copy(update=fields))
