"""The administrator of Kafka, without one."""

import asyncio
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    ConfigEntry,
    ConfigResource,
    ConfigSource,
    NewTopic,
    PartitionMetadata,
    TopicMetadata,
)

from shared import kafka_admin
from shared.settings import KafkaSettings
from shared.topics import TopicSpec


class _Client:
    """Librdkafka's, whose answers we give ourselves."""

    def __init__(self) -> None:
        self.deleted: Future[None] = Future()
        self.topics: dict[str, TopicMetadata] = {}
        self.configs: dict[str, ConfigEntry] = {}
        self.made: list[tuple[str, int, dict[str, str]]] = []
        self.changed: list[tuple[str, dict[str, str]]] = []

    def delete_topics(self, names: list[str], **limits: float) -> dict[str, Future[None]]:
        return dict.fromkeys(names, self.deleted)

    def list_topics(self, **limits: float) -> SimpleNamespace:
        return SimpleNamespace(topics=self.topics)

    def create_topics(self, new: list[NewTopic], **limits: float) -> dict[str, Future[None]]:
        self.made += [(topic.topic, topic.replication_factor, topic.config) for topic in new]
        return {}

    def describe_configs(self, asked: list[ConfigResource], **limits: float) -> dict[str, Future[Any]]:
        return {each.name: answered({"min.insync.replicas": self.configs[each.name]}) for each in asked}

    def incremental_alter_configs(self, changes: list[ConfigResource], **limits: float) -> dict[str, Future[None]]:
        for each in changes:
            self.changed.append((each.name, {entry.name: entry.value for entry in each.incremental_configs}))
        return {}


def answered(answer: Any) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result(answer)
    return future


def topic_with(copies: int) -> TopicMetadata:
    topic, partition = TopicMetadata(), PartitionMetadata()
    partition.replicas = list(range(copies))
    topic.partitions = {0: partition}
    return topic


async def test_a_message_is_on_all_copies_but_one_before_it_is_acknowledged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are three or more; of two, both would have to be there always."""
    client = _Client()
    monkeypatch.setattr(kafka_admin, "AdminClient", lambda settings: client)
    monkeypatch.setattr(kafka_admin.KafkaAdmin, "_wait_for_leaders", lambda self, partitions: asyncio.sleep(0))
    for copies in (1, 2, 3, 5):
        admin = kafka_admin.KafkaAdmin(KafkaSettings(bootstrap_servers="unused", replication_factor=copies))
        await admin.ensure_topics([TopicSpec("t", 1, {"retention.ms": "1"})])
    assert client.made == [
        ("t", 1, {"retention.ms": "1"}),
        ("t", 2, {"retention.ms": "1"}),
        ("t", 3, {"retention.ms": "1", "min.insync.replicas": "2"}),
        ("t", 5, {"retention.ms": "1", "min.insync.replicas": "4"}),
    ]


async def test_topics_that_are_there_get_it_unless_somebody_has_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    def entry(value: int, source: ConfigSource) -> ConfigEntry:
        return ConfigEntry("min.insync.replicas", str(value), source=source)

    client = _Client()
    monkeypatch.setattr(kafka_admin, "AdminClient", lambda settings: client)
    client.topics = {"old": topic_with(3), "own": topic_with(3), "strict": topic_with(3), "single": topic_with(1)}
    client.configs = {
        "old": entry(1, ConfigSource.DEFAULT_CONFIG),
        "own": entry(1, ConfigSource.DYNAMIC_TOPIC_CONFIG),
        "strict": entry(3, ConfigSource.STATIC_BROKER_CONFIG),
    }
    admin = kafka_admin.KafkaAdmin(KafkaSettings(bootstrap_servers="unused", replication_factor=3))
    await admin.ensure_topics([TopicSpec(name, 1) for name in client.topics])
    assert client.changed == [("old", {"min.insync.replicas": "2"})]


@pytest.mark.parametrize("turns", range(5))
async def test_a_cancellation_is_not_lost_in_the_moment_of_the_answer(
    monkeypatch: pytest.MonkeyPatch, turns: int
) -> None:
    """`asyncio.wait_for` returns the answer then, before Python 3.12; who ends a service would wait for it for ever."""
    client = _Client()
    monkeypatch.setattr(kafka_admin, "AdminClient", lambda settings: client)
    admin = kafka_admin.KafkaAdmin(KafkaSettings(bootstrap_servers="unused"))

    async def use() -> None:
        await admin.delete_topics(["a"])
        await asyncio.Event().wait()

    using = asyncio.create_task(use())
    await asyncio.sleep(0.01)
    client.deleted.set_result(None)
    for _ in range(turns):
        await asyncio.sleep(0)
    using.cancel()
    await asyncio.sleep(0.01)
    assert using.cancelled()
