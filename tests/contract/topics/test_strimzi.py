"""What holds of Strimzi's resources beyond what any admin of topics does."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from services.apps.app import _topic_admin
from services.apps.connectors.kafka_topics import KafkaTopics
from services.apps.connectors.strimzi_topics import StrimziTopics
from services.apps.plugin_topics import new_password
from shared.faults import Transient
from shared.ids import new_id
from shared.outside import REAL
from shared.settings import KafkaSettings, Settings, StrimziSettings
from tests.servers import Servers
from tests.stack import eventually
from tests.strimzi import CLUSTER, VALIDATORS, Cluster, strimzi

pytestmark = pytest.mark.servers


@pytest.fixture
async def cluster(servers: Servers, tmp_path: Path) -> AsyncIterator[Cluster]:
    kafka = KafkaSettings(bootstrap_servers=servers.kafka_bootstrap_servers)
    async with strimzi(kafka, tmp_path) as cluster:
        yield cluster


def admin_of(cluster: Cluster, wait_s: float = 20) -> StrimziTopics:
    return StrimziTopics(cluster.kubernetes, CLUSTER, None, 1, wait_s)


async def test_the_role_in_the_manifest_is_just_enough(cluster: Cluster) -> None:
    app_id, admin = new_id("app"), admin_of(cluster)
    await admin.provide(app_id)
    await admin.set_password(app_id, new_password())
    assert await admin.missing([app_id]) == []
    await admin.remove(app_id)
    given = {(verb, kind) for kind, verbs in cluster.rights.items() for verb in verbs}
    assert cluster.used == given
    cluster.rights["kafkausers"].remove("patch")
    with pytest.raises(Transient, match="403"):
        await admin.provide(app_id)


async def test_a_password_is_in_one_secret_only_and_goes_with_the_app(cluster: Cluster) -> None:
    app_id, admin = new_id("app"), admin_of(cluster)
    name = admin.username(app_id)
    old, new = new_password(), new_password()
    await admin.provide(app_id)
    for password in (old, new):
        await admin.set_password(app_id, password)
    secret = cluster.resources["secrets", f"{name}-password"].body
    assert len(secret["data"]) == 1, "the old one is gone"
    assert secret["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "throughline"
    for password in (old, new):
        assert password not in str(cluster.resources["kafkausers", name].body)
    await admin.remove(app_id)
    assert ("secrets", f"{name}-password") not in cluster.resources


async def test_operators_that_are_not_done_are_waited_for(cluster: Cluster) -> None:
    app_id = new_id("app")
    cluster.awake.clear()
    providing = asyncio.create_task(admin_of(cluster).provide(app_id))

    async def is_applied() -> bool:
        return len(cluster.resources) == 2

    await eventually(is_applied)
    assert not providing.done()
    cluster.awake.set()
    await providing


async def test_operators_that_never_get_there_are_tried_later(cluster: Cluster) -> None:
    app_id, admin = new_id("app"), admin_of(cluster, wait_s=0.3)
    cluster.awake.clear()
    for attempt in (admin.provide(app_id), admin.set_password(app_id, new_password()), admin.remove(app_id)):
        with pytest.raises(Transient, match="not done"):
            await attempt


async def test_what_was_true_before_the_change_does_not_count(cluster: Cluster) -> None:
    """The user is ready with the old password; that says nothing of the new one."""
    app_id, admin = new_id("app"), admin_of(cluster, wait_s=0.3)
    await admin_of(cluster).set_password(app_id, new_password())
    cluster.awake.clear()
    with pytest.raises(Transient, match="not done"):
        await admin.set_password(app_id, new_password())


async def test_rights_and_password_are_said_apart(cluster: Cluster) -> None:
    """Making a topic once more, as its repair does, takes no password, and a new password takes no right."""
    app_id, admin = new_id("app"), admin_of(cluster)

    def spec() -> dict[str, Any]:
        found: dict[str, Any] = cluster.resources["kafkausers", admin.username(app_id)].body["spec"]
        return found

    await admin.set_password(app_id, new_password())
    authentication = spec()["authentication"]
    await admin.provide(app_id)
    assert spec()["authentication"] == authentication
    await admin.set_password(app_id, new_password())
    assert len(spec()["authorization"]["acls"]) == 2


async def test_the_token_is_read_anew(cluster: Cluster) -> None:
    admin = admin_of(cluster)
    await admin.provide(new_id("app"))
    (cluster.service_account / "token").write_text("second-token")
    await admin.provide(new_id("app"))
    (cluster.service_account / "token").unlink()
    with pytest.raises(Transient, match="FileNotFoundError"):
        await admin.provide(new_id("app"))


async def test_a_foreign_certificate_is_not_believed(cluster: Cluster, tmp_path: Path, servers: Servers) -> None:
    other = tmp_path / "other"
    other.mkdir()
    async with strimzi(cluster.kafka, other):
        (cluster.service_account / "ca.crt").write_bytes((other / "ca.crt").read_bytes())
        with pytest.raises(Transient, match="Certificate"):
            await admin_of(cluster).provide(new_id("app"))


def test_the_recorded_schemas_refuse_what_strimzi_refuses() -> None:
    topic = {"apiVersion": "kafka.strimzi.io/v1", "kind": "KafkaTopic", "metadata": {}, "spec": {"partitions": 3}}
    assert VALIDATORS["kafkatopics"].is_valid(topic)
    for spec in ({"partitions": 0}, {"partitions": "3"}, {"replicationFactor": 1}, None):
        assert not VALIDATORS["kafkatopics"].is_valid(topic | {"spec": spec})
    user = {"apiVersion": "kafka.strimzi.io/v1", "kind": "KafkaUser", "metadata": {}, "spec": {}}
    assert VALIDATORS["kafkausers"].is_valid(user)
    for spec in (
        {"authentication": {"type": "scram-sha-256"}},
        {"authorization": {"type": "simple"}},
        {"userName": "x"},
    ):
        assert not VALIDATORS["kafkausers"].is_valid(user | {"spec": spec})


def test_a_setting_chooses_who_makes_topics() -> None:
    assert isinstance(_topic_admin(Settings(), REAL), KafkaTopics)
    by_strimzi = Settings(strimzi=StrimziSettings(cluster=CLUSTER, namespace="kafka"))
    assert isinstance(_topic_admin(by_strimzi, REAL), StrimziTopics)


async def test_a_message_is_on_all_copies_but_one_before_it_is_acknowledged(cluster: Cluster) -> None:
    app_id, name = new_id("app"), "min.insync.replicas"
    cluster.awake.clear()

    async def config_with(replicas: int) -> dict[str, Any]:
        admin = StrimziTopics(cluster.kubernetes, CLUSTER, None, replicas, wait_s=0)
        with pytest.raises(Transient, match="not done"):
            await admin.provide(app_id)
        found: dict[str, Any] = cluster.resources["kafkatopics", admin.username(app_id)].body["spec"]["config"]
        return found

    assert name not in await config_with(1)
    config = await config_with(3)
    assert config[name] == "2"
    config[name] = 3
    assert (await config_with(3))[name] == 3, "somebody has decided"
