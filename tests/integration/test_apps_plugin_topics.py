"""Plugin topics on a real broker, read by librdkafka with the plugin's own credentials, and by nobody else."""

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import httpx2
import orjson
import pytest
from cloudevents.core.bindings import kafka as binding
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from services.apps import fan_out
from services.apps.store import events as store
from services.apps.store.installs import InstalledApp
from shared.contracts.access import Grant
from shared.ids import new_id
from shared.immutable import replace
from shared.outbox import shard_of
from shared.postgres import Pool, transaction
from shared.topics import ORDERS_EVENTS, plugin_topic
from tests.apps import Installed, install, let_in, run, version_of
from tests.integration.test_apps_events import events, events_when, new_order, pay
from tests.stack import Stack, Tenant, eventually, tail

pytestmark = pytest.mark.servers

TOPIC = "/v1/plugin-topic"
Read = dict[str, Any]


async def topic_when_ready(http: httpx2.AsyncClient) -> dict[str, Any]:
    async def ready() -> Any:
        answer = await http.get(TOPIC)
        assert answer.status_code == 200, answer.text
        topic = answer.json()["data"]
        return topic if topic["status"] == "ready" else None

    found: dict[str, Any] = await eventually(ready)
    return found


async def credentials(app: Installed, **headers: str) -> dict[str, Any]:
    answer = await app.http.post(f"{TOPIC}/rotate-credentials", headers=headers)
    assert answer.status_code == 200, answer.text
    access: dict[str, Any] = answer.json()["data"]
    return access


