"""What the routes of orders need, put together by the composition root and found in the app's state."""

from dataclasses import dataclass

from services.orders.core.state import Order
from services.orders.http.writes import Writes
from services.orders.store.search import read_order
from shared.auth.access import Access
from shared.auth.guard import ApiRequest
from shared.clock import Clock
from shared.http.problems import not_found
from shared.postgres import Pool


@dataclass(frozen=True, slots=True)
class Wiring:
    """Reading goes to the pool, writing to the write path."""

    pool: Pool
    writes: Writes
    clock: Clock


def wiring_of(request: ApiRequest) -> Wiring:
    """The wiring of the app that answers this request."""
    wiring: Wiring = request.app.state.orders
    return wiring


async def read_for(wiring: Wiring, access: Access, order_id: str) -> Order:
    """The caller's order; another tenant's is not found."""
    order = await read_order(wiring.pool, order_id, access.merchant, access.environment)
    if order is None:
        raise not_found("There is no such order.")
    return order
