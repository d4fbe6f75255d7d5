"""One bad item in a batch affects only itself: run the batch as a whole, and item by item when that fails."""

import traceback
from collections.abc import Awaitable, Callable, Sequence
from pathlib import PurePath
from typing import TypeVar

import structlog

from shared.faults import Transient

T = TypeVar("T")
R = TypeVar("R")

log = structlog.get_logger(__name__)


async def run_isolated(run: Callable[[Sequence[T]], Awaitable[Sequence[R]]], items: Sequence[T]) -> list[R | Exception]:
    """One outcome per item, in the order of the items: what `run` gave for it, or the exception that it raises alone.

    `run` takes effect for all the items that it is given or for none, and gives one result for each. It is called with
    everything first; if that raises, once for each item in order. An item's effects may therefore be repeated, never
    missing. `Transient` propagates at once, from either way of running: the items before it may have taken effect, so
    that the caller's retry must be harmless for them.
    """
    if not items:
        return []
    try:
        return list(await _run_all(run, items))
    except Transient:
        raise
    except Exception as failure:  # noqa: BLE001 - this is the one place that turns any mistake into an item's outcome
        if len(items) == 1:
            return [failure]
        log.warning("batch_run_one_by_one", size=len(items), failure=describe(failure))
    return [await _run_alone(run, item) for item in items]


def describe(failure: BaseException) -> str:
    """The type of the failure and the line it comes from; never its text, which may quote a payload."""
    frames = traceback.extract_tb(failure.__traceback__)
    if not frames:
        return type(failure).__name__
    return f"{type(failure).__name__} at {PurePath(frames[-1].filename).name}:{frames[-1].lineno}"


async def _run_all(run: Callable[[Sequence[T]], Awaitable[Sequence[R]]], items: Sequence[T]) -> Sequence[R]:
    results = await run(items)
    if len(results) != len(items):
        raise RuntimeError(f"{len(results)} results for {len(items)} items")
    return results


async def _run_alone(run: Callable[[Sequence[T]], Awaitable[Sequence[R]]], item: T) -> R | Exception:
    try:
        return (await _run_all(run, [item]))[0]
    except Transient:
        raise
    except Exception as failure:  # noqa: BLE001 - as above, for one item
        return failure