def librdkafka(topic: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A client's configuration, of nothing but what the API says."""
    security = topic["security"]
    return {
        "bootstrap.servers": topic["bootstrap_servers"],
        "security.protocol": security["protocol"],
        "sasl.mechanism": security["mechanism"],
        "sasl.username": security["username"],
        "sasl.password": security["password"],
        "log_level": 0,
        **more,
    }


def consumer(topic: dict[str, Any], group: str | None = None) -> Consumer:
    group_id = group or topic["group_prefix"] + "tests"
    return Consumer(librdkafka(topic, **{"group.id": group_id, "auto.offset.reset": "earliest"}))


def poll(client: Consumer, enough: Callable[[list[Message]], bool], within_s: float = 20) -> list[Message]:
    found: list[Message] = []
    until = time.monotonic() + within_s
    while not enough(found) and time.monotonic() < until:
        message = client.poll(0.2)
        if message is not None:
            if message.error():
                raise KafkaException(message.error())
            found.append(message)
    return found


async def consume(topic: dict[str, Any], count: int) -> list[Message]:
    """The first `count` messages, as the plugin reads them."""
    client = consumer(topic)
    client.subscribe([topic["topic"]])
    try:
        found = await asyncio.to_thread(poll, client, lambda messages: len(messages) >= count)
    finally:
        await asyncio.to_thread(client.close)
    assert len(found) == count
    return found


async def on_topic(stack: Stack, app_id: str, count: int, within_s: float = 30) -> list[Read]:
    """The first `count` messages on an app's topic as an operator sees them."""
    found: list[Read] = []
    async with tail(stack.settings.kafka, plugin_topic(app_id)) as records, asyncio.timeout(within_s):
        async for record in records:
            headers = {name: value.decode() for name, value in record.headers}
            found.append({"key": record.key.decode(), "headers": headers, "body": orjson.loads(record.value)})
            if len(found) == count:
                break
    return found


def ids(read: Sequence[Read]) -> list[str]:
    return [each["body"]["event_id"] for each in read]


async def tell(stack: Stack, tenants: Sequence[tuple[str, str]], order_ids: Sequence[str], version: int = 1) -> None:
    """Versions of orders, as the order service publishes them."""
    sending = []
    for tenant, order_id in zip(tenants, order_ids, strict=True):
        told = version_of(tenant, order_id, version)
        headers = [(name, value.encode()) for name, value in told.headers().items()]
        sending.append(await stack.kafka.send(ORDERS_EVENTS, told.data, key=order_id.encode(), headers=headers))
    await asyncio.gather(*sending)


async def test_a_plugin_reads_its_topic_from_the_install_on(stack: Stack, tenant: Tenant) -> None:
    before = await new_order(tenant)
    await events_when(tenant, 1)
    app = await install(stack, new_id("app"), tenant.merchant_id)
    order_id = await new_order(tenant)
    await pay(stack, tenant, order_id)
    await events_when(tenant, 4)
    topic = await topic_when_ready(app.http)
    assert (topic["topic"], topic["has_credentials"]) == (f"plugins.{app.app_id}.orders", False)
    assert topic["security"]["password"] is None
    access = await credentials(app)
    later = await new_order(tenant)

    messages = await consume(access, 4)
    expected = [event for event in reversed(await events(app.http)) if event["order_id"] != before]
    assert sorted((json.loads(each.value()) for each in messages), key=_place(expected)) == expected
    for message in messages:
        event, body = binding.from_binary_event(_bound(message)), json.loads(message.value())
        assert (event.get_id(), event.get_type(), event.get_subject()) == (
            body["event_id"],
            body["type"],
            body["order_id"],
        )
        assert event.get_data() == body
        extensions = event.get_attributes()
        assert (extensions["merchantid"], extensions["environment"]) == (tenant.merchant_id, "test")
        assert extensions["orderversion"] == str(body["order_version"])
        assert message.key() == body["order_id"].encode()
    paid = [json.loads(each.value()) for each in messages if each.key() == order_id.encode()]
    assert [each["type"] for each in paid] == ["order.created", "order.payment_captured", "order.paid"]
    assert json.loads(messages[-1].value())["order_id"] in (order_id, later)
    await app.http.aclose()


def _place(expected: list[dict[str, Any]]) -> Callable[[dict[str, Any]], int]:
    order = [each["event_id"] for each in expected]
    return lambda body: order.index(body["event_id"])


def _bound(message: Message) -> binding.KafkaMessage:
    headers = {str(name): bytes(value) for name, value in message.headers() or []}
    return binding.KafkaMessage(headers=headers, key=message.key(), value=message.value())


async def test_a_plugin_can_do_nothing_else_in_kafka(stack: Stack, tenant: Tenant) -> None:
    mine, other = [await install(stack, new_id("app"), tenant.merchant_id) for _ in range(2)]
    await new_order(tenant)
    for app in (mine, other):
        await topic_when_ready(app.http)
    access = await credentials(mine)
    await credentials(other)

    def refused(client: Consumer, topic: str) -> Any:
        try:
            client.subscribe([topic])
            with pytest.raises(KafkaException) as failure:
                poll(client, bool, within_s=10)
            return failure.value.args[0].code()
        finally:
            client.close()

    foreign = [plugin_topic(other.app_id), ORDERS_EVENTS, "access.grants"]
    for topic in foreign:
        code = await asyncio.to_thread(refused, consumer(access), topic)
        assert code == KafkaError.TOPIC_AUTHORIZATION_FAILED
    for group in (f"plugins.{other.app_id}.tests", "apps.events", f"plugins.{mine.app_id}"):
        code = await asyncio.to_thread(refused, consumer(access, group), access["topic"])
        assert code == KafkaError.GROUP_AUTHORIZATION_FAILED

    def write() -> Any:
        errors: list[Any] = []
        producer = Producer(librdkafka(access))
        producer.produce(access["topic"], b"mine?", on_delivery=lambda error, _: errors.append(error))
        producer.flush(15)
        return errors[0].code()

    assert await asyncio.to_thread(write) == KafkaError.TOPIC_AUTHORIZATION_FAILED

    def administer() -> tuple[set[str], set[str], Any]:
        admin = AdminClient(librdkafka(access))
        topics = set(admin.list_topics(timeout=10).topics)
        groups = {group.group_id for group in admin.list_consumer_groups().result().valid}
        created = admin.create_topics([NewTopic("plugins.another", 1)])["plugins.another"].exception()
        return topics, groups, created

    topics, groups, created = await asyncio.to_thread(administer)
    assert topics == {access["topic"]}
    assert all(group.startswith(access["group_prefix"]) for group in groups)
    assert created.args[0].code() in (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED)
    for app in (mine, other):
        await app.http.aclose()


async def test_a_new_password_ends_the_old_one_and_is_shown_once(stack: Stack, tenant: Tenant) -> None:
    app = await install(stack, new_id("app"), tenant.merchant_id)
    await topic_when_ready(app.http)
    old = await credentials(app)
    key = new_id("idem")
    new = await credentials(app, **{"Idempotency-Key": key})
    replayed = await app.http.post(f"{TOPIC}/rotate-credentials", headers={"Idempotency-Key": key})
    assert replayed.headers["Idempotent-Replayed"] == "true"
    assert replayed.json()["data"]["security"]["password"] is None
    assert (await app.http.get(TOPIC)).json()["data"]["security"]["password"] is None
    assert (await app.http.get(TOPIC)).json()["data"]["has_credentials"] is True

    def logs_in(access: dict[str, Any]) -> bool:
        admin = AdminClient(librdkafka(access))
        try:
            return access["topic"] in admin.list_topics(timeout=4).topics
        except KafkaException:
            return False

    async def works() -> bool:
        return await asyncio.to_thread(logs_in, new)

    assert await eventually(works)
    assert not await asyncio.to_thread(logs_in, old)
    [entry] = await run(
        stack, "SELECT count(*) AS acts, max(action) AS action FROM audit_log WHERE target_id = $1", app.app_id
    )
    assert (entry["acts"], entry["action"]) == (2, "plugin_topic.credentials_rotated")
    await app.http.aclose()


async def test_only_apps_have_topics(stack: Stack, tenant: Tenant) -> None:
    app = await install(stack, new_id("app"), tenant.merchant_id, scopes=("payments.read",))
    for http, code in ((tenant.http, "NOT_ALLOWED"), (app.http, "INSUFFICIENT_SCOPE")):
        answers = [
            await http.get(TOPIC),
            await http.post(f"{TOPIC}/rotate-credentials"),
            await http.post(f"{TOPIC}/replay", json={"from": "2026-11-20T00:00:00Z"}),
            await http.get(f"{TOPIC}/replays/rpl_1"),
        ]
        assert [answer.json()["code"] for answer in answers] == [code] * 4
    await app.http.aclose()


async def test_consent_decides_what_is_on_the_topic(stack: Stack, tenant: Tenant) -> None:
    """Other merchants, other environments, and merchants that gave no `orders.read` are not there."""
    app_id = new_id("app")
    app = await install(stack, app_id, tenant.merchant_id)
    unread = await stack.tenant()
    await install(stack, app_id, unread.merchant_id, scopes=("payments.read",))
    live = await stack.tenant(merchant_id=tenant.merchant_id, environment="live")
    stranger = await stack.tenant()
    await topic_when_ready(app.http)
    for other in (unread, live, stranger):
        await new_order(other)
        await events_when(other, 1)
    order_id = await new_order(tenant)
    [read] = await on_topic(stack, app_id, 1)
    assert (read["key"], read["headers"]["ce_merchantid"]) == (order_id, tenant.merchant_id)
    for each in (app, unread, live, stranger):
        await each.http.aclose()


async def test_nothing_comes_after_the_rights_are_taken(stack: Stack, tenant: Tenant) -> None:
    """Not what happens later, and not what still waits to be published either."""
    other = await stack.tenant()
    app_id = new_id("app")
    app = await install(stack, app_id, tenant.merchant_id)
    await install(stack, app_id, other.merchant_id)
    await topic_when_ready(app.http)
    await new_order(tenant)
    await on_topic(stack, app_id, 1)
    pool = Pool(stack.settings.database_url.get_secret_value(), "apps", 2)
    await pool.open()
    async with transaction(pool) as connection:
        await connection.execute(
            "UPDATE environment_grants SET status = 'revoked' WHERE grant_id = $1", app.grant.grant_id
        )
        # What the relay has not published yet: of this merchant, and of another one.
        for tenant_id in (tenant.merchant_id, other.merchant_id):
            await connection.execute(
                "INSERT INTO outbox (shard, id, aggregatetype, aggregateid, type, headers, payload) "
                "VALUES (0, 'evt_waiting', $1, 'ord_waiting', 'order.paid', $2, '{\"event_id\": \"evt_waiting\"}')",
                plugin_topic(app_id),
                orjson.dumps({"ce_merchantid": tenant_id, "ce_environment": "test"}).decode(),
            )
        await fan_out.stop(connection, app_id, [(tenant.merchant_id, "test")])
    await pool.close()
    await new_order(tenant)
    await events_when(tenant, 2)
    last = await new_order(other)
    read = await on_topic(stack, app_id, 3)
    assert sorted(each["key"] for each in read if each["headers"]["ce_merchantid"] == other.merchant_id) == [
        last,
        "ord_waiting",
    ]
    for each in (app, other):
        await each.http.aclose()


@pytest.mark.parametrize("together", [True, False], ids=["together", "one by one"])
async def test_what_waits_says_no_more_than_the_app_may_read(
    stack: Stack, tenant: Tenant, monkeypatch: pytest.MonkeyPatch, together: bool
) -> None:
    """`customers.read` is taken while messages wait to be published: they come in their order, without the customer."""
    app_id, scopes = new_id("app"), frozenset({"orders.read", "customers.read"})
    app = await install(stack, app_id, tenant.merchant_id, scopes=tuple(scopes))
    await topic_when_ready(app.http)
    order_id = new_id("ord")
    for version in range(1, 5):
        order = {"customer": {"name": "Ada"}} if version > 1 else {}
        await stack.publish(ORDERS_EVENTS, version_of((tenant.merchant_id, "test"), order_id, version, **order))
    told = [event["event_id"] for event in reversed(await events_when(tenant, 4))]
    assert ["customer" in each["body"]["data"]["order"] for each in await on_topic(stack, app_id, 4)] == [False] + [
        True
    ] * 3
    pool = Pool(stack.settings.database_url.get_secret_value(), "apps", 2)
    await pool.open()
    async with transaction(pool) as connection:
        # As if the relay had published none of it; the last one by a replay.
        for number, event_id in enumerate(told):
            replayed = {"tl_replay": "rpl_1"} if number == 3 else {}
            await connection.execute(
                "INSERT INTO outbox (shard, id, aggregatetype, aggregateid, type, headers, payload) "
                "VALUES ($4, $1, $2, $5, 'order.updated', $3, '{\"customer\": \"Ada\"}')",
                event_id,
                plugin_topic(app_id),
                orjson.dumps({"ce_merchantid": tenant.merchant_id, "ce_environment": "test"} | replayed).decode(),
                shard_of(order_id),
                order_id,
            )
        narrowed = InstalledApp(app_id, app.grant.grant_id, tenant.merchant_id, "test", frozenset({"orders.read"}))
        if not together:
            monkeypatch.setattr(store, "_LARGEST_PAGE_BYTES", 1)
        await fan_out.narrow(connection, narrowed)
        nothing = replace(narrowed, app_id=new_id("app"))
        await fan_out.narrow(connection, nothing)
    await pool.close()
    published = (await on_topic(stack, app_id, 8))[4:]
    assert ids(published) == told
    assert ["customer" in each["body"]["data"]["order"] for each in published] == [False] * 4
    assert [each["headers"].get("tl_replay") for each in published] == [None, None, None, "rpl_1"]
    await app.http.aclose()


async def test_a_merchant_with_fifty_apps(stack: Stack, tenant: Tenant) -> None:
    """None of them has a topic when the first event happens; all have all events in the end, in their order."""
    apps = [new_id("app") for _ in range(50)]
    grants = [
        Grant(
            grant_id=(grant_id := new_id("grt")),
            credential_hash=grant_id,
            kind="installation",
            merchant_id=tenant.merchant_id,
            environment="test",
            scopes=("orders.read",),
        )
        for _ in apps
    ]
    await let_in(stack, list(zip(apps, grants, strict=True)))
    order_id = new_id("ord")
    for version in range(1, 41):
        await tell(stack, [(tenant.merchant_id, "test")], [order_id], version)
        await asyncio.sleep(0.05)

    async def ready() -> bool:
        rows = await run(stack, "SELECT count(*) FROM plugin_topics WHERE app_id = ANY($1) AND status = 'ready'", apps)
        return bool(rows[0]["count"] == 50)

    await eventually(ready, within_s=90)
    for app_id in apps:
        read = await on_topic(stack, app_id, 40)
        assert [each["body"]["order_version"] for each in read] == list(range(1, 41))


async def test_nothing_is_left_of_a_deleted_app(stack: Stack, tenant: Tenant) -> None:
    app = await install(stack, new_id("app"), tenant.merchant_id)
    await topic_when_ready(app.http)
    access = await credentials(app)
    operator = AdminClient({"bootstrap.servers": stack.settings.kafka.bootstrap_servers})
    assert access["topic"] in operator.list_topics(timeout=10).topics
    pool = Pool(stack.settings.database_url.get_secret_value(), "apps", 2)
    await pool.open()
    async with transaction(pool) as connection:
        await connection.execute("UPDATE environment_grants SET status = 'revoked' WHERE app_id = $1", app.app_id)
        await fan_out.forget(connection, app.app_id, datetime.now(UTC))
    await pool.close()

    async def gone() -> bool:
        return not await run(stack, "SELECT FROM plugin_topics WHERE app_id = $1", app.app_id)

    await eventually(gone)
    assert access["topic"] not in operator.list_topics(timeout=10).topics
    with pytest.raises(KafkaException):
        await asyncio.to_thread(AdminClient(librdkafka(access)).list_topics, timeout=3)
    # The relay goes on: others' events still come.
    other = await install(stack, new_id("app"), tenant.merchant_id)
    await topic_when_ready(other.http)
    order_id = await new_order(tenant)
    assert [each["key"] for each in await on_topic(stack, other.app_id, 1)] == [order_id]
    for each in (app, other):
        await each.http.aclose()
