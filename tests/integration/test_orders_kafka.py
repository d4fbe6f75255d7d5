"""Commands on Kafka: one outcome each for ever, and no message that stops the others."""

import asyncio
from typing import Any

import pytest
from aiokafka import ConsumerRecord

from shared.contracts import order_commands as c
from shared.contracts.order_parts import Holder, LineItem
from shared.contracts.orders import CommandAccepted, CommandRefused, OrderVersion
from shared.ids import new_id
from shared.topics import ORDERS_COMMANDS, ORDERS_EVENTS, ORDERS_REPLIES, dead_letters
from tests.stack import Stack, Tenant, body_of, headers_of, tail

pytestmark = pytest.mark.servers

CREATE = c.CreateOrder(
    currency="EUR", line_items=(LineItem(line_item_id="li_1", name="Rain jacket", quantity="2", unit_price_minor=4500),)
)


def capture(amount: int, number: int = 1, **changes: Any) -> c.RecordCapture:
    given: dict[str, Any] = {
        "payment_id": f"pay_{number}",
        "payment_reference": f"psp-{number}",
        "amount_minor": amount,
        "currency": "EUR",
    }
    return c.RecordCapture(**(given | changes))


async def created(stack: Stack, tenant: Tenant) -> str:
    order_id = new_id("ord")
    await stack.command(tenant, order_id, CREATE)
    await stack.read(ORDERS_REPLIES, order_id, 1)
    return order_id


async def outcome(stack: Stack, tenant: Tenant, order_id: str, command: Any, nth: int) -> dict[str, Any]:
    """The `nth` reply about this order, which is the one to this command."""
    command_id = await stack.command(tenant, order_id, command)
    reply = body_of((await stack.read(ORDERS_REPLIES, order_id, nth))[-1])
    assert reply["command_id"] == command_id
    return reply


async def test_every_version_is_published_with_the_order_after_it(stack: Stack, tenant: Tenant) -> None:
    order_id = await created(stack, tenant)
    command_id = await stack.command(
        tenant, order_id, capture(4000), actor="channel:chn_web", correlation_id="story-1", source="/services/payments"
    )
    first, second = await stack.read(ORDERS_EVENTS, order_id, 2)
    value = OrderVersion.model_validate_json(second.value)
    assert (value.version, value.previous_version, value.order_id) == (2, 1, order_id)
    assert [event.type for event in value.events] == ["orders.payment_captured.v1", "orders.order_partially_paid.v1"]
    assert (value.balance_before.amount, value.balance_after.amount) == (9000, 5000)
    assert (value.actor.type, value.actor.id) == ("channel", "chn_web")
    assert value.order is not None
    assert value.order["payment_status"] == "partially_paid"
    headers = headers_of(second)
    assert headers["ce_type"] == "orders.payment_captured.v1"
    assert headers["ce_id"] == f"{order_id}.2"
    assert headers["ce_orderversion"] == "2"
    assert (headers["ce_correlationid"], headers["ce_causationid"]) == ("story-1", command_id)
    assert (headers["ce_merchantid"], headers["ce_environment"]) == (tenant.merchant_id, "test")
    assert headers_of(first)["ce_type"] == "orders.order_created.v1"
    accepted = CommandAccepted.model_validate_json((await stack.read(ORDERS_REPLIES, order_id, 2))[-1].value)
    assert (accepted.command_id, accepted.order_version, accepted.sender) == (command_id, 2, "/services/payments")


async def test_a_repeated_command_gets_its_recorded_outcome_and_changes_nothing(stack: Stack, tenant: Tenant) -> None:
    order_id = await created(stack, tenant)
    for _ in range(2):
        await stack.command(tenant, order_id, capture(4000), "cmd_capture")
    lease = c.AcquireLease(lease_id="ls_1", holder=Holder(type="device", id="dev_1"), amount_minor=9000)
    for _ in range(2):
        await stack.command(tenant, order_id, lease, "cmd_lease")
    await stack.command(tenant, order_id, capture(5000, 2), "cmd_rest")
    await stack.command(tenant, order_id, lease, "cmd_lease")
    replies = await stack.read(ORDERS_REPLIES, order_id, 7)
    told = [body_of(reply) for reply in replies]
    assert [each["command_id"] for each in told[1:]] == [
        "cmd_capture", "cmd_capture", "cmd_lease", "cmd_lease", "cmd_rest", "cmd_lease",
    ]  # fmt: skip
    assert told[1] == told[2]
    assert told[3] == told[4] == told[6]
    assert headers_of(replies[1])["ce_id"] == headers_of(replies[2])["ce_id"]
    refused = CommandRefused.model_validate(told[6])
    assert (refused.code, refused.facts["outstanding_minor"]) == ("OUTSTANDING_CHANGED", 5000)
    order = (await tenant.http.get(f"/v1/orders/{order_id}")).json()["data"]
    assert (order["version"], order["payment_status"]) == (3, "paid")


