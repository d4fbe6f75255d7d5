"""What lies between one process and the servers: time, and what goes wrong on the way."""

import asyncio
from collections.abc import Callable
from random import Random

Cut = Callable[[], BaseException]
"""Makes the error with which a client library says that its connection is gone."""

_USUAL_S = (0.0005, 0.001, 0.002)
_LATE_S = (0.02, 0.2)
_LATE_ONE_IN = 50


class Link:
    """One process's way to one server. A dead process never hears from it again; a frozen one does when it thaws."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self.dead = False
        self.over = False
        """The run has ended, and whoever still waits is to give up."""
        self.slow_s = 0.0
        self.cut_until = 0.0
        self._thawed: asyncio.Event | None = None
        self._parked: list[asyncio.Future[None]] = []

    async def travel(self, cut: Cut, longer_s: float = 0.0) -> None:
        """One way, there or back."""
        loop = asyncio.get_running_loop()
        arrived: asyncio.Future[None] = loop.create_future()
        loop.call_at(loop.time() + self._delay() + self.slow_s + longer_s, _arrive, arrived)
        await arrived
        if self._thawed is not None and not self.dead:
            await self._thawed.wait()
        if self.dead:
            await self.never()
        if self.over or self.cut_until > loop.time():
            raise cut()

    async def never(self) -> None:
        """What a call of a dead process returns to."""
        if not self.over:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._parked.append(future)
            await future
        raise asyncio.CancelledError("the run is over")

    def freeze(self) -> None:
        if self._thawed is None:
            self._thawed = asyncio.Event()

    def thaw(self) -> None:
        thawed, self._thawed = self._thawed, None
        if thawed is not None:
            thawed.set()

    @property
    def frozen(self) -> bool:
        return self._thawed is not None

    @property
    def silent(self) -> bool:
        """Whether nothing of the process reaches the server."""
        return self.dead or self.frozen or self.cut_until > asyncio.get_running_loop().time()

    def end(self) -> None:
        """Everything that waits here, and whatever comes, gives up."""
        self.over = True
        self.thaw()
        for future in self._parked:
            if not future.done():
                future.set_result(None)

    def _delay(self) -> float:
        if self._random.random() * _LATE_ONE_IN < 1:
            return _LATE_S[int(self._random.random() * 2)]
        return _USUAL_S[int(self._random.random() * 3)]


def _arrive(arrived: "asyncio.Future[None]") -> None:
    if not arrived.done():
        arrived.set_result(None)
