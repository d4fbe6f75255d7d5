"""The faults: each is begun, lasts for a while, and is over when everything has been started or joined up again."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from random import Random

import psutil

from deploy.local.kafka import KafkaServer
from deploy.local.postgres import PostgresServer
from tests.chaos.proxy import Proxy
from tests.chaos.system import ServiceProcess, System

Step = Callable[[], Awaitable[None]]


@dataclass(frozen=True)
class Fault:
    """`begin` returns when the harm is done, `end` when nothing is held back any more."""

    kind: str
    target: str
    begin: Step
    end: Step
    lasts_s: float = 0.0


def deck(system: System, random: Random) -> Iterator[Fault]:
    """Every kind on every target once, shuffled; then again, for ever."""
    while True:
        faults = list(_all(system, random))
        random.shuffle(faults)
        yield from faults


def _all(system: System, random: Random) -> Iterator[Fault]:
    for service in system.services.values():
        yield _killed(service, random)
        yield _stopped(service, random)
        yield _ended(service)
    servers = (("PostgreSQL", system.postgres, system.postgres_proxy), ("Kafka", system.kafka, system.kafka_proxy))
    for name, server, proxy in servers:
        yield _server_killed(name, server, random)
        yield _server_restarted(name, server)
        yield _server_stopped(name, server, random)
        yield _cut(name, proxy, random)
        yield _held(name, proxy, random)
        yield _slowed(name, proxy, random)
        yield _replies_lost(name, proxy, random)
    yield _all_killed(system)
    for _ in range(4):
        yield _both(system, random)


def _killed(service: ServiceProcess, random: Random) -> Fault:
    async def begin() -> None:
        service.kill()

    async def end() -> None:
        service.start()

    return Fault("SIGKILL", service.name, begin, end, random.choice([0.0, random.uniform(0, 8)]))


def _stopped(service: ServiceProcess, random: Random) -> Fault:
    async def begin() -> None:
        service.signal(signal.SIGSTOP)

    async def end() -> None:
        service.signal(signal.SIGCONT)

    return Fault("SIGSTOP", service.name, begin, end, random.uniform(1, 12))


def _ended(service: ServiceProcess) -> Fault:
    async def begin() -> None:
        service.signal(signal.SIGTERM)

    async def end() -> None:
        if not await service.ended():
            raise RuntimeError(f"{service.name} did not end on SIGTERM")
        service.start()

    return Fault("SIGTERM", service.name, begin, end)


def _all_killed(system: System) -> Fault:
    async def begin() -> None:
        for service in system.services.values():
            service.kill()

    async def end() -> None:
        for service in system.services.values():
            service.start()

    return Fault("SIGKILL", "every service", begin, end)


def _server_killed(name: str, server: PostgresServer | KafkaServer, random: Random) -> Fault:
    async def begin() -> None:
        server.kill()

    async def end() -> None:
        server.launch()
        await asyncio.to_thread(server.wait_ready)

    return Fault("kill -9", name, begin, end, random.uniform(0, 6))


def _server_restarted(name: str, server: PostgresServer | KafkaServer) -> Fault:
    async def begin() -> None:
        server.ask_to_stop()

    async def end() -> None:
        await asyncio.to_thread(server.wait_stopped)
        server.launch()
        await asyncio.to_thread(server.wait_ready)

    return Fault("restart", name, begin, end)


def _server_stopped(name: str, server: PostgresServer | KafkaServer, random: Random) -> Fault:
    held: list[psutil.Process] = []

    def signal_all(number: signal.Signals) -> None:
        for process in held:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    async def begin() -> None:
        server_process = psutil.Process(server.pid)
        held[:] = [server_process, *server_process.children(recursive=True)]
        signal_all(signal.SIGSTOP)

    async def end() -> None:
        signal_all(signal.SIGCONT)

    return Fault("SIGSTOP", name, begin, end, random.uniform(1, 12))


def _both(system: System, random: Random) -> Fault:
    """A service process is killed while a server, or the way to it, is away."""
    service = random.choice(list(system.services.values()))
    servers: list[tuple[str, PostgresServer | KafkaServer, Proxy]] = [
        ("PostgreSQL", system.postgres, system.postgres_proxy),
        ("Kafka", system.kafka, system.kafka_proxy),
    ]
    name, server, proxy = random.choice(servers)
    makers = [_server_killed(name, server, random), _cut(name, proxy, random), _replies_lost(name, proxy, random)]
    first, second = random.sample([random.choice(makers), _killed(service, random)], 2)

    async def begin() -> None:
        await first.begin()
        await asyncio.sleep(random.uniform(0, 1))
        await second.begin()

    async def end() -> None:
        await second.end()
        await asyncio.sleep(random.uniform(0, 2))
        await first.end()

    return Fault(f"{first.kind} + {second.kind}", f"{first.target} + {second.target}", begin, end, random.uniform(0, 5))


def _cut(name: str, proxy: Proxy, random: Random) -> Fault:
    async def begin() -> None:
        proxy.refusing = True
        proxy.cut()

    async def end() -> None:
        proxy.refusing = False

    return Fault("cut", name, begin, end, random.choice([0.0, random.uniform(1, 8)]))


def _held(name: str, proxy: Proxy, random: Random) -> Fault:
    async def begin() -> None:
        proxy.hold(True)

    async def end() -> None:
        proxy.hold(False)

    return Fault("held", name, begin, end, random.uniform(1, 12))


def _slowed(name: str, proxy: Proxy, random: Random) -> Fault:
    async def begin() -> None:
        proxy.delay_s = 0.02

    async def end() -> None:
        proxy.delay_s = 0.0

    return Fault("slow", name, begin, end, random.uniform(3, 8))


def _replies_lost(name: str, proxy: Proxy, random: Random) -> Fault:
    """What is asked still arrives, what is answered does not; then the connections end."""

    async def begin() -> None:
        proxy.losing_replies = True

    async def end() -> None:
        proxy.cut()
        proxy.losing_replies = False

    return Fault("replies lost", name, begin, end, random.uniform(0.2, 3))
