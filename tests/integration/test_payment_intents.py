"""Payment intents over HTTP, with the sandbox acquirer, on real servers: what a client of the public API sees."""

import asyncio
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from services.payments.core.intents import answers
from tests.people import Json
from tests.stack import Stack, Tenant, eventually

pytestmark = pytest.mark.servers


def money(amount: int, currency: str = "EUR") -> Json:
    return {"amount": amount, "currency": currency}


def card(token: str = "sandbox_approve") -> Json:
    return {"type": "card", "token": token}


async def order_of(shop: Tenant, amount: int = 5000) -> str:
    line = {"name": "Rain jacket", "quantity": 1, "unit_price_money": money(amount)}
    made = await shop.http.post("/v1/orders", json={"currency": "EUR", "line_items": [line]})
    assert made.status_code == 201, made.text
    return str(made.json()["data"]["order_id"])


async def order(shop: Tenant, order_id: str) -> Any:
    return (await shop.http.get(f"/v1/orders/{order_id}")).json()["data"]


async def pay(shop: Tenant, order_id: str, status: int = 200, **body: Any) -> Any:
    answer = await shop.http.post(f"/v1/orders/{order_id}/pay", json=body)
    assert answer.status_code == status, answer.text
    return answer.json()["data"] if status < 400 else answer.json()


async def intent_for(shop: Tenant, order_id: str, status: int = 201, **body: Any) -> Any:
    answer = await shop.http.post(f"/v1/orders/{order_id}/payment-intents", json=body)
    assert answer.status_code == status, answer.text
    return answer.json()["data"] if status < 400 else answer.json()


async def act(shop: Tenant, intent: Json, action: str, status: int = 200, **body: Any) -> Any:
    answer = await shop.http.post(f"/v1/payment-intents/{intent['payment_intent_id']}/{action}", json=body)
    assert answer.status_code == status, answer.text
    return answer.json()["data"] if status < 400 else answer.json()


async def attempts(shop: Tenant, order_id: str) -> Any:
    return (await shop.http.get(f"/v1/orders/{order_id}/payment-attempts")).json()["data"]


async def test_an_order_is_paid_in_one_call(stack: Stack) -> None:
    shop = await stack.tenant()
    order_id = await order_of(shop)
    paid = await pay(shop, order_id, method=card(), source="checkout")
    assert (paid["status"], paid["captured_money"]) == ("succeeded", money(5000))
    [intent] = paid["payment_intents"]
    assert (intent["status"], intent["connector"], intent["method"]["last4"]) == ("succeeded", "sandbox", "4242")
    after = await order(shop, order_id)
    assert (after["payment_status"], after["version"]) == ("paid", paid["order_version"])
    [leg] = after["payments"]
    assert (leg["payment_intent_id"], leg["reference"]) == (intent["payment_intent_id"], intent["payment_reference"])
    assert leg["source"] == "checkout"
    assert after["leases"] == []
    again = await pay(shop, order_id, 409, method=card())
    assert again["code"] == "ORDER_ALREADY_PAID"


async def test_cash_is_paid_with_change_and_the_rest_by_card(stack: Stack) -> None:
    shop = await stack.tenant()
    order_id = await order_of(shop, 10_000)
    cash = {"type": "cash", "tendered_money": money(5000)}
    part = await pay(
        shop,
        order_id,
        source="pos",
        method=cash,
        amount_money=money(4000),
        completion_behavior="partial_payment",
        expected_outstanding_money=money(10_000),
    )
    assert (part["status"], part["change_money"]) == ("succeeded", money(1000))
    after = await order(shop, order_id)
    assert after["payment_status"] == "partially_paid"
    assert after["settlement"]["outstanding_money"] == money(6000)
    stale = await pay(
        shop, order_id, 409, method=card(), expected_outstanding_money=money(10_000), amount_money=money(10_000)
    )
    assert (stale["code"], stale["outstanding_money"]) == ("OUTSTANDING_CHANGED", money(6000))
    rest = await pay(shop, order_id, method=card())
    assert rest["captured_money"] == money(6000)
    assert (await order(shop, order_id))["payment_status"] == "paid"


async def test_a_declined_card_is_no_error_and_another_one_pays(stack: Stack) -> None:
    shop = await stack.tenant()
    order_id = await order_of(shop)
    intent = await intent_for(shop, order_id, method=card("sandbox_decline_insufficient_funds"), confirm=True)
    assert intent["status"] == "requires_payment_method"
    assert intent["last_decline"]["code"] == "insufficient_funds"
    after = await order(shop, order_id)
    assert (after["payment_status"], after["settlement"]["available_money"]) == ("unpaid", money(5000))
    intent = await act(shop, intent, "confirm", method=card())
    assert intent["status"] == "succeeded"
    assert (await order(shop, order_id))["payment_status"] == "paid"
    outcomes = [attempt["outcome"] for attempt in await attempts(shop, order_id)]
    assert outcomes == ["approved", "declined"]


