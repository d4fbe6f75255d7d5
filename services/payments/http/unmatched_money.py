"""Routes of unmatched money."""

from litestar import Controller, get
from litestar.datastructures import State
from litestar.params import FromPath

from services.payments.http.models import UnmatchedMoneyQuery
from services.payments.http.wiring import Wiring
from services.payments.store import unmatched
from services.payments.store.unmatched import ItemFilter
from shared.auth.guard import ApiRequest, requires
from shared.contracts.payments import UnmatchedMoney
from shared.http.answers import Answer, many, one
from shared.http.bodies import read_query
from shared.http.operations import operation
from shared.http.pages import page_by_time
from shared.http.problems import not_found

READ = requires("payments.read")
_EQUAL = ("status", "kind", "channel_id", "order_id")


class UnmatchedMoneyController(Controller):
    """Money that fits no order, and why."""

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
        **operation("Read an unmatched item", gives=UnmatchedMoney),
    )
    async def read_unmatched_money(
        self, request: ApiRequest, state: State, unmatched_money_id: FromPath[str]
    ) -> Answer:
        wiring: Wiring = state.payments
        access = request.user
        found = await unmatched.read_item(wiring.pool, unmatched_money_id, access.merchant, access.environment)
        if found is None:
            raise not_found("There is no such unmatched item.")
        return one(request, found)
