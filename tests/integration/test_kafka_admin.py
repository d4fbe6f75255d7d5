"""Topics, users and ACLs on a real broker: what is asked for holds, and repeats change nothing."""

import asyncio
import uuid
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import GroupAuthorizationFailedError, KafkaConnectionError, TopicAuthorizationFailedError
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType  # type: ignore[attr-defined]

from deploy.local.runtime import LocalServers
from shared.faults import Transient
from shared.kafka_admin import KafkaAdmin
from shared.settings import KafkaSettings
from shared.topics import TopicSpec
from tests.servers import Servers
from tests.stack import eventually, started

pytestmark = pytest.mark.servers

PASSWORD = "a password with 'quotes' and ünïcode"


@pytest.fixture
def admin(servers: Servers) -> KafkaAdmin:
    return KafkaAdmin(KafkaSettings(bootstrap_servers=servers.kafka_bootstrap_servers))


@pytest.fixture
def name() -> str:
    return f"admin-{uuid.uuid4().hex[:10]}"


def client(servers: Servers, username: str, password: str = PASSWORD) -> dict[str, str]:
    return {
        "bootstrap_servers": servers.kafka_client_bootstrap_servers,
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "SCRAM-SHA-256",
        "sasl_plain_username": username,
        "sasl_plain_password": password,
    }


async def publish(servers: Servers, username: str, topic: str, password: str = PASSWORD) -> None:
    async with AIOKafkaProducer(**client(servers, username, password)) as producer:
        await producer.send_and_wait(topic, b"hello")


async def read_one(servers: Servers, username: str, topic: str, group: str) -> bytes:
    consumer = AIOKafkaConsumer(topic, group_id=group, auto_offset_reset="earliest", **client(servers, username))
    async with started(consumer), asyncio.timeout(20):
        message = await consumer.getone()
    value: bytes | None = message.value
    assert value is not None
    return value


def describe(servers: Servers, topic: str) -> tuple[int, dict[str, str]]:
    raw = AdminClient({"bootstrap.servers": servers.kafka_bootstrap_servers})
    [future] = raw.describe_configs([ConfigResource(ResourceType.TOPIC, topic)]).values()
    config = {key: entry.value for key, entry in future.result().items()}
    return len(raw.list_topics(timeout=10).topics[topic].partitions), config


async def is_now(servers: Servers, topic: str, partitions: int, retention_ms: str) -> bool:
    found, config = describe(servers, topic)
    return (found, config["retention.ms"]) == (partitions, retention_ms)


async def test_missing_topics_are_created_and_differing_ones_brought_in_line(
    admin: KafkaAdmin, servers: Servers, name: str
) -> None:
    await admin.ensure_topics([TopicSpec(name, 2, {"retention.ms": "1000"})])
    partitions, config = describe(servers, name)
    assert (partitions, config["retention.ms"]) == (2, "1000")

    await admin.ensure_topics([TopicSpec(name, 3, {"retention.ms": "2000"}), TopicSpec(f"{name}-b", 1)])
    # Brokers hear of a change a moment after it was made.
    assert await eventually(lambda: is_now(servers, name, 3, "2000"))
    assert describe(servers, f"{name}-b")[0] == 1


