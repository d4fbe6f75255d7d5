"""A version of an order as a sentence: `Card visa 4242: 40.00 EUR collected, 50.00 EUR still owed.`"""

from collections.abc import Sequence
from datetime import datetime
from typing import assert_never

from shared.contracts.order_events import (
    AuthorizationExpired,
    ChargeAdded,
    ChargeRemoved,
    ChargeUpdated,
    DiscountApplied,
    DiscountRemoved,
    LeaseExpired,
    LeaseExtended,
    LeaseGranted,
    LeaseHandedOver,
    LeaseReleased,
    LineItemAdded,
    LineItemRemoved,
    LineItemUpdated,
    NoteAdded,
    OrderCanceled,
    OrderClosed,
    OrderCreated,
    OrderDetailsUpdated,
    OrderEvent,
    OrderOpened,
    OrderOverpaid,
    OrderPaid,
    OrderPartiallyPaid,
    PaymentAuthorized,
    PaymentCaptured,
    PaymentFailed,
    PaymentVoided,
    RefundRecorded,
    RefundReleased,
    RefundReserved,
    RefundReversed,
    TipSet,
)
from shared.contracts.order_parts import Holder, MethodType, Source, Tender
from shared.immutable import immutable
from shared.money import format_money

_METHODS: dict[MethodType, str] = {
    "card": "Card",
    "cash": "Cash",
    "check": "Cheque",
    "bank_transfer": "Bank transfer",
    "wallet": "Wallet",
    "gift_card": "Gift card",
    "store_credit": "Store credit",
    "external": "Taken elsewhere",
}
_PLACES: dict[Source, str] = {
    "checkout": " online",
    "payment_link": " by payment link",
    "api": "",
    "pos": " at the register",
    "subscription": " by subscription",
}


@immutable
class _Told:
    """What every clause needs: the order's currency, and what is owed after the version."""

    currency: str
    balance_minor: int

    @property
    def owed(self) -> str:
        return f"{self.money(self.balance_minor)} still owed"

    def money(self, amount_minor: int) -> str:
        return format_money(amount_minor, self.currency)

    def paid(self, tender: Tender, amount_minor: int, what: str) -> str:
        return f"{_method(tender)}: {self.money(amount_minor)} {what}"


def sentence(events: Sequence[OrderEvent], currency: str, balance_minor: int) -> str:
    """What happened in one version, after which the order's balance is this."""
    told = _Told(currency, balance_minor)
    clauses = [clause for event in events for clause in _clauses(event, told)]
    # Of a capture that is the first, two events say what is still owed.
    text = ", ".join(dict.fromkeys(clauses))
    return f"{text[0].upper()}{text[1:]}."


def _clauses(event: OrderEvent, told: _Told) -> list[str]:
    if isinstance(event, PaymentCaptured) and told.balance_minor > 0:
        return [_clause(event, told), told.owed]
    return [_clause(event, told)]


def _clause(event: OrderEvent, told: _Told) -> str:
    match event:
        case PaymentAuthorized() | PaymentCaptured() | PaymentVoided() | AuthorizationExpired() | PaymentFailed():
            return _payment(event, told)
        case RefundReserved() | RefundRecorded() | RefundReleased() | RefundReversed():
            return _refund(event, told)
        case LeaseGranted() | LeaseExtended() | LeaseReleased() | LeaseExpired() | LeaseHandedOver():
            return _lease(event, told)
        case OrderPartiallyPaid():
            return told.owed
        case OrderPaid():
            return "the order is paid"
        case OrderOverpaid():
            return f"{told.money(event.credit_minor)} more than is owed"
        case OrderCreated():
            kind = "draft" if event.draft else "order"
            return f"{kind} {event.number} created{_PLACES[event.source]}: {told.money(told.balance_minor)}"
        case OrderOpened():
            return "order opened"
        case OrderCanceled():
            return f"order canceled{_because(event.reason)}"
        case OrderClosed():
            return f"order closed{_because(event.reason)}"
        case _:
            return _edit(event, told)


