"""Routes of payment intents."""

from litestar import Controller, get, post
from litestar.datastructures import State
from litestar.params import FromPath

from services.payments.core.intents import wishes
from services.payments.core.intents.moves import Moves
from services.payments.core.intents.state import Intent, Refused
from services.payments.core.intents.view import shown
from services.payments.http.collecting import (
    Shape,
    collect,
    connector_for,
    look_up,
    one_of,
    order_for,
    own_intent,
    the_only_one,
)
from services.payments.http.intent_models import (
    CaptureRequest,
    ConfirmRequest,
    IntentQuery,
    IntentRequest,
    OrderIntentRequest,
)
from services.payments.http.making import Order, intent_of, known_order, minor_in, new_order
from services.payments.http.wiring import Wiring
from services.payments.store import intents
from services.payments.store.intents import IntentFilter
from shared.auth.guard import ApiRequest, requires
from shared.contracts.payment_intents import PaymentIntent
from shared.http.answers import Answer, many, one
from shared.http.bodies import read_body, read_query
from shared.http.operations import operation
from shared.http.pages import page_by_time

READ, WRITE = requires("payments.read"), requires("payments.write")

COLLECTING = (
    "NOT_FOUND",
    "CURRENCY_MISMATCH",
    "OUTSTANDING_CHANGED",
    "ORDER_BALANCE_LEASED",
    "ORDER_ALREADY_PAID",
    "ORDER_NOT_OPEN",
)
"""Why an order may not let itself be collected on."""

_DECLINED = "A declined payment is no error: the intent then says `requires_payment_method`, with `last_decline`."


