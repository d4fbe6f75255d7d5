"""What clients do with payments that they should not, over HTTP: each is refused, and no money moves twice."""

import asyncio
from typing import Any

import pytest

from tests.integration.test_payment_intents import act, attempts, card, intent_for, money, order, order_of, pay
from tests.people import Json
from tests.stack import Stack, Tenant

pytestmark = pytest.mark.servers

SLOW = "sandbox_slow"


async def captured(shop: Tenant, order_id: str) -> Any:
    return (await order(shop, order_id))["settlement"]["captured_money"]["amount"]


async def held(shop: Tenant, order_id: str, token: str = "sandbox_approve") -> Any:
    return await intent_for(shop, order_id, method=card(token), capture_method="manual", confirm=True)


async def test_of_two_confirmations_at_once_one_collects(stack: Stack) -> None:
    shop = await stack.tenant()
    order_id = await order_of(shop)
    intent = await intent_for(shop, order_id)
    path = f"/v1/payment-intents/{intent['payment_intent_id']}/confirm"
    answers = await asyncio.gather(*(shop.http.post(path, json={"method": card()}) for _ in range(2)))
    assert sorted(answer.status_code for answer in answers) == [200, 409]
    [refused] = [answer.json() for answer in answers if answer.status_code == 409]
    assert refused["code"] == "INTENT_NOT_IN_STATE"
    assert await captured(shop, order_id) == 5000
    assert len(await attempts(shop, order_id)) == 1


async def test_what_was_canceled_is_not_confirmed(stack: Stack) -> None:
    shop = await stack.tenant()
    order_id = await order_of(shop)
    intent = await act(shop, await intent_for(shop, order_id), "cancel")
    assert intent["status"] == "canceled"
    assert (await act(shop, intent, "confirm", 409, method=card()))["code"] == "INTENT_NOT_IN_STATE"
    assert await attempts(shop, order_id) == []


async def test_what_was_let_go_is_not_captured(stack: Stack) -> None:
    shop = await stack.tenant()
    order_id = await order_of(shop)
    intent = await act(shop, await held(shop, order_id), "cancel")
    assert (intent["status"], intent["voided_money"]) == ("canceled", money(5000))
    assert (await act(shop, intent, "capture", 409))["code"] == "INTENT_NOT_IN_STATE"
    assert [attempt["operation"] for attempt in await attempts(shop, order_id)] == ["void", "authorize"]
    assert await captured(shop, order_id) == 0


async def test_what_was_captured_is_not_let_go(stack: Stack) -> None:
    shop = await stack.tenant()
    order_id = await order_of(shop)
    intent = await act(shop, await held(shop, order_id), "capture")
    assert intent["status"] == "succeeded"
    assert (await act(shop, intent, "cancel", 409))["code"] == "INTENT_NOT_IN_STATE"
    assert await captured(shop, order_id) == 5000


async def test_of_a_capture_and_a_cancel_at_once_one_happens(stack: Stack) -> None:
    shop = await stack.tenant()
    order_id = await order_of(shop)
    intent = await held(shop, order_id)
    path = f"/v1/payment-intents/{intent['payment_intent_id']}"
    answers = await asyncio.gather(*(shop.http.post(f"{path}/{each}", json={}) for each in ("capture", "cancel")))
    assert answers[0].status_code in (200, 409)
    after = (await shop.http.get(path)).json()["data"]
    found = (after["status"], after["captured_money"]["amount"], after["voided_money"]["amount"])
    assert found in (("succeeded", 5000, 0), ("canceled", 0, 5000))
    assert await captured(shop, order_id) == found[1]


@pytest.mark.parametrize(
    ("ended", "code"), [("paid", "ORDER_ALREADY_PAID"), ("closed", "ORDER_NOT_OPEN"), ("canceled", "ORDER_NOT_OPEN")]
)
async def test_an_order_that_is_over_is_not_paid(stack: Stack, ended: str, code: str) -> None:
    shop = await stack.tenant()
    order_id = await order_of(shop)
    intent = await intent_for(shop, order_id)
    if ended == "canceled":
        await shop.http.post(f"/v1/orders/{order_id}/cancel", json={})
    else:
        await pay(shop, order_id, method=card())
    if ended == "closed":
        assert (await shop.http.post(f"/v1/orders/{order_id}/close", json={})).status_code == 200
    before = await attempts(shop, order_id)
    # The intent was made while something was owed: only the order can know better.
    assert (await act(shop, intent, "confirm", 409, method=card()))["code"] == code
    assert await attempts(shop, order_id) == before


def leg(amount: Json, **method: Any) -> Json:
    return {"method": method or card(), "amount_money": amount}