def _payment(
    event: PaymentAuthorized | PaymentCaptured | PaymentVoided | AuthorizationExpired | PaymentFailed, told: _Told
) -> str:
    match event:
        case PaymentAuthorized():
            return told.paid(event.tender, event.amount_minor, "authorized")
        case PaymentCaptured():
            return told.paid(event.tender, event.amount_minor, "collected")
        case PaymentVoided(amount_minor=None):
            return f"{_method(event.tender)}: the rest of the authorization let go"
        case PaymentVoided(amount_minor=int(amount)):
            return told.paid(event.tender, amount, "of the authorization let go")
        case PaymentVoided():
            raise AssertionError("an amount is a number, or none")
        case AuthorizationExpired():
            return "the authorization ran out"
        case PaymentFailed():
            why = event.code.replace("_", " ")
            if event.amount_minor is None:
                return f"{_method(event.tender)}: declined ({why})"
            return told.paid(event.tender, event.amount_minor, f"declined ({why})")
        case _:
            assert_never(event)


def _refund(event: RefundReserved | RefundRecorded | RefundReleased | RefundReversed, told: _Told) -> str:
    match event:
        case RefundReserved():
            return f"{told.money(event.amount_minor)} set aside for a refund{_because(event.reason)}"
        case RefundRecorded():
            if event.tender.method is not None and event.tender.method.type == "external":
                return f"{told.money(event.amount_minor)} given back elsewhere{_because(event.reason)}"
            return told.paid(event.tender, event.amount_minor, f"refunded{_because(event.reason)}")
        case RefundReleased():
            return f"{told.money(event.amount_minor)} no longer set aside for a refund{_because(event.reason)}"
        case RefundReversed():
            return f"a refund came back{_because(event.reason)}"
        case _:
            assert_never(event)


def _lease(event: LeaseGranted | LeaseExtended | LeaseReleased | LeaseExpired | LeaseHandedOver, told: _Told) -> str:
    match event:
        case LeaseGranted():
            return f"{told.money(event.amount_minor)} reserved for {_holder(event.holder)}"
        case LeaseExtended():
            return f"reserved for longer, until {_time(event.expires_at)}"
        case LeaseReleased():
            return f"no longer reserved{_because(event.reason)}"
        case LeaseExpired():
            return "the reservation ran out"
        case LeaseHandedOver():
            return f"{told.money(event.amount_minor)} handed over to {_holder(event.to)}"
        case _:
            assert_never(event)


def _edit(
    event: LineItemAdded
    | LineItemUpdated
    | LineItemRemoved
    | ChargeAdded
    | ChargeUpdated
    | ChargeRemoved
    | DiscountApplied
    | DiscountRemoved
    | TipSet
    | OrderDetailsUpdated
    | NoteAdded,
    told: _Told,
) -> str:
    match event:
        case LineItemAdded():
            return f"{event.line_item.name} added"
        case LineItemUpdated():
            return f"{event.line_item.name} changed"
        case LineItemRemoved():
            return "a line removed"
        case ChargeAdded():
            return f"{event.charge.name} added"
        case ChargeUpdated():
            return f"{event.charge.name} changed"
        case ChargeRemoved():
            return "a charge removed"
        case DiscountApplied():
            return f"discount {event.discount.name} applied"
        case DiscountRemoved():
            return "a discount removed"
        case TipSet():
            return f"tip of {told.money(event.tip_minor)}"
        case OrderDetailsUpdated():
            return "details changed"
        case NoteAdded():
            return "a note added"
        case _:
            assert_never(event)


def _method(tender: Tender) -> str:
    """`Card visa 4242 online`."""
    place = _PLACES[tender.source] if tender.source else ""
    if tender.method is None:
        return f"A payment{place}"
    named = (_METHODS[tender.method.type], tender.method.brand, tender.method.last4)
    return " ".join(part for part in named if part) + place


def _holder(holder: Holder) -> str:
    return "a payment" if holder.type == "payment_intent" else f"a {holder.type.replace('_', ' ')}"


def _because(reason: str | None) -> str:
    return f" ({reason.replace('_', ' ')})" if reason else ""


def _time(moment: datetime) -> str:
    return f"{moment:%H:%M} UTC"
