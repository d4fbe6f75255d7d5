"""Routes below an order: paying it, and how that was tried."""

from collections.abc import Sequence

from litestar import Controller, get, post
from litestar.datastructures import State
from litestar.params import FromPath

from services.payments.core.asking import Found
from services.payments.core.intents import wishes
from services.payments.core.intents.moves import Moves
from services.payments.core.intents.state import Attempt, Intent, Refused
from services.payments.core.intents.view import method_shown, shown
from services.payments.http.collecting import Shape, collect, order_for
from services.payments.http.intent_models import (
    OrderIntentRequest,
    PaymentAttempt,
    PayOutcome,
    PayRequest,
    PayStatus,
)
from services.payments.http.making import known_order, legs_of
from services.payments.http.payment_intents import COLLECTING, READ, WRITE, create_for
from services.payments.http.wiring import Wiring
from services.payments.store import attempts
from shared.auth.guard import ApiRequest
from shared.contracts.model import Money
from shared.contracts.payment_intents import PaymentIntent
from shared.http.answers import Answer, many
from shared.http.bodies import read_body, read_query
from shared.http.operations import operation
from shared.http.pages import ListQuery, page_by_time


class OrderPaymentController(Controller):
    """Collecting on an order."""

    path = "/v1/orders/{order_id:str}"
    tags = ("Payment intents",)

    @post(
        "/payment-intents",
        guards=[WRITE],
        **operation(
            "Create a payment intent for an order",
            takes=OrderIntentRequest,
            gives=PaymentIntent,
            status=201,
            problems=COLLECTING,
            idempotent=True,
            waits=True,
        ),
    )
    async def create_order_payment_intent(self, request: ApiRequest, state: State, order_id: FromPath[str]) -> Answer:
        body = await read_body(request, OrderIntentRequest)
        return await create_for(request, state.payments, order_id, body)

    @post(
        "/pay",
        guards=[WRITE],
        **operation(
            "Pay an order",
            description=(
                "With one source, or with several that pay together: all of them hold their part of the balance before "
                "any processor is asked, they are authorized one after the other, and nothing is collected before "
                "everything is held. If one fails, what the others hold is let go, unless `keep_successful_legs`. A "
                "declined payment is no error: `status` says `declined`."
            ),
            takes=PayRequest,
            gives=PayOutcome,
            problems=COLLECTING,
            idempotent=True,
            waits=True,
        ),
    )
    async def pay_order(self, request: ApiRequest, state: State, order_id: FromPath[str]) -> Answer:
        body = await read_body(request, PayRequest)
        wiring: Wiring = state.payments
        known = await order_for(request, wiring, order_id)
        order = known_order(known)
        legs = legs_of(request, wiring, order, body)

        def wish(moves: Moves) -> Refused | None:
            if order.ended_as is not None:
                return wishes.not_open(order.ended_as)
            for leg in legs:
                refused = wishes.confirm(moves, moves[leg.payment_intent_id], leg.means, leg.connector)
                if refused is not None:
                    return refused
            return None

        return await collect(request, wiring, wish, Shape(_outcome), made=legs)

    @get(
        "/payment-attempts",
        guards=[READ],
        **operation(
            "List the payment attempts on an order",
            description="Newest first: what processors were asked, and what they said.",
            query=ListQuery,
            gives=PaymentAttempt,
            listed=True,
            problems=("NOT_FOUND", "INVALID_PAGE_TOKEN"),
        ),
    )
    async def list_payment_attempts(self, request: ApiRequest, state: State, order_id: FromPath[str]) -> Answer:
        query, access = read_query(request, ListQuery), request.user
        wiring: Wiring = state.payments
        await order_for(request, wiring, order_id)
        tenant = (access.merchant, access.environment)
        found = await attempts.of_order(wiring.pool, tenant, order_id, query.time_position(), query.page_size + 1)
        page, token = page_by_time(found, query, lambda attempt: (attempt.created_at, attempt.attempt_id))
        return many(request, [_shown(attempt) for attempt in page], token)


def _outcome(legs: Sequence[Intent]) -> PayOutcome:
    versions = [leg.order_version for leg in legs if leg.order_version is not None]
    currency, captured = legs[0].currency, sum(leg.captured_minor for leg in legs)
    views = [shown(leg) for leg in legs]
    changes = [
        view.method.change_money.amount
        for view in views
        if view.status == "succeeded" and view.method and view.method.change_money
    ]
    return PayOutcome(
        order_id=legs[0].order_id,
        order_version=max(versions, default=None),
        status=_status(legs, captured),
        captured_money=Money(amount=captured, currency=currency),
        change_money=Money(amount=sum(changes), currency=currency) if changes else None,
        payment_intents=views,
    )


def _status(legs: Sequence[Intent], captured: int) -> PayStatus:
    statuses = {leg.status for leg in legs}
    if "unknown" in statuses:
        return "unknown"
    if "requires_action" in statuses:
        return "requires_action"
    if statuses & {"processing", "requires_capture"} or not all(leg.settled for leg in legs):
        return "processing"
    if not captured:
        return "declined"
    return "succeeded" if captured == sum(leg.amount_minor for leg in legs) else "partially_succeeded"


def _shown(attempt: Attempt) -> PaymentAttempt:
    asked, answer = attempt.asked, attempt.answer
    approved = getattr(answer, "amount_minor", None)
    brand, last4 = getattr(answer, "brand", None), getattr(answer, "last4", None)
    return PaymentAttempt(
        attempt_id=attempt.attempt_id,
        payment_intent_id=asked.payment_intent_id,
        order_id=asked.order_id,
        operation=asked.operation,
        connector=attempt.connector,
        status=attempt.status,
        amount_money=Money(amount=asked.amount_minor, currency=asked.currency),
        method=method_shown(asked.means, asked.currency, brand, last4),
        outcome=None if answer is None else _OUTCOMES[type(answer).__name__],
        answered_money=None if approved is None else Money(amount=approved, currency=asked.currency),
        payment_reference=getattr(answer, "reference", asked.reference),
        code=getattr(answer, "code", None),
        detail=_detail(answer),
        looked_up=attempt.looks,
        created_at=attempt.created_at,
        updated_at=attempt.updated_at,
    )


_OUTCOMES = {
    "Approved": "approved",
    "Declined": "declined",
    "ActionRequired": "action_required",
    "Unknown": "unknown",
    "NotSent": "not_sent",
    "NeverArrived": "never_arrived",
}


def _detail(answer: Found | None) -> str | None:
    return getattr(answer, "message", None) or getattr(answer, "reason", None)
