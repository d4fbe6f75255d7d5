"""The loop on virtual time takes every step in the order in which asyncio's own would."""

import asyncio
import selectors
from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import Any

import pytest

from tests.simulation.loop import NothingLeft, VirtualLoop, run_virtually

_TICKS_S = (0.0, 0.0005, 0.001, 0.002, 0.002, 0.1, 1.0)
"""Few, so that many fall together."""


class _Jumping(selectors.BaseSelector):
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
        assert timeout is not None
        self.now += max(0.0, timeout)
        return []

    def get_map(self) -> dict[Any, selectors.SelectorKey]:
        return self._keys


class _Asyncio(asyncio.SelectorEventLoop):
    """asyncio's own steps."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)
        self._clock_resolution = 1e-9

    def time(self) -> float:
        return self._jumping.now


async def _tangle(seed: int) -> list[tuple[float, int, str]]:
    """Many tasks that sleep, wait for each other, give up, and are cancelled; who did what, and when."""
    random, loop = Random(seed), asyncio.get_running_loop()
    said: list[tuple[float, int, str]] = []
    events = [asyncio.Event() for _ in range(20)]
    tasks: list[asyncio.Task[None]] = []

    async def life(number: int) -> None:
        for _ in range(30):
            what = random.choice(("sleep", "wait", "wait", "set", "cancel", "later"))
            event = random.choice(events)
            if what == "sleep":
                await asyncio.sleep(random.choice(_TICKS_S))
            elif what == "wait":
                with suppress(TimeoutError):
                    async with asyncio.timeout(random.choice(_TICKS_S)):
                        await event.wait()
            elif what == "set":
                event.set() if random.random() < 0.5 else event.clear()
            elif what == "cancel" and random.random() < 0.05:
                random.choice(tasks).cancel()
            else:
                loop.call_later(random.choice(_TICKS_S), said.append, (loop.time(), number, "later"))
            said.append((loop.time(), number, what))

    tasks += [loop.create_task(life(number)) for number in range(200)]
    await asyncio.wait(tasks)
    return said


@pytest.mark.parametrize("seed", range(5))
def test_steps_are_taken_in_asyncios_order(seed: int) -> None:
    found = []
    makers: tuple[Callable[[], asyncio.BaseEventLoop], ...] = (_Asyncio, VirtualLoop)
    for make in makers:
        loop = make()
        found.append(loop.run_until_complete(_tangle(seed)))
        loop.close()
    assert len(found[0]) > 1_000
    assert found[0] == found[1]


def test_waiting_for_what_never_happens_ends_the_run() -> None:
    with pytest.raises(NothingLeft):
        run_virtually(asyncio.Event().wait())


def test_threads_are_refused() -> None:
    with pytest.raises(RuntimeError, match="a thread in a simulation"):
        run_virtually(asyncio.to_thread(int))


def test_a_callback_that_fails_is_reported_and_the_loop_goes_on() -> None:
    reported: list[dict[str, Any]] = []

    async def fail() -> str:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: reported.append(context))
        loop.call_soon(int, "x")
        await asyncio.sleep(1)
        return "on"

    assert run_virtually(fail()) == "on"
    assert [type(each["exception"]) for each in reported] == [ValueError]
