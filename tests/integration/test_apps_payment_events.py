"""Payment intents and unmatched money by every path: the same event, once, to those who may read payments."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any

import pytest

from services.apps import fan_out
from services.apps.store.installs import InstalledApp
from shared.contracts.model import Actor, Money
from shared.contracts.payment_intents import (
    INTENT_EVENTS,
    IntentEvent,
    PaymentIntent,
    PaymentIntentProcessing,
    PaymentIntentSucceeded,
)
from shared.envelope import Envelope
from shared.ids import new_id
from shared.outbox import shard_of
from shared.postgres import Pool, transaction
from shared.topics import PAYMENTS_EVENTS, plugin_topic
from tests.apps import Installed, install, run
from tests.integration.test_apps_events import events, events_when, money, new_order
from tests.integration.test_apps_plugin_topics import on_topic, topic_when_ready
from tests.integration.test_apps_replays import replay
from tests.integration.test_apps_stream import stream, take
from tests.receiver import Receiver, answer, receiving
from tests.stack import Stack, Tenant, eventually

pytestmark = pytest.mark.servers

READS = ("orders.read", "payments.read", "webhooks.write")


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as made:
        yield made


@pytest.fixture
async def apps(stack: Stack, tenant: Tenant) -> AsyncIterator[tuple[Installed, Installed]]:
    """One that may read payments, and one that may read orders only; both have their topics."""
    async with AsyncExitStack() as exits:
        made = []
        for scopes in (READS, ("orders.read", "webhooks.write")):
            app = await install(stack, new_id("app"), tenant.merchant_id, scopes=scopes)
            exits.push_async_callback(app.http.aclose)
            await topic_when_ready(app.http)
            made.append(app)
        yield made[0], made[1]


def intent(order_id: str, **changes: Any) -> PaymentIntent:
    now, nothing = datetime.now(UTC), Money(amount=0, currency="EUR")
    made = PaymentIntent(
        payment_intent_id=new_id("pi"),
        order_id=order_id,
        status="processing",
        version=2,
        amount_money=Money(amount=9000, currency="EUR"),
        authorized_money=nothing,
        captured_money=nothing,
        voided_money=nothing,
        capture_method="automatic",
        source="checkout",
        created_by=Actor(type="key", id="key_1"),
        created_at=now,
        updated_at=now,
    )
    return made.model_copy(update=changes)


async def tell(stack: Stack, tenant: Tenant, event: type[IntentEvent], told: PaymentIntent) -> Envelope:
    """As the payment service does."""
    envelope = Envelope(
        id=f"{told.payment_intent_id}.{told.version}",
        type=event.wire_type,
        source="/services/payments",
        data=event(payment_intent=told).model_dump_json().encode(),
        key=told.order_id,
        subject=told.payment_intent_id,
        time=told.updated_at,
        correlation_id=told.payment_intent_id,
        causation_id="cmd_1",
        merchant_id=tenant.merchant_id,
        environment=tenant.environment,
        actor="key:key_1",
    )
    await stack.publish(PAYMENTS_EVENTS, envelope)
    return envelope


async def endpoint(http: Any, url: str, *types: str) -> None:
    made = await http.post("/v1/webhook-endpoints", json={"url": url, "event_types": list(types)})
    assert made.status_code == 201, made.text


async def test_money_without_an_order_is_found_and_attached_on_every_path(
    stack: Stack, tenant: Tenant, apps: tuple[Installed, Installed], receiver: Receiver
) -> None:
    reads, blind = apps
    await endpoint(tenant.http, receiver.url("/merchant"), "unmatched_money.*")
    await endpoint(reads.http, receiver.url("/app"), "*")
    await endpoint(blind.http, receiver.url("/blind"), "*")
    channel = (await tenant.http.post("/v1/channels", json={"name": "Web", "source": "checkout"})).json()["data"]
    reference = new_id("web")
    body = {"external_reference": reference, "payment_reference": reference, "amount_money": money(9000)}
    told = {"specversion": "1.0", "id": "1", "type": "channel.payment.captured.v1", "data": body}
    async with stream(tenant.http, type="unmatched_money.*") as source, stream(blind.http) as unseen:
        answered = await tenant.http.post(
            "/v1/channel-events",
            json=told | {"source": f"/channels/{channel['channel_id']}"},
            headers={"Content-Type": "application/cloudevents+json"},
        )
        assert answered.status_code == 202, answered.text
        [found] = await events_when(tenant, 1)
        line = {"name": "Rain jacket", "quantity": 1, "unit_price_money": money(9000)}
        order = {"currency": "EUR", "external_reference": reference, "line_items": [line]}
        order_id = (await tenant.http.post("/v1/orders", json=order)).json()["data"]["order_id"]
        [attached] = await _when(tenant, "unmatched_money.attached")
        streamed = [json.loads(each.data) for each in await take(source, 2)]
        seen = [each.event for each in await take(unseen, 3)]
    assert streamed == [found, attached]
    assert seen == ["order.created", "order.payment_captured", "order.paid"]

    item = (await tenant.http.get("/v1/unmatched-money")).json()["data"][0]
    about = {"type": "unmatched_money", "id": item["unmatched_money_id"]}
    assert (found["type"], found["subject"], found["order_id"], found["order_version"]) == (
        "unmatched_money.found", about, None, None,
    )  # fmt: skip
    assert (found["data"]["order"], found["data"]["unmatched_money"]["status"]) == (None, "open")
    assert found["actor"] == {"type": "channel", "id": channel["channel_id"]}
    assert found["cause"]["type"] == "message"
    assert (attached["subject"], attached["order_id"]) == (about, order_id)
    assert attached["data"]["unmatched_money"] == item
    assert attached["data"]["change"] == {"type": "unmatched_money_attached"}

    hooks = [one.json() for one in await receiver.wait(2, "/merchant")]
    assert sorted(hooks, key=lambda told: str(told["created_at"])) == [found, attached]
    of_app = {one.json()["event_id"] for one in await receiver.wait(5, "/app")}
    assert {found["event_id"], attached["event_id"]} < of_app
    on_its_topic = {each["body"]["event_id"]: each for each in await on_topic(stack, reads.app_id, 5)}
    for event, key in ((found, about["id"]), (attached, order_id)):
        message = on_its_topic[event["event_id"]]
        assert (message["key"], message["body"], message["headers"]["ce_subject"]) == (key, event, about["id"])
        assert message["headers"]["ce_type"] == event["type"]
        assert "ce_orderversion" not in message["headers"]
        assert (await reads.http.get(f"/v1/events/{event['event_id']}")).json()["data"] == event
        assert (await blind.http.get(f"/v1/events/{event['event_id']}")).status_code == 404
    assert len(await events(tenant, order_id=order_id)) == 4
    # Whoever may not read payments is told of the order alone; strangers of nothing.
    theirs = await on_topic(stack, blind.app_id, 3)
    assert [each["body"]["type"] for each in theirs] == seen
    assert {one.json()["type"] for one in await receiver.wait(3, "/blind")} == set(seen)
    assert await events(blind.http, type="unmatched_money.*,payment_intent.*") == []
    for stranger in (await stack.tenant(), await stack.tenant(merchant_id=tenant.merchant_id, environment="live")):
        assert await events(stranger) == []


async def _when(tenant: Tenant, event_type: str, count: int = 1) -> list[dict[str, Any]]:
    return await events_when(tenant, count, type=event_type)


async def test_an_intent_is_told_of_once_with_its_order_and_as_it_was(
    stack: Stack, tenant: Tenant, apps: tuple[Installed, Installed], receiver: Receiver
) -> None:
    reads, blind = apps
    await endpoint(reads.http, receiver.url("/app"), "payment_intent.*")
    order_id = await new_order(tenant)
    await events_when(tenant, 1)
    processing = intent(order_id)
    succeeded = processing.model_copy(
        update={"status": "succeeded", "version": 3, "captured_money": processing.amount_money}
    )
    async with stream(reads.http, type="payment_intent.*") as source:
        for _ in range(2):
            await tell(stack, tenant, PaymentIntentProcessing, processing)
        for _ in range(2):
            await tell(stack, tenant, PaymentIntentSucceeded, succeeded)
        streamed = [json.loads(each.data) for each in await take(source, 2)]
    listed = await _when(tenant, "payment_intent.*", 2)
    assert [each["type"] for each in streamed] == ["payment_intent.processing", "payment_intent.succeeded"]
    assert streamed == listed[::-1]
    [last, first] = listed
    for event, told in ((first, processing), (last, succeeded)):
        assert event["data"] == {
            "change": {"type": event["type"].replace(".", "_")},
            "order": None,
            "payment_intent": json.loads(told.model_dump_json()),
        }
        assert event["subject"] == {"type": "payment_intent", "id": told.payment_intent_id}
        assert (event["order_id"], event["order_version"]) == (order_id, None)
        assert event["actor"] == {"type": "key", "id": "key_1"}
        assert event["cause"] == {"type": "message", "id": "cmd_1"}
    assert [one.json() for one in await receiver.wait(2, "/app")] == [first, last]
    messages = [
        each for each in await on_topic(stack, reads.app_id, 3) if each["headers"]["ce_type"] != "order.created"
    ]
    assert [each["body"] for each in messages] == [first, last]
    assert {(each["key"], each["headers"]["ce_subject"]) for each in messages} == {
        (order_id, processing.payment_intent_id)
    }
    assert [each["body"]["type"] for each in await on_topic(stack, blind.app_id, 1)] == ["order.created"]
    assert await events(blind.http, type="payment_intent.*") == []
    # What is published again is the same.
    done = await replay(reads, **{"from": "2026-01-01T00:00:00Z"})
    assert done["published"] == 3
    again = _of_intents((await on_topic(stack, reads.app_id, 6))[3:])
    assert [each["body"] for each in again] == [first, last]


def _of_intents(read: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [each for each in read if each["headers"]["ce_type"].startswith("payment_intent.")]


async def test_every_type_that_is_promised_is_told(stack: Stack, tenant: Tenant) -> None:
    order_id = new_id("ord")
    for event in INTENT_EVENTS.values():
        await tell(stack, tenant, event, intent(order_id))
    found = await events_when(tenant, len(INTENT_EVENTS), order_id=order_id)
    types = (await tenant.http.get("/v1/webhook-event-types")).json()["data"]
    promised = {each["event_type"] for each in types if each["event_type"].startswith("payment_intent.")}
    assert {each["type"] for each in found} == promised


async def test_what_waits_is_withheld_once_payments_may_not_be_read(
    stack: Stack, tenant: Tenant, apps: tuple[Installed, Installed], receiver: Receiver
) -> None:
    """Lists at once, topics and webhooks also what had waited; orders go on."""
    app, _ = apps
    came: list[str] = []

    async def refuse(one: Any) -> bytes:
        came.append(one.json()["type"])
        return answer(500)

    receiver.answering = refuse
    await endpoint(app.http, receiver.url("/app"), "payment_intent.*")
    order_id = new_id("ord")
    await tell(stack, tenant, PaymentIntentSucceeded, intent(order_id, status="succeeded"))
    [told] = await _when(tenant, "payment_intent.succeeded")
    await receiver.wait(1, "/app")
    await on_topic(stack, app.app_id, 1)
    left = ("orders.read", "webhooks.write")
    pool = Pool(stack.settings.database_url.get_secret_value(), "apps", 2)
    await pool.open()
    async with transaction(pool) as connection:
        # As if the relay had not published it yet.
        await connection.execute(
            "INSERT INTO outbox (shard, id, aggregatetype, aggregateid, type, headers, payload) "
            "VALUES ($1, $2, $3, $4, 'payment_intent.succeeded', $5, '{}')",
            shard_of(order_id),
            told["event_id"],
            plugin_topic(app.app_id),
            order_id,
            json.dumps({"ce_merchantid": tenant.merchant_id, "ce_environment": "test"}),
        )
        await connection.execute(
            "UPDATE environment_grants SET scopes = $2 WHERE grant_id = $1", app.grant.grant_id, list(left)
        )
        narrowed = InstalledApp(app.app_id, app.grant.grant_id, tenant.merchant_id, "test", frozenset(left))
        await fan_out.narrow(connection, narrowed)
    await pool.close()
    await stack.grant(app.grant.model_copy(update={"scopes": left}))

    async def hidden() -> bool:
        return await events(app.http) == []

    await eventually(hidden)
    [delivery] = await run(
        stack,
        "UPDATE webhook_deliveries SET due_at = now() WHERE event_id = $1 RETURNING delivery_id",
        told["event_id"],
    )

    async def settled() -> Any:
        [row] = await run(
            stack,
            "SELECT status, last_error FROM webhook_deliveries WHERE delivery_id = $1",
            delivery["delivery_id"],
        )
        return tuple(row) if row["status"] != "pending" else None

    assert await eventually(settled) == ("failed", "withheld")
    assert came == ["payment_intent.succeeded"]
    await tell(stack, tenant, PaymentIntentSucceeded, intent(order_id, status="succeeded"))
    await _when(tenant, "payment_intent.succeeded", 2)
    last = await new_order(tenant)
    assert [each["key"] for each in await on_topic(stack, app.app_id, 2)] == [order_id, last]
