"""Concurrent requests of one process become batches: each waits a millisecond, and shares a transaction with others."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from shared.isolation import run_isolated

T = TypeVar("T")
R = TypeVar("R")


class Batcher(Generic[T, R]):
    """Collects items and runs them together; every caller gets the result of its own, or the error that it causes.

    At most `concurrent` batches run at a time; while they do, the next ones grow. An item whose caller went away is
    still run: a request that was taken takes effect.
    """

    def __init__(
        self,
        run: Callable[[Sequence[T]], Awaitable[Sequence[R]]],
        *,
        window_s: float = 0.001,
        largest: int = 200,
        concurrent: int = 2,
    ) -> None:
        self._run, self._window_s, self._largest, self._concurrent = run, window_s, largest, concurrent
        self._waiting: list[tuple[T, asyncio.Future[R]]] = []
        self._flushing: set[asyncio.Task[None] | None] = set()

    async def submit(self, item: T) -> R:
        """The item's result; raises what running it raises (`Transient` for all of a batch)."""
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if len(self._flushing) < self._concurrent:
            task = asyncio.create_task(self._flush())
            self._flushing.add(task)
        return await future

    async def _flush(self) -> None:
        try:
            await asyncio.sleep(self._window_s)
            while self._waiting:
                batch, self._waiting = self._waiting[: self._largest], self._waiting[self._largest :]
                await self._settle(batch)
        finally:
            # At once, not in a callback: an item that comes in between would wait for a flush that has ended.
            self._flushing.discard(asyncio.current_task())

    async def _settle(self, batch: list[tuple[T, "asyncio.Future[R]"]]) -> None:
        try:
            results: Sequence[R | Exception] = await run_isolated(self._run, [item for item, _ in batch])
        except Exception as error:  # noqa: BLE001 - whatever it is, it is every waiting caller's to know
            results = [error] * len(batch)
        for (_, future), result in zip(batch, results, strict=True):
            if future.done():
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)
