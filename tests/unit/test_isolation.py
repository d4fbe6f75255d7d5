"""A batch runs as a whole; only when that fails does each item run alone, and only the bad ones carry the failure."""

import asyncio
from collections.abc import Sequence

import pytest

from shared.faults import Poison, Transient
from shared.isolation import describe, run_isolated


class Recorder:
    """Doubles numbers, remembers every call, and raises what it was told to for a number."""

    def __init__(self, failures: dict[int, BaseException] | None = None) -> None:
        self.calls: list[list[int]] = []
        self.failures = failures or {}

    async def __call__(self, items: Sequence[int]) -> list[int]:
        self.calls.append(list(items))
        for item in items:
            if item in self.failures:
                raise self.failures[item]
        return [item * 2 for item in items]


async def test_a_good_batch_runs_once() -> None:
    run = Recorder()
    assert await run_isolated(run, [1, 2, 3]) == [2, 4, 6]
    assert run.calls == [[1, 2, 3]]


async def test_nothing_runs_for_no_items() -> None:
    run = Recorder()
    assert await run_isolated(run, []) == []
    assert run.calls == []


async def test_one_bad_item_affects_only_itself() -> None:
    failure = ValueError("2")
    run = Recorder({2: failure})
    assert await run_isolated(run, [1, 2, 3]) == [2, failure, 6]
    assert run.calls == [[1, 2, 3], [1], [2], [3]]


async def test_a_lone_bad_item_is_not_run_again() -> None:
    failure = Poison("BAD", "bad")
    run = Recorder({1: failure})
    assert await run_isolated(run, [1]) == [failure]
    assert run.calls == [[1]]


async def test_a_failure_of_the_whole_only_leaves_every_item_done() -> None:
    class OnlyOneAtATime(Recorder):
        async def __call__(self, items: Sequence[int]) -> list[int]:
            if len(items) > 1:
                raise ValueError
            return await super().__call__(items)

    assert await run_isolated(OnlyOneAtATime(), [1, 2, 3]) == [2, 4, 6]


async def test_transient_propagates_from_the_whole() -> None:
    run = Recorder({1: Transient()})
    with pytest.raises(Transient):
        await run_isolated(run, [1, 2])
    assert run.calls == [[1, 2]]


async def test_transient_propagates_from_a_single_run() -> None:
    run = Recorder({2: ValueError(), 3: Transient()})
    with pytest.raises(Transient):
        await run_isolated(run, [1, 2, 3, 4])
    assert run.calls == [[1, 2, 3, 4], [1], [2], [3]]


async def test_cancellation_propagates() -> None:
    run = Recorder({1: asyncio.CancelledError()})
    with pytest.raises(asyncio.CancelledError):
        await run_isolated(run, [1, 2])
    assert run.calls == [[1, 2]]


async def test_a_wrong_number_of_results_is_a_failure_of_each_item() -> None:
    async def run(items: Sequence[int]) -> list[int]:
        return []

    outcomes = await run_isolated(run, [1, 2])
    assert [type(outcome) for outcome in outcomes] == [RuntimeError, RuntimeError]


def test_a_failure_is_described_without_its_text() -> None:
    assert describe(ValueError("4242 4242 4242 4242")) == "ValueError"
    with pytest.raises(ValueError, match="4242") as caught:
        raise ValueError("4242 4242 4242 4242")
    assert describe(caught.value).startswith("ValueError at test_isolation.py:")
