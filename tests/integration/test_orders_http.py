"""Orders over HTTP: what a client can do, and what every kind of bad input gets."""

import asyncio
from typing import Any

import httpx2
import pytest

from shared.contracts.order_commands import RecordCapture
from tests.stack import Stack, Tenant, eventually

pytestmark = pytest.mark.servers

JACKET = {"name": "Rain jacket", "quantity": 2, "unit_price_money": {"amount": 4500, "currency": "EUR"}}
ORDER = {"source": "checkout", "currency": "EUR", "external_reference": "web-8812", "line_items": [JACKET]}


async def create(tenant: Tenant, **changes: Any) -> dict[str, Any]:
    answer = await tenant.http.post("/v1/orders", json=ORDER | changes)
    assert answer.status_code == 201, answer.text
    data: dict[str, Any] = answer.json()["data"]
    return data


async def pay(stack: Stack, tenant: Tenant, order_id: str, amount: int, number: int = 1) -> None:
    capture = RecordCapture(
        payment_id=f"pay_{number}", payment_reference=f"psp-{number}", amount_minor=amount, currency="EUR"
    )
    await stack.command(tenant, order_id, capture)

    async def paid() -> bool:
        order = (await tenant.http.get(f"/v1/orders/{order_id}")).json()["data"]
        return bool(order["settlement"]["captured_money"]["amount"] >= amount)

    await eventually(paid)


def problem(answer: httpx2.Response, status: int, code: str, param: str | None = None) -> dict[str, Any]:
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    body: dict[str, Any] = answer.json()
    assert (answer.status_code, body["code"]) == (status, code), answer.text
    assert (body["status"], body["request_id"]) == (status, answer.headers["x-request-id"])
    if param is not None:
        assert body["param"] == param
    return body


async def test_an_order_is_created_with_computed_totals_and_read_back(tenant: Tenant) -> None:
    made = await create(tenant)
    assert (made["status"], made["payment_status"], made["version"]) == ("open", "unpaid", 1)
    assert made["settlement"]["outstanding_money"] == {"amount": 9000, "currency": "EUR"}
    assert (made["merchant_id"], made["environment"]) == (tenant.merchant_id, "test")
    read = (await tenant.http.get(f"/v1/orders/{made['order_id']}")).json()["data"]
    assert read == made


async def test_numbers_count_up_per_tenant(tenant: Tenant) -> None:
    numbers = [(await create(tenant))["number"] for _ in range(5)]
    assert numbers == ["1001", "1002", "1003", "1004", "1005"]


async def test_concurrent_creations_get_numbers_of_their_own(tenant: Tenant) -> None:
    made = await asyncio.gather(*(create(tenant) for _ in range(60)))
    assert len({order["number"] for order in made}) == 60


async def test_lines_charges_discounts_and_tip_change_while_open(tenant: Tenant) -> None:
    order = await create(tenant)
    path = f"/v1/orders/{order['order_id']}"
    cap = {"name": "Cap", "unit_price_money": {"amount": 1000, "currency": "EUR"}}
    order = (await tenant.http.post(f"{path}/line-items", json=cap)).json()["data"]
    line_id = order["line_items"][1]["line_item_id"]
    order = (await tenant.http.patch(f"{path}/line-items/{line_id}", json={"quantity": "2.5"})).json()["data"]
    assert order["pricing"]["total_money"]["amount"] == 11500
    spring = {"name": "Spring", "percentage": 10}
    preview = (await tenant.http.post(f"{path}/discounts/preview", json=spring)).json()["data"]
    assert (preview["pricing"]["total_money"]["amount"], preview["version"]) == (10350, order["version"])
    order = (await tenant.http.post(f"{path}/discounts", json=spring)).json()["data"]
    shipping = {"name": "Shipping", "type": "shipping", "amount_money": {"amount": 500, "currency": "EUR"}}
    order = (await tenant.http.post(f"{path}/charges", json=shipping)).json()["data"]
    charge_id, discount_id = order["charges"][0]["charge_id"], order["discounts"][0]["discount_id"]
    change = {"amount_money": {"amount": 700, "currency": "EUR"}}
    order = (await tenant.http.patch(f"{path}/charges/{charge_id}", json=change)).json()["data"]
    tip = {"tip_money": {"amount": 300, "currency": "EUR"}}
    order = (await tenant.http.post(f"{path}/tip", json=tip)).json()["data"]
    assert order["pricing"]["total_money"]["amount"] == 11350
    order = (await tenant.http.post(f"{path}/discounts/remove", json={"discount_id": discount_id})).json()["data"]
    half = {"name": "Cap at half price", "percentage": 50, "line_item_ids": [line_id]}
    preview = (await tenant.http.post(f"{path}/discounts/preview", json=half)).json()["data"]
    assert preview["pricing"]["total_money"]["amount"] == 11250
    order = (await tenant.http.post(f"{path}/discounts", json=half)).json()["data"]
    assert (order["discounts"][0]["line_item_ids"], order["discounts"][0]["amount_money"]["amount"]) == (
        [line_id],
        1250,
    )
    discount_id = order["discounts"][0]["discount_id"]
    order = (await tenant.http.post(f"{path}/discounts/remove", json={"discount_id": discount_id})).json()["data"]
    order = (await tenant.http.delete(f"{path}/charges/{charge_id}")).json()["data"]
    order = (await tenant.http.delete(f"{path}/line-items/{line_id}")).json()["data"]
    assert order["pricing"]["total_money"]["amount"] == 9300
    assert order["version"] == 12


