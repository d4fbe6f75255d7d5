"""An event loop on virtual time: nothing waits, whatever is due next happens next, and the same run repeats itself."""

import asyncio
import selectors
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from heapq import heappop, heappush
from typing import Any, TypeVar

T = TypeVar("T")
_RESOLUTION_S = 1e-9


class NothingLeft(Exception):
    """No task can ever go on: what the run waits for will not happen."""


class _NoSockets(selectors.BaseSelector):
    """Takes what asyncio registers, and is never asked."""

    def __init__(self) -> None:
        self._keys: dict[Any, selectors.SelectorKey] = {}

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        key = self._keys[fileobj] = selectors.SelectorKey(fileobj, 0, events, data)
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys.pop(fileobj)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        raise NotImplementedError

    def get_map(self) -> dict[Any, selectors.SelectorKey]:
        return self._keys


class _Handle(asyncio.Handle):
    """asyncio's, made without asking the loop whether it debugs."""

    __slots__ = ()

    def __init__(self, callback: Callable[..., Any], args: Any, loop: "VirtualLoop", context: Context | None) -> None:
        self._context = copy_context() if context is None else context
        self._loop, self._callback, self._args = loop, callback, args
        self._cancelled, self._repr, self._source_traceback = False, None, None


class _Timer(_Handle, asyncio.TimerHandle):
    __slots__ = ()

    def cancel(self) -> None:
        self._cancelled, self._callback, self._args = True, None, None  # type: ignore[assignment]


class VirtualLoop(asyncio.SelectorEventLoop):
    """asyncio's loop with a clock that jumps to the next timer. Threads are refused: they know no virtual time.

    What asyncio does at every step is written again here without what only a real loop needs: half as long, and a fifth
    of a run was spent in it.
    """

    _ready: "deque[asyncio.Handle]"

    def __init__(self) -> None:
        self._now, self._count = 0.0, 0
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        super().__init__(_NoSockets())

    def time(self) -> float:
        return self._now

    def call_soon(self, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> asyncio.Handle:
        handle = _Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_later(
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        timer = _Timer(callback, args, self, context)
        timer._when, timer._scheduled = when, False
        self._count += 1
        heappush(self._timers, (when, self._count, timer))
        return timer

    def after(self, seconds: float) -> "asyncio.Future[None]":
        """A future that is done then."""
        future = self.create_future()
        self.call_at(self._now + seconds, _done, future)
        return future

    def _run_once(self) -> None:
        """What is ready runs; when nothing is, time goes on to the next timer."""
        ready, timers = self._ready, self._timers
        while timers and timers[0][2]._cancelled:
            heappop(timers)
        if not ready and not self._stopping:
            if not timers:
                raise NothingLeft
            self._now = max(self._now, timers[0][0])
        due = self._now + _RESOLUTION_S
        while timers and timers[0][0] < due:
            ready.append(heappop(timers)[2])
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle._cancelled:
                try:
                    handle._context.run(handle._callback, *handle._args)
                except (SystemExit, KeyboardInterrupt):
                    raise
                except BaseException as failure:  # noqa: BLE001 - as asyncio does
                    message = f"Exception in callback {handle._callback}"
                    self.call_exception_handler({"message": message, "exception": failure, "handle": handle})

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:
        raise RuntimeError("a thread in a simulation")


def _done(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


def run_virtually(main: Coroutine[Any, Any, T]) -> T:
    """What `main` gives, on a loop of its own that begins at 0 s."""
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(main)
    finally:
        loop.close()
