"""docker-compose.yml without a container engine: its commands and environments as plain processes on real servers."""

import asyncio
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from aiokafka import AIOKafkaConsumer
from confluent_kafka.admin import AdminClient

from deploy.gateway import ROUTES
from deploy.local.datadir import REPOSITORY
from deploy.local.jars import KAFKA_VERSION
from deploy.local.kafka import broker_properties
from deploy.local.ports import Ports
from deploy.local.runtime import LocalServers
from deploy.prepare import SERVICES
from shared.auth.keys import hash_credential, new_api_key
from shared.kafka import client_options
from shared.settings import KafkaSettings, OidcSettings, Settings, StrimziSettings
from shared.topics import ORDERS_EVENTS
from tests.compose import Container, clean_environment, containers

pytestmark = pytest.mark.servers

CONTAINERS = containers()
OURS = {name: found for name, found in CONTAINERS.items() if found.image == "throughline:local"}
PLATFORM_KEY = new_api_key("live")
LASTING = {name: found for name, found in OURS.items() if found.command[0] == "serve"}


def as_process(container: Container, servers: LocalServers, port: int, log: Path) -> subprocess.Popen[bytes]:
    environment = container.environment | {
        "DATABASE_URL": servers.database_url,
        "KAFKA_BOOTSTRAP_SERVERS": servers.kafka_bootstrap_servers,
        "KAFKA_CLIENT_BOOTSTRAP_SERVERS": servers.kafka_client_bootstrap_servers,
        "PLATFORM_KEY_HASH": hash_credential(PLATFORM_KEY),
    }
    own = {"8080": str(port)}
    command = [own.get(word, word) for word in container.command]
    with log.open("wb") as out:
        return subprocess.Popen(
            [Path(sys.executable).with_name("throughline"), *command],
            env=clean_environment() | environment,
            stdout=out,
            stderr=subprocess.STDOUT,
        )


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServers]:
    """Servers for these tests alone: workers of theirs would take work from other tests' services."""
    with LocalServers(tmp_path_factory.mktemp("servers")) as running:
        yield running


