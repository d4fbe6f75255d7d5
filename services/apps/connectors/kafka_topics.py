"""Topics of apps, made and taken away by Kafka's own admin API."""

from collections.abc import Collection
from functools import cached_property

from confluent_kafka import KafkaException

from services.apps.core.plugin_topics import group_prefix_of, username_of
from shared.faults import Transient
from shared.kafka.clients import REAL_CLIENTS, Clients
from shared.kafka_admin import KafkaAdmin
from shared.settings import KafkaSettings
from shared.topics import plugin_topic, plugin_topic_spec


class KafkaTopics:
    """See `services.apps.plugin_topics.TopicAdmin`."""

    sasl_mechanism = "SCRAM-SHA-256"

    def __init__(self, kafka: KafkaSettings, clients: Clients = REAL_CLIENTS) -> None:
        self._kafka, self._clients = kafka, clients

    @cached_property
    def _admin(self) -> KafkaAdmin:
        """Connects when it is made, so not before the first use."""
        return self._clients.admin(self._kafka)

    def username(self, app_id: str) -> str:
        return username_of(app_id)

    async def provide(self, app_id: str) -> None:
        try:
            await self._admin.ensure_topics([plugin_topic_spec(app_id)])
            await self._admin.grant_read(username_of(app_id), plugin_topic(app_id), group_prefix_of(app_id))
        except KafkaException as error:
            raise _for_this_app(error) from error

    async def set_password(self, app_id: str, password: str) -> None:
        try:
            await self._admin.create_scram_user(username_of(app_id), password)
        except KafkaException as error:
            raise _for_this_app(error) from error

    async def remove(self, app_id: str) -> None:
        try:
            await self._admin.revoke_all(username_of(app_id))
            await self._admin.delete_scram_user(username_of(app_id))
            await self._admin.delete_topics([plugin_topic(app_id)])
        except KafkaException as error:
            raise _for_this_app(error) from error

    async def missing(self, app_ids: Collection[str]) -> list[str]:
        gone = await self._admin.missing_topics(map(plugin_topic, app_ids))
        return [app_id for app_id in app_ids if plugin_topic(app_id) in gone]


def _for_this_app(error: KafkaException) -> Transient:
    """What Kafka refuses for one app (a policy, a quota) must not keep the others from theirs: it is tried again."""
    return Transient(f"kafka refused: {error.args[0].name()}")
