"""From a run that fails to a smaller one that fails alike: fewer lifecycles, fewer faults."""

from collections.abc import Callable
from typing import TypeVar

from tests.simulation.plan import Plan, without
from tests.simulation.run import Outcome, run

T = TypeVar("T")


def shrink(outcome: Outcome, most_runs: int = 60) -> Outcome:
    """The smallest run found within so many tries that breaks the same invariant as the first finding of `outcome`."""
    invariant, left = outcome.findings[0].invariant, most_runs

    def fails(plan: Plan) -> Outcome | None:
        nonlocal left
        left -= 1
        tried = run(plan)
        return tried if any(finding.invariant == invariant for finding in tried.findings) else None

    smallest = outcome
    for part in ("lifecycles", "hazards"):
        size = len(smallest.plan.lifecycles if part == "lifecycles" else smallest.plan.faults)
        chunk = (size + 1) // 2
        while chunk and left > 0:
            found = _drop_one(smallest, part, chunk, fails, lambda: left > 0)
            if found is None:
                chunk //= 2
            else:
                smallest = found
    return smallest


def _drop_one(
    outcome: Outcome, part: str, chunk: int, fails: Callable[[Plan], Outcome | None], may: Callable[[], bool]
) -> Outcome | None:
    plan = outcome.plan
    places = list(plan.lifecycles) if part == "lifecycles" else list(range(len(plan.faults)))
    for start in range(0, len(places), chunk):
        if not may():
            return None
        dropped = set(places[start : start + chunk])
        if len(dropped) == len(places) and part == "lifecycles":
            continue
        tried = fails(without(plan, lifecycles=dropped) if part == "lifecycles" else without(plan, hazards=dropped))
        if tried is not None:
            return tried
    return None
