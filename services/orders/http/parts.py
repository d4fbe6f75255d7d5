"""Routes of what an order is made of: lines, charges, discounts, tip."""

from typing import Any

from litestar import Controller, delete, patch, post
from litestar.params import FromPath
from pydantic import TypeAdapter, ValidationError

from services.orders.core.edits import discounted
from services.orders.core.refusal import Refusal
from services.orders.core.view import order_view
from services.orders.http.models import OrderView
from services.orders.http.orders import READ, WRITE
from services.orders.http.requests import (
    AddChargeRequest,
    AddDiscountRequest,
    AddLineItemRequest,
    ChargePatch,
    DiscountRequest,
    LineItemPatch,
    RemoveDiscountRequest,
    TipRequest,
    in_currency,
)
from services.orders.http.wiring import read_for, wiring_of
from services.orders.http.writes import refusal_problem
from shared.auth.guard import ApiRequest
from shared.contracts.model import Identifier
from shared.contracts.order_commands import (
    AddCharge,
    AddLineItem,
    ApplyDiscount,
    RemoveCharge,
    RemoveDiscount,
    RemoveLineItem,
    SetTip,
)
from shared.http.answers import Answer, one
from shared.http.bodies import RequestModel, read_body, read_query
from shared.http.operations import operation
from shared.http.problems import not_found
from shared.ids import new_id
from shared.processor import Outcome


class RemovalQuery(RequestModel):
    """For routes without a body."""

    expected_version: int | None = None
    """The version that you read; if the order has another by now, nothing changes: 409 `VERSION_CONFLICT`."""


def _edit(summary: str, takes: type[RequestModel] | None = None, **more: Any) -> dict[str, Any]:
    """Every edit answers with the order after it, and may be refused because of money."""
    problems = ("ORDER_NOT_OPEN", "EDIT_CONTRADICTS_MONEY", "VERSION_CONFLICT", "CURRENCY_MISMATCH", "AMOUNT_TOO_LARGE")
    return operation(summary, takes=takes, gives=OrderView, problems=problems, idempotent=True, **more)


_PART_ID = TypeAdapter(Identifier)


def _part_id(text: str) -> str:
    """The id of a part as the path gives it; what cannot be one names nothing."""
    try:
        return _PART_ID.validate_python(text)
    except ValidationError:
        raise not_found("The order has no such part.") from None


