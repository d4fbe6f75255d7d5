"""Kubernetes with Strimzi for tests: the API as far as it is used, and the operators' part played on a real Kafka.

Bodies are checked against the recorded schemas, rights against the manifest that we ship.
"""

import asyncio
import base64
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson
import trustme
import yaml
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialDeletion,
    UserScramCredentialUpsertion,
)
from jsonschema import Draft202012Validator

from deploy.local.datadir import REPOSITORY
from services.apps.connectors.kubernetes import Kubernetes
from shared.kafka_admin import KafkaAdmin
from shared.settings import KafkaSettings
from shared.topics import TopicSpec
from tests.receiver import HOST, Received, answer, receiving

Json = dict[str, Any]

NAMESPACE, CLUSTER = "kafka", "my-cluster"
KINDS = {"kafkatopics": "KafkaTopic", "kafkausers": "KafkaUser", "secrets": "Secret"}
_PATH = re.compile(rf"/(api/v1|apis/kafka\.strimzi\.io/v1)/namespaces/{NAMESPACE}/([a-z]+)(?:/([^/]+))?")
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_SCHEMAS = Path(__file__).parent / "contract" / "topics"
_MANIFEST = REPOSITORY / "deploy" / "kubernetes" / "strimzi.yaml"
_PAGE = 2
"""Resources on one page of a list, however many are asked for."""


def _strict(schema: Any) -> Any:
    """The schema as the API reads it under `fieldValidation=Strict`: fields that it does not name are mistakes."""
    if isinstance(schema, list):
        return [_strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: _strict(part) for name, part in schema.items()}
    return found | {"additionalProperties": False} if isinstance(schema.get("properties"), dict) else found


VALIDATORS = {
    name: Draft202012Validator(_strict(orjson.loads((_SCHEMAS / f"{KINDS[name].lower()}.json").read_bytes())))
    for name in ("kafkatopics", "kafkausers")
}


def verbs_of_the_manifest() -> dict[str, set[str]]:
    """What our role may do with which resources."""
    role, binding = yaml.safe_load_all(_MANIFEST.read_text())
    assert (role["kind"], binding["roleRef"]["name"]) == ("Role", role["metadata"]["name"])
    return {name: set(rule["verbs"]) for rule in role["rules"] for name in rule["resources"]}


@dataclass
class Resource:
    """One resource: what each field manager applied, and what the operators add."""

    applied: dict[str, Json] = field(default_factory=dict)
    generation: int = 0
    going: bool = False
    status: Json = field(default_factory=dict)

    @property
    def body(self) -> Json:
        merged: Json = {}
        for part in self.applied.values():
            merged = _merged(merged, part)
        metadata = merged.get("metadata", {}) | {"generation": self.generation}
        if self.going:
            metadata["deletionTimestamp"] = "2026-11-21T12:00:00Z"
        return merged | {"metadata": metadata} | ({"status": self.status} if self.status else {})


def _merged(one: Json, other: Json) -> Json:
    both = one | other
    for name in one.keys() & other.keys():
        if isinstance(one[name], dict):
            both[name] = _merged(one[name], other[name])
    return both


