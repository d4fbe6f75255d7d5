"""Runs share the lifecycles that were asked for, and each can be asked for again."""

from tests.simulation.__main__ import PER_RUN, runs
from tests.simulation.plan import plan_of


def test_runs_have_all_lifecycles_that_were_asked_for() -> None:
    shared = list(runs(7, 20_100))
    assert sum(size for _, size in shared) == 20_100
    assert [seed for seed, _ in shared] == list(range(7, 7 + len(shared)))
    assert all(size == PER_RUN for _, size in shared[:-1])


def test_a_run_is_asked_for_again_by_its_seed_and_its_size() -> None:
    for seed, size in runs(7, 20_100):
        assert list(runs(seed, plan_of(seed, size).size)) == [(seed, size)]
