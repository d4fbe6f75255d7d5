"""One HTTP server in this process that stops in order on Ctrl-C and SIGTERM."""

import asyncio
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
import uvloop

from deploy.local.problem import RuntimeProblem
from deploy.protocol import Protocol

# Requests that run when we are asked to stop may finish for this long; the services' workers then stop in order.
_GRACE_S = 10
_WATCH_S = 1.0
_UNREAD_S = 20
"""How long a client may leave unread what the kernel holds for it. Closing alone would wait for it for ever."""

Ready = Callable[[], Awaitable[None]]


class Finished(Exception):
    """Raised by `when_ready`: what the server was started for is done."""


class _Server(uvicorn.Server):
    """Uvicorn that says when it answers, and leaves signals to us: there is more to stop than itself."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.answering = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        except SystemExit:
            # Uvicorn's way to say that the port was taken meanwhile; out of a task it would end the loop on the spot.
            self.should_exit = True
        if self.started:
            for server in self.servers:
                _give_up_on_the_unread(server)
            self.answering.set()


def _give_up_on_the_unread(server: asyncio.Server) -> None:
    """Connections that are accepted from now on inherit it; only Linux knows how."""
    option: int | None = getattr(socket, "TCP_USER_TIMEOUT", None)
    if option is None:
        return
    for listening in server.sockets:
        # uvloop's sockets take no options themselves.
        with socket.socket(fileno=os.dup(listening.fileno())) as same:
            same.setsockopt(socket.IPPROTO_TCP, option, _UNREAD_S * 1_000)


async def _nothing() -> None:
    return None


def run_server(
    app: Any, host: str, port: int, *, when_ready: Ready = _nothing, watch: Callable[[], None] = lambda: None
) -> None:
    """Serve until Ctrl-C or SIGTERM; the app's lifespan has ended when this returns.

    `when_ready` runs once the port answers, `watch` every second; what they raise ends the server and is raised
    here, except `Finished`, which only ends it.
    """
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=Protocol,
        lifespan="on",
        access_log=False,
        # What uvicorn has to say goes where all other lines go, in the same form.
        log_config=None,
        log_level="warning",
        timeout_graceful_shutdown=_GRACE_S,
        server_header=False,
    )
    uvloop.run(_serve(config, when_ready, watch))


async def _serve(config: uvicorn.Config, when_ready: Ready, watch: Callable[[], None]) -> None:
    server, stop = _Server(config), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    serving = asyncio.create_task(server.serve())
    beside = [asyncio.create_task(_announce(server, when_ready)), asyncio.create_task(_watch(watch))]

    def has_ended(task: asyncio.Task[None]) -> None:
        # `when_ready` may end well while the server goes on; anything else that ends is a reason to stop.
        if task is serving or task.cancelled() or task.exception():
            stop.set()

    for task in (serving, *beside):
        task.add_done_callback(has_ended)
    await stop.wait()
    server.should_exit = True
    await serving
    for task in beside:
        # One that has ended keeps its result.
        task.cancel()
    for result in await asyncio.gather(*beside, return_exceptions=True):
        if isinstance(result, Exception) and not isinstance(result, Finished):
            raise result
    if not server.started:
        raise RuntimeProblem("The services did not start. What went wrong is in the lines above.")


async def _announce(server: _Server, when_ready: Ready) -> None:
    await server.answering.wait()
    await when_ready()


async def _watch(watch: Callable[[], None]) -> None:
    while True:
        watch()
        await asyncio.sleep(_WATCH_S)