async def test_drafts_open_and_details_merge(tenant: Tenant) -> None:
    order = await create(tenant, draft=True, metadata={"a": "1", "b": "2"})
    path = f"/v1/orders/{order['order_id']}"
    assert order["status"] == "draft"
    assert (await tenant.http.patch(path, json={"status": "open"})).json()["data"]["status"] == "open"
    change = {"metadata": {"a": None, "c": "3"}, "external_reference": None, "operator_id": "anna"}
    changed = (await tenant.http.patch(path, json=change)).json()["data"]
    assert changed["metadata"] == {"b": "2", "c": "3"}
    assert (changed["external_reference"], changed["operator_id"]) == (None, "anna")


async def test_the_past_is_readable_by_version_and_by_moment(stack: Stack, tenant: Tenant) -> None:
    order = await create(tenant)
    path = f"/v1/orders/{order['order_id']}"
    await pay(stack, tenant, order["order_id"], 4000)
    await pay(stack, tenant, order["order_id"], 9000, 2)
    assert (await tenant.http.get(path)).json()["data"]["payment_status"] == "overpaid"
    first = (await tenant.http.get(path, params={"version": 1})).json()["data"]
    assert first == order
    second = (await tenant.http.get(path, params={"version": 2})).json()["data"]
    assert (second["version"], second["payment_status"]) == (2, "partially_paid")
    then = (await tenant.http.get(path, params={"at": second["updated_at"]})).json()["data"]
    assert then == second
    problem(await tenant.http.get(path, params={"version": 4}), 404, "NOT_FOUND")
    problem(await tenant.http.get(path, params={"at": "2020-01-01T00:00:00Z"}), 404, "NOT_FOUND")
    problem(await tenant.http.get(path, params={"at": "2020-01-01T00:00:00"}), 400, "VALIDATION_FAILED")


async def test_activities_tell_actor_channel_and_balances(stack: Stack, tenant: Tenant) -> None:
    order = await create(tenant)
    await pay(stack, tenant, order["order_id"], 4000)
    await tenant.http.post(f"/v1/orders/{order['order_id']}/notes", json={"text": "Call back"})
    path = f"/v1/orders/{order['order_id']}/activities"
    told = (await tenant.http.get(path)).json()["data"]
    assert [(each["version"], each["type"]) for each in told] == [
        (3, "orders.note_added.v1"),
        (2, "orders.payment_captured.v1"),
        (1, "orders.order_created.v1"),
    ]
    assert [each["balance_after"]["amount"] for each in told] == [5000, 5000, 9000]
    assert [each["balance_before"]["amount"] for each in told] == [5000, 9000, 0]
    assert told[2]["actor"] == {"type": "key", "id": tenant.grant.grant_id}
    page = (await tenant.http.get(path, params={"page_size": 2})).json()
    rest = await tenant.http.get(path, params={"page_size": 2, "page_token": page["next_page_token"]})
    assert [each["version"] for each in rest.json()["data"]] == [1]


