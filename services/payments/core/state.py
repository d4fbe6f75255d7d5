"""What the payment service knows: channels, their events, payment legs, orders as far as they matter here."""

from collections.abc import Mapping, Sequence
from dataclasses import field
from datetime import UTC, datetime
from typing import Literal

from services.payments.core.identities import derived_id, payment_id_of, refund_id_of
from shared.contracts.channels import (
    ChannelEvent,
    ChannelPaymentAuthorized,
    ChannelPaymentCaptured,
    ChannelPaymentRefunded,
)
from shared.contracts.model import PositiveMoney
from shared.contracts.order_parts import Source
from shared.contracts.payments import UnmatchedMoney
from shared.immutable import immutable

ChannelStatus = Literal["provisioning", "active", "disabling", "disabled"]
EventStatus = Literal["sent", "waiting", "held", "by_hand", "applied", "refused"]
"""`sent` a command is under way; `waiting` for an order that answers to the name; `held` for a person, since several
do; `by_hand` somebody attaches or returns its money, as the unmatched items about it say; `applied` and `refused` by
the order."""
_LONG_AGO = datetime.fromtimestamp(0, UTC)


@immutable
class Channel:
    """Somebody who tells about payments of one merchant in one environment."""

    channel_id: str
    merchant_id: str
    environment: str
    status: ChannelStatus
    source: Source | None = None
    """What its payments are taken through where an event doesn't say."""

    @property
    def open(self) -> bool:
        """Whether what it tells still counts."""
        return self.status in ("provisioning", "active")


@immutable
class Arrival:
    """One channel event, read and checked."""

    channel: Channel
    event_id: str
    event: ChannelEvent
    correlation_id: str | None = None
    traceparent: str | None = None

    @property
    def channel_event_id(self) -> str:
        """The same for all that says the same thing about the same money, whatever its own id and time."""
        return derived_id(
            "cev",
            self.channel.channel_id,
            self.event.wire_type,
            self.event.payment_reference,
            getattr(self.event, "capture_reference", None),
            getattr(self.event, "refund_reference", None),
        )

    @property
    def payment_id(self) -> str:
        return payment_id_of(self.channel.channel_id, self.event.payment_reference)


@immutable
class KeptEvent:
    """A channel event that counted: the first of its reference, and what became of it."""

    channel_event_id: str
    channel_id: str
    merchant_id: str
    environment: str
    event_id: str
    event: ChannelEvent
    payment_id: str
    status: EventStatus
    order_id: str | None = None
    """Where the command went, once one was sent."""
    currency: str | None = None
    order_version: int | None = None
    refusal: str | None = None
    attempt: int = 0
    """How many commands have been sent for it."""
    correlation_id: str | None = None
    traceparent: str | None = None

    @property
    def command_id(self) -> str | None:
        """The same for every repeat of one attempt; the order answers each id once."""
        if self.attempt <= 1:
            return self.channel_event_id if self.attempt else None
        return f"{self.channel_event_id}.{self.attempt}"

    @property
    def refund_id(self) -> str:
        assert isinstance(self.event, ChannelPaymentRefunded)
        return refund_id_of(self.channel_id, self.event.payment_reference, self.event.refund_reference)

    @property
    def money(self) -> PositiveMoney | None:
        return self.event.amount_money

    @property
    def moved_money(self) -> bool:
        """Whether money is somewhere else because of it, or held; only then it can be unmatched money."""
        return isinstance(self.event, ChannelPaymentAuthorized | ChannelPaymentCaptured | ChannelPaymentRefunded)


@immutable
class Leg:
    """One payment of a channel: what its events have in common, whichever came first."""

    payment_id: str
    channel_id: str
    payment_reference: str
    order_id: str | None = None
    """The order that took one of its events."""
    currency: str | None = None


@immutable
class KnownOrder:
    """An order as far as it matters for finding it."""

    order_id: str
    merchant_id: str
    environment: str
    external_reference: str | None
    currency: str
    status: str
    outstanding_minor: int
    version: int
    credit_minor: int = 0
    """What the order has beyond what it is owed."""
    customer_id: str | None = None
    placed_at: datetime = _LONG_AGO
    """When it was made; long ago where that was never told."""

    @property
    def ended(self) -> bool:
        return self.status in ("closed", "canceled")


Reference = tuple[str, str, str]
"""Merchant, environment, external reference."""


@immutable
class KnownOrders:
    """The orders that a batch of events may be about."""

    by_id: Mapping[str, KnownOrder] = field(default_factory=dict)
    by_reference: Mapping[Reference, Sequence[KnownOrder]] = field(default_factory=dict)
    """At most two of each, those that have not ended first."""

    def order(self, order_id: str | None, merchant_id: str, environment: str) -> KnownOrder | None:
        """Another tenant's order is not known."""
        found = self.by_id.get(order_id) if order_id else None
        return found if found and (found.merchant_id, found.environment) == (merchant_id, environment) else None

    def called(self, external_reference: str | None, merchant_id: str, environment: str) -> Sequence[KnownOrder]:
        """Those that answer to the merchant's own name for an order."""
        if external_reference is None:
            return ()
        return self.by_reference.get((merchant_id, environment, external_reference), ())


@immutable
class Item:
    """An unmatched item with whose it is and which event it is about."""

    merchant_id: str
    environment: str
    channel_event_id: str
    money: UnmatchedMoney
    attempt: int = 0
    """How many commands have been sent for it."""
    asked_at: datetime | None = None
    """When the newest of them was."""

    @property
    def command_id(self) -> str | None:
        """The same for every repeat of one attempt; no other item's."""
        return f"{self.money.unmatched_money_id}.{self.attempt}" if self.attempt else None