@pytest.mark.parametrize(
    ("legs", "code", "param"),
    [
        ([leg(money(5000)), leg(money(0))], "VALIDATION_FAILED", "legs.1.amount_money.amount"),
        ([leg(money(6000)), leg(money(-1000))], "VALIDATION_FAILED", "legs.1.amount_money.amount"),
        ([leg(money(3000)), leg(money(2000, "USD"))], "CURRENCY_MISMATCH", "legs.1.amount_money.currency"),
        (
            [leg(money(3000), type="cash", tendered_money=money(2999)), leg(money(2000))],
            "VALIDATION_FAILED",
            "legs.0.method.tendered_money",
        ),
        (
            [leg(money(3000), type="cash", tendered_money=money(9000, "USD")), leg(money(2000))],
            "CURRENCY_MISMATCH",
            "legs.0.method.tendered_money.currency",
        ),
    ],
)
async def test_legs_that_make_no_sense(stack: Stack, legs: Json, code: str, param: str) -> None:
    shop = await stack.tenant()
    order_id = await order_of(shop)
    problem = await pay(shop, order_id, 400, legs=legs)
    assert (problem["code"], problem["param"]) == (code, param)
    assert await attempts(shop, order_id) == []


@pytest.mark.parametrize("second", [1999, 2001])
async def test_legs_that_do_not_add_up(stack: Stack, second: int) -> None:
    shop = await stack.tenant()
    order_id = await order_of(shop)
    legs = [leg(money(3000)), leg(money(second))]
    problem = await pay(shop, order_id, 400, legs=legs, expected_outstanding_money=money(5000))
    assert (problem["code"], problem["param"]) == ("VALIDATION_FAILED", "legs")
    changed = await pay(shop, order_id, 409, legs=legs)
    assert (changed["code"], changed["outstanding_money"]) == ("OUTSTANDING_CHANGED", money(5000))
    assert await attempts(shop, order_id) == []
    assert (await order(shop, order_id))["settlement"]["available_money"] == money(5000)


async def test_too_little_cash(stack: Stack) -> None:
    shop = await stack.tenant()
    order_id = await order_of(shop)
    intent = await intent_for(shop, order_id)
    cash = {"type": "cash", "tendered_money": money(4999)}
    problem = await act(shop, intent, "confirm", 400, method=cash)
    assert (problem["code"], problem["param"]) == ("VALIDATION_FAILED", "method.tendered_money")
    assert await attempts(shop, order_id) == []


async def test_the_same_key_twice_at_once_collects_once(stack: Stack) -> None:
    shop = await stack.tenant()
    order_id = await order_of(shop)

    async def ask() -> Any:
        body, headers = {"method": card()}, {"Idempotency-Key": "at-once"}
        return await shop.http.post(f"/v1/orders/{order_id}/pay", json=body, headers=headers)

    answers = await asyncio.gather(*(ask() for _ in range(5)))
    # Whoever comes while the first is taken in is told so; later ones wait for the same outcome.
    assert {answer.status_code for answer in answers} <= {200, 409}
    told = [answer.json() for answer in answers]
    assert {each["code"] for each in told if "code" in each} <= {"IDEMPOTENCY_KEY_IN_PROGRESS"}
    intents = [each["data"]["payment_intents"][0]["payment_intent_id"] for each in told if "data" in each]
    assert len(set(intents)) == 1
    assert (await ask()).json()["data"]["payment_intents"][0]["payment_intent_id"] == intents[0]
    assert await captured(shop, order_id) == 5000
    assert len(await attempts(shop, order_id)) == 1


async def test_a_repeat_after_202_waits_for_the_same_outcome(stack: Stack) -> None:
    shop = await stack.tenant()
    order_id = await order_of(shop)

    async def ask(**headers: str) -> Any:
        body, headers = {"method": card(SLOW)}, {"Idempotency-Key": "after-202", **headers}
        return await shop.http.post(f"/v1/orders/{order_id}/pay", json=body, headers=headers)

    first = await ask(Prefer="wait=0")
    assert (first.status_code, first.json()["data"]["status"]) == (202, "processing")
    again = await asyncio.gather(*(ask() for _ in range(3)))
    assert [answer.status_code for answer in again] == [200, 200, 200]
    assert {answer.headers["Idempotent-Replayed"] for answer in again} == {"true"}
    [outcome] = {answer.json()["data"]["payment_intents"][0]["payment_intent_id"] for answer in again}
    assert first.json()["data"]["payment_intents"][0]["payment_intent_id"] == outcome
    assert await captured(shop, order_id) == 5000
    assert len(await attempts(shop, order_id)) == 1
