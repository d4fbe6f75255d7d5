"""What clients send and get about payment intents and about paying an order."""

from datetime import datetime
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from services.payments.core.asking import Means, Operation
from services.payments.http import intent_examples as examples
from shared.contracts.model import Clean, Identifier, Metadata, Money, Reference, Text
from shared.contracts.order_parts import MethodType, Source
from shared.contracts.payment_intents import (
    CaptureMethod,
    CompletionBehavior,
    IntentStatus,
    PaymentIntent,
    PaymentMethodShown,
)
from shared.http.answers import AnswerModel
from shared.http.bodies import AmountMoney, PositiveAmountMoney, RequestModel, exactly_one, shown
from shared.http.pages import ListQuery, QueryTime

MOST_LEGS = 10
"""In one call; more can follow in further calls."""

OrderId = Annotated[str, Field(pattern=r"^ord_[A-Za-z0-9]{1,64}$")]


def _web_address(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an http or https address")
    return text


WebAddress = Annotated[str, StringConstraints(max_length=2_000), Clean, AfterValidator(_web_address)]


class MethodRequest(RequestModel):
    """What the buyer pays with. Never a card number: a token of the processor's."""

    model_config = shown(examples.METHOD)

    type: MethodType
    token: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:-]{1,200}$")] | None = None
    """What the processor knows the buyer's card or wallet by."""
    tendered_money: PositiveAmountMoney | None = None
    """Of cash: what was handed over. What it is more than the amount is change."""
    reference: Reference | None = None
    """Of a payment that was taken elsewhere: its number there."""
    brand: Annotated[str, StringConstraints(min_length=1, max_length=40), Clean] | None = None
    last4: Annotated[str, StringConstraints(pattern=r"^[0-9]{4}$")] | None = None

    @model_validator(mode="after")
    def _cash_is_tendered(self) -> Self:
        if self.tendered_money is not None and self.type != "cash":
            raise ValueError("tendered_money is for cash")
        return self

    @property
    def means(self) -> Means:
        tendered = None if self.tendered_money is None else self.tendered_money.amount
        return Means(self.type, self.token, tendered, self.reference, self.brand, self.last4)


class Collecting(RequestModel):
    """What all that collect on an order say."""

    source: Source = "api"
    """What the payment is taken through."""
    location_id: Identifier | None = None
    device_id: Identifier | None = None
    operator_id: Reference | None = None
    return_url: WebAddress | None = None
    """Where the buyer's browser goes after a page that a processor asked for."""
    metadata: Annotated[Metadata, Field(max_length=50, default_factory=dict)]
    expected_outstanding_money: AmountMoney | None = None
    """What you showed the buyer as still owed; when it is another amount by now, nothing is collected: 409
    `OUTSTANDING_CHANGED`."""


class OrderIntentRequest(Collecting):
    """An intent to collect on an order."""

    model_config = shown(examples.NEW_INTENT)

    amount_money: PositiveAmountMoney | None = None
    """What to collect; without it, what is owed."""
    method: MethodRequest | None = None
    capture_method: CaptureMethod = "automatic"
    """`manual` only holds the money: capture it afterwards, in one or several parts."""
    completion_behavior: CompletionBehavior = "partial_payment"
    """`complete_order` refuses what does not pay the whole order, and takes no partial approval."""
    confirm: bool = False
    """Whether to collect at once; needs `method`."""

    @model_validator(mode="after")
    def _confirms_something(self) -> Self:
        if self.confirm and self.method is None:
            raise ValueError("confirm needs a method")
        return self


class IntentRequest(OrderIntentRequest):
    """An intent for an order, or for nothing but an amount: an order is then made for it."""

    order_id: OrderId | None = None
    description: Text | None = None
    """What the only line of the order that is made is called."""

    @model_validator(mode="after")
    def _has_an_amount(self) -> Self:
        if self.order_id is None and self.amount_money is None:
            raise ValueError("give order_id, amount_money or both")
        return self


class ConfirmRequest(RequestModel):
    model_config = shown({"method": examples.METHOD})

    method: MethodRequest | None = None
    """Without it, the one that was given before."""
    expected_outstanding_money: AmountMoney | None = None


class CaptureRequest(RequestModel):
    model_config = shown({"amount_money": {"amount": 4000, "currency": "EUR"}})

    amount_money: PositiveAmountMoney | None = None
    """A part of what is held; without it all of it. The rest stays held."""


class LegRequest(RequestModel):
    """One of several sources that pay together."""

    method: MethodRequest
    amount_money: PositiveAmountMoney


class PayRequest(Collecting):
    """Pay with one source (`method`), or with several (`legs`)."""

    model_config = shown(examples.PAY, oneOf=exactly_one("method", "legs"))

    method: MethodRequest | None = None
    amount_money: PositiveAmountMoney | None = None
    """What to collect; without it, what is owed."""
    legs: Annotated[tuple[LegRequest, ...], Field(min_length=1, max_length=MOST_LEGS)] | None = None
    completion_behavior: CompletionBehavior = "complete_order"
    """`complete_order`: the whole order must be paid by it; `partial_payment`: less will do."""
    keep_successful_legs: bool = False
    """Of several: whether those that succeed are collected although another fails. Otherwise all or none."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.method is None) == (self.legs is None):
            raise ValueError("give either method or legs")
        if self.legs is not None and self.amount_money is not None:
            raise ValueError("each of the legs has its amount: leave out amount_money")
        return self


PayStatus = Literal["succeeded", "partially_succeeded", "declined", "requires_action", "processing", "unknown"]


class PayOutcome(AnswerModel):
    """What paying an order came to."""

    model_config = shown(examples.PAID)

    order_id: str
    order_version: int | None
    """The order's version that has all of it."""
    status: PayStatus
    """`declined`: nothing was collected; `partially_succeeded`: less than was asked for."""
    captured_money: Money
    change_money: Money | None = None
    """What goes back to the buyer of the cash that was handed over."""
    payment_intents: list[PaymentIntent]


class IntentQuery(ListQuery):
    """Filters of the list; all that are given must match."""

    status: IntentStatus | None = None
    order_id: Annotated[str, Field(min_length=1, max_length=200), Clean] | None = None
    created_from: QueryTime | None = None
    created_before: QueryTime | None = None


class PaymentAttempt(AnswerModel):
    """One question to a processor, and what it said."""

    model_config = shown(examples.ATTEMPT)

    attempt_id: str
    payment_intent_id: str
    order_id: str
    operation: Operation
    connector: str
    status: Literal["pending", "unknown", "challenged", "watched", "ended"]
    """`pending` is on its way; `unknown` got no answer and is looked up; `challenged` waits for the buyer; `watched` is
    a refund that was approved and that the buyer's bank may send back for 30 days."""
    amount_money: Money
    method: PaymentMethodShown
    """What the money was taken with, or is to be."""
    outcome: str | None
    """`approved`, `declined`, `action_required`, `unknown`, `not_sent` or `never_arrived`."""
    answered_money: Money | None = None
    """What was approved."""
    payment_reference: str | None = None
    code: str | None = None
    detail: str | None = None
    looked_up: int
    """How often the processor was asked what became of it."""
    created_at: datetime
    updated_at: datetime