@pytest.fixture(scope="module")
def deployment(servers: LocalServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Base URLs of every lasting container of ours, by its name, after `migrate` has run."""
    logs = tmp_path_factory.mktemp("compose")
    migrate = as_process(CONTAINERS["migrate"], servers, 0, logs / "migrate.log")
    assert migrate.wait(120) == 0, (logs / "migrate.log").read_text()
    ports = {name: Ports.free().postgres for name in LASTING}
    running = {
        name: as_process(container, servers, ports[name], logs / f"{name}.log") for name, container in LASTING.items()
    }
    urls = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
    for name, url in urls.items():
        wait_until_ready(url, running[name], logs / f"{name}.log")
    yield urls
    for process in running.values():
        process.terminate()
    assert {name: process.wait(30) for name, process in running.items()} == dict.fromkeys(running, 0)


def wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            if httpx2.get(f"{url}/readyz").status_code == 200:
                return
        except httpx2.TransportError:
            pass
        time.sleep(0.1)
    pytest.fail(f"not ready after a minute: {httpx2.get(f'{url}/readyz').text}\n{log.read_text()}")


def test_every_service_and_role_has_its_container() -> None:
    services = {(service, "--role", role) for service in SERVICES for role in ("api", "worker")}
    assert {tuple(container.command[1:4]) for container in LASTING.values()} == services | {
        ("sandbox", "--role", "all")
    }
    for container in LASTING.values():
        assert container.definition["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}


def test_probes_and_published_ports_are_those_that_the_command_listens_on() -> None:
    for container in LASTING.values():
        port = container.command[container.command.index("--port") + 1]
        assert f"http://127.0.0.1:{port}/readyz" in container.definition["healthcheck"]["test"][-1]
        for published in container.definition.get("ports", []):
            assert re.fullmatch(rf"127\.0\.0\.1:\d+:{port}", published)


def test_our_containers_are_led_to_the_servers_beside_them() -> None:
    postgres = CONTAINERS["postgres"].environment
    credentials = f"{postgres['POSTGRES_USER']}:{postgres['POSTGRES_PASSWORD']}"
    listeners = CONTAINERS["kafka"].kafka_properties["advertised.listeners"].split(",")
    for container in OURS.values():
        assert container.environment["DATABASE_URL"] == (
            f"postgresql://{credentials}@postgres:5432/{postgres['POSTGRES_DB']}"
        )
        assert f"INTERNAL://{container.environment['KAFKA_BOOTSTRAP_SERVERS']}" in listeners
        assert f"CLIENT://{container.environment['KAFKA_CLIENT_BOOTSTRAP_SERVERS']}" in listeners


def test_payments_are_led_to_the_sandbox_and_buyers_to_its_pages() -> None:
    sandbox, payments = CONTAINERS["sandbox"], [CONTAINERS["payments-api"], CONTAINERS["payments-worker"]]
    port = sandbox.command[sandbox.command.index("--port") + 1]
    assert {container.environment["SANDBOX_URL"] for container in payments} == {f"http://sandbox:{port}"}
    assert {container.environment["SANDBOX_SECRET"] for container in payments} == {
        sandbox.environment["SANDBOX_SECRET"]
    }
    [published] = sandbox.definition["ports"]
    assert sandbox.environment["PUBLIC_BASE_URL"] == f"http://{published.removesuffix(f':{port}')}"


def test_links_and_issuer_are_where_apps_are_reached() -> None:
    """One address for all: whoever checks an access token compares its issuer with this."""
    apps = CONTAINERS["apps-api"]
    port = apps.command[apps.command.index("--port") + 1]
    [published] = apps.definition["ports"]
    told = {container.environment["PUBLIC_BASE_URL"] for name, container in OURS.items() if name != "sandbox"}
    assert told == {f"http://{published.removesuffix(f':{port}')}"}


def test_every_path_is_told_with_the_port_at_which_it_is_answered() -> None:
    """There is no common door, which `throughline up` has."""
    readme = (REPOSITORY / "README.md").read_text()
    for name in (*SERVICES, "sandbox"):
        container = CONTAINERS.get(f"{name}-api") or CONTAINERS[name]
        [published] = container.definition["ports"]
        [row] = re.findall(rf"^\| `{name}` \| {published.split(':')[1]} \| (.*) \|$", readme, re.MULTILINE)
        assert set(re.findall(r"`([^`]*)`", row)) == {path for path, service in ROUTES.items() if service == name}


def test_sign_in_at_a_provider_and_strimzi_can_be_set_for_apps_and_nobody_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wanted = {f"OIDC_{name.upper()}" for name in OidcSettings.model_fields}
    wanted |= {f"STRIMZI_{name.upper()}" for name in StrimziSettings.model_fields}
    for name, container in OURS.items():
        given = {key: text for key, text in container.environment.items() if key.startswith(("OIDC_", "STRIMZI_"))}
        assert given == (dict.fromkeys(wanted, "") if name.startswith("apps-") else {})
    for name in wanted:
        monkeypatch.setenv(name, "")
    settings = Settings()
    assert settings.oidc == OidcSettings.model_construct()
    assert settings.strimzi == StrimziSettings.model_construct()
    monkeypatch.setenv("OIDC_JOIN_ROLE", "clerk")
    monkeypatch.setenv("STRIMZI_CLUSTER", "main")
    assert (Settings().oidc.join_role, Settings().strimzi.cluster) == ("clerk", "main")


def test_kafka_keeps_the_same_walls_as_the_local_one() -> None:
    local = broker_properties(Ports())
    container = CONTAINERS["kafka"].kafka_properties
    same = {
        "authorizer.class.name",
        "allow.everyone.if.no.acl.found",
        "super.users",
        "auto.create.topics.enable",
        "message.max.bytes",
        "group.min.session.timeout.ms",
        "sasl.enabled.mechanisms",
        "listener.name.client.scram-sha-256.sasl.jaas.config",
        "listener.name.client.scram-sha-512.sasl.jaas.config",
    }
    assert {name: container[name] for name in same} == {name: local[name] for name in same}
    # Nothing is set that the local one doesn't know too, so its tests speak for the container's settings.
    assert set(container) <= set(local)
    protocols = dict(pair.split(":") for pair in container["listener.security.protocol.map"].split(","))
    assert protocols["CLIENT"] == "SASL_PLAINTEXT"
    assert CONTAINERS["kafka"].image == f"apache/kafka:{KAFKA_VERSION}"


def test_the_image_holds_what_the_commands_need() -> None:
    dockerfile = (REPOSITORY / "Dockerfile").read_text()
    assert "--require-hashes -r requirements.lock" in dockerfile
    assert dockerfile.index("USER 10001") < dockerfile.index('ENTRYPOINT ["throughline"]')
    allowed = {line.removeprefix("!") for line in (REPOSITORY / ".dockerignore").read_text().splitlines()}
    copied = {
        source for line in re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile, re.MULTILINE) for source in line.split()
    }
    assert copied <= allowed


def test_every_container_of_ours_becomes_ready(deployment: dict[str, str]) -> None:
    assert set(deployment) == set(LASTING)
    for url in deployment.values():
        assert httpx2.get(f"{url}/livez").status_code == 200


def test_migrate_made_the_topics(deployment: dict[str, str], servers: LocalServers) -> None:
    admin = AdminClient({"bootstrap.servers": servers.kafka_bootstrap_servers})
    assert {"orders.commands", "orders.events", "payments.events", "access.grants"} <= set(
        admin.list_topics(timeout=10).topics
    )


async def test_an_order_made_in_one_container_is_announced_by_another(
    deployment: dict[str, str], servers: LocalServers
) -> None:
    kafka = KafkaSettings(bootstrap_servers=servers.kafka_bootstrap_servers)
    api_key = await first_key(f"{deployment['apps-api']}/v1")
    async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {api_key}"}, timeout=20) as client:
        made = await create_order(client, f"{deployment['orders-api']}/v1/orders")
    async with AIOKafkaConsumer(ORDERS_EVENTS, **client_options(kafka), auto_offset_reset="earliest") as consumer:
        async with asyncio.timeout(20):
            announced = await consumer.getone()
    assert announced.key == made["order_id"].encode()


async def first_key(url: str) -> str:
    """An API key of a new merchant's, made with the platform key."""
    async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {PLATFORM_KEY}"}, timeout=20) as platform:
        merchant = await post(platform, f"{url}/merchants", {"name": "Rain & Shine"})
        whose = {"merchant_id": merchant["merchant_id"], "environment": "test"}
        made = await post(platform, f"{url}/api-keys", {"name": "Web shop", "scopes": ["orders.write"], **whose})
    return str(made["secret"])


async def create_order(client: httpx2.AsyncClient, url: str) -> dict[str, Any]:
    jacket = {"name": "Rain jacket", "quantity": 1, "unit_price_money": {"amount": 4500, "currency": "EUR"}}
    return await post(client, url, {"source": "checkout", "currency": "EUR", "line_items": [jacket]})


async def post(client: httpx2.AsyncClient, url: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = await client.post(url, json=body)
    for _ in range(400):
        # A key becomes known to each service a moment after it was made.
        if answer.status_code != 401:
            break
        await asyncio.sleep(0.05)
        answer = await client.post(url, json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()["data"]
    return made
