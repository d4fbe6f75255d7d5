"""All services in this process behind one port, on the test run's own servers, and clients of them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import orjson
import uvicorn
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord
from pydantic import SecretStr

from deploy.local.ports import HOST, Ports
from deploy.prepare import prepare_database, prepare_topics
from deploy.services import create_gateway
from shared.auth.keys import hash_credential, new_api_key
from shared.contracts.access import SCOPES, Grant
from shared.contracts.model import Message
from shared.envelope import Envelope
from shared.ids import new_id
from shared.kafka import client_options, producer
from shared.sealing import new_sealing_key
from shared.settings import UNLIMITED, KafkaSettings, SandboxSettings, Settings
from shared.topics import ACCESS_GRANTS, ORDERS_COMMANDS
from tests.servers import Servers

PARTITIONS = 4
SEALING_KEY = SecretStr(new_sealing_key())
SANDBOX = SandboxSettings(secret=SecretStr("secret-of-the-sandbox"))
_PATIENCE_S = 20.0


@dataclass(frozen=True)
class Tenant:
    """One merchant in one environment, with a client that may do what its key's scopes allow."""

    merchant_id: str
    environment: str
    api_key: str
    grant: Grant
    http: httpx2.AsyncClient


@dataclass(frozen=True)
class Stack:
    """Running services; every test makes tenants of its own."""

    settings: Settings
    base_url: str
    kafka: AIOKafkaProducer
    platform: httpx2.AsyncClient
    """With the platform key."""

    async def grant(self, grant: Grant) -> None:
        """Announce a grant, as the service that owns access does."""
        key = grant.credential_hash.encode()
        await self.kafka.send_and_wait(ACCESS_GRANTS, value=grant.model_dump_json().encode(), key=key)

    async def tenant(
        self, scopes: Sequence[str] = SCOPES, merchant_id: str | None = None, environment: str = "test", **more: Any
    ) -> Tenant:
        """A new merchant (or a further key of the given one) whose key is known everywhere."""
        api_key = new_api_key("test" if environment == "test" else "live")
        grant = Grant(
            grant_id=new_id("key"),
            credential_hash=hash_credential(api_key),
            kind="api_key",
            merchant_id=merchant_id or new_id("mer"),
            environment="test" if environment == "test" else "live",
            scopes=tuple(scopes),
            **more,
        )
        await self.grant(grant)
        http = httpx2.AsyncClient(
            base_url=self.base_url, headers={"Authorization": f"Bearer {api_key}"}, timeout=_PATIENCE_S
        )
        assert grant.merchant_id is not None
        tenant = Tenant(grant.merchant_id, grant.environment, api_key, grant, http)
        await eventually(lambda: _is_admitted(http))
        return tenant

    async def command(
        self, tenant: Tenant, order_id: str, command: Message, command_id: str | None = None, **changes: Any
    ) -> str:
        """Publish a command on `orders.commands` as a trusted service does; gives the command id."""
        given: dict[str, Any] = {
            "id": command_id or new_id("cmd"),
            "type": command.wire_type,
            "source": "/services/tests",
            "data": command.model_dump_json(exclude_unset=True).encode(),
            "key": order_id,
            "subject": order_id,
            "merchant_id": tenant.merchant_id,
            "environment": tenant.environment,
        }
        envelope = Envelope(**(given | changes))
        await self.publish(ORDERS_COMMANDS, envelope)
        return envelope.id

    async def publish(self, topic: str, envelope: Envelope) -> None:
        """Publish in binary mode."""
        headers = [(name, value.encode()) for name, value in envelope.headers().items()]
        key = envelope.key.encode() if envelope.key is not None else None
        await self.kafka.send_and_wait(topic, value=envelope.data, key=key, headers=headers)

    async def read(self, topic: str, key: str, count: int, within_s: float = _PATIENCE_S) -> list[ConsumerRecord]:
        """The first `count` records of the topic with this key; fails when they do not come."""
        found: list[ConsumerRecord] = []
        async with tail(self.settings.kafka, topic) as records:
            async with asyncio.timeout(within_s):
                async for record in records:
                    if record.key == key.encode():
                        found.append(record)
                    if len(found) == count:
                        break
        return found