@dataclass
class Cluster:
    """The API of one namespace, with Strimzi's operators at work."""

    service_account: Path
    kafka: KafkaSettings
    rights: dict[str, set[str]] = field(default_factory=verbs_of_the_manifest)
    resources: dict[tuple[str, str], Resource] = field(default_factory=dict)
    used: set[tuple[str, str]] = field(default_factory=set)
    """Verb and kind of each request."""
    awake: asyncio.Event = field(default_factory=asyncio.Event)
    """Whether the operators do anything."""
    url: str = ""
    down: bool = False
    _changes: asyncio.Queue[tuple[str, str]] = field(default_factory=asyncio.Queue)

    @property
    def kubernetes(self) -> Kubernetes:
        return Kubernetes(self.url, self.service_account)

    async def serve(self, request: Received) -> bytes:
        """The API's answer to one request."""
        url = urlsplit(request.path)
        token = (self.service_account / "token").read_text()
        path = _PATH.fullmatch(url.path)
        if self.down:
            return _status(503)
        if request.headers.get("authorization") != f"Bearer {token}":
            return _status(401)
        if path is None or path[2] not in KINDS or (path[1] == "api/v1") != (path[2] == "secrets"):
            return _status(404)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        return self._answer(request, path[2], path[3], query)

    def _answer(self, request: Received, kind: str, name: str | None, query: dict[str, str]) -> bytes:
        found = self.resources.get((kind, name or ""))
        verbs = {"GET": ["get" if name else "list"], "DELETE": ["delete"], "PATCH": ["patch"]}[request.method]
        if request.method == "PATCH" and found is None:
            verbs.append("create")
        self.used |= {(verb, kind) for verb in verbs}
        if not set(verbs) <= self.rights[kind]:
            return _status(403)
        if name is None:
            return self._list(kind, query)
        if request.method == "PATCH":
            return self._apply(kind, name, request, query)
        if found is None:
            return _status(404)
        if request.method == "DELETE":
            self._delete(kind, name, found)
        return _json(found.body)

    def _list(self, kind: str, query: dict[str, str]) -> bytes:
        wanted = dict(pair.split("=") for pair in query["labelSelector"].split(","))
        names = sorted(name for of_kind, name in self.resources if of_kind == kind)
        items = [self.resources[kind, name].body for name in names]
        items = [item for item in items if wanted.items() <= item["metadata"].get("labels", {}).items()]
        begin = int(query.get("continue", "0"))
        more = str(begin + _PAGE) if begin + _PAGE < len(items) else ""
        return _json({"metadata": {"continue": more}, "items": items[begin : begin + _PAGE]})

    def _apply(self, kind: str, name: str, request: Received, query: dict[str, str]) -> bytes:
        body = orjson.loads(request.body)
        assert request.headers["content-type"] == "application/apply-patch+yaml"
        assert query["fieldValidation"] == "Strict"
        api = "v1" if kind == "secrets" else "kafka.strimzi.io/v1"
        fits = (body["apiVersion"], body["kind"], body["metadata"]["name"]) == (api, KINDS[kind], name)
        if not fits or _NAME.fullmatch(name) is None:
            return _status(422)
        resource = self.resources.get((kind, name), Resource())
        new = Resource(resource.applied | {query["fieldManager"]: body}, resource.generation)
        if kind in VALIDATORS and not VALIDATORS[kind].is_valid(new.body):
            return _status(422)
        if new.body.get("spec") != resource.body.get("spec"):
            resource.generation += 1
        resource.applied = new.applied
        self.resources[kind, name] = resource
        self._changes.put_nowait((kind, name))
        return _json(resource.body)

    def _delete(self, kind: str, name: str, found: Resource) -> None:
        # The Topic Operator puts a finalizer on its resources, so they go when the topic has gone.
        if kind == "kafkatopics":
            found.going = True
        else:
            del self.resources[kind, name]
        self._changes.put_nowait((kind, name))

    async def operate(self) -> None:
        """Topic Operator and User Operator."""
        while True:
            kind, name = await self._changes.get()
            await self.awake.wait()
            resource = self.resources.get((kind, name))
            labels = {} if resource is None else resource.body["metadata"]["labels"]
            if kind == "kafkatopics" and resource is not None and labels.get("strimzi.io/cluster") == CLUSTER:
                await self._topic(name, resource)
            elif kind == "kafkausers" and (resource is None or labels.get("strimzi.io/cluster") == CLUSTER):
                await self._user(name, resource)

    async def _topic(self, name: str, resource: Resource) -> None:
        admin, spec = KafkaAdmin(self.kafka), resource.body["spec"]
        if resource.going:
            await admin.delete_topics([spec["topicName"]])
            del self.resources["kafkatopics", name]
            return
        await admin.ensure_topics([TopicSpec(spec["topicName"], spec["partitions"], spec["config"])])
        _ready(resource)

    async def _user(self, name: str, resource: Resource | None) -> None:
        raw = AdminClient({"bootstrap.servers": self.kafka.bootstrap_servers})
        if resource is None:
            await KafkaAdmin(self.kafka).revoke_all(name)
            gone = [UserScramCredentialDeletion(name, ScramMechanism.SCRAM_SHA_512)]
            await asyncio.gather(
                *map(asyncio.wrap_future, raw.alter_user_scram_credentials(gone).values()), return_exceptions=True
            )
            return
        spec = resource.body["spec"]
        acls = [acl for rule in spec.get("authorization", {}).get("acls", ()) for acl in _acls(name, rule)]
        if acls:
            await asyncio.gather(*map(asyncio.wrap_future, raw.create_acls(acls).values()))
        if "authentication" in spec:
            password = self._password(spec["authentication"]["password"]["valueFrom"]["secretKeyRef"])
            if password is None:
                resource.status = {"conditions": [{"type": "NotReady", "status": "True", "reason": "InvalidResource"}]}
                return
            info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
            change = UserScramCredentialUpsertion(name, info, password)
            await asyncio.gather(*map(asyncio.wrap_future, raw.alter_user_scram_credentials([change]).values()))
            own = {"metadata": {"name": name}, "data": {"password": base64.b64encode(password).decode()}}
            self.resources["secrets", name] = Resource({"strimzi-user-operator": own})
        _ready(resource)

    def _password(self, reference: Json) -> bytes | None:
        secret = self.resources.get(("secrets", reference["name"]))
        encoded = None if secret is None else secret.body["data"].get(reference["key"])
        return None if encoded is None else base64.b64decode(encoded)


def _acls(user: str, rule: Json) -> list[AclBinding]:
    resource = rule["resource"]
    pattern = {"literal": ResourcePatternType.LITERAL, "prefix": ResourcePatternType.PREFIXED}[resource["patternType"]]
    return [
        AclBinding(
            ResourceType[resource["type"].upper()],
            resource["name"],
            pattern,
            f"User:{user}",
            rule["host"],
            AclOperation[operation.upper()],
            AclPermissionType[rule["type"].upper()],
        )
        for operation in rule["operations"]
    ]


def _ready(resource: Resource) -> None:
    resource.status = {
        "conditions": [{"type": "Ready", "status": "True"}],
        "observedGeneration": resource.generation,
    }


def _json(body: Json) -> bytes:
    return answer(200, orjson.dumps(body), Content_Type="application/json")


def _status(code: int) -> bytes:
    return answer(code, orjson.dumps({"kind": "Status", "code": code}), Content_Type="application/json")


@asynccontextmanager
async def strimzi(kafka: KafkaSettings, service_account: Path) -> AsyncIterator[Cluster]:
    """A cluster on a free port of this machine, by TLS; its service account is in the directory."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(service_account / "ca.crt"))
    (service_account / "token").write_text("first-token")
    (service_account / "namespace").write_text(NAMESPACE)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(HOST).configure_cert(tls)
    cluster = Cluster(service_account, kafka)
    cluster.awake.set()
    operators = asyncio.create_task(cluster.operate())
    async with receiving(cluster.serve, tls) as server:
        cluster.url = server.url("", scheme="https")
        yield cluster
    operators.cancel()
    await asyncio.gather(operators, return_exceptions=True)
