"""Processes of the services, composed by their own composition roots, and what can befall them."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from random import Random
from typing import Any, TypeVar, cast

import orjson
from litestar import Litestar

import services.apps.app
import services.orders.app
import services.payments.app
import services.sandbox.app
from services.sandbox.app import SandboxProcess
from shared.outbound import Outbound
from shared.outside import Outside
from shared.service import ServiceProcess
from shared.settings import Settings
from tests.simulation import kafka
from tests.simulation.acquirer import Acquirers
from tests.simulation.kafka import Cluster
from tests.simulation.network import Link
from tests.simulation.postgres.client import PostgresOf, Statements
from tests.simulation.postgres.engine import Database
from tests.simulation.receivers import Client, Receivers

T = TypeVar("T")
EPOCH = datetime(2026, 1, 5, 9, tzinfo=UTC)
Process = ServiceProcess | SandboxProcess
COMPOSE: dict[str, Callable[..., Process]] = {
    "orders": services.orders.app.create_process,
    "payments": services.payments.app.create_process,
    "apps": services.apps.app.create_process,
    "sandbox": services.sandbox.app.create_process,
}
_IDLE_IN_TRANSACTION_S = 10.0
_STOP_S = 30.0


def virtual_now(skew_s: float = 0.0) -> datetime:
    """What a clock shows that is this much ahead of one that is right."""
    return _moment(asyncio.get_running_loop().time() + skew_s)


@lru_cache(maxsize=1_000)
def _moment(seconds: float) -> datetime:
    return EPOCH + timedelta(seconds=seconds)


@dataclass
class Servers:
    """What all processes share."""

    databases: dict[str, Database]
    statements: dict[str, Statements]
    cluster: Cluster
    settings: Settings
    receivers: Receivers
    acquirers: Acquirers


@dataclass
class _Life:
    """One start of a process, until it ends or is killed."""

    process: Process
    links: tuple[Link, Link, Link]
    """To Kafka, to PostgreSQL, to everybody else."""
    postgres: PostgresOf
    stop: asyncio.Event
    task: "asyncio.Task[None] | None" = None
    app: Litestar | None = None
    asked: "dict[asyncio.Future[None], None]" = field(default_factory=dict)
    """Of those who wait for an answer of it, in the order in which they asked."""


class Node:
    """A place in which one replica of a service runs, again and again."""

    def __init__(self, service: str, servers: Servers, random: Random) -> None:
        self.service, self._servers, self._random = service, servers, random
        self.skew_s = random.uniform(-0.3, 0.3)
        self.life: _Life | None = None
        self.past: list[_Life] = []
        self.failures: list[BaseException] = []

    @property
    def up(self) -> bool:
        return self.life is not None

    def start(self) -> None:
        """A process; a repeat changes nothing."""
        if self.life is not None:
            return
        to_kafka, to_postgres, outward = (Link(self._random) for _ in range(3))
        postgres = PostgresOf(self._servers.databases, self._servers.statements, to_postgres)
        outside = Outside(
            clock=lambda: virtual_now(self.skew_s),
            kafka=kafka.clients(self._servers.cluster, to_kafka),
            postgres=postgres.drivers(),
            outbound=lambda: cast(Outbound, Client(self._servers.receivers, outward)),
            acquirer=self._servers.acquirers.client(outward),
        )
        process = COMPOSE[self.service](self._servers.settings, "all", outside)
        life = self.life = _Life(process, (to_kafka, to_postgres, outward), postgres, asyncio.Event())
        life.task = asyncio.get_running_loop().create_task(self._run(life))

    async def _run(self, life: _Life) -> None:
        try:
            async with life.process.running():
                await life.stop.wait()
        except Exception as failure:  # noqa: BLE001 - a process that ends by itself is started again, and reported
            if not any(link.over for link in life.links):
                self.failures.append(failure)
        finally:
            if self.life is life and not life.links[0].over:
                self.life = None
                self._gone(life)

    def kill(self) -> None:
        """SIGKILL: nothing of it ever reaches anybody again; the servers see closed connections."""
        life, self.life = self.life, None
        if life is not None:
            self._gone(life)

    def _gone(self, life: _Life) -> None:
        """A process that is not there any more, however it ended: nobody waits for it, nothing of it goes on."""
        self.past.append(life)
        for link in life.links:
            link.dead = True
            link.thaw()
        for session, _ in life.postgres.sessions:
            session.end()
        self._servers.cluster.went_silent(life.links[0])
        for waiting in life.asked:
            if not waiting.done():
                waiting.set_exception(ConnectionResetError())

    async def terminate(self) -> None:
        """SIGTERM: it stops in order, or is killed when it does not in time."""
        life = self.life
        if life is None or life.task is None:
            return
        life.stop.set()
        await asyncio.wait([life.task], timeout=_STOP_S)
        if not life.task.done() and self.life is life:
            self.kill()

    def freeze(self) -> None:
        """SIGSTOP: the servers wait, then end what idles and expel who is silent."""
        life = self.life
        if life is None:
            return
        for link in life.links:
            link.freeze()
        self._servers.cluster.went_silent(life.links[0])
        loop = asyncio.get_running_loop()
        for session, idle_s in life.postgres.sessions:
            limit = _IDLE_IN_TRANSACTION_S if session.transaction is not None else idle_s
            if limit is not None:
                loop.call_later(limit, lambda ended=session: ended.end() if life.links[1].frozen else None)

    def thaw(self) -> None:
        """SIGCONT."""
        for life in (self.life, *self.past):
            if life is not None and not life.links[0].dead:
                for link in life.links:
                    link.thaw()
                self._servers.cluster.came_back(life.links[0])

    def cut(self, seconds: float, *, kafka_too: bool, postgres_too: bool) -> None:
        """No connection for a while."""
        if self.life is None:
            return
        until = asyncio.get_running_loop().time() + seconds
        to_kafka, to_postgres, _ = self.life.links
        if kafka_too:
            to_kafka.cut_until = until
            self._servers.cluster.went_silent(to_kafka)
            asyncio.get_running_loop().call_later(seconds + 0.1, self._servers.cluster.came_back, to_kafka)
        if postgres_too:
            to_postgres.cut_until = until

    def cut_outward(self, seconds: float) -> None:
        """Nothing and nobody outside is reached for a while."""
        if self.life is not None:
            self.life.links[2].cut_until = asyncio.get_running_loop().time() + seconds

    def slow(self, seconds: float) -> None:
        """Each way to the database takes this much longer from now on."""
        if self.life is not None:
            self.life.links[1].slow_s = seconds

    async def request(self, method: str, path: str, headers: list[tuple[bytes, bytes]], body: bytes) -> tuple[int, Any]:
        """What the process answers; `ConnectionError` when it is not there, or goes away meanwhile."""
        life = self.life
        if life is None or not isinstance(life.process, ServiceProcess) or not life.process.serves:
            raise ConnectionRefusedError
        if life.app is None:
            life.app = life.process.app()
        return await self._answered(life, _answer(life.app, method, path, headers, body))

    async def act(self, work: Callable[[Any], Coroutine[Any, Any, T]]) -> T:
        """What a request makes the process do, without the request; `ConnectionError` as above."""
        life = self.life
        if life is None:
            raise ConnectionRefusedError
        return await self._answered(life, work(life.process))

    async def _answered(self, life: _Life, work: Coroutine[Any, Any, T]) -> T:
        loop = asyncio.get_running_loop()
        answer, answered = loop.create_task(work), loop.create_future()
        answer.add_done_callback(lambda _: None if answered.done() else answered.set_result(None))
        life.asked[answered] = None
        try:
            await answered
        finally:
            del life.asked[answered]
        return answer.result()

    async def unwell(self) -> list[str]:
        """What its probes find wrong with it."""
        if self.life is None:
            return ["is not there"]
        health = self.life.process.health
        answers = {**await health.liveness(), **await health.readiness()}
        return [f"{name}: {reason}" for name, reason in answers.items() if reason]

    async def end(self) -> None:
        """The run is over: whoever still waits is woken, and everything is let go of."""
        lives = [*self.past, *([self.life] if self.life else [])]
        for life in lives:
            for link in life.links:
                link.end()
        for life in lives:
            if life.task is not None:
                life.task.cancel()
                with suppress(BaseException):
                    await life.task


async def _answer(
    app: Litestar, method: str, path: str, headers: list[tuple[bytes, bytes]], body: bytes
) -> tuple[int, Any]:
    route, _, query = path.partition("?")
    scope: Any = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": route,
        "raw_path": route.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "state": {},
        "extensions": {},
    }
    given = [{"type": "http.request", "body": body, "more_body": False}]
    never: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    status, chunks = 0, []

    async def receive() -> Any:
        return given.pop() if given else await never

    async def send(message: Any) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
            told_when = any(name.lower() == b"retry-after" for name, _ in message["headers"])
            assert status != 503 or told_when, "whoever is to come again is told when"
        else:
            chunks.append(message.get("body", b""))

    handler: Callable[..., Awaitable[None]] = app
    await handler(scope, receive, send)
    answer = b"".join(chunks)
    return status, orjson.loads(answer) if answer else None
