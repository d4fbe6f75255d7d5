"""A failed run for people: the seed, what was broken, and what happened on the way to it."""

from rich.console import Console

from tests.simulation.run import Outcome

_MOST_FINDINGS = 10
_MOST_LINES = 60


def tell(console: Console, outcome: Outcome) -> None:
    """The findings, the faults, and the messages about the order that is concerned."""
    plan = outcome.plan
    console.print(f"[bold]seed {plan.seed}[/]: {len(plan.lifecycles)} lifecycles, trace {outcome.trace}")
    for finding in outcome.findings[:_MOST_FINDINGS]:
        console.print(f"  [red]{finding}")
    for fault in plan.faults:
        console.print(f"  {fault}")
    for line in outcome.story[:_MOST_LINES]:
        console.print(f"  {line}", highlight=False)
    console.print(f"Again: make sim SEED={plan.seed} LIFECYCLES={plan.size}")