async def _is_admitted(http: httpx2.AsyncClient) -> bool:
    answers = [await http.get("/v1/orders/ord_none"), await http.get("/v1/unmatched-money/um_none")]
    return all(answer.status_code not in (401, 503) for answer in answers)


async def _knows(http: httpx2.AsyncClient) -> bool:
    return (await http.get("/v1/auth-context")).status_code == 200


@asynccontextmanager
async def tail(kafka: KafkaSettings, topic: str) -> AsyncIterator[AIOKafkaConsumer]:
    """Every record of a topic from the beginning, as an outsider reads it."""
    consumer = AIOKafkaConsumer(topic, **client_options(kafka), auto_offset_reset="earliest", group_id=None)
    async with started(consumer):
        yield consumer


@asynccontextmanager
async def started(consumer: AIOKafkaConsumer) -> AsyncIterator[None]:
    """It runs, and is ended even where it could not begin, which its own context manager leaves open."""
    try:
        await consumer.start()
        yield
    finally:
        await consumer.stop()


async def eventually(check: Any, within_s: float = _PATIENCE_S) -> Any:
    """What `check` (an async function) gives once that is truthy; fails when it never is."""
    async with asyncio.timeout(within_s):
        while True:
            if found := await check():
                return found
            await asyncio.sleep(0.02)


def headers_of(record: ConsumerRecord) -> dict[str, str]:
    return {name: value.decode() for name, value in record.headers}


def body_of(record: ConsumerRecord) -> dict[str, Any]:
    body: dict[str, Any] = orjson.loads(record.value)
    return body


def settings_for(servers: Servers, base_url: str = "http://127.0.0.1:8080", **more: Any) -> Settings:
    kafka = KafkaSettings(
        bootstrap_servers=servers.kafka_bootstrap_servers,
        client_bootstrap_servers=servers.kafka_client_bootstrap_servers,
    )
    return Settings(
        database_url=servers.database_url,
        kafka=kafka,
        command_partitions=PARTITIONS,
        public_base_url=base_url,
        sealing_key=SEALING_KEY,
        sandbox=SANDBOX,
        rate_limits=UNLIMITED,
        outbound_local=True,
        **more,
    )


@asynccontextmanager
async def serving(app: Any, port: int, **options: Any) -> AsyncIterator[str]:
    """The app on a port of this machine, ready, in this process."""
    server = uvicorn.Server(uvicorn.Config(app, host=HOST, port=port, lifespan="on", log_level="error", **options))
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign]
    task = asyncio.create_task(server.serve())
    base_url = f"http://{HOST}:{port}"
    try:
        async with httpx2.AsyncClient(base_url=base_url) as client:

            async def ready() -> bool:
                assert not task.done(), "the app did not start"
                with contextlib.suppress(httpx2.HTTPError):
                    return (await client.get("/readyz")).status_code == 200
                return False

            await eventually(ready, within_s=60)
        yield base_url
    finally:
        server.should_exit = True
        await task


@asynccontextmanager
async def running_stack(servers: Servers) -> AsyncIterator[Stack]:
    """Prepared servers, all services ready, a producer for whatever a test wants to say."""
    port = Ports.free().postgres
    platform_key = new_api_key("live")
    settings = settings_for(servers, f"http://{HOST}:{port}", platform_key_hash=hash_credential(platform_key))
    await prepare_database(settings)
    await prepare_topics(settings)
    headers = {"Authorization": f"Bearer {platform_key}"}
    async with (
        serving(create_gateway(settings), port) as base_url,
        producer(settings.kafka) as kafka,
        httpx2.AsyncClient(base_url=base_url, headers=headers, timeout=_PATIENCE_S) as platform,
    ):
        stack = Stack(settings, base_url, kafka, platform)
        await eventually(lambda: _knows(platform))
        yield stack