async def test_authorize_now_capture_in_two_parts_and_void_the_rest(stack: Stack) -> None:
    shop = await stack.tenant()
    order_id = await order_of(shop)
    intent = await intent_for(shop, order_id, method=card(), capture_method="manual", confirm=True)
    assert (intent["status"], intent["authorized_money"]) == ("requires_capture", money(5000))
    assert (await order(shop, order_id))["payment_status"] == "authorized"
    too_much = await act(shop, intent, "capture", 409, amount_money=money(5001))
    assert too_much["code"] == "CAPTURE_EXCEEDS_AUTHORIZED"
    for _ in range(2):
        intent = await act(shop, intent, "capture", amount_money=money(2000))
    assert (intent["captured_money"], intent["authorized_money"]) == (money(4000), money(1000))
    intent = await act(shop, intent, "cancel")
    assert (intent["status"], intent["voided_money"]) == ("succeeded", money(1000))
    settlement = (await order(shop, order_id))["settlement"]
    assert settlement["captured_money"] == money(4000)
    assert settlement["available_money"] == money(1000)
    late = await act(shop, intent, "capture", 409)
    assert late["code"] == "INTENT_NOT_IN_STATE"


async def test_several_sources_pay_together_or_not_at_all(stack: Stack) -> None:
    shop = await stack.tenant()
    order_id = await order_of(shop)
    broken = await pay(
        shop,
        order_id,
        legs=[
            {"method": card(), "amount_money": money(3000)},
            {"method": card("sandbox_decline_lost_card"), "amount_money": money(2000)},
        ],
    )
    assert (broken["status"], broken["captured_money"]) == ("declined", money(0))
    assert [intent["status"] for intent in broken["payment_intents"]] == ["canceled", "failed"]
    settlement = (await order(shop, order_id))["settlement"]
    assert (settlement["captured_money"], settlement["available_money"]) == (money(0), money(5000))
    cash = {"type": "cash", "tendered_money": money(2000)}
    paid = await pay(
        shop,
        order_id,
        legs=[{"method": card(), "amount_money": money(3000)}, {"method": cash, "amount_money": money(2000)}],
    )
    assert paid["status"] == "succeeded"
    assert (await order(shop, order_id))["payment_status"] == "paid"


async def test_what_succeeds_is_kept_where_that_is_wished(stack: Stack) -> None:
    shop = await stack.tenant()
    order_id = await order_of(shop)
    kept = await pay(
        shop,
        order_id,
        keep_successful_legs=True,
        legs=[
            {"method": card(), "amount_money": money(3000)},
            {"method": card("sandbox_decline_lost_card"), "amount_money": money(2000)},
        ],
    )
    assert (kept["status"], kept["captured_money"]) == ("partially_succeeded", money(3000))
    assert (await order(shop, order_id))["settlement"]["outstanding_money"] == money(2000)


async def test_of_two_that_want_the_same_balance_one_gets_it(stack: Stack) -> None:
    shop = await stack.tenant()
    order_id = await order_of(shop)
    first, second = [await intent_for(shop, order_id, amount_money=money(5000)) for _ in range(2)]

    async def confirm(intent: Json) -> Any:
        path = f"/v1/payment-intents/{intent['payment_intent_id']}/confirm"
        return await shop.http.post(path, json={"method": card()})

    answers = await asyncio.gather(confirm(first), confirm(second))
    assert sorted(answer.status_code for answer in answers) == [200, 409]
    refused = next(answer for answer in answers if answer.status_code == 409).json()
    assert refused["code"] in ("ORDER_BALANCE_LEASED", "ORDER_ALREADY_PAID")
    assert (await order(shop, order_id))["settlement"]["captured_money"] == money(5000)
    assert len(await attempts(shop, order_id)) == 1


async def test_a_lost_reply_is_looked_up_and_ends_right(stack: Stack) -> None:
    shop = await stack.tenant()
    order_id = await order_of(shop)
    answer = await shop.http.post(
        f"/v1/orders/{order_id}/pay", json={"method": card("sandbox_lost_reply")}, headers={"Prefer": "wait=0"}
    )
    assert answer.status_code == 202
    [intent] = answer.json()["data"]["payment_intents"]

    async def succeeded() -> Any:
        read = await shop.http.get(f"/v1/payment-intents/{intent['payment_intent_id']}")
        return read.json()["data"]["status"] == "succeeded"

    await eventually(succeeded)
    await eventually(lambda: _paid(shop, order_id))
    assert (await order(shop, order_id))["settlement"]["captured_money"] == money(5000)


