"""Topics, users and ACLs of Kafka, each call true afterwards however often it is made."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import Future
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError as AIOKafkaError
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # exported, though its types don't say so
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ConfigSource,
    NewPartitions,
    NewTopic,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    TopicMetadata,
    UserScramCredentialDeletion,
    UserScramCredentialUpsertion,
)

from shared.faults import Transient
from shared.kafka_options import client_options
from shared.settings import KafkaSettings
from shared.topics import TopicSpec, in_sync

# Asking about any group needs the coordinator; nobody uses this one.
_NO_GROUP = "throughline.no-group"
# Librdkafka keeps its own time; this only ends the wait if it should ever fail to.
_BACKSTOP_S = 60.0
_POLL_S = 0.02
# Kafka's own minimum, and the default of its command line tools.
_SCRAM_ITERATIONS = 4096


class KafkaAdmin:
    """Administers one Kafka cluster. Raises `Transient` when it doesn't answer, or not within `timeout_s`."""

    def __init__(self, settings: KafkaSettings, timeout_s: float = 20) -> None:
        self._timeout_s = timeout_s
        self._limits = {"request_timeout": timeout_s, "operation_timeout": timeout_s}
        self._settings = settings
        self._client = AdminClient(_librdkafka(settings))
        self._replication_factor = settings.replication_factor

    async def ensure_topics(self, specs: Iterable[TopicSpec]) -> None:
        """Every topic takes messages, with at least its partitions and exactly its settings.

        Partitions are never taken away: Kafka can't, and what lies in them would be lost. A `min.insync.replicas` that
        somebody has given the topic stays.
        """
        wanted = {spec.name: spec for spec in specs}
        existing = await self._topics()
        await self._create([spec for name, spec in wanted.items() if name not in existing])
        present = [spec for name, spec in wanted.items() if name in existing]
        await self._grow([spec for spec in present if spec.partitions > len(existing[spec.name].partitions)])
        await self._configure([spec for spec in present if spec.config])
        await self._keep_copies({spec.name: _copies(existing[spec.name]) for spec in present})

    async def wait_for_groups(self) -> None:
        """Consumer groups can be joined; on a new cluster Kafka first makes its own topic for them."""

        async def ask() -> None:
            groups = self._client.describe_consumer_groups([_NO_GROUP], request_timeout=self._timeout_s)
            await _all(groups, fine=KafkaError.GROUP_ID_NOT_FOUND)

        await self._until_answered(ask)

    async def missing_topics(self, names: Iterable[str]) -> set[str]:
        """Those of the topics that do not exist."""
        return set(names) - set(await self._topics())

    async def delete_topics(self, names: Iterable[str]) -> None:
        """None of the topics exists."""
        futures = self._client.delete_topics(list(names), **self._limits)
        await _all(futures, fine=KafkaError.UNKNOWN_TOPIC_OR_PART)

    async def create_scram_user(self, username: str, password: str) -> None:
        """The user exists and logs in with this password (SCRAM-SHA-256), and with no earlier one."""
        info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, _SCRAM_ITERATIONS)
        await self._alter_user(UserScramCredentialUpsertion(username, info, password.encode()))

    async def delete_scram_user(self, username: str) -> None:
        """The user can't log in. Connections that are open stay open: `revoke_all` takes their rights."""
        deletion = UserScramCredentialDeletion(username, ScramMechanism.SCRAM_SHA_256)
        await self._alter_user(deletion, fine=KafkaError.RESOURCE_NOT_FOUND)

    async def grant_write(self, principal: str, topic: str) -> None:
        """The user may write this topic and see that it exists."""
        await self._grant(
            _allow(principal, ResourceType.TOPIC, topic, AclOperation.WRITE),
            _allow(principal, ResourceType.TOPIC, topic, AclOperation.DESCRIBE),
        )

    async def grant_read(self, principal: str, topic: str, group_prefix: str) -> None:
        """The user may read this topic, in consumer groups whose names begin with `group_prefix`."""
        await self._grant(
            _allow(principal, ResourceType.TOPIC, topic, AclOperation.READ),
            _allow(principal, ResourceType.TOPIC, topic, AclOperation.DESCRIBE),
            _allow(principal, ResourceType.GROUP, group_prefix, AclOperation.READ, ResourcePatternType.PREFIXED),
        )

    async def revoke_all(self, principal: str) -> None:
        """The user has no rights left, on connections that are open too."""
        everything = AclBindingFilter(
            ResourceType.ANY,
            None,  # type: ignore[arg-type]  # any name, though its types don't say so
            ResourcePatternType.ANY,
            f"User:{principal}",
            None,  # type: ignore[arg-type]  # any host
            AclOperation.ANY,
            AclPermissionType.ANY,
        )
        await _all(self._client.delete_acls([everything], request_timeout=self._timeout_s))

    async def _topics(self) -> dict[str, TopicMetadata]:
        try:
            metadata = await asyncio.to_thread(self._client.list_topics, timeout=self._timeout_s)
        except KafkaException as error:
            raise Transient(str(error)) from error
        return dict(metadata.topics)

    async def _create(self, specs: list[TopicSpec]) -> None:
        if not specs:
            return
        copies = self._replication_factor
        kept = in_sync(copies)
        new = [NewTopic(spec.name, spec.partitions, copies, config={**spec.config, **kept}) for spec in specs]
        futures = self._client.create_topics(new, **self._limits)
        # Another process may have created it since we looked.
        await _all(futures, fine=KafkaError.TOPIC_ALREADY_EXISTS)
        partitions = [TopicPartition(spec.name, number) for spec in specs for number in range(spec.partitions)]
        await self._wait_for_leaders(partitions)

    async def _wait_for_leaders(self, partitions: list[TopicPartition]) -> None:
        # A topic exists a moment before its leaders know that they are. Only a leader tells its newest offset.
        # Librdkafka's way to ask is not used: it goes on finding no leader once it found none, and leaks memory.
        limits = {"request_timeout_ms": int(self._timeout_s * 1_000), "retry_backoff_ms": int(_POLL_S * 1_000)}

        async def ask() -> None:
            consumer = AIOKafkaConsumer(**client_options(self._settings), **limits)
            try:
                await consumer.start()
                await consumer.end_offsets(partitions)
            except AIOKafkaError as error:
                raise Transient(str(error)) from error
            finally:
                await consumer.stop()

        await self._until_answered(ask)

    async def _until_answered(self, ask: Callable[[], Awaitable[None]]) -> None:
        deadline = asyncio.get_running_loop().time() + self._timeout_s
        while True:
            try:
                return await ask()
            except (Transient, KafkaException):
                if asyncio.get_running_loop().time() > deadline:
                    raise
                await asyncio.sleep(_POLL_S)

    async def _grow(self, specs: list[TopicSpec]) -> None:
        if not specs:
            return
        new = [NewPartitions(spec.name, spec.partitions) for spec in specs]
        futures = self._client.create_partitions(new, **self._limits)
        await _all(futures, fine=KafkaError.INVALID_PARTITIONS)

    async def _configure(self, specs: list[TopicSpec]) -> None:
        # Setting what is already so is no change to Kafka, so there is no need to look first.
        if not specs:
            return
        await self._alter([_resource(spec.name, spec.config) for spec in specs])

    async def _keep_copies(self, copies: Mapping[str, int]) -> None:
        """Topics that were made without it ask for as many of the copies that they have, too."""
        wanted = {name: kept for name, count in copies.items() if (kept := in_sync(count))}
        if not wanted:
            return
        asked = [ConfigResource(ResourceType.TOPIC, name) for name in wanted]
        found = await _all(self._client.describe_configs(asked, request_timeout=self._timeout_s))
        changes = []
        for (name, kept), settings in zip(wanted.items(), found, strict=True):
            [(key, least)] = kept.items()
            now = settings[key]
            if ConfigSource(now.source) is not ConfigSource.DYNAMIC_TOPIC_CONFIG and int(now.value) < int(least):
                changes.append(_resource(name, kept))
        if changes:
            await self._alter(changes)

    async def _alter(self, changes: list[ConfigResource]) -> None:
        await _all(self._client.incremental_alter_configs(changes, request_timeout=self._timeout_s))

    async def _alter_user(
        self, change: UserScramCredentialUpsertion | UserScramCredentialDeletion, fine: int | None = None
    ) -> None:
        await _all(self._client.alter_user_scram_credentials([change], request_timeout=self._timeout_s), fine)

    async def _grant(self, *bindings: AclBinding) -> None:
        await _all(self._client.create_acls(list(bindings), request_timeout=self._timeout_s))


