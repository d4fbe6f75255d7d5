"""The system under test: real servers, and each service as a process of its own that nobody starts again."""

import asyncio
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import psutil
from prometheus_client.parser import text_string_to_metric_families

from deploy.local.datadir import REPOSITORY
from deploy.local.ports import HOST, Ports
from deploy.local.process import Child
from deploy.local.runtime import LocalServers
from deploy.prepare import SERVICES, prepare_database, prepare_topics
from shared.auth.keys import hash_credential, new_api_key
from shared.contracts.access import SCOPES, Environment, Grant
from shared.ids import new_id
from shared.kafka import producer
from shared.sealing import new_sealing_key
from shared.settings import UNLIMITED, KafkaSettings, Settings
from shared.topics import ACCESS_GRANTS

PARTITIONS = 4
_GRACE_S = 30
_PATIENCE_S = 60


@dataclass
class System:
    """Everything in one directory, which holds the logs too."""

    directory: Path
    servers: LocalServers
    ports: dict[str, int]
    processes: dict[str, Child] = field(default_factory=dict)
    platform_key: str = field(default_factory=lambda: new_api_key("live"))

    @property
    def settings(self) -> Settings:
        kafka = KafkaSettings(
            bootstrap_servers=self.servers.kafka_bootstrap_servers,
            client_bootstrap_servers=self.servers.kafka_client_bootstrap_servers,
        )
        return Settings(database_url=self.servers.database_url, kafka=kafka, command_partitions=PARTITIONS)

    def url(self, service: str) -> str:
        return f"http://{HOST}:{self.ports[service]}"

    def log(self, service: str) -> Path:
        return self.directory / f"{service}.log"

    async def start(self) -> None:
        """Schemas and topics are there, and every service is ready."""
        await prepare_database(self.settings)
        await prepare_topics(self.settings)
        environment = {
            "PYTHONPATH": str(REPOSITORY),
            "DATABASE_URL": self.servers.database_url,
            "KAFKA_BOOTSTRAP_SERVERS": self.servers.kafka_bootstrap_servers,
            "KAFKA_CLIENT_BOOTSTRAP_SERVERS": self.servers.kafka_client_bootstrap_servers,
            "COMMAND_PARTITIONS": str(PARTITIONS),
            "RATE_LIMITS": UNLIMITED.model_dump_json(),
            "PLATFORM_KEY_HASH": hash_credential(self.platform_key),
            "SEALING_KEY": new_sealing_key(),
        }
        for service, port in self.ports.items():
            command = [sys.executable, "-c", "from deploy.cli import app; app()", "serve", service, "--port", str(port)]
            self.processes[service] = Child(
                service, command, self.log(service), stop_signal=signal.SIGTERM, env=environment
            )
        async with asyncio.timeout(_PATIENCE_S):
            while await self.unwell("readyz"):  # noqa: ASYNC110 - other processes do it
                await asyncio.sleep(0.1)

    def stop(self) -> None:
        for process in self.processes.values():
            process.ask_to_stop()
        for process in self.processes.values():
            process.wait_stopped(_GRACE_S)

    async def unwell(self, probe: str) -> list[str]:
        """What each service says that is wrong with it, and which have ended."""
        found = []
        async with httpx2.AsyncClient(timeout=10) as client:
            for service, process in self.processes.items():
                process.require_alive()
                try:
                    answer = await client.get(f"{self.url(service)}/{probe}")
                    found += [] if answer.status_code == 200 else [f"{service}: {answer.text[:500]}"]
                except httpx2.HTTPError as failure:
                    found.append(f"{service}: {type(failure).__name__}")
        return found

    def cpu_s(self) -> dict[str, float]:
        """How long each service has been computing."""
        times = {service: psutil.Process(process.pid).cpu_times() for service, process in self.processes.items()}
        return {service: each.user + each.system for service, each in times.items()}

    def memory_mb(self) -> dict[str, int]:
        """How much each service holds."""
        return {name: psutil.Process(each.pid).memory_info().rss // 2**20 for name, each in self.processes.items()}

    async def metrics(self) -> dict[tuple[str, ...], float]:
        """Every sample of every service by service, name and labels' values in the order of their names."""
        found = {}
        async with httpx2.AsyncClient(timeout=10) as client:
            for service in self.processes:
                text = (await client.get(f"{self.url(service)}/metrics")).text
                for family in text_string_to_metric_families(text):
                    for sample in family.samples:
                        labels = (sample.labels[name] for name in sorted(sample.labels))
                        found[service, sample.name, *labels] = sample.value
        return found


@contextmanager
def running_servers(directory: Path) -> Iterator[System]:
    """Servers that answer; the services begin with `start`. Everything has stopped afterwards."""
    ports = vars(Ports.free()).values()
    with LocalServers(directory) as servers:
        system = System(directory, servers, dict(zip(SERVICES, ports, strict=False)))
        try:
            yield system
        finally:
            system.stop()


@dataclass(frozen=True)
class Key:
    """A credential and whose it is."""

    secret: str
    merchant_id: str
    environment: Environment
    scopes: tuple[str, ...]
    revoked: bool = False

    def grant(self) -> Grant:
        return Grant(
            grant_id=new_id("key"),
            credential_hash=hash_credential(self.secret),
            kind="api_key",
            merchant_id=self.merchant_id,
            environment=self.environment,
            scopes=self.scopes,
            status="revoked" if self.revoked else "active",
        )


def new_key(
    merchant_id: str | None = None,
    environment: Environment = "test",
    scopes: Sequence[str] = SCOPES,
    revoked: bool = False,
) -> Key:
    return Key(new_api_key(environment), merchant_id or new_id("mer"), environment, tuple(scopes), revoked)


async def admit(system: System, keys: Sequence[Key]) -> None:
    """Every service knows these keys afterwards."""
    async with producer(system.settings.kafka) as kafka:
        for key in keys:
            grant = key.grant()
            await kafka.send_and_wait(
                ACCESS_GRANTS, grant.model_dump_json().encode(), key=grant.credential_hash.encode()
            )
    last = next(key for key in reversed(keys) if not key.revoked)
    headers = {"Authorization": f"Bearer {last.secret}"}
    async with httpx2.AsyncClient(headers=headers) as client, asyncio.timeout(_PATIENCE_S):
        for url in (f"{system.url('orders')}/v1/orders", f"{system.url('payments')}/v1/unmatched-money"):
            while (await client.get(url)).status_code in (401, 503):  # noqa: ASYNC110 - another process does it
                await asyncio.sleep(0.05)