class PaymentIntentController(Controller):
    """One source of money for one order: from the wish to collect to the money, or to its end."""

    path = "/v1/payment-intents"
    tags = ("Payment intents",)

    @post(
        guards=[WRITE],
        **operation(
            "Create a payment intent",
            description=f"For an order; or for an amount alone, for which an order is made. {_DECLINED}",
            takes=IntentRequest,
            gives=PaymentIntent,
            status=201,
            problems=COLLECTING,
            idempotent=True,
            waits=True,
        ),
    )
    async def create_payment_intent(self, request: ApiRequest, state: State) -> Answer:
        body = await read_body(request, IntentRequest)
        if body.order_id is not None:
            return await create_for(request, state.payments, body.order_id, body)
        return await _create(request, state.payments, new_order(body), body)

    @get(
        guards=[READ],
        **operation(
            "List payment intents",
            description="Newest first.",
            query=IntentQuery,
            gives=PaymentIntent,
            listed=True,
            problems=("INVALID_PAGE_TOKEN",),
        ),
    )
    async def list_payment_intents(self, request: ApiRequest, state: State) -> Answer:
        query, access = read_query(request, IntentQuery), request.user
        wanted = IntentFilter(
            access.merchant,
            access.environment,
            {name: value for name in ("status", "order_id") if (value := getattr(query, name)) is not None},
            query.created_from,
            query.created_before,
        )
        wiring: Wiring = state.payments
        found = await intents.page(wiring.pool, wanted, query.time_position(), query.page_size + 1)
        page, token = page_by_time(found, query, lambda intent: (intent.created_at, intent.payment_intent_id))
        return many(request, [shown(intent) for intent in page], token)

    @get(
        "/{payment_intent_id:str}",
        guards=[READ],
        **operation(
            "Read a payment intent",
            description="Where it is not known what became of it, its processor is asked first.",
            gives=PaymentIntent,
        ),
    )
    async def read_payment_intent(self, request: ApiRequest, state: State, payment_intent_id: FromPath[str]) -> Answer:
        wiring: Wiring = state.payments
        intent = await own_intent(request, wiring, payment_intent_id)
        await look_up(wiring, intent)
        return one(request, shown(await own_intent(request, wiring, payment_intent_id)))

    @post(
        "/{payment_intent_id:str}/confirm",
        guards=[WRITE],
        **operation(
            "Confirm a payment intent",
            description=(
                "Collects: the order is asked for a lease, then the processor for the money. Of several who want the "
                f"same balance one gets it. {_DECLINED}"
            ),
            takes=ConfirmRequest,
            gives=PaymentIntent,
            problems=(*COLLECTING, "INTENT_NOT_IN_STATE"),
            idempotent=True,
            waits=True,
        ),
    )
    async def confirm_payment_intent(
        self, request: ApiRequest, state: State, payment_intent_id: FromPath[str]
    ) -> Answer:
        body = await read_body(request, ConfirmRequest)
        wiring: Wiring = state.payments
        before = await own_intent(request, wiring, payment_intent_id)
        means = body.method.means if body.method else before.means
        if body.method is not None:
            minor_in(body.method.tendered_money, before.currency, "method.tendered_money")
        connector = connector_for(wiring, means, before.environment, "method") if means else None
        expected = minor_in(body.expected_outstanding_money, before.currency, "expected_outstanding_money")

        def wish(moves: Moves) -> Refused | None:
            return wishes.confirm(moves, moves[payment_intent_id], means, connector, expected)

        return await collect(request, wiring, wish, _shape(before), payment_intent_id=payment_intent_id)

    @post(
        "/{payment_intent_id:str}/capture",
        guards=[WRITE],
        **operation(
            "Capture what a payment intent holds",
            description="All of it, or a part; the rest stays held, to be captured or canceled.",
            takes=CaptureRequest,
            gives=PaymentIntent,
            problems=("NOT_FOUND", "CURRENCY_MISMATCH", "INTENT_NOT_IN_STATE", "CAPTURE_EXCEEDS_AUTHORIZED"),
            idempotent=True,
            waits=True,
        ),
    )
    async def capture_payment_intent(
        self, request: ApiRequest, state: State, payment_intent_id: FromPath[str]
    ) -> Answer:
        body = await read_body(request, CaptureRequest)
        wiring: Wiring = state.payments
        before = await own_intent(request, wiring, payment_intent_id)
        amount = minor_in(body.amount_money, before.currency, "amount_money")

        def wish(moves: Moves) -> Refused | None:
            return wishes.capture(moves, moves[payment_intent_id], amount)

        return await collect(request, wiring, wish, _shape(before), payment_intent_id=payment_intent_id)

    @post(
        "/{payment_intent_id:str}/cancel",
        guards=[WRITE],
        **operation(
            "Cancel a payment intent",
            description=(
                "What is held is let go. While a processor is asked, it is canceled as soon as it is known what "
                "happened: a payment that was completed stays."
            ),
            gives=PaymentIntent,
            problems=("NOT_FOUND", "INTENT_NOT_IN_STATE"),
            idempotent=True,
            waits=True,
        ),
    )
    async def cancel_payment_intent(
        self, request: ApiRequest, state: State, payment_intent_id: FromPath[str]
    ) -> Answer:
        wiring: Wiring = state.payments
        before = await own_intent(request, wiring, payment_intent_id)
        await look_up(wiring, before)

        def wish(moves: Moves) -> Refused | None:
            return wishes.cancel(moves, moves[payment_intent_id])

        return await collect(request, wiring, wish, _shape(before), payment_intent_id=payment_intent_id)

    @post(
        "/{payment_intent_id:str}/reconcile",
        guards=[WRITE],
        **operation(
            "Ask what became of a payment intent",
            description="Its processor is asked now, where it is not known what happened, or where a refund of it may "
            "have come back; otherwise nothing changes.",
            gives=PaymentIntent,
            problems=("NOT_FOUND",),
        ),
    )
    async def reconcile_payment_intent(
        self, request: ApiRequest, state: State, payment_intent_id: FromPath[str]
    ) -> Answer:
        wiring: Wiring = state.payments
        await look_up(wiring, await own_intent(request, wiring, payment_intent_id), refunds=True)
        return one(request, shown(await own_intent(request, wiring, payment_intent_id)))


async def create_for(request: ApiRequest, wiring: Wiring, order_id: str, body: OrderIntentRequest) -> Answer:
    """An intent for an order of the caller's."""
    known = await order_for(request, wiring, order_id)
    return await _create(request, wiring, known_order(known), body)


async def _create(request: ApiRequest, wiring: Wiring, order: Order, body: OrderIntentRequest) -> Answer:
    intent = intent_of(request, wiring, order, body)

    def wish(moves: Moves) -> Refused | None:
        if order.ended_as is not None:
            return wishes.not_open(order.ended_as)
        if not (intent.amount_minor or body.confirm):
            return wishes.nothing_owed()
        if order.line is not None:
            moves.make_order(moves[intent.payment_intent_id], order.line)
        if not body.confirm:
            return None
        return wishes.confirm(moves, moves[intent.payment_intent_id], intent.means, intent.connector)

    return await collect(request, wiring, wish, Shape(the_only_one, 201), made=[intent])


def _shape(intent: Intent) -> Shape:
    return Shape(one_of(intent.payment_intent_id))
