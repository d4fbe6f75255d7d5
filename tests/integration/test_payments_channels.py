"""Channels on real servers: what they tell by Kafka and HTTP reaches the order once, and what fits none is shown."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError, TopicAuthorizationFailedError

from shared.ids import new_id
from tests.stack import Stack, Tenant, eventually, headers_of, tail

pytestmark = pytest.mark.servers

EXAMPLE = Path(__file__).parents[2] / "examples" / "channel" / "channel.py"
CAPTURED = "channel.payment.captured.v1"


@dataclass(frozen=True)
class Channel:
    """A channel of the tenant, logged in to Kafka with the credentials that it was given."""

    stack: Stack
    tenant: Tenant
    channel_id: str
    made: dict[str, Any]
    kafka: AIOKafkaProducer

    @property
    def topic(self) -> str:
        return f"channels.{self.channel_id}.payments"

    async def tell(self, event_type: str, body: dict[str, Any], **attributes: str) -> None:
        """Publish an event in binary mode, as the walkthrough shows it."""
        given = {
            "ce_specversion": "1.0",
            "ce_id": new_id("evt"),
            "ce_type": event_type,
            "ce_source": f"/channels/{self.channel_id}",
            "content-type": "application/json",
        }
        headers = [(name, value.encode()) for name, value in (given | attributes).items()]
        key = body.get("order_id", body.get("external_reference", "none"))
        await self.kafka.send_and_wait(self.topic, json.dumps(body).encode(), key=key.encode(), headers=headers)

    async def captured(self, **body: Any) -> None:
        await self.tell(CAPTURED, body)

    async def dead(self, count: int) -> list[Any]:
        """The first dead letters of this channel."""
        async with tail(self.stack.settings.kafka, f"{self.topic}.dead-letters") as records:
            return [await records.getone() for _ in range(count)]


def client(made: dict[str, Any]) -> dict[str, Any]:
    access = made["kafka"]
    return {
        "bootstrap_servers": access["bootstrap_servers"],
        "security_protocol": access["security_protocol"],
        "sasl_mechanism": access["sasl_mechanism"],
        "sasl_plain_username": access["username"],
        "sasl_plain_password": access["password"],
    }


@pytest.fixture
async def channel(stack: Stack, tenant: Tenant) -> AsyncIterator[Channel]:
    answer = await tenant.http.post("/v1/channels", json={"name": "Web shop", "source": "checkout"})
    assert answer.status_code == 201, answer.text
    made = answer.json()["data"]
    async with AIOKafkaProducer(**client(made), enable_idempotence=True) as kafka:
        yield Channel(stack, tenant, made["channel_id"], made, kafka)


def money(amount: int, currency: str = "EUR") -> dict[str, Any]:
    return {"amount": amount, "currency": currency}


async def new_order(tenant: Tenant, amount: int = 9000, **more: Any) -> str:
    line = {"name": "Rain jacket", "quantity": 1, "unit_price_money": money(amount)}
    body = {"source": "checkout", "currency": "EUR", "line_items": [line], **more}
    answer = await tenant.http.post("/v1/orders", json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["data"]["order_id"])


async def order_when(tenant: Tenant, order_id: str, payment_status: str) -> dict[str, Any]:
    async def reached() -> Any:
        order = (await tenant.http.get(f"/v1/orders/{order_id}")).json()["data"]
        return order if order["payment_status"] == payment_status else None

    found: dict[str, Any] = await eventually(reached)
    return found


async def items(tenant: Tenant, **filters: str) -> list[dict[str, Any]]:
    answer = await tenant.http.get("/v1/unmatched-money", params=filters)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["data"]
    return found


async def item_of(tenant: Tenant, **filters: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = await eventually(lambda: items(tenant, **filters))
    assert len(found) == 1
    return found[0]


async def test_a_capture_pays_the_order_once(channel: Channel) -> None:
    order_id = await new_order(channel.tenant)
    body = {"order_id": order_id, "payment_reference": "psp-77", "amount_money": money(9000)}
    method = {"type": "card", "brand": "visa", "last4": "4242"}
    for _ in range(3):
        await channel.captured(**body, method=method, captured_at="2026-11-21T10:00:00Z", more="ignored")
    order = await order_when(channel.tenant, order_id, "paid")
    later = await new_order(channel.tenant)
    await channel.captured(order_id=later, payment_reference="psp-78", amount_money=money(9000))
    await order_when(channel.tenant, later, "paid")

    [leg] = order["payments"]
    assert (leg["reference"], leg["source"], leg["channel_id"]) == ("psp-77", "checkout", channel.channel_id)
    assert leg["method"] == method
    assert (await channel.tenant.http.get(f"/v1/orders/{order_id}")).json()["data"]["version"] == order["version"]
    history = (await channel.tenant.http.get(f"/v1/orders/{order_id}/activities")).json()["data"]
    assert history[0]["actor"] == {"type": "channel", "id": channel.channel_id}
    assert await items(channel.tenant) == []


async def test_by_external_reference_and_in_structured_mode(channel: Channel) -> None:
    order_id = await new_order(channel.tenant, external_reference="web-8812")
    event = {
        "specversion": "1.0",
        "id": new_id("evt"),
        "type": CAPTURED,
        "source": f"/channels/{channel.channel_id}",
        "data": {"external_reference": "web-8812", "payment_reference": "psp-1", "amount_money": money(9000)},
    }
    headers = [("content-type", b"application/cloudevents+json; charset=utf-8")]
    await channel.kafka.send_and_wait(channel.topic, json.dumps(event).encode(), headers=headers)
    order = await order_when(channel.tenant, order_id, "paid")
    assert [leg["reference"] for leg in order["payments"]] == ["psp-1"]


async def test_the_steps_of_one_payment_are_one_leg_in_any_order(channel: Channel) -> None:
    order_id = await new_order(channel.tenant)
    about = {"order_id": order_id, "payment_reference": "psp-9"}
    refund = {"refund_reference": "re-1", "amount_money": money(9000)}
    await channel.tell("channel.payment.refunded.v1", about | refund)
    await channel.captured(**about, amount_money=money(9000), capture_reference="c1")
    await channel.tell("channel.payment.authorized.v1", about | {"amount_money": money(9000)})

    async def settled() -> Any:
        order = (await channel.tenant.http.get(f"/v1/orders/{order_id}")).json()["data"]
        return order if order["version"] == 4 else None

    order = await eventually(settled)
    [leg] = order["payments"]
    assert (leg["status"], leg["captured_money"], leg["refunded_money"]) == ("refunded", money(9000), money(9000))


async def test_a_void_without_amount_is_in_the_currency_of_its_payment(channel: Channel) -> None:
    order_id = await new_order(channel.tenant)
    about = {"order_id": order_id, "payment_reference": "psp-v"}
    await channel.tell("channel.payment.authorized.v1", about | {"amount_money": money(9000)})
    await channel.tell("channel.payment.failed.v1", about | {"payment_reference": "psp-f", "code": "do_not_honor"})
    await channel.tell("channel.payment.voided.v1", about)

    async def told() -> Any:
        order = (await channel.tenant.http.get(f"/v1/orders/{order_id}")).json()["data"]
        statuses = {leg["reference"]: leg["status"] for leg in order["payments"]}
        return statuses == {"psp-v": "voided", "psp-f": "failed"}

    await eventually(told)


async def test_another_amount_for_the_same_reference_is_refused_and_shown_once(channel: Channel) -> None:
    order_id = await new_order(channel.tenant)
    about = {"order_id": order_id, "payment_reference": "psp-77"}
    for amount in (5000, 6000, 6000, 5000, 7000):
        await channel.captured(**about, amount_money=money(amount))

    async def both() -> Any:
        found = await items(channel.tenant, kind="conflict")
        return found if len(found) == 2 else None

    found = await eventually(both)
    assert sorted(item["amount_money"]["amount"] for item in found) == [6000, 7000]
    assert {item["order_id"] for item in found} == {order_id}
    order = await order_when(channel.tenant, order_id, "partially_paid")
    assert order["settlement"]["captured_money"] == money(5000)
    one = (await channel.tenant.http.get(f"/v1/unmatched-money/{found[0]['unmatched_money_id']}")).json()["data"]
    assert one == found[0] | {"proposals": []}


async def test_money_for_an_order_that_appears_later_is_kept_and_applied(channel: Channel) -> None:
    body = {"external_reference": "web-late", "payment_reference": "psp-1", "amount_money": money(9000)}
    await channel.captured(**body)
    await channel.captured(order_id="ord_NOBODYS", payment_reference="psp-2", amount_money=money(100))

    async def two() -> Any:
        found = await items(channel.tenant, kind="unknown_order", status="open")
        return found if len(found) == 2 else None

    found = {item["payment_reference"]: item for item in await eventually(two)}
    assert found["psp-1"]["external_reference"] == "web-late"
    order_id = await new_order(channel.tenant, external_reference="web-late")
    order = await order_when(channel.tenant, order_id, "paid")
    assert order["settlement"]["captured_money"] == money(9000)
    attached = await item_of(channel.tenant, status="attached")
    assert (attached["unmatched_money_id"], attached["order_id"]) == (found["psp-1"]["unmatched_money_id"], order_id)
    [left] = await items(channel.tenant, status="open")
    assert left["unmatched_money_id"] == found["psp-2"]["unmatched_money_id"]
    told = await channel.stack.read("payments.events", order_id, 2)
    assert {headers_of(record)["ce_type"] for record in told} == {
        "payments.channel_event_applied.v1",
        "payments.unmatched_money_attached.v1",
    }


async def test_a_reference_of_several_orders_is_not_guessed(channel: Channel) -> None:
    first = await new_order(channel.tenant, external_reference="web-twice")
    second = await new_order(channel.tenant, external_reference="web-twice")
    for order_id in (first, second):
        await channel.captured(order_id=order_id, payment_reference=order_id, amount_money=money(100))
        await order_when(channel.tenant, order_id, "partially_paid")
    body = {"external_reference": "web-twice", "payment_reference": "psp-1", "amount_money": money(8900)}
    await channel.captured(**body)
    item = await item_of(channel.tenant, kind="unknown_order")
    assert "everal" in item["detail"]
    assert item["order_id"] is None


async def test_another_currency_is_refused_and_shown(channel: Channel) -> None:
    order_id = await new_order(channel.tenant)
    await channel.captured(order_id=order_id, payment_reference="psp-1", amount_money=money(9000, "USD"))
    item = await item_of(channel.tenant, kind="currency", order_id=order_id)
    assert item["amount_money"] == money(9000, "USD")
    order = (await channel.tenant.http.get(f"/v1/orders/{order_id}")).json()["data"]
    assert (order["version"], order["payments"]) == (1, [])


async def test_a_surplus_is_on_the_order_and_shown(channel: Channel) -> None:
    order_id = await new_order(channel.tenant)
    await channel.captured(order_id=order_id, payment_reference="psp-1", amount_money=money(9500))
    order = await order_when(channel.tenant, order_id, "overpaid")
    assert order["settlement"]["credit_money"] == money(500)
    item = await item_of(channel.tenant, kind="surplus", order_id=order_id)
    assert item["amount_money"] == money(500)
    assert item["event"]["amount_money"] == money(9500)


@pytest.mark.parametrize("end", ["close", "cancel"])
async def test_money_for_an_ended_order_is_on_it_and_shown(channel: Channel, end: str) -> None:
    order_id = await new_order(channel.tenant)
    assert (await channel.tenant.http.post(f"/v1/orders/{order_id}/{end}", json={})).status_code == 200
    await channel.captured(order_id=order_id, payment_reference="psp-1", amount_money=money(9000))
    item = await item_of(channel.tenant, order_id=order_id)
    assert (item["kind"], item["amount_money"]) == ("closed_order", money(9000))
    order = (await channel.tenant.http.get(f"/v1/orders/{order_id}")).json()["data"]
    assert order["settlement"]["captured_money"] == money(9000)


async def test_what_counts_for_nothing_is_a_dead_letter_and_the_next_is_processed(channel: Channel) -> None:
    order_id = await new_order(channel.tenant)
    good = {"order_id": order_id, "payment_reference": "psp-1", "amount_money": money(9000)}
    bad: list[tuple[str, dict[str, Any], dict[str, str], str]] = [
        ("channel.payment.imagined.v1", good, {}, "UNKNOWN_TYPE"),
        ("channel.payment.captured.v2", good, {}, "UNKNOWN_VERSION"),
        (CAPTURED, good, {"ce_source": "/channels/chn_other"}, "SOURCE_MISMATCH"),
        (CAPTURED, good | {"amount_money": money(0)}, {}, "INVALID_AMOUNT"),
        (CAPTURED, good | {"amount_money": money(-5)}, {}, "INVALID_AMOUNT"),
        (CAPTURED, good | {"amount_money": money(10**13)}, {}, "INVALID_AMOUNT"),
        (CAPTURED, good | {"amount_money": money(5, "EURO")}, {}, "INVALID_CURRENCY"),
        (CAPTURED, {"order_id": order_id}, {}, "INVALID_BODY"),
        ("channel.payment.refunded.v1", good, {}, "INVALID_BODY"),
    ]
    for event_type, body, attributes, _ in bad:
        await channel.tell(event_type, body, **attributes)
    await channel.kafka.send_and_wait(channel.topic, b"\xff no event", key=order_id.encode())
    await channel.captured(**good)
    order = await order_when(channel.tenant, order_id, "paid")
    assert order["version"] == 2
    letters = await channel.dead(len(bad) + 1)
    assert sorted(headers_of(letter)["tl_reason"] for letter in letters) == sorted(
        [*(reason for *_, reason in bad), "NOT_A_CLOUDEVENT"]
    )
    told = headers_of(letters[0])
    assert (told["tl_topic"], told["tl_partition"].isdigit(), told["tl_offset"].isdigit()) == (
        channel.topic,
        True,
        True,
    )


async def test_a_channel_may_write_only_its_own_topic(channel: Channel, stack: Stack) -> None:
    other = await stack.tenant()
    foreign = (await other.http.post("/v1/channels", json={"name": "Other"})).json()["data"]
    for topic in (foreign["topic"], "orders.commands"):
        with pytest.raises(TopicAuthorizationFailedError):
            await channel.kafka.send_and_wait(topic, b"{}")
    await other.http.aclose()


async def test_the_example_channel(channel: Channel) -> None:
    order_id = await new_order(channel.tenant, external_reference="web-example")
    access = channel.made["kafka"]
    environment = {
        "CHANNEL_ID": channel.channel_id,
        "KAFKA_BOOTSTRAP_SERVERS": access["bootstrap_servers"],
        "KAFKA_USERNAME": access["username"],
        "KAFKA_PASSWORD": access["password"],
    }
    for kind in ("captured", "captured", "refunded"):
        arguments = [str(EXAMPLE), kind, "web-example", "psp-77", "9000", "EUR"]
        process = await asyncio.create_subprocess_exec(sys.executable, *arguments, env=environment)
        assert await process.wait() == 0

    async def refunded() -> Any:
        order = (await channel.tenant.http.get(f"/v1/orders/{order_id}")).json()["data"]
        return order["refund_status"] == "refunded"

    await eventually(refunded)


async def test_by_http_with_mixed_outcomes(channel: Channel, stack: Stack) -> None:
    order_id = await new_order(channel.tenant)
    stranger = await stack.tenant()
    foreign = (await stranger.http.post("/v1/channels", json={"name": "Other"})).json()["data"]["channel_id"]

    def event(channel_id: str, **data: Any) -> dict[str, Any]:
        return {
            "specversion": "1.0",
            "id": new_id("evt"),
            "type": CAPTURED,
            "source": f"/channels/{channel_id}",
            "data": {"order_id": order_id, "payment_reference": "psp-1", "amount_money": money(9000)} | data,
        }

    mine = channel.channel_id
    batch = [
        event(mine),
        event(mine),
        event(mine, amount_money=money(1)),
        event(mine, order_id=None, external_reference="web-none", payment_reference="psp-2"),
        event(foreign),
        event("chn_nobodys"),
        event(mine, amount_money=money(0)),
        {"no": "event"},
    ]
    headers = {"content-type": "application/cloudevents-batch+json", "Idempotency-Key": new_id("idem")}
    answer = await channel.tenant.http.post("/v1/channel-events", content=json.dumps(batch), headers=headers)
    assert answer.status_code == 202, answer.text
    outcomes = answer.json()["data"]
    assert [outcome["outcome"] for outcome in outcomes] == [
        "accepted",
        "duplicate",
        "conflict",
        "unmatched",
        *["rejected"] * 4,
    ]
    assert [outcome.get("reason") for outcome in outcomes[4:]] == [
        "UNKNOWN_CHANNEL",
        "UNKNOWN_CHANNEL",
        "INVALID_AMOUNT",
        "NOT_A_CLOUDEVENT",
    ]
    assert outcomes[0]["payment_id"] == outcomes[1]["payment_id"] == outcomes[2]["payment_id"]
    assert [outcome["event_id"] for outcome in outcomes[:7]] == [each["id"] for each in batch[:7]]
    await order_when(channel.tenant, order_id, "paid")
    shown = {item["unmatched_money_id"] for item in await items(channel.tenant)}
    assert shown == {outcomes[2]["unmatched_money_id"], outcomes[3]["unmatched_money_id"]}

    repeated = await channel.tenant.http.post("/v1/channel-events", content=json.dumps(batch), headers=headers)
    assert repeated.headers["idempotent-replayed"] == "true"
    assert repeated.json()["data"] == outcomes
    single = {"content-type": "application/cloudevents+json"}
    answer = await channel.tenant.http.post("/v1/channel-events", content=json.dumps(batch[0]), headers=single)
    assert [outcome["outcome"] for outcome in answer.json()["data"]] == ["duplicate"]
    binary = {f"ce-{name}": value for name, value in batch[0].items() if name != "data"}
    answer = await channel.tenant.http.post("/v1/channel-events", json=batch[0]["data"], headers=binary)
    assert [outcome["outcome"] for outcome in answer.json()["data"]] == ["duplicate"]
    await stranger.http.aclose()


async def test_an_event_that_says_all_in_its_body_needs_the_right_media_type(channel: Channel) -> None:
    event = {"specversion": "1.0", "id": "e", "type": CAPTURED, "source": f"/channels/{channel.channel_id}", "data": {}}
    answer = await channel.tenant.http.post("/v1/channel-events", json=event)
    [outcome] = answer.json()["data"]
    assert (answer.status_code, outcome["outcome"], outcome["reason"]) == (202, "rejected", "NOT_A_CLOUDEVENT")
    assert "application/cloudevents+json" in outcome["detail"]


@pytest.mark.parametrize(
    ("media_type", "content", "status", "code"),
    [
        ("application/cloudevents+json", "{", 400, "MALFORMED_JSON"),
        ("application/cloudevents-batch+json", "{}", 400, "VALIDATION_FAILED"),
        ("application/cloudevents-batch+json", json.dumps([{}] * 501), 413, "PAYLOAD_TOO_LARGE"),
        ("text/plain", "{}", 415, "UNSUPPORTED_MEDIA_TYPE"),
    ],
)
async def test_requests_that_hold_no_events(
    tenant: Tenant, media_type: str, content: str, status: int, code: str
) -> None:
    headers = {"content-type": media_type}
    answer = await tenant.http.post("/v1/channel-events", content=content, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_scopes(stack: Stack) -> None:
    reader = await stack.tenant(scopes=["payments.read"])
    assert (await reader.http.get("/v1/unmatched-money")).status_code == 200
    for path in ("/v1/channels", "/v1/channel-events"):
        answer = await reader.http.post(path, json={"name": "x"})
        assert (answer.status_code, answer.json()["code"]) == (403, "INSUFFICIENT_SCOPE")
    await reader.http.aclose()


async def test_the_life_of_a_channel(stack: Stack, tenant: Tenant) -> None:
    channel_id = new_id("chn")
    body = {"name": "Web", "channel_id": channel_id}
    key = {"Idempotency-Key": new_id("idem")}
    answer = await tenant.http.post("/v1/channels", json=body, headers=key)
    made = answer.json()["data"]
    assert (answer.status_code, made["status"], made["topic"]) == (201, "active", f"channels.{channel_id}.payments")
    password = made["kafka"]["password"]
    again = await tenant.http.post("/v1/channels", json=body, headers=key)
    assert (again.status_code, again.headers["idempotent-replayed"]) == (201, "true")
    assert again.json()["data"]["kafka"]["password"] is None

    stranger = await stack.tenant()
    taken = await stranger.http.post("/v1/channels", json=body)
    assert (taken.status_code, taken.json()["code"]) == (409, "CHANNEL_ID_TAKEN")
    for method, path in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/rotate-credentials")):
        json_body = {"name": "Mine"} if method == "PATCH" else None
        answer = await stranger.http.request(method, f"/v1/channels/{channel_id}{path}", json=json_body)
        assert answer.status_code == 404
    await stranger.http.aclose()

    renamed = await tenant.http.patch(f"/v1/channels/{channel_id}", json={"name": "Web shop"})
    assert (renamed.json()["data"]["name"], renamed.json()["data"]["kafka"]["password"]) == ("Web shop", None)
    listed = (await tenant.http.get("/v1/channels")).json()["data"]
    assert [each["channel_id"] for each in listed] == [channel_id]
    rotated = (await tenant.http.post(f"/v1/channels/{channel_id}/rotate-credentials")).json()["data"]
    assert rotated["kafka"]["password"] not in (None, password)
    with pytest.raises(KafkaConnectionError):
        await AIOKafkaProducer(**client(made)).start()

    async with AIOKafkaProducer(**client(rotated)) as kafka:
        await kafka.send_and_wait(made["topic"], b"garbage")
        assert (await tenant.http.delete(f"/v1/channels/{channel_id}")).status_code == 204
        with pytest.raises(TopicAuthorizationFailedError):
            await kafka.send_and_wait(made["topic"], b"too late")
    assert (await tenant.http.delete(f"/v1/channels/{channel_id}")).status_code == 204
    assert (await tenant.http.get(f"/v1/channels/{channel_id}")).json()["data"]["status"] == "disabled"
    refused = await tenant.http.post(f"/v1/channels/{channel_id}/rotate-credentials")
    assert (refused.status_code, refused.json()["code"]) == (409, "CHANNEL_DISABLED")
