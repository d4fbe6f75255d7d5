"""Unmatched money over HTTP, with the orders' answers by Kafka: proposed, attached, returned, dismissed, once."""

import asyncio
from typing import Any

import httpx2
import pytest

from shared.ids import new_id
from tests.stack import Stack, Tenant, eventually, headers_of

pytestmark = pytest.mark.servers


def money(amount: int, currency: str = "EUR") -> dict[str, Any]:
    return {"amount": amount, "currency": currency}


async def new_order(tenant: Tenant, amount: int = 9000, **more: Any) -> str:
    line = {"name": "Rain jacket", "quantity": 1, "unit_price_money": money(amount)}
    answer = await tenant.http.post("/v1/orders", json={"currency": "EUR", "line_items": [line], **more})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["data"]["order_id"])


async def order_of(tenant: Tenant, order_id: str) -> Any:
    return (await tenant.http.get(f"/v1/orders/{order_id}")).json()["data"]


async def captured(tenant: Tenant, **data: Any) -> str:
    """Money that fits nowhere, as an item."""
    made = await tenant.http.post("/v1/channels", json={"name": "Web shop"})
    channel_id = made.json()["data"]["channel_id"]
    event = {
        "specversion": "1.0",
        "id": new_id("evt"),
        "type": "channel.payment.captured.v1",
        "source": f"/channels/{channel_id}",
        "data": {"payment_reference": "psp-1", "amount_money": money(9000)} | data,
    }
    headers = {"content-type": "application/cloudevents+json"}
    answer = await tenant.http.post("/v1/channel-events", json=event, headers=headers)
    assert answer.status_code == 202, answer.text

    async def found() -> Any:
        items = (await tenant.http.get("/v1/unmatched-money", params={"channel_id": channel_id})).json()["data"]
        return items[0]["unmatched_money_id"] if items else None

    item: str = await eventually(found)
    return item


async def item_of(tenant: Tenant, name: str) -> Any:
    return (await tenant.http.get(f"/v1/unmatched-money/{name}")).json()["data"]


async def known(tenant: Tenant, name: str, order_id: str) -> Any:
    """The item, once the order is among its proposals."""

    async def proposed() -> Any:
        item = await item_of(tenant, name)
        return item if any(each["order_id"] == order_id for each in item["proposals"]) else None

    return await eventually(proposed)


async def attach(tenant: Tenant, name: str, order_id: str, headers: Any = None, **more: Any) -> httpx2.Response:
    body = {"order_id": order_id, **more}
    return await tenant.http.post(f"/v1/unmatched-money/{name}/attach", json=body, headers=headers)


async def give_back(tenant: Tenant, name: str, headers: Any = None, **more: Any) -> httpx2.Response:
    body = {"reference": "transfer-1", **more}
    return await tenant.http.post(f"/v1/unmatched-money/{name}/return", json=body, headers=headers)


async def all_items(tenant: Tenant) -> list[Any]:
    found: list[Any] = (await tenant.http.get("/v1/unmatched-money")).json()["data"]
    return found


async def test_money_of_a_mistyped_order_is_proposed_and_attached_once(tenant: Tenant, stack: Stack) -> None:
    order_id = await new_order(tenant, external_reference="web-8812")
    name = await captured(tenant, external_reference="WBE 8812")
    item = await known(tenant, name, order_id)
    [proposal] = item["proposals"]
    assert [reason["code"] for reason in proposal["reasons"]] == ["reference_alike", "amount_equal", "near_in_time"]
    assert (proposal["outstanding_money"], proposal["external_reference"]) == (money(9000), "web-8812")

    key = {"Idempotency-Key": new_id("idem"), "Prefer": "wait=30"}
    answer = await attach(tenant, name, order_id, key, expected_version=item["version"], note="A typo.")
    assert answer.status_code == 200, answer.text
    attached = answer.json()["data"]
    assert (attached["status"], attached["order_id"], attached["note"]) == ("attached", order_id, "A typo.")
    assert (attached["resolved_by"], attached["surplus_money"]) == (
        {"type": "key", "id": tenant.grant.grant_id},
        None,
    )
    order = await order_of(tenant, order_id)
    assert (order["payment_status"], order["version"]) == ("paid", attached["order_version"])
    assert order["settlement"]["captured_money"] == money(9000)
    history = (await tenant.http.get(f"/v1/orders/{order_id}/activities")).json()["data"]
    assert history[0]["actor"] == {"type": "key", "id": tenant.grant.grant_id}

    again = await attach(tenant, name, order_id, key, expected_version=item["version"], note="A typo.")
    assert (again.status_code, again.json()["data"]) == (200, attached)
    assert again.headers["idempotent-replayed"] == "true"
    for refused in (await attach(tenant, name, order_id), await give_back(tenant, name)):
        assert (refused.status_code, refused.json()["code"]) == (409, "UNMATCHED_MONEY_NOT_OPEN")
    assert (await item_of(tenant, name))["proposals"] == []
    told = await stack.read("payments.events", order_id, 1)
    assert [headers_of(record)["ce_type"] for record in told] == ["payments.unmatched_money_attached.v1"]


