"""Routes of unmatched money."""

from litestar import Controller, get, post
from litestar.datastructures import State
from litestar.params import FromPath

from services.payments.core.resolving import OPEN, Attach, Dismiss, GiveBack, Return
from services.payments.http.models import (
    AttachRequest,
    DismissRequest,
    ReturnRequest,
    UnmatchedMoneyQuery,
    UnmatchedMoneyView,
)
from services.payments.http.proposals import proposals_for
from services.payments.http.resolving import own_item, place_of, resolve
from services.payments.http.wiring import Wiring
from services.payments.store import unmatched
from services.payments.store.unmatched import ItemFilter
from shared.auth.guard import ApiRequest, requires
from shared.contracts.payments import UnmatchedMoney
from shared.http.answers import Answer, many, one
from shared.http.bodies import read_body, read_query
from shared.http.operations import operation
from shared.http.pages import page_by_time

READ, WRITE = requires("payments.read"), requires("payments.write")
_EQUAL = ("status", "kind", "channel_id", "order_id")
_PROBLEMS = ("VERSION_CONFLICT", "UNMATCHED_MONEY_NOT_OPEN", "UNMATCHED_MONEY_NOT_MOVABLE", "PAYMENT_REFERENCE_REUSED")


class UnmatchedMoneyController(Controller):
    """Money that fits no order, and why, until somebody has attached, returned or dismissed it."""

    path = "/v1/unmatched-money"
    tags = ("Unmatched money",)

    @get(
        guards=[READ],
        **operation(
            "List unmatched money",
            description="Newest first.",
            query=UnmatchedMoneyQuery,
            gives=UnmatchedMoney,
            listed=True,
            problems=("INVALID_PAGE_TOKEN",),
        ),
    )
    async def list_unmatched_money(self, request: ApiRequest, state: State) -> Answer:
        query = read_query(request, UnmatchedMoneyQuery)
        wiring: Wiring = state.payments
        access = request.user
        equal = {name: getattr(query, name) for name in _EQUAL if getattr(query, name) is not None}
        wanted = ItemFilter(access.merchant, access.environment, equal, query.created_from, query.created_before)
        found = await unmatched.list_items(wiring.pool, wanted, query.time_position(), query.page_size + 1)
        page, token = page_by_time(found, query, lambda item: (item.created_at, item.unmatched_money_id))
        return many(request, page, token)

    @get(
        "/{unmatched_money_id:str}",
        guards=[READ],
        **operation(
            "Read an unmatched item",
            description="With the orders that it may belong to, the likeliest first, while it waits for somebody.",
            gives=UnmatchedMoneyView,
        ),
    )
    async def read_unmatched_money(
        self, request: ApiRequest, state: State, unmatched_money_id: FromPath[str]
    ) -> Answer:
        wiring: Wiring = state.payments
        item = await own_item(wiring, place_of(request, unmatched_money_id))
        proposals = await proposals_for(wiring.pool, item) if item.money.status in OPEN else []
        return one(request, UnmatchedMoneyView(**dict(item.money), proposals=proposals))

    @post(
        "/{unmatched_money_id:str}/attach",
        guards=[WRITE],
        **operation(
            "Attach unmatched money to an order",
            description=(
                "All of it or a part: the rest becomes an item of its own (`split_from`). The order may then be "
                "overpaid: `surplus_money` says by how much, and no further item is opened for it. 202 while the order "
                "has not answered: read the item. Money that is on an order already can only be left there: attach it "
                "to that order."
            ),
            takes=AttachRequest,
            gives=UnmatchedMoney,
            problems=(*_PROBLEMS, "CURRENCY_MISMATCH", "MONEY_IS_ON_AN_ORDER"),
            idempotent=True,
            waits=True,
        ),
    )
    async def attach_unmatched_money(
        self, request: ApiRequest, state: State, unmatched_money_id: FromPath[str]
    ) -> Answer:
        body = await read_body(request, AttachRequest)
        return await resolve(request, state.payments, unmatched_money_id, body, Attach(body.order_id))

    @post(
        "/{unmatched_money_id:str}/return",
        guards=[WRITE],
        **operation(
            "Return unmatched money",
            description=(
                "With a `reference` it moves no money: it says that somebody has returned it, who, and what the return "
                "is called there. With `through_processor` the processor that collected it gives it back; 202 while it "
                "has not answered, and open again where it refuses. All of it or a part: the rest becomes an item of "
                "its own (`split_from`). Money that is on an order is recorded there as a refund that leaves the "
                "order's total; 202 while the order has not answered."
            ),
            takes=ReturnRequest,
            gives=UnmatchedMoney,
            problems=(*_PROBLEMS, "SURPLUS_GONE"),
            idempotent=True,
            waits=True,
        ),
    )
    async def return_unmatched_money(
        self, request: ApiRequest, state: State, unmatched_money_id: FromPath[str]
    ) -> Answer:
        body = await read_body(request, ReturnRequest)
        way = GiveBack() if body.reference is None else Return(body.reference, body.returned_at)
        return await resolve(request, state.payments, unmatched_money_id, body, way)

    @post(
        "/{unmatched_money_id:str}/dismiss",
        guards=[WRITE],
        **operation(
            "Note that an unmatched item stands for no money",
            description=(
                "For a conflict in which the channel has corrected itself: what counts is what was told otherwise. "
                "Refused where there is money to place, be it only that nothing else was told that counts."
            ),
            takes=DismissRequest,
            gives=UnmatchedMoney,
            problems=("VERSION_CONFLICT", "UNMATCHED_MONEY_NOT_OPEN", "MONEY_TO_PLACE"),
            idempotent=True,
        ),
    )
    async def dismiss_unmatched_money(
        self, request: ApiRequest, state: State, unmatched_money_id: FromPath[str]
    ) -> Answer:
        body = await read_body(request, DismissRequest)
        return await resolve(request, state.payments, unmatched_money_id, body, Dismiss())
