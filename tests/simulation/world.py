"""The world of one run, as lifecycles meet it: Kafka, HTTP, and the first answer to each command."""

import asyncio
from datetime import datetime
from random import Random
from typing import Any

import orjson

from shared.auth.keys import _checksum as checksum
from shared.auth.keys import hash_credential, looks_like_key
from shared.contracts.access import SCOPES, Grant
from shared.relay import partition_of
from shared.topics import ACCESS_GRANTS, ORDERS_REPLIES, channel_topics, core_topics
from tests.simulation.kafka import Record
from tests.simulation.network import Link
from tests.simulation.nodes import Node, Servers, virtual_now
from tests.simulation.world_api import Channel, Json

PARTITIONS = 4
CHANNELS = (Channel("chn_web", "mer_one"), Channel("chn_till", "mer_one"), Channel("chn_app", "mer_two"))
_KEY_BODIES = {name: f"tl_test_{name.replace('_', ''):0<32}" for name in ("mer_one", "mer_two")}
_API_KEYS = {name: body + checksum(body) for name, body in _KEY_BODIES.items()}
assert all(map(looks_like_key, _API_KEYS.values()))
_LOST_ONE_IN = 60


class Everything:
    """What all lifecycles share."""

    def __init__(self, *, http: bool, intents: bool) -> None:
        self.http, self.intents = http, intents
        self.servers: Servers
        self.nodes: list[Node] = []
        self.trace: list[Record] = []
        self.replied: dict[str, Record] = {}
        self._waiting: dict[str, asyncio.Future[None]] = {}

    def told(self, record: Record) -> None:
        """Something was published."""
        self.trace.append(record)
        if record.topic != ORDERS_REPLIES:
            return
        command_id = header(record, "ce_id").removesuffix(".outcome")
        if command_id not in self.replied:
            self.replied[command_id] = record
            waiting = self._waiting.pop(command_id, None)
            if waiting is not None and not waiting.done():
                waiting.set_result(None)

    async def reply(self, command_id: str) -> Json:
        """The first reply to a command, as soon as it is there."""
        if command_id not in self.replied:
            waiting = self._waiting.setdefault(command_id, asyncio.get_running_loop().create_future())
            await asyncio.shield(waiting)
        record = self.replied[command_id]
        return {"type": header(record, "ce_type"), **orjson.loads(record.value or b"{}")}

    def prepare(self) -> None:
        """Topics, channels and keys, as an installation has them."""
        cluster = self.servers.cluster
        for spec in core_topics(PARTITIONS):
            cluster.create(spec.name, spec.partitions)
        now = virtual_now()
        for channel in CHANNELS:
            for spec in channel_topics(channel.channel_id):
                cluster.create(spec.name, spec.partitions)
            row = _channel_row(channel, now)
            self.servers.databases["payments"]["channels"].apply(channel.channel_id, row)
        # One that the service made itself would be another in every run.
        self.servers.databases["apps"]["private_signing_keys"].apply("sgk_1", _signing_key(now))
        for merchant_id, key in _API_KEYS.items():
            grant = Grant(
                grant_id=f"key_{merchant_id[4:]}",
                credential_hash=hash_credential(key),
                kind="api_key",
                merchant_id=merchant_id,
                environment="test",
                scopes=tuple(SCOPES),
            )
            draft = (grant.credential_hash.encode(), grant.model_dump_json().encode(), ())
            cluster.topics[ACCESS_GRANTS][0].append([draft])


class LifeWorld:
    """What one lifecycle can do and see."""

    def __init__(self, all_of_it: "Everything", random: Random) -> None:
        self._all, self.random = all_of_it, random
        self._link = Link(random)
        self.http, self.intents, self.channels = all_of_it.http, all_of_it.intents, CHANNELS

    def now(self) -> datetime:
        return virtual_now()

    async def publish(self, topic: str, key: str, headers: dict[str, str], value: bytes) -> None:
        cluster, chance = self._all.servers.cluster, self.random.random() * _LOST_ONE_IN
        await self._link.travel(ConnectionError)
        if cluster.down or chance < 0.5:
            await asyncio.sleep(0.05)
            raise ConnectionError
        partition = cluster.topics[topic][partition_of(key.encode(), len(cluster.topics[topic]))]
        partition.append([(key.encode(), value, [(name, text.encode()) for name, text in headers.items()])])
        if chance < 1.0:
            raise ConnectionError

    async def request(  # noqa: PLR0917 - as the models' protocol has it
        self,
        service: str,
        method: str,
        path: str,
        body: Json | None,
        idempotency_key: str | None,
        merchant_id: str,
    ) -> tuple[int, Any]:
        await self._link.travel(ConnectionError)
        node = self.random.choice([node for node in self._all.nodes if node.service == service])
        headers = [
            (b"authorization", f"Bearer {_API_KEYS[merchant_id]}".encode()),
            (b"content-type", b"application/json"),
        ]
        if idempotency_key is not None:
            headers.append((b"idempotency-key", idempotency_key.encode()))
        answer = await node.request(method, path, headers, b"" if body is None else orjson.dumps(body))
        if self.random.random() * _LOST_ONE_IN < 1:
            raise ConnectionError
        return answer

    async def reply(self, command_id: str) -> Json:
        return await self._all.reply(command_id)

    async def answer_challenge(self, url: str, *, approves: bool) -> None:
        await self._link.travel(ConnectionError)
        await self._all.servers.acquirers.answer_challenge(url, approves=approves)


def header(record: Record, name: str) -> str:
    return next((text.decode() for known, text in record.headers if known == name), "")


def _channel_row(channel: Channel, now: datetime) -> dict[str, Any]:
    return {
        "channel_id": channel.channel_id,
        "merchant_id": channel.merchant_id,
        "environment": "test",
        "name": channel.channel_id,
        "source": "checkout",
        "status": "active",
        "created_at": now,
        "updated_at": now,
    }


def _signing_key(now: datetime) -> dict[str, Any]:
    public = orjson.dumps({"x": "x" * 43, "y": "y" * 43}).decode()
    made = {"kid": "sgk_1", "public_jwk": public, "sealed_jwk": b"", "status": "active"}
    return made | {"created_at": now, "signs_from": now}