class PartsController(Controller):
    """Changes of what an order sells. Totals follow; money that is collected or being collected is not contradicted."""

    path = "/v1/orders/{order_id:str}"
    tags = ("Order lines, charges, discounts",)

    @post("/line-items", guards=[WRITE], **_edit("Add a line", AddLineItemRequest, status=201))
    async def add_line_item(self, request: ApiRequest, order_id: FromPath[str]) -> Answer:
        body = await read_body(request, AddLineItemRequest)
        wiring = wiring_of(request)
        order = await read_for(wiring, request.user, order_id)
        command = AddLineItem(line_item=body.part(new_id("li"), order.currency))
        return await wiring.writes.run(request, order_id, command, status=201, expected_version=body.expected_version)

    @patch("/line-items/{line_item_id:str}", guards=[WRITE], **_edit("Change a line", LineItemPatch))
    async def update_line_item(
        self, request: ApiRequest, order_id: FromPath[str], line_item_id: FromPath[str]
    ) -> Answer:
        body = await read_body(request, LineItemPatch)
        wiring = wiring_of(request)
        order = await read_for(wiring, request.user, order_id)
        command = body.command(_part_id(line_item_id), order.currency)
        return await wiring.writes.run(request, order_id, command, expected_version=body.expected_version)

    @delete("/line-items/{line_item_id:str}", guards=[WRITE], **_edit("Remove a line", query=RemovalQuery))
    async def remove_line_item(
        self, request: ApiRequest, order_id: FromPath[str], line_item_id: FromPath[str]
    ) -> Answer:
        query = read_query(request, RemovalQuery)
        wiring = wiring_of(request)
        command = RemoveLineItem(line_item_id=_part_id(line_item_id))
        return await wiring.writes.run(request, order_id, command, expected_version=query.expected_version)

    @post("/charges", guards=[WRITE], **_edit("Add a charge", AddChargeRequest, status=201))
    async def add_charge(self, request: ApiRequest, order_id: FromPath[str]) -> Answer:
        body = await read_body(request, AddChargeRequest)
        wiring = wiring_of(request)
        order = await read_for(wiring, request.user, order_id)
        command = AddCharge(charge=body.part(new_id("chg"), order.currency))
        return await wiring.writes.run(request, order_id, command, status=201, expected_version=body.expected_version)

    @patch("/charges/{charge_id:str}", guards=[WRITE], **_edit("Change a charge", ChargePatch))
    async def update_charge(self, request: ApiRequest, order_id: FromPath[str], charge_id: FromPath[str]) -> Answer:
        body = await read_body(request, ChargePatch)
        wiring = wiring_of(request)
        order = await read_for(wiring, request.user, order_id)
        command = body.command(_part_id(charge_id), order.currency)
        return await wiring.writes.run(request, order_id, command, expected_version=body.expected_version)

    @delete("/charges/{charge_id:str}", guards=[WRITE], **_edit("Remove a charge", query=RemovalQuery))
    async def remove_charge(self, request: ApiRequest, order_id: FromPath[str], charge_id: FromPath[str]) -> Answer:
        query = read_query(request, RemovalQuery)
        wiring = wiring_of(request)
        command = RemoveCharge(charge_id=_part_id(charge_id))
        return await wiring.writes.run(request, order_id, command, expected_version=query.expected_version)

    @post("/discounts", guards=[WRITE], **_edit("Apply a discount", AddDiscountRequest, status=201))
    async def apply_discount(self, request: ApiRequest, order_id: FromPath[str]) -> Answer:
        body = await read_body(request, AddDiscountRequest)
        wiring = wiring_of(request)
        order = await read_for(wiring, request.user, order_id)
        command = ApplyDiscount(discount=body.part(new_id("dis"), order.currency))
        return await wiring.writes.run(request, order_id, command, status=201, expected_version=body.expected_version)

    @post(
        "/discounts/preview",
        guards=[READ],
        **operation(
            "Preview a discount",
            description="The order as it would be; nothing changes.",
            takes=DiscountRequest,
            gives=OrderView,
            problems=("ORDER_NOT_OPEN", "EDIT_CONTRADICTS_MONEY", "CURRENCY_MISMATCH"),
        ),
    )
    async def preview_discount(self, request: ApiRequest, order_id: FromPath[str]) -> Answer:
        body = await read_body(request, DiscountRequest)
        wiring = wiring_of(request)
        order, now = await read_for(wiring, request.user, order_id), wiring.clock()
        after = discounted(order, body.part(new_id("dis"), order.currency), now)
        if isinstance(after, Refusal):
            blockers = [blocker.model_dump(mode="json", exclude_none=True) for blocker in after.blockers]
            outcome = Outcome("", order_id, order.version, after.code, after.detail, after.facts, blockers, after.param)
            raise refusal_problem(outcome, order)
        return one(request, order_view(after, now))

    @post("/discounts/remove", guards=[WRITE], **_edit("Remove a discount", RemoveDiscountRequest))
    async def remove_discount(self, request: ApiRequest, order_id: FromPath[str]) -> Answer:
        body = await read_body(request, RemoveDiscountRequest)
        wiring = wiring_of(request)
        command = RemoveDiscount(discount_id=body.discount_id)
        return await wiring.writes.run(request, order_id, command, expected_version=body.expected_version)

    @post("/tip", guards=[WRITE], **_edit("Set the tip", TipRequest))
    async def set_tip(self, request: ApiRequest, order_id: FromPath[str]) -> Answer:
        body = await read_body(request, TipRequest)
        wiring = wiring_of(request)
        order = await read_for(wiring, request.user, order_id)
        command = SetTip(tip_minor=in_currency(body.tip_money, order.currency, "tip_money.currency"))
        return await wiring.writes.run(request, order_id, command, expected_version=body.expected_version)
