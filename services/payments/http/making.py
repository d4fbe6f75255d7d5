"""Intents from what clients send."""

from services.payments.core.asking import Means
from services.payments.core.intents import wishes
from services.payments.core.intents.state import Intent
from services.payments.core.state import KnownOrder
from services.payments.http.collecting import connector_for
from services.payments.http.intent_models import Collecting, IntentRequest, LegRequest, OrderIntentRequest, PayRequest
from services.payments.http.wiring import Wiring
from shared.auth.guard import ApiRequest
from shared.http.bodies import AmountMoney, PositiveAmountMoney
from shared.http.problems import Problem
from shared.ids import new_id
from shared.immutable import immutable, replace
from shared.money import format_money


@immutable
class Order:
    """The order that is collected on, as far as a request needs it; `line` is the name of its only line if it is to be
    made."""

    order_id: str
    currency: str
    outstanding_minor: int
    line: str | None = None
    ended_as: str | None = None
    """`closed` or `canceled`, where nothing is collected on it any more."""


def known_order(known: KnownOrder) -> Order:
    """The order that is there."""
    ended_as = known.status if known.ended else None
    return Order(known.order_id, known.currency, known.outstanding_minor, ended_as=ended_as)


def new_order(body: IntentRequest) -> Order:
    """The order that is made for an amount alone."""
    assert body.amount_money is not None, "without an order there is an amount"
    money = body.amount_money
    return Order(new_id("ord"), money.currency, money.amount, body.description or "Payment")


def intent_of(request: ApiRequest, wiring: Wiring, order: Order, body: OrderIntentRequest) -> Intent:
    """The intent that a request describes."""
    intent = _intent(request, wiring, order, body)
    amount = minor_in(body.amount_money, order.currency, "amount_money")
    expected = _expected(body, order, amount, "amount_money")
    intent = replace(intent, capture_method=body.capture_method, completion=body.completion_behavior)
    if amount is None:
        intent = replace(intent, amount_minor=order.outstanding_minor, follows=True)
    else:
        intent = replace(intent, amount_minor=amount)
    if expected is not None:
        intent = wishes.expecting(intent, expected)
    if body.method is None:
        return intent
    minor_in(body.method.tendered_money, order.currency, "method.tendered_money")
    return _paid_with(request, wiring, intent, body.method.means, "method")


def legs_of(request: ApiRequest, wiring: Wiring, order: Order, body: PayRequest) -> list[Intent]:
    """The intents that pay together."""
    if body.method is not None:
        whole = OrderIntentRequest(
            method=body.method,
            amount_money=body.amount_money,
            completion_behavior=body.completion_behavior,
            **{name: getattr(body, name) for name in Collecting.model_fields},
        )
        return [replace(intent_of(request, wiring, order, whole), one_shot=True)]
    assert body.legs is not None, "there is a method, or there are legs"
    first = replace(
        _intent(request, wiring, order, body),
        legs=len(body.legs),
        completion=body.completion_behavior,
        keep_successful_legs=body.keep_successful_legs,
        one_shot=True,
    )
    legs = [_leg(request, wiring, first, leg, number) for number, leg in enumerate(body.legs)]
    expected = _expected(body, order, sum(leg.amount_minor for leg in legs), "legs")
    return [replace(leg, expected_outstanding_minor=expected) for leg in legs]


def minor_in(money: AmountMoney | PositiveAmountMoney | None, currency: str, param: str) -> int | None:
    """The amount in minor units; money in another currency than the order's is a problem that names the field."""
    if money is None:
        return None
    if money.currency != currency:
        detail = f"The order is in {currency}, this amount in {money.currency}."
        raise Problem("CURRENCY_MISMATCH", detail, param=f"{param}.currency")
    return money.amount


def _expected(body: OrderIntentRequest | PayRequest, order: Order, amount_minor: int | None, param: str) -> int | None:
    """What the client says is owed; where all of it is to be paid, that is the amount, if one is named."""
    expected = minor_in(body.expected_outstanding_money, order.currency, "expected_outstanding_money")
    if body.completion_behavior == "partial_payment" or amount_minor is None:
        return expected
    if expected not in (None, amount_minor):
        detail = wishes.does_not_pay(amount_minor, expected, order.currency)
        raise Problem("VALIDATION_FAILED", detail, param=param)
    return amount_minor


def _leg(request: ApiRequest, wiring: Wiring, first: Intent, leg: LegRequest, number: int) -> Intent:
    param = f"legs.{number}"
    amount = minor_in(leg.amount_money, first.currency, f"{param}.amount_money")
    assert amount is not None, "every leg has an amount"
    tendered = minor_in(leg.method.tendered_money, first.currency, f"{param}.method.tendered_money")
    if tendered is not None and tendered < amount:
        detail = f"{format_money(amount, first.currency)} is to be paid, and less was handed over."
        raise Problem("VALIDATION_FAILED", detail, param=f"{param}.method.tendered_money")
    intent = replace(
        first,
        payment_intent_id=first.payment_intent_id if number == 0 else new_id("pi"),
        amount_minor=amount,
        ordinal=number,
    )
    return _paid_with(request, wiring, intent, leg.method.means, f"{param}.method")


def _paid_with(request: ApiRequest, wiring: Wiring, intent: Intent, means: Means, param: str) -> Intent:
    return replace(intent, means=means, connector=connector_for(wiring, means, request.user.environment, param))


def _intent(request: ApiRequest, wiring: Wiring, order: Order, body: Collecting) -> Intent:
    access, now = request.user, wiring.clock()
    payment_intent_id = new_id("pi")
    return Intent(
        payment_intent_id=payment_intent_id,
        merchant_id=access.merchant,
        environment=access.environment,
        order_id=order.order_id,
        amount_minor=0,
        currency=order.currency,
        created_by=access.actor,
        created_at=now,
        updated_at=now,
        group_id=payment_intent_id,
        source=body.source,
        location_id=body.location_id,
        device_id=body.device_id,
        operator_id=body.operator_id,
        metadata=dict(body.metadata),
        return_url=body.return_url,
    )