async def test_topics_ask_for_their_copies_unless_somebody_has_decided(
    admin: KafkaAdmin, servers: Servers, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = f"{name}-own"
    await admin.ensure_topics([TopicSpec(name, 1), TopicSpec(own, 1, {"min.insync.replicas": "1"})])
    assert describe(servers, name)[1]["min.insync.replicas"] == "1"
    monkeypatch.setattr("shared.kafka_admin._copies", lambda topic: 3)
    await admin.ensure_topics([TopicSpec(name, 1), TopicSpec(own, 1)])
    assert describe(servers, name)[1]["min.insync.replicas"] == "2"
    assert describe(servers, own)[1]["min.insync.replicas"] == "1"


async def test_a_repeat_changes_nothing_and_partitions_never_shrink(
    admin: KafkaAdmin, servers: Servers, name: str
) -> None:
    spec = TopicSpec(name, 3, {"cleanup.policy": "compact"})
    await admin.ensure_topics([spec])
    await admin.ensure_topics([spec])
    await admin.ensure_topics([TopicSpec(name, 1, {"cleanup.policy": "compact"})])
    partitions, config = describe(servers, name)
    assert (partitions, config["cleanup.policy"]) == (3, "compact")


async def test_two_processes_may_ensure_the_same_topics_at_once(admin: KafkaAdmin, servers: Servers, name: str) -> None:
    specs = [TopicSpec(f"{name}-{number}", 2) for number in range(4)]
    await asyncio.gather(*(admin.ensure_topics(specs) for _ in range(4)))
    assert describe(servers, specs[-1].name)[0] == 2


async def test_groups_can_be_joined_on_a_new_cluster(tmp_path: Path) -> None:
    with LocalServers(tmp_path) as new:
        admin = KafkaAdmin(KafkaSettings(bootstrap_servers=new.kafka_bootstrap_servers))
        await admin.wait_for_groups()
        await admin.wait_for_groups()
        raw = AdminClient({"bootstrap.servers": new.kafka_bootstrap_servers})
        assert "__consumer_offsets" in raw.list_topics(timeout=10).topics


async def test_a_topic_is_deleted_once_and_again(admin: KafkaAdmin, name: str) -> None:
    await admin.ensure_topics([TopicSpec(name, 1)])
    await admin.delete_topics([name])
    await admin.delete_topics([name])


async def test_a_user_writes_its_own_topic_and_no_other(admin: KafkaAdmin, servers: Servers, name: str) -> None:
    foreign = f"{name}-foreign"
    await admin.ensure_topics([TopicSpec(name, 1), TopicSpec(foreign, 1)])
    await admin.create_scram_user(name, PASSWORD)
    await admin.create_scram_user(name, PASSWORD)
    await admin.grant_write(name, name)
    await admin.grant_write(name, name)
    await publish(servers, name, name)
    with pytest.raises(TopicAuthorizationFailedError):
        await publish(servers, name, foreign)
    with pytest.raises(GroupAuthorizationFailedError):
        await read_one(servers, name, name, f"{name}-group")


async def test_a_reader_reads_its_topic_in_its_own_groups_only(admin: KafkaAdmin, servers: Servers, name: str) -> None:
    await admin.ensure_topics([TopicSpec(name, 1)])
    await admin.create_scram_user(name, PASSWORD)
    await admin.grant_write(name, name)
    await admin.grant_read(name, name, group_prefix=f"{name}-")
    await publish(servers, name, name)
    assert await read_one(servers, name, name, f"{name}-one") == b"hello"
    with pytest.raises(GroupAuthorizationFailedError):
        await read_one(servers, name, name, "somebody-elses")


async def test_a_new_password_replaces_the_old_and_a_deleted_user_stays_out(
    admin: KafkaAdmin, servers: Servers, name: str
) -> None:
    await admin.ensure_topics([TopicSpec(name, 1)])
    await admin.create_scram_user(name, "old")
    await admin.grant_write(name, name)
    await admin.create_scram_user(name, "new")
    await publish(servers, name, name, password="new")
    with pytest.raises(KafkaConnectionError):
        await publish(servers, name, name, password="old")
    await admin.delete_scram_user(name)
    await admin.delete_scram_user(name)
    with pytest.raises(KafkaConnectionError):
        await publish(servers, name, name, password="new")


async def test_revoked_rights_end_on_an_open_connection(admin: KafkaAdmin, servers: Servers, name: str) -> None:
    await admin.ensure_topics([TopicSpec(name, 1)])
    await admin.create_scram_user(name, PASSWORD)
    await admin.grant_write(name, name)
    async with AIOKafkaProducer(**client(servers, name)) as producer:
        await producer.send_and_wait(name, b"before")
        await admin.revoke_all(name)
        await admin.revoke_all(name)
        with pytest.raises(TopicAuthorizationFailedError):
            await producer.send_and_wait(name, b"after")


async def test_a_cluster_that_does_not_answer_is_transient() -> None:
    with pytest.raises(Transient):
        await KafkaAdmin(KafkaSettings(bootstrap_servers="127.0.0.1:9"), timeout_s=1).ensure_topics([TopicSpec("x", 1)])
