"""A process that dies at a chosen await: its tasks end there, and its sessions with the database with them.

What it had sent by then may still take effect, as after a real crash; nothing that it does afterwards does.
"""

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context
from typing import Any

import asyncpg

from deploy.local.datadir import REPOSITORY
from shared.postgres import Drivers, Pool
from tests.stack import eventually

_OURS = tuple(str(REPOSITORY / name) for name in ("services", "shared"))
_PROCESS: ContextVar["Killable | None"] = ContextVar("process", default=None)


class Killed(BaseException):
    """The process is no more."""


class Killable:
    """Tasks that belong together, and the sessions with the database that are theirs."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.dead = False
        self._left: int | None = None
        self._pools: list[Any] = []
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def drivers(self) -> Drivers:
        """For the pools of this process."""

        def create_pool(*arguments: Any, server_settings: dict[str, str], **options: Any) -> Any:
            named = server_settings | {"application_name": self.name}
            self._pools.append(asyncpg.create_pool(*arguments, server_settings=named, **options))
            return self._pools[-1]

        return Drivers(create_pool=create_pool)

    async def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        """The result of work that the process does; raises `Killed` where it does not survive it."""
        if self.dead:
            work.close()
            raise Killed
        task = self.spawn(work)
        await asyncio.wait([task])
        if not self.dead:
            return task.result()
        if not task.cancelled():
            # Whatever it met when it died is nobody's business any more.
            task.exception()
        raise Killed

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """A task of the process, like all that it makes."""
        context = copy_context()
        context.run(_PROCESS.set, self)
        return asyncio.get_running_loop().create_task(work, context=context)

    def joined(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def die_after(self, awaits: int) -> None:
        """It dies at the last of so many awaits from now on."""
        self._left = awaits

    def suspended(self) -> None:
        """One of its tasks awaits something."""
        if self._left is not None:
            self._left -= 1
            if not self._left:
                self.kill()

    def cut_off(self) -> None:
        """Its sessions end; it has none until a pool is opened anew."""
        for pool in self._pools:
            pool.terminate()

    def kill(self) -> None:
        """It does nothing more."""
        self.dead = True
        self.cut_off()
        for task in list(self._tasks):
            task.cancel()

    async def gone(self, watch: Pool) -> None:
        """Its tasks have ended, and the server has seen that."""
        self.kill()
        while self._tasks:
            await asyncio.wait(set(self._tasks))
        query = "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = $1)"
        await eventually(lambda: watch.fetchval(query, self.name))


@contextmanager
def counting() -> Iterator[None]:
    """Within it, the awaits of killable processes are counted."""
    loop = asyncio.get_running_loop()
    loop.set_task_factory(_task)
    try:
        yield
    finally:
        loop.set_task_factory(None)


def elsewhere(work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """A task of somebody whom no process takes along when it dies."""
    return asyncio.get_running_loop().create_task(work, context=Context())


def _task(
    loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any], context: Context | None = None, **options: Any
) -> "asyncio.Task[Any]":
    process = context.get(_PROCESS) if context is not None else _PROCESS.get()
    if process is None:
        return asyncio.Task(work, loop=loop, context=context, **options)
    task = asyncio.Task(_Counted(work, process), loop=loop, context=context, **options)
    process.joined(task)
    return task


def _places(work: Any) -> Iterator[tuple[str, int]]:
    """The lines of our own code at which the work is."""
    while (frame := getattr(work, "cr_frame", None)) is not None:
        if frame.f_code.co_filename.startswith(_OURS):
            yield frame.f_code.co_qualname, frame.f_lineno
        work = work.cr_await


class _Counted(Coroutine[Any, Any, Any]):
    """Work whose every await in our own code is counted, however often a library is suspended in it."""

    def __init__(self, work: Coroutine[Any, Any, Any], process: Killable) -> None:
        self._work, self._process = work, process
        self._place: Sequence[tuple[str, int]] = ()

    def send(self, value: Any) -> Any:
        suspension = self._work.send(value)
        self._count()
        return suspension

    def throw(self, *raised: Any) -> Any:
        suspension = self._work.throw(*raised)
        self._count()
        return suspension

    def _count(self) -> None:
        before, self._place = self._place, list(_places(self._work))
        if self._place != before:
            self._process.suspended()

    def close(self) -> None:
        self._work.close()

    def __await__(self) -> Any:
        return self._work.__await__()
