"""The routes of orders and customers."""

from typing import Any

from tests.access.matrix import Callers, Entry, Made, Make

JACKET = {"name": "Rain jacket", "quantity": 2, "unit_price_money": {"amount": 4500, "currency": "EUR"}}
ORDER = {"source": "checkout", "currency": "EUR", "line_items": [JACKET]}
CHARGE = {"name": "Delivery", "type": "shipping", "amount_money": {"amount": 500, "currency": "EUR"}}
DISCOUNT = {"name": "Welcome", "amount_money": {"amount": 100, "currency": "EUR"}}


async def order(callers: Callers) -> Made:
    made = await callers.owner.post("/v1/orders", json=ORDER)
    assert made.status_code == 201, made.text
    found = made.json()["data"]
    witness = f"/v1/orders/{found['order_id']}"
    return Made({"order_id": found["order_id"], "line_item_id": found["line_items"][0]["line_item_id"]}, witness)


def with_part(part: str, body: Any, name: str, listed: str) -> Make:
    """An order that has such a part."""

    async def make(callers: Callers) -> Made:
        made = await order(callers)
        added = await callers.owner.post(f"{made.witness}/{part}", json=body)
        assert added.status_code < 300, added.text
        return Made({**made.path, name: added.json()["data"][listed][-1][name]}, made.witness)

    return make


charge = with_part("charges", CHARGE, "charge_id", "charges")
discount = with_part("discounts", DISCOUNT, "discount_id", "discounts")


async def discounted(callers: Callers) -> Made:
    made = await discount(callers)
    return Made(made.path, made.witness, {"discount_id": made.path["discount_id"]})


async def line_item(callers: Callers) -> Made:
    """One of two: an order keeps its last."""
    made = await order(callers)
    assert (await callers.owner.post(f"{made.witness}/line-items", json=JACKET)).status_code < 300
    return made


async def customer(callers: Callers) -> Made:
    made = await callers.owner.post("/v1/customers", json={"name": "Ada"})
    assert made.status_code == 201, made.text
    customer_id = made.json()["data"]["customer_id"]
    return Made({"customer_id": customer_id}, f"/v1/customers/{customer_id}")


ENTRIES = {
    "POST /v1/orders": Entry("orders.write", body=ORDER),
    "GET /v1/orders": Entry("orders.read", order, lists="order_id"),
    "GET /v1/orders/{order_id}": Entry("orders.read", order),
    "PATCH /v1/orders/{order_id}": Entry("orders.write", order, {"metadata": {"a": "b"}}),
    "GET /v1/orders/{order_id}/activities": Entry("orders.read", order),
    "POST /v1/orders/{order_id}/cancel": Entry("orders.write", order, {}),
    "POST /v1/orders/{order_id}/charges": Entry("orders.write", order, CHARGE),
    "DELETE /v1/orders/{order_id}/charges/{charge_id}": Entry("orders.write", charge),
    "PATCH /v1/orders/{order_id}/charges/{charge_id}": Entry("orders.write", charge, {"name": "Express"}),
    "POST /v1/orders/{order_id}/close": Entry("orders.write", order, {}),
    "POST /v1/orders/{order_id}/discounts": Entry("orders.write", order, DISCOUNT),
    "POST /v1/orders/{order_id}/discounts/preview": Entry("orders.read", order, DISCOUNT),
    "POST /v1/orders/{order_id}/discounts/remove": Entry("orders.write", discounted),
    "GET /v1/orders/{order_id}/leases": Entry("orders.read", order),
    "POST /v1/orders/{order_id}/line-items": Entry("orders.write", order, JACKET),
    "DELETE /v1/orders/{order_id}/line-items/{line_item_id}": Entry("orders.write", line_item),
    "PATCH /v1/orders/{order_id}/line-items/{line_item_id}": Entry("orders.write", order, {"quantity": 1}),
    "POST /v1/orders/{order_id}/notes": Entry("orders.write", order, {"text": "Call first."}),
    "POST /v1/orders/{order_id}/tip": Entry("orders.write", order, {"tip_money": {"amount": 1, "currency": "EUR"}}),
    "POST /v1/customers": Entry("customers.write", body={"name": "Ada"}),
    "GET /v1/customers": Entry("customers.read", customer, lists="customer_id"),
    "GET /v1/customers/{customer_id}": Entry("customers.read", customer),
    "PATCH /v1/customers/{customer_id}": Entry("customers.write", customer, {"name": "Grace"}),
    "DELETE /v1/customers/{customer_id}": Entry("customers.write", customer),
}
