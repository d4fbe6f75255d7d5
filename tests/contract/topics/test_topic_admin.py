"""What holds whoever makes topics and users."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import GroupAuthorizationFailedError, KafkaConnectionError, TopicAuthorizationFailedError
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType  # type: ignore[attr-defined]

from services.apps.connectors.kafka_topics import KafkaTopics
from services.apps.connectors.strimzi_topics import StrimziTopics
from services.apps.core.plugin_topics import group_prefix_of
from services.apps.plugin_topics import TopicAdmin, new_password
from shared.faults import Transient
from shared.ids import new_id
from shared.kafka import producer
from shared.settings import KafkaSettings
from shared.topics import plugin_topic, plugin_topic_spec
from tests.servers import Servers
from tests.stack import eventually, started
from tests.strimzi import CLUSTER, strimzi

pytestmark = pytest.mark.servers


@dataclass
class Place:
    """Somebody who makes topics, and the broker on which they are made."""

    admin: TopicAdmin
    nowhere: TopicAdmin
    """One whose other side does not answer."""
    servers: Servers

    @property
    def kafka(self) -> KafkaSettings:
        return KafkaSettings(bootstrap_servers=self.servers.kafka_bootstrap_servers)

    def client(self, app_id: str, password: str) -> dict[str, Any]:
        return {
            "bootstrap_servers": self.servers.kafka_client_bootstrap_servers,
            "security_protocol": "SASL_PLAINTEXT",
            "sasl_mechanism": self.admin.sasl_mechanism,
            "sasl_plain_username": self.admin.username(app_id),
            "sasl_plain_password": password,
        }

    async def publish(self, app_id: str, value: bytes) -> None:
        async with producer(self.kafka) as ours:
            await ours.send_and_wait(plugin_topic(app_id), value)

    async def read(self, app_id: str, password: str, *, topic: str | None = None, group: str | None = None) -> bytes:
        """The first message that the app reads."""
        consumer = AIOKafkaConsumer(
            topic or plugin_topic(app_id),
            group_id=group or f"{group_prefix_of(app_id)}tests-{uuid.uuid4().hex}",
            auto_offset_reset="earliest",
            **self.client(app_id, password),
        )
        async with started(consumer), asyncio.timeout(30):
            record = await consumer.getone()
        return record.value or b""

    async def logs_in(self, app_id: str, password: str) -> bool:
        client = AIOKafkaProducer(**self.client(app_id, password))
        try:
            await client.start()
        except KafkaConnectionError:
            return False
        finally:
            await client.stop()
        return True

    def topics(self) -> set[str]:
        return set(AdminClient({"bootstrap.servers": self.kafka.bootstrap_servers}).list_topics(timeout=20).topics)


@pytest.fixture(params=["kafka", "strimzi"])
async def place(
    request: pytest.FixtureRequest, servers: Servers, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Place]:
    kafka = KafkaSettings(bootstrap_servers=servers.kafka_bootstrap_servers)
    if request.param == "kafka":
        yield Place(KafkaTopics(kafka), KafkaTopics(KafkaSettings(bootstrap_servers="127.0.0.1:9")), servers)
        return
    here, there = tmp_path_factory.mktemp("here"), tmp_path_factory.mktemp("there")
    async with strimzi(kafka, here) as cluster, strimzi(kafka, there) as other:
        other.down = True
        nowhere = StrimziTopics(other.kubernetes, CLUSTER, None, 1)
        yield Place(StrimziTopics(cluster.kubernetes, CLUSTER, None, 1), nowhere, servers)


async def test_a_topic_is_as_it_should_be_however_often_it_is_provided(place: Place) -> None:
    app_id = new_id("app")
    for _ in range(2):
        await place.admin.provide(app_id)
        await place.publish(app_id, b"hello")
    spec = plugin_topic_spec(app_id)
    raw = AdminClient({"bootstrap.servers": place.kafka.bootstrap_servers})
    [described] = raw.describe_configs([ConfigResource(ResourceType.TOPIC, spec.name)]).values()
    config = {key: entry.value for key, entry in described.result().items()}
    assert {key: config[key] for key in spec.config} == spec.config
    assert len(raw.list_topics(timeout=20).topics[spec.name].partitions) == spec.partitions


async def test_an_app_reads_its_own_topic_in_its_own_groups_and_can_do_nothing_else(place: Place) -> None:
    app_id, other, password = new_id("app"), new_id("app"), new_password()
    for each in (app_id, other):
        await place.admin.provide(each)
        await place.publish(each, each.encode())
    await place.admin.set_password(app_id, password)
    assert await place.read(app_id, password) == app_id.encode()
    with pytest.raises(TopicAuthorizationFailedError):
        await place.read(app_id, password, topic=plugin_topic(other))
    for group in ("apps.events", group_prefix_of(other) + "x", group_prefix_of(app_id).removesuffix(".")):
        with pytest.raises(GroupAuthorizationFailedError):
            await place.read(app_id, password, group=group)
    async with AIOKafkaProducer(**place.client(app_id, password)) as writing:
        with pytest.raises(TopicAuthorizationFailedError):
            await writing.send_and_wait(plugin_topic(app_id), b"mine?")


async def test_a_password_may_come_before_the_topic_and_outlives_its_repair(place: Place) -> None:
    app_id, password = new_id("app"), new_password()
    await place.admin.set_password(app_id, password)
    for _ in range(2):
        await place.admin.provide(app_id)
    await place.publish(app_id, b"hello")
    assert await place.read(app_id, password) == b"hello"


async def test_nobody_logs_in_before_there_is_a_password(place: Place) -> None:
    app_id = new_id("app")
    await place.admin.provide(app_id)
    for guess in ("guess", place.admin.username(app_id)):
        assert not await place.logs_in(app_id, guess)


async def test_a_new_password_ends_the_old_one(place: Place) -> None:
    app_id, old, new = new_id("app"), new_password(), new_password()
    await place.admin.provide(app_id)
    for password in (old, old, new):
        await place.admin.set_password(app_id, password)
    assert await eventually(lambda: place.logs_in(app_id, new))
    assert not await place.logs_in(app_id, old)


async def test_what_is_removed_is_gone_and_can_come_back(place: Place) -> None:
    app_id, password = new_id("app"), new_password()
    await place.admin.provide(app_id)
    await place.admin.set_password(app_id, password)
    for _ in range(2):
        await place.admin.remove(app_id)
        assert plugin_topic(app_id) not in place.topics()

    async def is_out() -> bool:
        return not await place.logs_in(app_id, password)

    assert await eventually(is_out)
    await place.admin.provide(app_id)
    assert not await place.logs_in(app_id, password)


async def test_what_was_never_there_can_be_removed(place: Place) -> None:
    await place.admin.remove(new_id("app"))


async def test_topics_that_are_missing_are_told(place: Place) -> None:
    there, gone = [new_id("app") for _ in range(3)], [new_id("app") for _ in range(2)]
    for app_id in there:
        await place.admin.provide(app_id)
    assert await place.admin.missing([*there, *gone]) == gone
    assert await place.admin.missing(there) == []


async def test_apps_are_different_users(place: Place) -> None:
    app_ids = [new_id("app") for _ in range(3)]
    assert len({place.admin.username(app_id) for app_id in app_ids}) == 3


async def test_whoever_does_not_answer_is_tried_later(place: Place) -> None:
    app_id = new_id("app")
    with pytest.raises(Transient):
        await place.nowhere.provide(app_id)
