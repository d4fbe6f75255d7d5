"""Topics of apps as resources of Strimzi (API version v1), whose operators make topics, users and rights in Kafka.

Each app has a KafkaTopic, a KafkaUser and a Secret that holds its password: the User Operator takes passwords from
there only.
"""

import asyncio
import secrets
from base64 import b64encode
from collections.abc import Callable, Collection

from services.apps.connectors.kubernetes import Json, Kubernetes
from services.apps.core.plugin_topics import group_prefix_of, username_of
from shared.faults import Transient
from shared.topics import in_sync, plugin_topic, plugin_topic_spec

_API = "kafka.strimzi.io/v1"
_TOPICS, _PASSWORDS = "throughline-topics", "throughline-passwords"
"""Who owns which fields: making a topic once more leaves the password alone, and the other way round."""
_OURS = "app.kubernetes.io/managed-by"
_WAIT_S = 20.0
_POLL_S = 0.2


class StrimziTopics:
    """See `services.apps.plugin_topics.TopicAdmin`. An operator that is not done in time is `Transient` too."""

    sasl_mechanism = "SCRAM-SHA-512"

    def __init__(
        self, kubernetes: Kubernetes, cluster: str, namespace: str | None, replicas: int, wait_s: float = _WAIT_S
    ) -> None:
        self._kubernetes, self._namespace, self._wait_s = kubernetes, namespace, wait_s
        self._replicas = replicas
        self._labels = {"strimzi.io/cluster": cluster, _OURS: "throughline"}

    def username(self, app_id: str) -> str:
        """The name of a resource, which has neither capitals nor underscores; ids differ without them too."""
        return username_of(app_id).lower().replace("_", "-")

    async def provide(self, app_id: str) -> None:
        spec = plugin_topic_spec(app_id)
        found = await self._kubernetes.get(self._path("kafkatopics", app_id)) or {}
        config = found.get("spec", {}).get("config") or {}
        # What somebody has given the topic stays.
        kept = {name: config.get(name, value) for name, value in in_sync(self._replicas).items()}
        topic = {
            "topicName": spec.name,
            "partitions": spec.partitions,
            "replicas": self._replicas,
            "config": {**spec.config, **kept},
        }
        rights = [
            _allow("topic", "literal", plugin_topic(app_id), "Read", "Describe"),
            _allow("group", "prefix", group_prefix_of(app_id), "Read"),
        ]
        await self._apply("KafkaTopic", app_id, topic, _TOPICS)
        await self._apply("KafkaUser", app_id, {"authorization": {"type": "simple", "acls": rights}}, _TOPICS)
        await self._until_ready(self._path("kafkatopics", app_id))
        await self._until_ready(self._path("kafkausers", app_id))

    async def set_password(self, app_id: str, password: str) -> None:
        # A key of its own for each password: the user's change of it is what the operator says that it has seen.
        name, key = self._secret(app_id), f"password-{secrets.token_hex(4)}"
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "labels": self._labels},
            "data": {key: b64encode(password.encode()).decode()},
        }
        await self._kubernetes.apply(self._secret_path(app_id), secret, _PASSWORDS)
        source = {"valueFrom": {"secretKeyRef": {"name": name, "key": key}}}
        authentication = {"type": "scram-sha-512", "password": source}
        await self._apply("KafkaUser", app_id, {"authentication": authentication}, _PASSWORDS)
        await self._until_ready(self._path("kafkausers", app_id))

    async def remove(self, app_id: str) -> None:
        """The resources are gone, and with its resource the topic; the operator takes the user out a moment later."""
        paths = [self._path("kafkausers", app_id), self._path("kafkatopics", app_id), self._secret_path(app_id)]
        for path in paths:
            await self._kubernetes.delete(path)
        for path in paths[:2]:
            await self._until(path, lambda found: found is None)

    async def missing(self, app_ids: Collection[str]) -> list[str]:
        labels = ",".join(f"{name}={value}" for name, value in self._labels.items())
        there = await self._kubernetes.names(self._path("kafkatopics"), labels)
        return [app_id for app_id in app_ids if self.username(app_id) not in there]

    async def _apply(self, kind: str, app_id: str, spec: Json, manager: str) -> None:
        metadata = {"name": self.username(app_id), "labels": self._labels}
        body = {"apiVersion": _API, "kind": kind, "metadata": metadata, "spec": spec}
        await self._kubernetes.apply(self._path(f"{kind.lower()}s", app_id), body, manager)

    async def _until_ready(self, path: str) -> None:
        await self._until(path, _is_ready)

    async def _until(self, path: str, holds: Callable[[Json | None], bool]) -> None:
        """Until the operator has done its part."""
        deadline = asyncio.get_running_loop().time() + self._wait_s
        while not holds(await self._kubernetes.get(path)):
            if asyncio.get_running_loop().time() > deadline:
                raise Transient(f"strimzi is not done: {path}")
            await asyncio.sleep(_POLL_S)

    def _path(self, resources: str, app_id: str | None = None) -> str:
        namespace = self._namespace or self._kubernetes.own_namespace
        name = "" if app_id is None else f"/{self.username(app_id)}"
        return f"/apis/{_API}/namespaces/{namespace}/{resources}{name}"

    def _secret(self, app_id: str) -> str:
        """The operator's own secret has the name of the user."""
        return f"{self.username(app_id)}-password"

    def _secret_path(self, app_id: str) -> str:
        namespace = self._namespace or self._kubernetes.own_namespace
        return f"/api/v1/namespaces/{namespace}/secrets/{self._secret(app_id)}"


def _allow(kind: str, pattern: str, name: str, *operations: str) -> Json:
    return {
        "type": "allow",
        "resource": {"type": kind, "patternType": pattern, "name": name},
        "operations": list(operations),
        "host": "*",
    }


def _is_ready(found: Json | None) -> bool:
    """Whether the operator has seen the newest change, and it holds."""
    if found is None:
        return False
    status = found.get("status", {})
    seen = status.get("observedGeneration") == found["metadata"]["generation"]
    conditions = {each.get("type"): each.get("status") for each in status.get("conditions", ())}
    return bool(seen and conditions.get("Ready") == "True")