async def test_lists_filter_search_and_page(stack: Stack, tenant: Tenant) -> None:
    made = [await create(tenant, external_reference=f"web-{number}") for number in range(5)]
    cafe = {"name": "Café Crème", "sku": "CC-1", "unit_price_money": {"amount": 300, "currency": "EUR"}}
    coffee = await create(tenant, line_items=[cafe], source="pos")
    await pay(stack, tenant, made[0]["order_id"], 9000)

    async def found(**params: Any) -> list[str]:
        answer = await tenant.http.get("/v1/orders", params=params)
        assert answer.status_code == 200, answer.text
        return [order["order_id"] for order in answer.json()["data"]]

    everything = [coffee["order_id"], *(order["order_id"] for order in reversed(made))]
    assert await found() == everything
    assert await found(payment_status="paid") == [made[0]["order_id"]]
    assert await found(source="pos") == [coffee["order_id"]]
    assert await found(query="creme cafe") == [coffee["order_id"]]
    assert await found(query="cc") == [coffee["order_id"]]
    assert await found(query="web 3") == [made[3]["order_id"]]
    assert await found(query="!?") == []
    assert await found(number=made[2]["number"]) == [made[2]["order_id"]]
    assert await found(total_to=300) == [coffee["order_id"]]
    assert await found(created_from=coffee["created_at"]) == [coffee["order_id"]]
    assert await found(external_reference="web-1", status="open") == [made[1]["order_id"]]
    seen: list[str] = []
    params: dict[str, Any] = {"page_size": 4, "status": "open"}
    while True:
        body = (await tenant.http.get("/v1/orders", params=params)).json()
        seen += [order["order_id"] for order in body["data"]]
        if "next_page_token" not in body:
            break
        params["page_token"] = body["next_page_token"]
    assert seen == everything
    params["status"] = "closed"
    problem(await tenant.http.get("/v1/orders", params=params), 400, "INVALID_PAGE_TOKEN", "page_token")


async def test_customers_are_kept_found_expanded_and_forgotten(tenant: Tenant) -> None:
    body = {"name": "Zoë Müller", "email": "zoe@example.org", "metadata": {"tier": "gold"}}
    made = (await tenant.http.post("/v1/customers", json=body)).json()["data"]
    path = f"/v1/customers/{made['customer_id']}"
    order = await create(tenant, customer_id=made["customer_id"])
    expanded = await tenant.http.get(f"/v1/orders/{order['order_id']}", params={"expand": "customer"})
    assert expanded.json()["data"]["customer"] == made
    found = (await tenant.http.get("/v1/customers", params={"query": "zoe mull"})).json()["data"]
    assert found == [made]
    changed = (await tenant.http.patch(path, json={"phone": "+4930123456", "expected_version": 1})).json()["data"]
    assert (changed["version"], changed["phone"], changed["name"]) == (2, "+4930123456", "Zoë Müller")
    stale = await tenant.http.patch(path, json={"name": "X", "expected_version": 1})
    assert problem(stale, 409, "VERSION_CONFLICT")["current_version"] == 2
    assert (await tenant.http.delete(path)).status_code == 204
    problem(await tenant.http.get(path), 404, "NOT_FOUND")
    problem(await tenant.http.delete(path), 404, "NOT_FOUND")


async def test_a_customer_has_so_many_metadata_keys_however_they_come(tenant: Tenant) -> None:
    full = {f"k{number}": "v" for number in range(50)}
    made = (await tenant.http.post("/v1/customers", json={"metadata": full})).json()["data"]
    path = f"/v1/customers/{made['customer_id']}"
    problem(await tenant.http.patch(path, json={"metadata": {"one": "more"}}), 400, "VALIDATION_FAILED", "metadata")
    assert (await tenant.http.get(path)).json()["data"] == made
    changed = await tenant.http.patch(path, json={"metadata": {"k0": None, "one": "more"}})
    assert changed.json()["data"]["metadata"] == {name: "v" for name in full if name != "k0"} | {"one": "more"}