@pytest.mark.parametrize(
    ("prepare", "command", "code"),
    [
        (None, capture(9000), "NOT_FOUND"),
        (CREATE, CREATE, "ORDER_EXISTS"),
        (CREATE, capture(9000, currency="USD"), "CURRENCY_MISMATCH"),
        (
            CREATE,
            c.AcquireLease(lease_id="ls_1", holder=Holder(type="device", id="d"), amount_minor=9001),
            "OUTSTANDING_CHANGED",
        ),
    ],
)
async def test_what_cannot_be_is_refused_with_a_code(
    stack: Stack, tenant: Tenant, prepare: Any, command: Any, code: str
) -> None:
    order_id = await created(stack, tenant) if prepare else new_id("ord")
    reply = await outcome(stack, tenant, order_id, command, 2 if prepare else 1)
    assert (reply["code"], reply["order_version"]) == (code, 1 if prepare else 0)


async def test_another_merchants_command_is_not_found_and_tells_nothing(stack: Stack, tenant: Tenant) -> None:
    order_id = await created(stack, tenant)
    stranger = await stack.tenant()
    reply = await outcome(stack, stranger, order_id, capture(9000), 2)
    assert (reply["code"], reply["order_version"], reply["facts"]) == ("NOT_FOUND", 0, {})
    assert (await tenant.http.get(f"/v1/orders/{order_id}")).json()["data"]["payment_status"] == "unpaid"
    await stranger.http.aclose()


BODY = capture(9000).model_dump_json().encode()
POISON: list[tuple[str, dict[str, Any]]] = [
    ("UNKNOWN_TYPE", {"type": "orders.paint_order.v1"}),
    ("UNKNOWN_TYPE", {"type": "orders.record_capture.v99"}),
    ("COMMAND_ID_TOO_LONG", {"id": "x" * 201}),
    ("MISSING_KEY", {"key": None}),
    ("KEY_MISMATCH", {"subject": "ord_another"}),
    ("KEY_MISMATCH", {"key": "not-an-order", "subject": None}),
    ("MISSING_TENANT", {"merchant_id": None}),
    ("MISSING_TENANT", {"environment": "staging"}),
    ("INVALID_BODY", {"data": b'{"line_item_id": "li_1"}'}),
    ("INVALID_BODY", {"data": b"[1, 2]"}),
    ("INVALID_BODY", {"data": BODY.replace(b"9000", b"-1")}),
    ("INVALID_BODY", {"data": BODY.replace(b"9000", str(2**63).encode())}),
    ("INVALID_BODY", {"data": BODY.replace(b"EUR", b"XXX")}),
]


async def dead(stack: Stack, marker: str, within_s: float = 20) -> ConsumerRecord:
    """The dead letter that was published with this `ce_id`."""

    async with tail(stack.settings.kafka, dead_letters(ORDERS_COMMANDS)) as letters, asyncio.timeout(within_s):
        async for letter in letters:
            if any(name == "ce_id" and value == marker.encode() for name, value in letter.headers):
                return letter
    raise AssertionError("unreachable")


@pytest.mark.parametrize(("reason", "changes"), POISON)
async def test_poison_goes_to_the_dead_letters_and_the_next_message_is_done(
    stack: Stack, tenant: Tenant, reason: str, changes: dict[str, Any]
) -> None:
    order_id = await created(stack, tenant)
    command_id = await stack.command(tenant, order_id, capture(9000), **changes)
    await stack.command(tenant, order_id, capture(4000, 2))
    letter = await dead(stack, command_id)
    assert headers_of(letter)["tl_reason"] == reason
    assert headers_of(letter)["tl_topic"] == ORDERS_COMMANDS
    assert letter.value == changes.get("data", capture(9000).model_dump_json(exclude_unset=True).encode())
    replies = [body_of(reply) for reply in await stack.read(ORDERS_REPLIES, order_id, 2)]
    assert command_id not in [reply["command_id"] for reply in replies]
    order = (await tenant.http.get(f"/v1/orders/{order_id}")).json()["data"]
    assert order["settlement"]["captured_money"]["amount"] == 4000


