"""An event loop on virtual time: nothing waits, whatever is due next happens next, and the same run repeats itself.

Its order is asyncio's to the letter, ties and roundings too: `test_loop.py` runs both side by side. What asyncio does
at every step is written again here without what only a real loop needs, and timers are compared as numbers: a step
takes half the time.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from heapq import heapify, heappop, heappush
from typing import Any, TypeVar

T = TypeVar("T")
_RESOLUTION_S = 1e-9
_FEW_TIMERS = 100
"""With no more than so many, asyncio does not look for those that were cancelled."""


class NothingLeft(Exception):
    """No task can ever go on: what the run waits for will not happen."""


class _Call(list[Any]):
    """A call that is ready: what, with which arguments, in which context. It can be cancelled like asyncio's."""

    __slots__ = ()

    def cancel(self) -> None:
        self[0], self[1] = _nothing, ()

    def cancelled(self) -> bool:
        return self[0] is _nothing


def _nothing() -> None: ...


class _Timer(float):
    """A call at this time; what callers of `asyncio.TimerHandle` use of it."""

    __slots__ = ("call", "loop", "waits")
    call: _Call

    def cancel(self) -> None:
        if not self.call.cancelled():
            self.call.cancel()
            self.loop.gone += self.waits

    def cancelled(self) -> bool:
        return self.call.cancelled()

    def when(self) -> float:
        return self


class VirtualLoop(asyncio.BaseEventLoop):
    """asyncio's loop, with a clock that jumps to the next timer. Threads are refused: they know no virtual time."""

    _ready: deque[_Call]
    get_debug = staticmethod(bool)
    """False; asked for every future and every task."""
    _asyncgen_firstiter_hook = None  # type: ignore[assignment]
    """Nobody asks for the generators that are left in the end, so that none is noted when it begins."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._timers: list[_Timer] = []
        self.gone = 0
        """How many of the timers were cancelled."""

    def time(self) -> float:
        return self._now

    def call_soon(self, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> Any:
        call = _Call((callback, args, copy_context() if context is None else context))
        self._ready.append(call)
        return call

    def call_soon_threadsafe(self, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> Any:
        """There is one thread. An async generator whose reader was killed is ended this way."""
        return self.call_soon(callback, *args, context=context)

    def call_later(self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> Any:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> Any:
        timer = _Timer(when)
        timer.call = _Call((callback, args, copy_context() if context is None else context))
        timer.loop, timer.waits = self, True
        heappush(self._timers, timer)
        return timer

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:
        raise RuntimeError("a thread in a simulation")

    def _run_once(self) -> None:
        """One step after the other until the loop is to stop: what is ready runs; when nothing is, time goes on."""
        ready, timers = self._ready, self._timers
        while True:
            if self.gone:
                self._drop_cancelled()
            if not ready and not self._stopping:
                if not timers:
                    raise NothingLeft
                self._now += max(0.0, timers[0] - self._now)
            until = self._now + _RESOLUTION_S
            while timers and timers[0] < until:
                timer = heappop(timers)
                timer.waits = False
                ready.append(timer.call)
            for _ in range(len(ready)):
                callback, arguments, context = ready.popleft()
                try:
                    context.run(callback, *arguments)
                except (SystemExit, KeyboardInterrupt):
                    raise
                except BaseException as failure:  # noqa: BLE001 - as asyncio does
                    message = f"Exception in callback {callback}"
                    self.call_exception_handler({"message": message, "exception": failure})
            if self._stopping:
                return

    def _drop_cancelled(self) -> None:
        """When asyncio does it: the order of equal times depends on it."""
        timers = self._timers
        if len(timers) > _FEW_TIMERS and self.gone * 2 > len(timers):
            for timer in timers:
                timer.waits = not timer.cancelled()
            timers[:] = [timer for timer in timers if timer.waits]
            heapify(timers)
            self.gone = 0
        else:
            while timers and timers[0].cancelled():
                heappop(timers).waits = False
                self.gone -= 1


def run_virtually(main: Coroutine[Any, Any, T]) -> T:
    """What `main` gives, on a loop of its own that begins at 0 s."""
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(main)
    finally:
        loop.close()