async def test_whoever_repeats_a_request_of_unknown_outcome_has_it_looked_up(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "_SOONEST", timedelta(hours=1))
    monkeypatch.setattr(answers, "_LATEST", timedelta(hours=1))
    shop = await stack.tenant()
    path = f"/v1/orders/{await order_of(shop)}/pay"
    ask = partial(shop.http.post, path, json={"method": card("sandbox_lost_reply")})
    key = {"Idempotency-Key": "pay-1"}
    unknown = await ask(headers=key | {"Prefer": "wait=1"})
    assert (unknown.status_code, unknown.json()["data"]["status"]) == (202, "unknown")
    known = await ask(headers=key)
    assert (known.status_code, known.json()["data"]["status"]) == (200, "succeeded")


async def test_a_lost_request_frees_the_balance(stack: Stack) -> None:
    shop = await stack.tenant()
    order_id = await order_of(shop)
    outcome = await pay(shop, order_id, method=card("sandbox_lost_request"))
    [intent] = outcome["payment_intents"]
    assert (intent["status"], intent["last_decline"]["code"]) == ("requires_payment_method", "not_processed")
    settlement = (await order(shop, order_id))["settlement"]
    assert (settlement["captured_money"], settlement["available_money"]) == (money(0), money(5000))


async def test_the_same_request_again_is_told_the_same(stack: Stack) -> None:
    shop = await stack.tenant()
    order_id = await order_of(shop)
    headers = {"Idempotency-Key": "pay-1"}
    body = {"method": card()}
    answers = [await shop.http.post(f"/v1/orders/{order_id}/pay", json=body, headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json() == answers[1].json()
    assert answers[1].headers["Idempotent-Replayed"] == "true"
    assert (await order(shop, order_id))["settlement"]["captured_money"] == money(5000)


async def test_a_repeat_of_what_is_under_way_waits_for_the_same_intent(stack: Stack) -> None:
    shop = await stack.tenant()
    path = f"/v1/orders/{await order_of(shop)}/payment-intents"
    body, headers = {"method": card(), "confirm": True}, {"Idempotency-Key": "pay-1"}
    first = await shop.http.post(path, json=body, headers=headers | {"Prefer": "wait=0"})
    assert first.status_code == 202
    again = await shop.http.post(path, json=body, headers=headers)
    assert (again.status_code, again.json()["data"]["status"]) == (201, "succeeded")
    assert again.json()["data"]["payment_intent_id"] == first.json()["data"]["payment_intent_id"]


async def test_an_amount_alone_makes_an_order(stack: Stack) -> None:
    shop = await stack.tenant()
    body = {"amount_money": money(1500), "description": "Deposit", "method": card(), "confirm": True}
    answer = await shop.http.post("/v1/payment-intents", json=body)
    assert answer.status_code == 201, answer.text
    intent = answer.json()["data"]
    assert intent["status"] == "succeeded"
    made = await order(shop, intent["order_id"])
    assert (made["payment_status"], made["source"], made["line_items"][0]["name"]) == ("paid", "api", "Deposit")


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({}, "VALIDATION_FAILED", None),
        ({"method": card("nothing")}, "VALIDATION_FAILED", "method"),
        ({"method": {"type": "card"}}, "VALIDATION_FAILED", "method"),
        ({"method": card(), "amount_money": money(0)}, "VALIDATION_FAILED", "amount_money.amount"),
        ({"method": card(), "amount_money": money(100, "USD")}, "CURRENCY_MISMATCH", "amount_money.currency"),
        ({"method": {"type": "cash", "tendered_money": money(10)}}, "VALIDATION_FAILED", "method.tendered_money"),
        (
            {"method": card(), "amount_money": money(100), "expected_outstanding_money": money(5000)},
            "VALIDATION_FAILED",
            "amount_money",
        ),
        ({"legs": [], "method": card()}, "VALIDATION_FAILED", None),
    ],
)
async def test_what_cannot_be_paid_is_refused_before_anything_is_asked(
    stack: Stack, body: Json, code: str, param: str | None
) -> None:
    shop = await stack.tenant()
    order_id = await order_of(shop)
    problem = await pay(shop, order_id, 400, **body)
    assert problem["code"] == code
    if param is not None:
        assert problem["param"] == param
    assert await attempts(shop, order_id) == []


async def test_a_closed_or_strange_order_cannot_be_paid(stack: Stack) -> None:
    shop, stranger = await stack.tenant(), await stack.tenant()
    order_id = await order_of(shop)
    assert (await pay(stranger, order_id, 404, method=card()))["code"] == "NOT_FOUND"
    await shop.http.post(f"/v1/orders/{order_id}/cancel", json={})
    # Whether payments have heard of it, which they have after a while, or the order says so itself.
    for _ in range(5):
        assert (await pay(shop, order_id, 409, method=card()))["code"] == "ORDER_NOT_OPEN"
        assert (await intent_for(shop, order_id, 409, method=card(), confirm=True))["code"] == "ORDER_NOT_OPEN"
        await asyncio.sleep(0.2)
    assert await attempts(shop, order_id) == []


