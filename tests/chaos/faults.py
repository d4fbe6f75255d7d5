"""The faults: each is begun, lasts for a while, and is over when everything has been started or joined up again."""

import asyncio
import signal
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from random import Random

import psutil

from deploy.local.kafka import KafkaServer
from deploy.local.postgres import PostgresServer
from tests.chaos.proxy import Proxy
from tests.chaos.system import SERVICES, ServiceProcess, System

Step = Callable[[], Awaitable[None]]

EVERY_SERVICE = "every service"


@dataclass(frozen=True)
class Fault:
    """`begin` returns when the harm is done, `end` when nothing is held back any more."""

    kind: str
    target: str
    begin: Step
    end: Step
    lasts_s: float = 0.0
    away: str | None = None
    """The server that no service can reach between `begin` and `end`."""

    def disjoint(self, others: Sequence["Fault"]) -> bool:
        """Whether it can be done at the same time as the others: none of them may start what another one starts."""
        return not any(_touched(self.target) & _touched(other.target) for other in others)


def _touched(target: str) -> set[str]:
    return set(SERVICES) if target == EVERY_SERVICE else {target}


def deck(system: System, random: Random, longest_s: float) -> Iterator[Fault]:
    """Every kind on every target once, in an order of chance in which every kind comes first once; then again."""
    while True:
        faults = list(_all(system, random, longest_s))
        random.shuffle(faults)
        before: Counter[str] = Counter()
        rounds: dict[int, list[Fault]] = defaultdict(list)
        for fault in faults:
            rounds[before[fault.kind]].append(fault)
            before[fault.kind] += 1
        for number in sorted(rounds):
            yield from rounds[number]


def _for_a_while(random: Random, longest_s: float) -> float:
    """Seconds: short, past the session time-outs of Kafka and of the relay, or until probes must have noticed."""
    bounds = [between for between in ((0.3, 2.5), (4.5, 6.5), (9.5, 11.0)) if between[1] <= longest_s]
    return random.uniform(*random.choices(bounds, [6, 3, 1][: len(bounds)])[0])


def _all(system: System, random: Random, longest_s: float) -> Iterator[Fault]:
    def a_while() -> float:
        return _for_a_while(random, longest_s)

    for service in system.services.values():
        yield _killed(service, random)
        yield _stopped(service, a_while())
        yield _ended(service)
    servers = (("PostgreSQL", system.postgres, system.postgres_proxy), ("Kafka", system.kafka, system.kafka_proxy))
    for name, server, proxy in servers:
        yield _server_killed(name, server, random)
        yield _server_restarted(name, server)
        yield _server_stopped(name, server, a_while())
        yield _cut(name, proxy, random.choice([0.0, a_while()]))
        yield _held(name, proxy, a_while())
        yield _slowed(name, proxy, random)
        yield _replies_lost(name, proxy, random)
        yield _half_held(name, proxy, random, a_while())
    yield _all_killed(system)


def _killed(service: ServiceProcess, random: Random) -> Fault:
    async def begin() -> None:
        service.kill()

    async def end() -> None:
        service.start()

    return Fault("SIGKILL", service.name, begin, end, random.choice([0.0, random.uniform(0, 6)]))


def _stopped(service: ServiceProcess, lasts_s: float) -> Fault:
    async def begin() -> None:
        service.signal(signal.SIGSTOP)

    async def end() -> None:
        service.signal(signal.SIGCONT)

    return Fault("SIGSTOP", service.name, begin, end, lasts_s)


def _ended(service: ServiceProcess) -> Fault:
    async def begin() -> None:
        service.signal(signal.SIGTERM)

    async def end() -> None:
        in_time = await service.ended()
        service.start()
        if not in_time:
            raise RuntimeError("it did not end, and had to be killed")

    return Fault("SIGTERM", service.name, begin, end)


def _all_killed(system: System) -> Fault:
    async def begin() -> None:
        for service in system.services.values():
            service.kill()

    async def end() -> None:
        for service in system.services.values():
            service.start()

    return Fault("SIGKILL", EVERY_SERVICE, begin, end)


def _server_killed(name: str, server: PostgresServer | KafkaServer, random: Random) -> Fault:
    async def begin() -> None:
        server.kill()

    async def end() -> None:
        server.launch()
        await asyncio.to_thread(server.wait_ready)

    return Fault("kill -9", name, begin, end, random.uniform(0, 4), away=name)


def _server_restarted(name: str, server: PostgresServer | KafkaServer) -> Fault:
    async def begin() -> None:
        server.ask_to_stop()

    async def end() -> None:
        await asyncio.to_thread(server.wait_stopped)
        server.launch()
        await asyncio.to_thread(server.wait_ready)

    return Fault("restart", name, begin, end)


def _server_stopped(name: str, server: PostgresServer | KafkaServer, lasts_s: float) -> Fault:
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

    return Fault("SIGSTOP", name, begin, end, lasts_s, away=name)


def _cut(name: str, proxy: Proxy, lasts_s: float) -> Fault:
    async def begin() -> None:
        proxy.refusing = True
        proxy.cut()

    async def end() -> None:
        proxy.refusing = False

    return Fault("cut", name, begin, end, lasts_s, away=name)


def _held(name: str, proxy: Proxy, lasts_s: float) -> Fault:
    async def begin() -> None:
        proxy.hold(True)

    async def end() -> None:
        proxy.hold(False)

    return Fault("held", name, begin, end, lasts_s, away=name)


def _half_held(name: str, proxy: Proxy, random: Random, lasts_s: float) -> Fault:
    """Nothing passes on every other connection; the others, and new ones, are fine."""
    chosen = Random(random.random())

    async def begin() -> None:
        proxy.hold_some(chosen)

    async def end() -> None:
        proxy.hold(False)

    return Fault("half held", name, begin, end, lasts_s)


def _slowed(name: str, proxy: Proxy, random: Random) -> Fault:
    async def begin() -> None:
        proxy.delay_s = 0.02

    async def end() -> None:
        proxy.delay_s = 0.0

    return Fault("slow", name, begin, end, random.uniform(2, 5))


def _replies_lost(name: str, proxy: Proxy, random: Random) -> Fault:
    """What is asked still arrives, what is answered does not; then the connections end."""

    async def begin() -> None:
        proxy.losing_replies = True

    async def end() -> None:
        proxy.cut()
        proxy.losing_replies = False

    return Fault("replies lost", name, begin, end, random.uniform(0.2, 3), away=name)