async def test_refusals_name_what_is_in_the_way(stack: Stack, tenant: Tenant) -> None:
    order = await create(tenant)
    path = f"/v1/orders/{order['order_id']}"
    await pay(stack, tenant, order["order_id"], 9000)
    refused = problem(await tenant.http.post(f"{path}/cancel", json={}), 409, "ORDER_HAS_MONEY")
    assert [blocker["type"] for blocker in refused["blockers"]] == ["payment"]
    line_id = order["line_items"][0]["line_item_id"]
    refused = problem(await tenant.http.delete(f"{path}/line-items/{line_id}"), 409, "EDIT_CONTRADICTS_MONEY")
    assert refused["bound_money"] == {"amount": 9000, "currency": "EUR"}
    assert (await tenant.http.post(f"{path}/close", json={"reason": "done"})).json()["data"]["status"] == "closed"
    note = {"name": "Late", "unit_price_money": {"amount": 1, "currency": "EUR"}}
    problem(await tenant.http.post(f"{path}/line-items", json=note), 409, "ORDER_NOT_OPEN")


async def test_other_tenants_see_nothing(stack: Stack, tenant: Tenant) -> None:
    order = await create(tenant)
    path = f"/v1/orders/{order['order_id']}"
    other_merchant = await stack.tenant()
    other_environment = await stack.tenant(merchant_id=tenant.merchant_id, environment="live")
    for stranger in (other_merchant, other_environment):
        nothing = problem(await stranger.http.get("/v1/orders/ord_01M0000000000000000000000"), 404, "NOT_FOUND")
        for answer in (
            await stranger.http.get(path),
            await stranger.http.get(f"{path}/activities"),
            await stranger.http.patch(path, json={"operator_id": "x"}),
            await stranger.http.post(f"{path}/cancel", json={}),
            await stranger.http.post(f"{path}/tip", json={"tip_money": {"amount": 1, "currency": "EUR"}}),
        ):
            hidden = problem(answer, 404, "NOT_FOUND")
            assert hidden["detail"] == nothing["detail"]
        assert (await stranger.http.get("/v1/orders")).json()["data"] == []
        await stranger.http.aclose()
    assert (await tenant.http.get(path)).json()["data"]["version"] == 1


async def test_credentials_are_asked_for_and_scopes_checked(stack: Stack, tenant: Tenant) -> None:
    async with httpx2.AsyncClient(base_url=stack.base_url) as nobody:
        missing = await nobody.get("/v1/orders")
        unknown = await nobody.get("/v1/orders", headers={"Authorization": "Bearer tl_test_nothing"})
    assert missing.headers["www-authenticate"] == "Bearer"
    assert problem(missing, 401, "UNAUTHENTICATED")["detail"] == problem(unknown, 401, "UNAUTHENTICATED")["detail"]
    reader = await stack.tenant(scopes=["orders.read"], merchant_id=tenant.merchant_id)
    assert (await reader.http.get("/v1/orders")).status_code == 200
    refused = problem(await reader.http.post("/v1/orders", json=ORDER), 403, "INSUFFICIENT_SCOPE")
    assert refused["missing_scopes"] == ["orders.write"]
    await stack.grant(reader.grant.model_copy(update={"status": "revoked"}))

    async def shut_out() -> bool:
        return (await reader.http.get("/v1/orders")).status_code == 401

    await eventually(shut_out, within_s=1)
    await reader.http.aclose()


async def test_a_repeated_request_gets_the_stored_answer(tenant: Tenant) -> None:
    key = {"Idempotency-Key": "create-1"}
    first = await tenant.http.post("/v1/orders", json=ORDER, headers=key)
    again = await tenant.http.post("/v1/orders", json=ORDER, headers=key)
    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    other = await tenant.http.post("/v1/orders", json=ORDER | {"source": "pos"}, headers=key)
    problem(other, 409, "IDEMPOTENCY_KEY_REUSED")
    assert len((await tenant.http.get("/v1/orders")).json()["data"]) == 1
    order_id = first.json()["data"]["order_id"]
    refusal = {"json": {"reason": "x", "expected_version": 9}, "headers": {"Idempotency-Key": "cancel-1"}}
    refused = await tenant.http.post(f"/v1/orders/{order_id}/cancel", **refusal)  # type: ignore[arg-type]
    replayed = await tenant.http.post(f"/v1/orders/{order_id}/cancel", **refusal)  # type: ignore[arg-type]
    assert problem(refused, 409, "VERSION_CONFLICT")["current_version"] == 1
    assert replayed.json() == refused.json()


