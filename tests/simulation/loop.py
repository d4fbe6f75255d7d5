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


class _Call:
    """A call that is ready; what callers of `asyncio.Handle` use of it."""

    __slots__ = ("args", "callback", "context", "gone")

    def __init__(self, callback: Callable[..., Any], args: tuple[Any, ...], context: Context | None) -> None:
        self.callback, self.args, self.gone = callback, args, False
        self.context = copy_context() if context is None else context

    def cancel(self) -> None:
        self.gone = True

    def cancelled(self) -> bool:
        return self.gone


class _Timer(float):
    """A call at this time; what callers of `asyncio.TimerHandle` use of it."""

    __slots__ = ("args", "callback", "context", "gone", "loop", "waits")

    def cancel(self) -> None:
        if not self.gone:
            self.gone, self.callback, self.args = True, None, None
            self.loop.gone += self.waits

    def cancelled(self) -> bool:
        return self.gone

    def when(self) -> float:
        return self


class VirtualLoop(asyncio.BaseEventLoop):
    """asyncio's loop, with a clock that jumps to the next timer. Threads are refused: they know no virtual time."""

    _ready: "deque[_Call | _Timer]"

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._timers: list[_Timer] = []
        self.gone = 0
        """How many of the timers were cancelled."""

    def time(self) -> float:
        return self._now

    def call_soon(self, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> Any:
        call = _Call(callback, args, context)
        self._ready.append(call)
        return call

    def call_soon_threadsafe(self, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> Any:
        """There is one thread. An async generator whose reader was killed is ended this way."""
        return self.call_soon(callback, *args, context=context)

    def call_later(self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> Any:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> Any:
        timer = _Timer(when)
        timer.callback, timer.args, timer.loop, timer.gone, timer.waits = callback, args, self, False, True
        timer.context = copy_context() if context is None else context
        heappush(self._timers, timer)
        return timer

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:
        raise RuntimeError("a thread in a simulation")

    def _run_once(self) -> None:
        """What is ready runs; when nothing is, time goes on to the next timer."""
        self._drop_cancelled()
        ready, timers = self._ready, self._timers
        if not ready and not self._stopping:
            if not timers:
                raise NothingLeft
            self._now += max(0.0, timers[0] - self._now)
        until = self._now + _RESOLUTION_S
        while timers and timers[0] < until:
            timer = heappop(timers)
            timer.waits = False
            ready.append(timer)
        for _ in range(len(ready)):
            call = ready.popleft()
            if not call.gone:
                try:
                    call.context.run(call.callback, *call.args)
                except (SystemExit, KeyboardInterrupt):
                    raise
                except BaseException as failure:  # noqa: BLE001 - as asyncio does
                    message = f"Exception in callback {call.callback}"
                    self.call_exception_handler({"message": message, "exception": failure})

    def _drop_cancelled(self) -> None:
        """When asyncio does it: the order of equal times depends on it."""
        timers = self._timers
        if len(timers) > _FEW_TIMERS and self.gone * 2 > len(timers):
            for timer in timers:
                timer.waits = not timer.gone
            self._timers = [timer for timer in timers if not timer.gone]
            heapify(self._timers)
            self.gone = 0
        else:
            while timers and timers[0].gone:
                heappop(timers).waits = False
                self.gone -= 1


def run_virtually(main: Coroutine[Any, Any, T]) -> T:
    """What `main` gives, on a loop of its own that begins at 0 s."""
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(main)
    finally:
        loop.close()
