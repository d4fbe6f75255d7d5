"""One HTTP server in this process that stops in order on Ctrl-C and SIGTERM."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from socket import socket
from typing import Any

import uvicorn
import uvloop

from deploy.local.problem import RuntimeProblem
from deploy.protocol import Protocol

# Requests that run when we are asked to stop may finish for this long; the services' workers then stop in order.
_GRACE_S = 10
_WATCH_S = 1.0

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

    async def startup(self, sockets: list[socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        except SystemExit:
            # Uvicorn's way to say that the port was taken meanwhile; out of a task it would end the loop on the spot.
            self.should_exit = True
        if self.started:
            self.answering.set()


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