async def test_the_same_key_at_the_same_time_takes_effect_once(tenant: Tenant) -> None:
    key = {"Idempotency-Key": "race"}
    answers = await asyncio.gather(*(tenant.http.post("/v1/orders", json=ORDER, headers=key) for _ in range(8)))
    codes = {answer.status_code for answer in answers}
    assert codes <= {201, 409}
    assert 201 in codes
    for answer in answers:
        if answer.status_code == 409:
            problem(answer, 409, "IDEMPOTENCY_KEY_IN_PROGRESS")
    assert len((await tenant.http.get("/v1/orders")).json()["data"]) == 1


def _line(**changes: Any) -> dict[str, Any]:
    return ORDER | {"line_items": [JACKET | changes]}


EUR = {"currency": "EUR"}
BAD_ORDERS = [
    (ORDER | {"surprise": 1}, "UNKNOWN_FIELD", "surprise"),
    (_line(colour="red"), "UNKNOWN_FIELD", "line_items.0.colour"),
    (_line(unit_price_money={"amount": "4500", **EUR}), "VALIDATION_FAILED", "line_items.0.unit_price_money.amount"),
    (_line(unit_price_money={"amount": 1.5, **EUR}), "VALIDATION_FAILED", "line_items.0.unit_price_money.amount"),
    (_line(unit_price_money={"amount": True, **EUR}), "VALIDATION_FAILED", "line_items.0.unit_price_money.amount"),
    (_line(unit_price_money={"amount": -1, **EUR}), "VALIDATION_FAILED", "line_items.0.unit_price_money.amount"),
    (_line(unit_price_money={"amount": 10**12, **EUR}), "AMOUNT_TOO_LARGE", "line_items.0.unit_price_money.amount"),
    (_line(unit_price_money={"amount": 2**63, **EUR}), "AMOUNT_TOO_LARGE", "line_items.0.unit_price_money.amount"),
    (_line(unit_price_money={"amount": 10**30, **EUR}), "AMOUNT_TOO_LARGE", "line_items.0.unit_price_money.amount"),
    (_line(unit_price_money={"amount": 999_999_999_999, **EUR}), "AMOUNT_TOO_LARGE", None),
    (
        _line(unit_price_money={"amount": 1, "currency": "USD"}),
        "CURRENCY_MISMATCH",
        "line_items.0.unit_price_money.currency",
    ),
    (ORDER | {"currency": "XXX"}, "VALIDATION_FAILED", "currency"),
    (ORDER | {"currency": "eur"}, "VALIDATION_FAILED", "currency"),
    (_line(quantity="1.2345"), "VALIDATION_FAILED", "line_items.0.quantity"),
    (_line(quantity=0), "VALIDATION_FAILED", "line_items.0.quantity"),
    (_line(quantity=-1), "VALIDATION_FAILED", "line_items.0.quantity"),
    (_line(quantity="1e3"), "VALIDATION_FAILED", "line_items.0.quantity"),
    (_line(name=""), "VALIDATION_FAILED", "line_items.0.name"),
    (_line(name="a\x00b"), "VALIDATION_FAILED", "line_items.0.name"),
    (_line(taxes=[{"name": "VAT", "percentage": "101"}]), "VALIDATION_FAILED", "line_items.0.taxes.0.percentage"),
    (_line(taxes=[{"name": "VAT"}]), "VALIDATION_FAILED", "line_items.0.taxes.0"),
    (
        ORDER | {"discounts": [{"name": "Spring", "percentage": "10", "line_item_ids": ["li_1"]}]},
        "UNKNOWN_FIELD",
        "discounts.0.line_item_ids",
    ),
    (ORDER | {"line_items": [JACKET] * 501}, "VALIDATION_FAILED", "line_items"),
    (ORDER | {"customer_id": "cus_unknown"}, "VALIDATION_FAILED", "customer_id"),
    (ORDER | {"source": "fax"}, "VALIDATION_FAILED", "source"),
    (ORDER | {"metadata": {"a": 1}}, "VALIDATION_FAILED", "metadata.a"),
    (ORDER | {"metadata": {str(number): "" for number in range(51)}}, "VALIDATION_FAILED", "metadata"),
    ({}, "VALIDATION_FAILED", "currency"),
]