async def test_what_the_order_was_not_owed_is_said_and_no_second_item(tenant: Tenant) -> None:
    order_id = await new_order(tenant, 8000, external_reference="web-8812")
    name = await captured(tenant, external_reference="x-8812")
    await known(tenant, name, order_id)
    answer = await attach(tenant, name, order_id, {"Prefer": "wait=30"})
    assert answer.json()["data"]["surplus_money"] == money(1000)
    assert (await order_of(tenant, order_id))["payment_status"] == "overpaid"
    assert [item["unmatched_money_id"] for item in await all_items(tenant)] == [name]


async def test_who_does_not_wait_is_told_what_is_under_way(tenant: Tenant) -> None:
    order_id = await new_order(tenant, external_reference="web-8812")
    name = await captured(tenant, external_reference="x-8812")
    await known(tenant, name, order_id)
    headers = {"Prefer": "wait=0", "Idempotency-Key": new_id("idem")}
    answer = await attach(tenant, name, order_id, headers)
    assert answer.status_code == 202, answer.text
    assert (answer.json()["data"]["status"], answer.json()["data"]["attaching_to"]) == ("attaching", order_id)

    async def done() -> bool:
        return bool((await item_of(tenant, name))["status"] == "attached")

    await eventually(done)
    again = await attach(tenant, name, order_id, headers | {"Prefer": "wait=30"})
    assert (again.status_code, again.json()["data"]["status"]) == (200, "attached")
    assert (await order_of(tenant, order_id))["settlement"]["captured_money"] == money(9000)


async def test_parts_go_to_two_orders_and_the_rest_goes_back(tenant: Tenant) -> None:
    first = await new_order(tenant, 9000, external_reference="web-8812")
    second = await new_order(tenant, 2000, external_reference="web-8812")
    name = await captured(tenant, external_reference="web-8812")
    await known(tenant, name, first)
    await known(tenant, name, second)
    wait = {"Prefer": "wait=30"}
    assert (await attach(tenant, name, first, wait, amount_money=money(6000))).status_code == 200
    [rest] = [item for item in await all_items(tenant) if item["split_from"] == name]
    assert rest["amount_money"] == money(3000)
    name = rest["unmatched_money_id"]
    assert (await attach(tenant, name, second, wait, amount_money=money(2000))).status_code == 200
    [rest] = [item for item in await all_items(tenant) if item["split_from"] == name]
    answer = await give_back(tenant, rest["unmatched_money_id"], returned_at="2026-11-22T09:00:00Z", note="Sent back.")
    assert answer.status_code == 200, answer.text
    returned = answer.json()["data"]
    assert (returned["status"], returned["amount_money"], returned["return_reference"]) == (
        "returned",
        money(1000),
        "transfer-1",
    )
    found = [(await order_of(tenant, order_id))["settlement"]["captured_money"] for order_id in (first, second)]
    assert found == [money(6000), money(2000)]
    assert {item["status"] for item in await all_items(tenant)} == {"attached", "returned"}


async def test_a_surplus_goes_back_from_its_order_or_stays_on_it(tenant: Tenant) -> None:
    order_id, other = await new_order(tenant), await new_order(tenant)
    name = await captured(tenant, order_id=order_id, amount_money=money(9500))
    elsewhere = await attach(tenant, name, other)
    assert (elsewhere.status_code, elsewhere.json()["code"]) == (409, "MONEY_IS_ON_AN_ORDER")
    assert "return" in elsewhere.json()["remediation"]
    answer = await give_back(tenant, name, {"Prefer": "wait=30"}, amount_money=money(200))
    assert answer.status_code == 200, answer.text
    assert (answer.json()["data"]["status"], answer.json()["data"]["order_id"]) == ("returned", order_id)
    order = await order_of(tenant, order_id)
    assert order["settlement"]["credit_money"] == money(300)
    assert order["settlement"]["refunded_money"] == money(200)
    assert order["pricing"]["net_total_money"] == money(9000)
    [rest] = [item for item in await all_items(tenant) if item["split_from"] == name]
    stays = await attach(tenant, rest["unmatched_money_id"], order_id)
    assert (stays.status_code, stays.json()["data"]["status"]) == (200, "attached")
    assert (await order_of(tenant, order_id))["version"] == order["version"]


