"""How much is collected, and what must be owed for it, over HTTP on real servers."""

from typing import Any

import asyncpg
import httpx2
import pytest

from tests.integration.test_payment_intents import act, attempts, card, intent_for, money, order, order_of, pay
from tests.stack import Stack, Tenant, eventually

pytestmark = pytest.mark.servers


async def items(shop: Tenant, order_id: str) -> Any:
    return (await shop.http.get("/v1/unmatched-money", params={"order_id": order_id})).json()["data"]


async def test_nothing_is_collected_where_something_else_is_owed_than_the_client_says(stack: Stack) -> None:
    shop = await stack.tenant()
    order_id = await order_of(shop, 12_000)
    said = {"method": card(), "expected_outstanding_money": money(10_000)}
    changed = await intent_for(shop, order_id, 409, confirm=True, **said)
    assert (changed["code"], changed["outstanding_money"]) == ("OUTSTANDING_CHANGED", money(12_000))
    assert (await pay(shop, order_id, 409, **said))["code"] == "OUTSTANDING_CHANGED"
    assert await attempts(shop, order_id) == []
    assert (await pay(shop, order_id, method=card(), expected_outstanding_money=money(12_000)))["status"] == "succeeded"


async def test_what_was_said_when_the_intent_was_made_holds_when_it_is_confirmed(stack: Stack) -> None:
    shop = await stack.tenant()
    order_id = await order_of(shop, 9_000)
    for said in ({"expected_outstanding_money": money(8_000)}, {"completion_behavior": "complete_order"}):
        intent = await intent_for(shop, order_id, amount_money=money(5_000), **said)
        for _ in range(2):
            refused = await act(shop, intent, "confirm", 409, method=card())
            assert (refused["code"], refused["outstanding_money"]) == ("OUTSTANDING_CHANGED", money(9_000))
    said = {"completion_behavior": "complete_order", "expected_outstanding_money": money(9_000)}
    contradicts = await intent_for(shop, order_id, 400, amount_money=money(5_000), **said)
    assert (contradicts["code"], contradicts["param"]) == ("VALIDATION_FAILED", "amount_money")
    assert await attempts(shop, order_id) == []


async def test_an_order_of_which_nothing_new_was_heard_is_asked_what_it_owes(stack: Stack) -> None:
    """As while Kafka is away: an order was empty when it was last heard of."""
    shop = await stack.tenant()
    order_id = await order_of(shop)
    await intent_for(shop, order_id)
    connection = await asyncpg.connect(stack.settings.database_url.get_secret_value())
    try:
        await connection.execute(
            "UPDATE payments.known_orders SET outstanding_minor = 0, version = 0 WHERE order_id = $1", order_id
        )
    finally:
        await connection.close()
    paid = await pay(shop, order_id, method=card())
    assert (paid["status"], paid["captured_money"]) == ("succeeded", money(5_000))


async def test_money_that_comes_after_the_order_was_closed_is_shown(stack: Stack) -> None:
    shop = await stack.tenant()
    order_id = await order_of(shop)
    intent = await intent_for(shop, order_id, method=card("sandbox_challenge"), confirm=True)
    assert intent["status"] == "requires_action"
    assert (await shop.http.post(f"/v1/orders/{order_id}/close", json={})).status_code == 200
    url = intent["next_action"]["url"]
    async with httpx2.AsyncClient(headers={"Origin": stack.base_url}) as buyer:
        answered = await buyer.post(url, data={"decision": "approve"})
    assert answered.status_code == 303, answered.text
    assert await eventually(lambda: items(shop, order_id))
    [item] = await items(shop, order_id)
    assert (item["kind"], item["amount_money"]) == ("closed_order", money(5_000))
    assert (await order(shop, order_id))["settlement"]["captured_money"] == money(5_000)
