"""Everything on one machine, in one process besides PostgreSQL and Kafka themselves."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.panel import Panel

from deploy.backing import ExternalServers, OwnServers, choose_servers
from deploy.installation import Installation
from deploy.local.datadir import default_data_dir, require_not_running
from deploy.local.ports import api_port, base_url
from deploy.status import status, status_table

if TYPE_CHECKING:
    from shared.settings import Settings

Ready = Callable[[], Awaitable[None]]

console = Console(stderr=True, highlight=False)


def run_everything(host: str, port: int | None, when_ready: Ready | None = None) -> None:
    """Start everything, serve until Ctrl-C or SIGTERM, and stop everything in order.

    `when_ready` runs once the API answers and the demo merchant exists; by default it prints how to get in.
    Raises a `RuntimeProblem` for whatever stands in the way, with nothing left running.
    """
    require_not_running(default_data_dir())
    port = api_port(port)
    url = base_url(host, port)
    installation = Installation(default_data_dir())
    with _running(choose_servers()) as servers:
        # Imported while the servers start, for it takes about as long as they do.
        from deploy.access import platform_key, sandbox
        from deploy.seed import ensure_demo
        from deploy.server import run_server
        from shared.auth.keys import hash_credential
        from shared.sealing import new_sealing_key

        settings = servers.settings(url, installation.secret("sealing_key", new_sealing_key))
        own = {"platform_key_hash": hash_credential(platform_key(installation)), "sandbox": sandbox(installation)}
        settings = settings.model_copy(update=own)
        app = _prepare(servers, settings, installation)

        async def ready() -> None:
            await ensure_demo(url, installation)
            installation.announce({"base_url": url, "kafka": _for_clients(settings)})
            await (when_ready or _say_how_to_get_in)()

        try:
            run_server(app, host, port, when_ready=ready, watch=servers.require_alive)
        finally:
            installation.withdraw()


@contextmanager
def _running(servers: OwnServers | ExternalServers) -> Iterator[OwnServers | ExternalServers]:
    console.print("Starting PostgreSQL and Apache Kafka ..." if isinstance(servers, OwnServers) else "Starting ...")
    try:
        servers.launch()
        yield servers
    finally:
        # From here on a second Ctrl-C would only leave behind what the first one is stopping.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        servers.stop()


def _prepare(servers: OwnServers | ExternalServers, settings: "Settings", installation: Installation) -> Any:
    from deploy.access import admit_observer
    from deploy.prepare import prepare_database, prepare_topics
    from deploy.seed import CHANNEL_ID
    from deploy.services import create_gateway
    from shared.topics import channel_topics

    gateway = create_gateway(settings)
    servers.wait_database()
    asyncio.run(prepare_database(settings))
    servers.wait_kafka()
    # The demo channel's topics too: the services then know them from the start, and need not find them later.
    asyncio.run(prepare_topics(settings, channel_topics(CHANNEL_ID)))
    asyncio.run(admit_observer(settings.kafka, installation))
    return gateway


def _for_clients(settings: "Settings") -> dict[str, str]:
    return {
        "bootstrap_servers": settings.kafka.client_bootstrap_servers,
        "security_protocol": settings.kafka.client_security_protocol,
        "sasl_mechanism": "SCRAM-SHA-256",
    }


async def _say_how_to_get_in() -> None:
    found = await asyncio.to_thread(status)
    Console(highlight=False).print(
        Panel(status_table(found), title="Throughline is running", subtitle="Ctrl-C stops it", expand=False)
    )