async def test_live_money_needs_a_processor(stack: Stack) -> None:
    shop = await stack.tenant(environment="live")
    order_id = await order_of(shop)
    problem = await pay(shop, order_id, 400, method=card())
    assert problem["param"] == "method.type"


async def test_intents_are_listed_in_pages(stack: Stack) -> None:
    shop = await stack.tenant()
    order_id = await order_of(shop)
    made = [(await intent_for(shop, order_id))["payment_intent_id"] for _ in range(3)]
    first = (await shop.http.get("/v1/payment-intents", params={"page_size": 2, "order_id": order_id})).json()
    query = {"page_size": 2, "order_id": order_id, "page_token": first["next_page_token"]}
    second = (await shop.http.get("/v1/payment-intents", params=query)).json()
    listed = [intent["payment_intent_id"] for intent in (*first["data"], *second["data"])]
    assert listed == made[::-1]
    none = (await shop.http.get("/v1/payment-intents", params={"status": "succeeded"})).json()["data"]
    assert none == []


async def _paid(shop: Tenant, order_id: str) -> bool:
    return bool((await order(shop, order_id))["payment_status"] == "paid")


async def test_what_is_collected_beyond_what_is_owed_is_shown_and_returned(stack: Stack) -> None:
    """A channel's money comes while a till collects under its lease: a fact is not refused."""
    shop = await stack.tenant()
    order_id = await order_of(shop)
    paying = asyncio.create_task(pay(shop, order_id, method=card("sandbox_slow")))
    await eventually(lambda: _attempted(shop, order_id))
    channel = (await shop.http.post("/v1/channels", json={"name": "Web shop"})).json()["data"]["channel_id"]
    captured = {"order_id": order_id, "payment_reference": "psp-9", "amount_money": money(5000)}
    event = {
        "specversion": "1.0",
        "id": "evt-1",
        "type": "channel.payment.captured.v1",
        "source": f"/channels/{channel}",
        "data": captured,
    }
    headers = {"Content-Type": "application/cloudevents+json"}
    assert (await shop.http.post("/v1/channel-events", json=event, headers=headers)).status_code == 202
    await eventually(lambda: _paid(shop, order_id))
    assert (await paying)["status"] == "succeeded"
    assert (await order(shop, order_id))["payment_status"] == "overpaid"
    [item] = (await shop.http.get("/v1/unmatched-money", params={"order_id": order_id})).json()["data"]
    assert (item["kind"], item["amount_money"], item["channel_id"]) == ("surplus", money(5000), "chn_payment_intents")
    path = f"/v1/unmatched-money/{item['unmatched_money_id']}/return"
    part = await shop.http.post(path, json={"through_processor": True, "amount_money": money(2000)})
    assert (part.status_code, part.json()["data"]["status"]) == (200, "returned"), part.text
    assert part.json()["data"]["return_reference"].startswith("sbm_")
    assert (await order(shop, order_id))["settlement"]["credit_money"] == money(3000)
    items = (await shop.http.get("/v1/unmatched-money", params={"order_id": order_id})).json()["data"]
    [rest] = [each for each in items if each["status"] == "open"]
    path = f"/v1/unmatched-money/{rest['unmatched_money_id']}/return"
    answers = await asyncio.gather(*(shop.http.post(path, json={"through_processor": True}) for _ in range(2)))
    assert sorted(answer.status_code for answer in answers) == [200, 409]
    assert (await order(shop, order_id))["payment_status"] == "paid"
    refunds = [attempt for attempt in await attempts(shop, order_id) if attempt["operation"] == "refund"]
    assert sorted(refund["amount_money"]["amount"] for refund in refunds) == [2000, 3000]
    taken = await shop.http.post("/v1/channels", json={"name": "Ours", "channel_id": "chn_payment_intents"})
    assert taken.json()["code"] == "CHANNEL_ID_TAKEN"


async def _attempted(shop: Tenant, order_id: str) -> Any:
    return await attempts(shop, order_id)


async def test_a_challenge_that_nobody_wants_any_more_is_over(stack: Stack) -> None:
    shop = await stack.tenant()
    order_id = await order_of(shop)
    intent = await intent_for(shop, order_id, method=card("sandbox_challenge"), confirm=True)
    assert intent["status"] == "requires_action"
    after = await act(shop, intent, "cancel")
    assert after["status"] == "canceled", after
    settlement = (await order(shop, order_id))["settlement"]
    assert (settlement["captured_money"], settlement["available_money"]) == (money(0), money(5000))