async def test_bytes_that_are_no_cloudevent_are_put_aside(stack: Stack, tenant: Tenant) -> None:
    order_id = await created(stack, tenant)
    for value in (b"garbage", b"", None, b"\xff" * 1000):
        await stack.kafka.send_and_wait(ORDERS_COMMANDS, value=value, key=order_id.encode())
    await stack.kafka.send_and_wait(ORDERS_COMMANDS, value=b"x", key=order_id.encode(), headers=[("ce_id", b"\xff")])
    await stack.command(tenant, order_id, capture(9000))
    letters = await stack.read(dead_letters(ORDERS_COMMANDS), order_id, 5)
    assert {headers_of(letter)["tl_reason"] for letter in letters[:4]} == {"NOT_A_CLOUDEVENT"}
    await stack.read(ORDERS_REPLIES, order_id, 2)


async def test_facts_that_arrive_out_of_order_end_alike(stack: Stack, tenant: Tenant) -> None:
    void = c.RecordVoid(payment_id="pay_2", payment_reference="psp-2", currency="EUR")
    authorize = c.RecordAuthorization(payment_id="pay_2", payment_reference="psp-2", amount_minor=5000, currency="EUR")
    facts = [capture(4000), void, authorize]
    shown = []
    for order_of_arrival in (facts, facts[::-1]):
        order_id = await created(stack, tenant)
        for fact in order_of_arrival:
            await stack.command(tenant, order_id, fact)
        await stack.read(ORDERS_REPLIES, order_id, 4)
        order = (await tenant.http.get(f"/v1/orders/{order_id}")).json()["data"]
        shown.append((order["settlement"], order["payment_status"], order["version"]))
    assert shown[0] == shown[1]
    assert shown[0][0]["authorized_money"]["amount"] == 0


async def test_money_on_a_canceled_order_is_kept_and_followed_up(stack: Stack, tenant: Tenant) -> None:
    order_id = await created(stack, tenant)
    await tenant.http.post(f"/v1/orders/{order_id}/cancel", json={"reason": "Changed mind"})
    reply = await outcome(stack, tenant, order_id, capture(9000), 2)
    assert reply["facts"] == {"surplus_minor": 9000, "order_status": "canceled"}
    order = (await tenant.http.get(f"/v1/orders/{order_id}")).json()["data"]
    assert (order["status"], order["payment_status"]) == ("canceled", "overpaid")
    assert order["settlement"]["credit_money"]["amount"] == 9000


async def test_a_lease_that_ran_out_is_written_down_without_anyones_help(stack: Stack, tenant: Tenant) -> None:
    order_id = await created(stack, tenant)
    lease = c.AcquireLease(lease_id="ls_1", holder=Holder(type="device", id="dev_1"), amount_minor=9000, term_s=1)
    await outcome(stack, tenant, order_id, lease, 2)
    held = (await tenant.http.get(f"/v1/orders/{order_id}/leases")).json()["data"]
    assert [(each["lease_id"], each["fence"]) for each in held] == [("ls_1", 2)]
    expired = (await stack.read(ORDERS_EVENTS, order_id, 3))[-1]
    assert headers_of(expired)["ce_type"] == "orders.lease_expired.v1"
    order = (await tenant.http.get(f"/v1/orders/{order_id}")).json()["data"]
    assert (order["leases"], order["settlement"]["available_money"]["amount"]) == ([], 9000)


async def test_an_order_too_large_for_a_message_is_told_without_its_snapshot(stack: Stack, tenant: Tenant) -> None:
    metadata = {f"k{key}": "v" * 500 for key in range(4)}
    lines = tuple(
        LineItem(line_item_id=f"li_{number}", name="n" * 500, unit_price_minor=1, metadata=metadata)
        for number in range(370)
    )
    largest = c.CreateOrder(currency="EUR", line_items=lines)
    assert len(largest.model_dump_json(exclude_unset=True)) > 960_000
    order_id = new_id("ord")
    await stack.command(tenant, order_id, largest)
    await stack.command(tenant, order_id, capture(370))
    first, second = await stack.read(ORDERS_EVENTS, order_id, 2)
    assert (body_of(first)["version"], body_of(first)["order"]) == (1, None)
    assert [event["type"] for event in body_of(second)["events"]] == [
        "orders.payment_captured.v1", "orders.order_paid.v1",
    ]  # fmt: skip
    order = (await tenant.http.get(f"/v1/orders/{order_id}")).json()["data"]
    assert (len(order["line_items"]), order["payment_status"]) == (370, "paid")
