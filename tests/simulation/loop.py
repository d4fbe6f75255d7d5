"""An event loop on virtual time: nothing waits, whatever is due next happens next, and the same run repeats itself."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class NothingLeft(Exception):
    """No task can ever go on: what the run waits for will not happen."""


class _NoSockets(selectors.BaseSelector):
    """Takes the loop's wish to wait as leave to move time on."""

    def __init__(self) -> None:
        self.now = 0.0
        self._keys: dict[Any, selectors.SelectorKey] = {}

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        key = self._keys[fileobj] = selectors.SelectorKey(fileobj, 0, events, data)
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys.pop(fileobj)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise NothingLeft
        if timeout > 0:
            self.now += timeout
        return []

    def get_map(self) -> dict[Any, selectors.SelectorKey]:
        return self._keys


class VirtualLoop(asyncio.SelectorEventLoop):
    """asyncio's own loop, with a clock that jumps to the next timer. Threads are refused: they know no virtual time."""

    def __init__(self) -> None:
        self._virtual = _NoSockets()
        super().__init__(self._virtual)
        self._clock_resolution = 1e-9

    def time(self) -> float:
        return self._virtual.now

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:
        raise RuntimeError("a thread in a simulation")


def run_virtually(main: Coroutine[Any, Any, T]) -> T:
    """What `main` gives, on a loop of its own that begins at 0 s."""
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(main)
    finally:
        loop.close()