@pytest.mark.parametrize(("body", "code", "param"), BAD_ORDERS)
async def test_bad_orders_are_named_and_leave_nothing(
    tenant: Tenant, body: dict[str, Any], code: str, param: str | None
) -> None:
    status = 409 if code.startswith("ORDER") else 400
    problem(await tenant.http.post("/v1/orders", json=body), status, code, param)
    assert (await tenant.http.get("/v1/orders")).json()["data"] == []


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"{", 400, "MALFORMED_JSON"),
        (b"", 400, "MALFORMED_JSON"),
        (b"[]", 400, "VALIDATION_FAILED"),
        (b"\xff\xfe", 400, "MALFORMED_JSON"),
        (b'{"currency": "EUR", "metadata": {"a": "\\ud800"}}', 400, None),
        (b'{"currency": "EUR", "metadata": {"a": NaN}}', 400, "MALFORMED_JSON"),
        (b'{"currency": "EUR", "metadata": ' + b"[" * 10_000 + b"]" * 10_000 + b"}", 400, None),
        (b'{"currency": "' + b"x" * 5_000_000 + b'"}', 413, "PAYLOAD_TOO_LARGE"),
    ],
)
async def test_bad_bodies_are_refused(tenant: Tenant, content: bytes, status: int, code: str | None) -> None:
    answer = await tenant.http.post("/v1/orders", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == status, answer.text[:500]
    assert answer.json()["code"] == (code or answer.json()["code"])
    assert answer.json()["code"] in ("MALFORMED_JSON", "VALIDATION_FAILED", "PAYLOAD_TOO_LARGE")


async def test_ten_thousand_lines_are_refused(tenant: Tenant) -> None:
    answer = await tenant.http.post("/v1/orders", json=ORDER | {"line_items": [JACKET] * 10_000})
    assert answer.status_code in (400, 413)


@pytest.mark.parametrize(
    ("params", "code", "param"),
    [
        ({"page_size": 0}, "VALIDATION_FAILED", "page_size"),
        ({"page_size": 101}, "VALIDATION_FAILED", "page_size"),
        ({"page_size": "x"}, "VALIDATION_FAILED", "page_size"),
        ({"page_token": "nonsense"}, "INVALID_PAGE_TOKEN", "page_token"),
        ({"page_token": "AAAA" * 20}, "INVALID_PAGE_TOKEN", "page_token"),
        ({"status": "paid"}, "VALIDATION_FAILED", "status"),
        ({"surprise": "1"}, "UNKNOWN_FIELD", "surprise"),
        ({"number": "a\x00"}, "VALIDATION_FAILED", None),
        ({"created_from": "yesterday"}, "VALIDATION_FAILED", "created_from"),
        ({"created_from": "0.5"}, "VALIDATION_FAILED", "created_from"),
        ({"total_from": 10**30}, "VALIDATION_FAILED", "total_from"),
        ({"updated_from": "2026-01-01T00:00:00Z"}, "UNKNOWN_FIELD", "updated_from"),
        ({"expand": "everything"}, "VALIDATION_FAILED", "expand"),
    ],
)
async def test_bad_queries_are_named(tenant: Tenant, params: dict[str, Any], code: str, param: str | None) -> None:
    problem(await tenant.http.get("/v1/orders", params=params), 400, code, param)


@pytest.mark.parametrize("part", ["line-items/x", "charges/x", "line-items/li_nothing", "charges/%2A"])
async def test_a_part_that_is_not_there_is_not_found(tenant: Tenant, part: str) -> None:
    order = await create(tenant)
    answer = await tenant.http.delete(f"/v1/orders/{order['order_id']}/{part}")
    assert (answer.status_code, answer.json()["code"]) == (404, "NOT_FOUND")


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
async def test_a_moment_beyond_the_calendar_is_refused(tenant: Tenant, moment: str) -> None:
    answer = await tenant.http.get("/v1/orders", params={"created_from": moment})
    assert (answer.status_code, answer.json()["param"]) == (400, "created_from")


async def test_head_is_get_without_the_body_and_keeps_the_connection(tenant: Tenant) -> None:
    for _ in range(3):
        answer = await tenant.http.head("/v1/orders", headers={"Connection": "keep-alive"})
        assert (answer.status_code, answer.content) == (200, b"")
        assert int(answer.headers["content-length"]) > 0


async def test_a_stale_expected_version_is_refused(tenant: Tenant) -> None:
    order = await create(tenant)
    tip = {"tip_money": {"amount": 1, "currency": "EUR"}, "expected_version": 2}
    refused = await tenant.http.post(f"/v1/orders/{order['order_id']}/tip", json=tip)
    assert problem(refused, 409, "VERSION_CONFLICT", "expected_version")["current_version"] == 1
