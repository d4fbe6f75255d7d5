"""Routes of orders themselves: create, read, list, change details, end."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import orjson
from litestar import Controller, get, patch, post
from litestar.params import FromPath

from services.orders.core.state import Order
from services.orders.core.telling import sentence
from services.orders.core.view import lease_view, order_view
from services.orders.customers import customers_by_id
from services.orders.history import events_in, order_as_of
from services.orders.http.models import ActivityView, LeaseView, NoteView, OrderView
from services.orders.http.queries import OrderQuery, OrdersQuery
from services.orders.http.requests import (
    CreateOrderRequest,
    NoteRequest,
    ReasonRequest,
    UpdateOrderRequest,
)
from services.orders.http.wiring import Wiring, read_for, wiring_of
from services.orders.store.history import HistoryRow, page_of_history
from services.orders.store.search import OrderFilter, list_orders
from shared.auth.access import Access
from shared.auth.guard import ApiRequest, requires
from shared.contracts.order_commands import AddNote, CancelOrder, CloseOrder
from shared.http.answers import Answer, many, one
from shared.http.bodies import read_body, read_query
from shared.http.operations import operation
from shared.http.pages import ListQuery, encode_page_token, invalid_page_token, page_by_time
from shared.http.problems import Problem, not_found
from shared.ids import new_id

READ, WRITE = requires("orders.read"), requires("orders.write")
_EXPANSIONS = frozenset({"customer", "payments", "refunds"})
_EQUAL = (
    "status",
    "payment_status",
    "refund_status",
    "source",
    "customer_id",
    "number",
    "external_reference",
    "location_id",
    "device_id",
)


class OrderController(Controller):
    """One durable order through every channel: what was sold, what is owed, every payment and refund."""

    path = "/v1/orders"
    tags = ("Orders",)

    @post(
        guards=[WRITE],
        **operation(
            "Create an order",
            description="Totals are computed by the server; the order gets a number for people.",
            takes=CreateOrderRequest,
            gives=OrderView,
            status=201,
            problems=("CURRENCY_MISMATCH", "AMOUNT_TOO_LARGE"),
            idempotent=True,
        ),
    )
    async def create_order(self, request: ApiRequest) -> Answer:
        body = await read_body(request, CreateOrderRequest)
        wiring = wiring_of(request)
        await _require_customer(wiring, request.user, body.customer_id)
        return await wiring.writes.run(request, new_id("ord"), body.command(new_id), status=201)

    @get(
        guards=[READ],
        **operation(
            "List orders",
            description="Newest first.",
            query=OrdersQuery,
            gives=OrderView,
            listed=True,
            problems=("INVALID_PAGE_TOKEN",),
        ),
    )
    async def list_orders(self, request: ApiRequest) -> Answer:
        query = read_query(request, OrdersQuery)
        wiring = wiring_of(request)
        wanted = _filter(query, request.user)
        found = await list_orders(wiring.pool, wanted, query.time_position(), query.page_size + 1)
        page, token = page_by_time(found, query, lambda order: (order.created_at, order.order_id))
        return many(request, await _shown(wiring, page, query.expand, request.user), token)

    @get(
        "/{order_id:str}",
        guards=[READ],
        **operation(
            "Read an order",
            description="As it is, as it was at a version, or as it was at a moment.",
            query=OrderQuery,
            gives=OrderView,
        ),
    )
    async def read_order(self, request: ApiRequest, order_id: FromPath[str]) -> Answer:
        query = read_query(request, OrderQuery)
        wiring = wiring_of(request)
        order = await read_for(wiring, request.user, order_id)
        now = wiring.clock()
        if query.version is not None or query.at is not None:
            past = await order_as_of(wiring.pool, order, version=query.version, at=query.at)
            if past is None:
                raise not_found("The order had no such version.")
            order, now = past
        [shown] = await _shown(wiring, [order], query.expand, request.user, now)
        return one(request, shown)

    @patch(
        "/{order_id:str}",
        guards=[WRITE],
        **operation(
            "Change an order's details",
            takes=UpdateOrderRequest,
            gives=OrderView,
            problems=("VERSION_CONFLICT", "ORDER_NOT_OPEN"),
            idempotent=True,
        ),
    )
    async def update_order(self, request: ApiRequest, order_id: FromPath[str]) -> Answer:
        body = await read_body(request, UpdateOrderRequest)
        wiring = wiring_of(request)
        await _require_customer(wiring, request.user, body.customer_id)
        return await wiring.writes.run(request, order_id, body.command(), expected_version=body.expected_version)

    @post(
        "/{order_id:str}/cancel",
        guards=[WRITE],
        **operation(
            "Cancel an order",
            description="Ends all leases. Refused while the order holds money.",
            takes=ReasonRequest,
            gives=OrderView,
            problems=("ORDER_HAS_MONEY", "ORDER_NOT_OPEN", "VERSION_CONFLICT"),
            idempotent=True,
        ),
    )
    async def cancel_order(self, request: ApiRequest, order_id: FromPath[str]) -> Answer:
        body = await read_body(request, ReasonRequest)
        wiring = wiring_of(request)
        command = CancelOrder(reason=body.reason)
        return await wiring.writes.run(request, order_id, command, expected_version=body.expected_version)

    @post(
        "/{order_id:str}/close",
        guards=[WRITE],
        **operation(
            "Close an order",
            description="Nothing more will be sold or collected. Refused while an authorization is open.",
            takes=ReasonRequest,
            gives=OrderView,
            problems=("ORDER_HAS_MONEY", "ORDER_NOT_OPEN", "VERSION_CONFLICT"),
            idempotent=True,
        ),
    )
    async def close_order(self, request: ApiRequest, order_id: FromPath[str]) -> Answer:
        body = await read_body(request, ReasonRequest)
        wiring = wiring_of(request)
        command = CloseOrder(reason=body.reason)
        return await wiring.writes.run(request, order_id, command, expected_version=body.expected_version)

    @post(
        "/{order_id:str}/notes",
        guards=[WRITE],
        **operation("Add a note", takes=NoteRequest, gives=NoteView, status=201, idempotent=True),
    )
    async def add_note(self, request: ApiRequest, order_id: FromPath[str]) -> Answer:
        body = await read_body(request, NoteRequest)
        wiring = wiring_of(request)
        command = AddNote(note_id=new_id("note"), text=body.text)

        def show(order: Order) -> dict[str, Any]:
            return {
                "note_id": command.note_id,
                "order_id": order.order_id,
                "version": order.version,
                "text": command.text,
            }

        return await wiring.writes.run(request, order_id, command, status=201, show=show)

    @get(
        "/{order_id:str}/activities",
        guards=[READ],
        **operation(
            "Read an order's history",
            description="Newest first: what happened, who did it, and the balance before and after.",
            query=ListQuery,
            gives=ActivityView,
            listed=True,
            problems=("INVALID_PAGE_TOKEN",),
        ),
    )
    async def list_activities(self, request: ApiRequest, order_id: FromPath[str]) -> Answer:
        query = read_query(request, ListQuery)
        wiring = wiring_of(request)
        await read_for(wiring, request.user, order_id)
        below = _version_position(query)
        rows = await page_of_history(wiring.pool, order_id, below, query.page_size + 1)
        page, more = rows[: query.page_size], len(rows) > query.page_size
        token = encode_page_token((str(page[-1].version),), query.filters()) if more else None
        return many(request, [_activity(row) for row in page], token)

    @get(
        "/{order_id:str}/leases",
        guards=[READ],
        **operation("List the leases that hold part of the balance", gives=LeaseView, listed=True),
    )
    async def list_leases(self, request: ApiRequest, order_id: FromPath[str]) -> Answer:
        wiring = wiring_of(request)
        order = await read_for(wiring, request.user, order_id)

        def money(amount: int) -> dict[str, Any]:
            return {"amount": amount, "currency": order.currency}

        return many(request, [lease_view(lease, money) for lease in order.live_leases(wiring.clock())])


async def _require_customer(wiring: Wiring, access: Access, customer_id: str | None) -> None:
    """An order is for a customer of its own merchant and environment."""
    if customer_id is None:
        return
    known = await customers_by_id(wiring.pool, [customer_id], access.merchant, access.environment)
    if customer_id not in known:
        raise Problem("VALIDATION_FAILED", "There is no such customer.", param="customer_id")


def _filter(query: OrdersQuery, access: Access) -> OrderFilter:
    equal = {name: getattr(query, name) for name in _EQUAL if getattr(query, name) is not None}
    return OrderFilter(
        merchant_id=access.merchant,
        environment=access.environment,
        equal=equal,
        created_from=query.created_from,
        created_before=query.created_before,
        total_from=query.total_from,
        total_to=query.total_to,
        text=query.query,
    )


def _version_position(query: ListQuery) -> int | None:
    position = query.position()
    if position is None:
        return None
    if len(position) != 1 or not position[0].isdecimal() or len(position[0]) > 9:
        raise invalid_page_token()
    return int(position[0])


async def _shown(
    wiring: Wiring, orders: Sequence[Order], expand: str | None, access: Access, now: datetime | None = None
) -> list[dict[str, Any]]:
    """The orders as the caller asked for them; ids that are to be expanded become objects."""
    at = now or wiring.clock()
    shown = [order_view(order, at) for order in orders]
    wanted = {name.strip() for name in expand.split(",")} if expand else set()
    unknown = sorted(wanted - _EXPANSIONS)
    if unknown:
        detail = f"Only these can be expanded: {', '.join(sorted(_EXPANSIONS))}."
        raise Problem("VALIDATION_FAILED", detail, param="expand")
    if "customer" in wanted:
        if not access.has("customers.read"):
            detail = "The credential lacks: customers.read."
            raise Problem("INSUFFICIENT_SCOPE", detail, facts={"missing_scopes": ["customers.read"]})
        await _expand_customers(wiring, shown, access)
    return shown


async def _expand_customers(wiring: Wiring, shown: list[dict[str, Any]], access: Access) -> None:
    ids = {order["customer_id"] for order in shown if order["customer_id"]}
    known = await customers_by_id(wiring.pool, ids, access.merchant, access.environment)
    for order in shown:
        order["customer"] = known.get(order["customer_id"])


def _activity(row: HistoryRow) -> dict[str, Any]:
    told: dict[str, Any] = orjson.loads(row.payload)
    balance = told["balance_after"]
    return {
        "order_id": row.order_id,
        "version": row.version,
        "type": row.type,
        "summary": sentence(events_in(told), balance["currency"], balance["amount"]),
        "recorded_at": row.recorded_at,
        **told,
    }