async def test_of_two_decisions_at_once_one_counts(tenant: Tenant) -> None:
    order_id = await new_order(tenant, external_reference="web-8812")
    name = await captured(tenant, external_reference="x-8812")
    await known(tenant, name, order_id)
    wait = {"Prefer": "wait=30"}
    answers = await asyncio.gather(
        attach(tenant, name, order_id, wait), attach(tenant, name, order_id, wait), give_back(tenant, name)
    )
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409]
    collected = (await order_of(tenant, order_id))["settlement"]["captured_money"]
    status = (await item_of(tenant, name))["status"]
    assert (status, collected) in [("attached", money(9000)), ("returned", money(0))]


async def contradicted(tenant: Tenant, order_id: str) -> str:
    """An item that says 80.00 where 90.00 is on the order."""
    made = await tenant.http.post("/v1/channels", json={"name": "Web shop"})
    channel_id = made.json()["data"]["channel_id"]
    for amount in (9000, 8000):
        event = {
            "specversion": "1.0",
            "id": new_id("evt"),
            "type": "channel.payment.captured.v1",
            "source": f"/channels/{channel_id}",
            "data": {"order_id": order_id, "payment_reference": "psp-1", "amount_money": money(amount)},
        }
        headers = {"content-type": "application/cloudevents+json"}
        answer = await tenant.http.post("/v1/channel-events", json=event, headers=headers)
        assert answer.status_code == 202, answer.text
    return str(answer.json()["data"][0]["unmatched_money_id"])


async def test_a_conflict_that_stands_for_no_money_is_dismissed_once(tenant: Tenant, stack: Stack) -> None:
    order_id = await new_order(tenant)
    name = await contradicted(tenant, order_id)
    path, key = f"/v1/unmatched-money/{name}/dismiss", {"Idempotency-Key": new_id("idem")}
    stale = await tenant.http.post(path, json={"expected_version": 7})
    assert (stale.status_code, stale.json()["code"]) == (409, "VERSION_CONFLICT")
    part = await tenant.http.post(path, json={"amount_money": money(1)})
    assert (part.status_code, part.json()["code"]) == (400, "UNKNOWN_FIELD")
    body = {"expected_version": 1, "note": "The first amount was right."}
    answer = await tenant.http.post(path, json=body, headers=key)
    assert answer.status_code == 200, answer.text
    dismissed = answer.json()["data"]
    assert (dismissed["status"], dismissed["note"], dismissed["version"]) == ("dismissed", body["note"], 2)
    assert dismissed["resolved_by"] == {"type": "key", "id": tenant.grant.grant_id}
    again = await tenant.http.post(path, json=body, headers=key)
    assert (again.status_code, again.json()["data"]) == (200, dismissed)
    assert again.headers["idempotent-replayed"] == "true"
    others = [await attach(tenant, name, order_id), await give_back(tenant, name)]
    for refused in (*others, await tenant.http.post(path, json={})):
        assert (refused.status_code, refused.json()["code"]) == (409, "UNMATCHED_MONEY_NOT_OPEN")
    told = await stack.read("payments.events", name, 2)
    assert [headers_of(record)["ce_type"].split("_")[-1] for record in told] == ["found.v1", "dismissed.v1"]
    listed = (await tenant.http.get("/v1/unmatched-money", params={"status": "dismissed"})).json()["data"]
    assert [item["unmatched_money_id"] for item in listed] == [name]


async def test_money_is_not_dismissed(tenant: Tenant) -> None:
    name = await captured(tenant, external_reference="web-none")
    answer = await tenant.http.post(f"/v1/unmatched-money/{name}/dismiss", json={})
    assert (answer.status_code, answer.json()["code"]) == (409, "MONEY_TO_PLACE")
    assert "return it" in answer.json()["remediation"]
    item = await item_of(tenant, name)
    assert (item["status"], item["version"]) == ("open", 1)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"order_id": "ord_NOBODYS"}, 404, "NOT_FOUND"),
        ({"order_id": "nothing"}, 400, "VALIDATION_FAILED"),
        ({"order_id": "ord_NOBODYS", "amount_money": money(9001)}, 400, "VALIDATION_FAILED"),
        ({"order_id": "ord_NOBODYS", "amount_money": money(0)}, 400, "VALIDATION_FAILED"),
        ({"order_id": "ord_NOBODYS", "expected_version": 7}, 409, "VERSION_CONFLICT"),
        ({"order_id": "ord_NOBODYS", "more": 1}, 400, "UNKNOWN_FIELD"),
    ],
)
async def test_what_is_not_attached(tenant: Tenant, body: dict[str, Any], status: int, code: str) -> None:
    name = await captured(tenant, external_reference="web-none")
    answer = await tenant.http.post(f"/v1/unmatched-money/{name}/attach", json=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    item = await item_of(tenant, name)
    assert (item["status"], item["version"]) == ("open", 1)
    if code == "VERSION_CONFLICT":
        assert answer.json()["current_version"] == 1
