"""The system under test: real servers, proxies in front of them, and service processes of the installed script."""

import asyncio
import os
import secrets
import shutil
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2

from deploy.local.datadir import REPOSITORY, default_cache_dir
from deploy.local.kafka import KafkaServer
from deploy.local.ports import HOST, Ports
from deploy.local.postgres import PostgresServer
from deploy.local.process import Child
from deploy.prepare import prepare_database, prepare_topics
from shared.auth.keys import hash_credential, new_api_key
from shared.sealing import new_sealing_key
from shared.settings import UNLIMITED, KafkaSettings, Settings
from tests.chaos.proxy import Proxy

PARTITIONS = 4
SERVICES = {
    "orders worker 1": ("orders", "worker"),
    "orders worker 2": ("orders", "worker"),
    "orders api": ("orders", "api"),
    "payments 1": ("payments", "all"),
    "payments 2": ("payments", "worker"),
    "apps worker 1": ("apps", "worker"),
    "apps worker 2": ("apps", "worker"),
    "apps api": ("apps", "api"),
    "sandbox": ("sandbox", "api"),
}
_GRACE_S = 30
_START_S = 90


class ServiceProcess:
    """One service process; whatever ended it, `start` starts the same one again."""

    def __init__(self, name: str, port: int, environment: dict[str, str], directory: Path) -> None:
        self.name, self.port = name, port
        self._environment, self._log = environment, directory / f"{name.replace(' ', '-')}.log"
        self._child: Child | None = None
        self.wanted = False
        """Started, and not ended by us since."""

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.running

    def start(self) -> None:
        if self.running:
            raise RuntimeError(f"{self.name} is running, and would be there twice")
        self.wanted = True
        service, role = SERVICES[self.name]
        script = Path(sys.executable).with_name("throughline")
        command: list[str | Path] = [script, "serve", service, "--role", role, "--port", str(self.port)]
        self._child = Child(self.name, command, self._log, stop_signal=signal.SIGTERM, env=self._environment)

    def signal(self, number: signal.Signals) -> None:
        self.wanted = self.wanted and number != signal.SIGTERM
        if self._child is not None and self._child.running:
            os.kill(self._child.pid, number)

    def kill(self) -> None:
        self.wanted = False
        if self._child is not None:
            self._child.kill()

    async def ended(self, grace_s: float = _GRACE_S) -> bool:
        """Whether the process ended by itself in time; it has ended in any case afterwards."""
        child = self._child
        if child is None:
            return True
        for _ in range(int(grace_s / 0.05)):
            if not child.running:
                return True
            await asyncio.sleep(0.05)
        child.kill()
        return False


@dataclass
class System:
    """All of it. Servers are reached directly by clients and the auditor, through proxies by the services."""

    directory: Path
    postgres: PostgresServer
    kafka: KafkaServer
    postgres_proxy: Proxy
    kafka_proxy: Proxy
    services: dict[str, ServiceProcess]
    platform_key: str
    """May create merchants."""

    @property
    def direct(self) -> Settings:
        """Settings of somebody who does not go through the proxies."""
        kafka = KafkaSettings(
            bootstrap_servers=self.kafka.bootstrap_servers,
            client_bootstrap_servers=self.kafka.client_bootstrap_servers,
        )
        return Settings(database_url=self.postgres.url, kafka=kafka, command_partitions=PARTITIONS)

    @property
    def orders_url(self) -> str:
        return self.services["orders api"].url

    @property
    def payments_url(self) -> str:
        return self.services["payments 1"].url

    @property
    def apps_url(self) -> str:
        return self.services["apps api"].url

    async def start(self) -> None:
        self.kafka.begin_prepare()
        self.postgres.prepare()
        self.postgres.launch()
        self.kafka.launch()
        await asyncio.to_thread(self.postgres.wait_ready)
        await asyncio.to_thread(self.kafka.wait_ready)
        await self.postgres_proxy.start()
        await self.kafka_proxy.start()
        # The topics are made past the proxy's address, which Kafka gives to everyone on that listener.
        await prepare_database(self.direct)
        await prepare_topics(self.direct)
        for service in self.services.values():
            service.start()
        await self.wait_ready()

    async def wait_ready(self, within_s: float = _START_S) -> None:
        """Every service process says that it is ready."""
        async with httpx2.AsyncClient(timeout=2) as client, asyncio.timeout(within_s):
            for service in self.services.values():
                while not await is_ready(client, service.url):  # noqa: ASYNC110 - another process does it
                    await asyncio.sleep(0.1)

    async def stop(self) -> None:
        for service in self.services.values():
            service.signal(signal.SIGCONT)
            service.signal(signal.SIGTERM)
        for service in self.services.values():
            await service.ended(10)
        await self.postgres_proxy.stop()
        await self.kafka_proxy.stop()
        for server in (self.kafka, self.postgres):
            server.ask_to_stop()
        for server in (self.kafka, self.postgres):
            await asyncio.to_thread(server.wait_stopped)


async def is_ready(client: httpx2.AsyncClient, url: str) -> bool:
    try:
        return (await client.get(f"{url}/readyz")).status_code == 200
    except httpx2.HTTPError:
        return False


def build(directory: Path) -> System:
    """Everything in one directory and on free ports; nothing runs yet."""
    ports, others = Ports.free(), _further_ports()
    kafka_proxy_port = next(others)
    postgres = PostgresServer(directory, ports.postgres)
    kafka = KafkaServer(directory, default_cache_dir(), ports, kafka_proxy_port)
    postgres_proxy = Proxy(next(others), ports.postgres)
    kafka_proxy = Proxy(kafka_proxy_port, ports.kafka)
    port_of = dict(zip(SERVICES, others, strict=False))
    platform_key = new_api_key("live")
    environment = {
        "PYTHONPATH": str(_snapshot(directory)),
        "DATABASE_URL": postgres.url.replace(f":{ports.postgres}/", f":{postgres_proxy.port}/"),
        "KAFKA_BOOTSTRAP_SERVERS": f"{HOST}:{kafka_proxy.port}",
        "KAFKA_CLIENT_BOOTSTRAP_SERVERS": kafka.client_bootstrap_servers,
        "COMMAND_PARTITIONS": str(PARTITIONS),
        "RATE_LIMITS": UNLIMITED.model_dump_json(),
        "CONSUMER_BATCH_SIZE": "50",
        "PUBLIC_BASE_URL": f"http://{HOST}:{port_of['apps api']}",
        "PLATFORM_KEY_HASH": hash_credential(platform_key),
        "SEALING_KEY": new_sealing_key(),
        "OUTBOUND_LOCAL": "true",
        "SANDBOX_URL": f"http://{HOST}:{port_of['sandbox']}",
        "SANDBOX_SECRET": secrets.token_urlsafe(),
    }
    services = {name: ServiceProcess(name, port, environment, directory) for name, port in port_of.items()}
    return System(directory, postgres, kafka, postgres_proxy, kafka_proxy, services, platform_key)


def _snapshot(directory: Path) -> Path:
    """The code as it is now: a run may last for an hour, and files may be edited meanwhile."""
    code = directory / "code"
    for package in ("deploy", "services", "shared"):
        shutil.copytree(REPOSITORY / package, code / package)
    return code


def _further_ports() -> Iterator[int]:
    given: set[int] = set()
    while True:
        for port in vars(Ports.free()).values():
            if port not in given:
                given.add(port)
                yield port