def _librdkafka(settings: KafkaSettings) -> dict[str, Any]:
    config = {
        "bootstrap.servers": settings.bootstrap_servers,
        "security.protocol": settings.security_protocol,
        "sasl.mechanism": settings.sasl_mechanism,
        "sasl.username": settings.sasl_username,
        "sasl.password": settings.sasl_password.get_secret_value() if settings.sasl_password else None,
        "ssl.ca.location": settings.ssl_cafile,
        # The errors of connections come back as the error of the call; librdkafka would also print them.
        "log_level": 0,
    }
    return {name: value for name, value in config.items() if value is not None}


def _allow(
    username: str,
    kind: ResourceType,
    name: str,
    operation: AclOperation,
    pattern: ResourcePatternType = ResourcePatternType.LITERAL,
) -> AclBinding:
    return AclBinding(kind, name, pattern, f"User:{username}", "*", operation, AclPermissionType.ALLOW)


def _copies(topic: TopicMetadata) -> int:
    return min((len(partition.replicas) for partition in topic.partitions.values()), default=0)


def _resource(topic: str, config: Mapping[str, str]) -> ConfigResource:
    changes = [ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET) for key, value in config.items()]
    return ConfigResource(ResourceType.TOPIC, topic, incremental_configs=changes)


async def _all(futures: Mapping[Any, Future[Any]], fine: int | None = None) -> list[Any]:
    """All answers, once they are there.

    Raises the first error whose code is not `fine`, as `Transient` where a retry may help.
    """
    answers = asyncio.gather(*map(asyncio.wrap_future, futures.values()), return_exceptions=True)
    try:
        async with asyncio.timeout(_BACKSTOP_S):
            results = await answers
    except TimeoutError as error:
        raise Transient("Kafka did not answer in time") from error
    for result in results:
        if isinstance(result, KafkaException) and result.args[0].code() != fine:
            raise Transient(str(result)) if _may_pass(result.args[0]) else result
        if isinstance(result, BaseException) and not isinstance(result, KafkaException):
            raise result
    return results


def _may_pass(error: KafkaError) -> bool:
    # Librdkafka's own errors have negative codes: no connection, no answer in time.
    return bool(error.retriable() or error.code() < 0)
