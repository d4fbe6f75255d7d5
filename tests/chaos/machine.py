"""How much of a processor this machine gives: limits to times are for one that has little else to do."""

import asyncio
import time

_SPIN_S = 0.01
_EVERY_S = 2.0
_QUIET = 2.0
"""With the run alone on two cores, a thread that wants to compute waits at times, but less than it computes."""


class Machine:
    """Looks again and again how long it takes until a thread has computed for a moment."""

    def __init__(self) -> None:
        self._stretched: list[float] = []

    async def watch(self) -> None:
        """Never returns."""
        while True:
            self._stretched.append(await asyncio.to_thread(_stretched))
            await asyncio.sleep(_EVERY_S)

    @property
    def stretched(self) -> float:
        """How many times longer than alone a computation took, on average."""
        return sum(self._stretched) / len(self._stretched) if self._stretched else 1.0

    @property
    def patience(self) -> float:
        """By which limits to times are multiplied: 1 unless other work took most of the machine."""
        return max(1.0, self.stretched / _QUIET)


def _stretched() -> float:
    began = time.monotonic()
    ends_at = time.thread_time() + _SPIN_S
    while time.thread_time() < ends_at:
        pass
    return (time.monotonic() - began) / _SPIN_S
