"""`make sim SEED=1 LIFECYCLES=1000000`: runs from as many seeds as it takes, on all cores; stops at what it finds."""

import argparse
import gc
import os
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import count
from multiprocessing import get_context

from rich.box import SIMPLE
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from tests.simulation.plan import Plan, plan_of
from tests.simulation.report import tell
from tests.simulation.run import Outcome, run
from tests.simulation.shrink import shrink

PER_RUN = 800
_TO_WARM = 20
_MOST_FAILURES = 5
_TELL_EVERY = 50
"""Runs, where there is no terminal to draw a bar on."""


def one(task: tuple[int, int]) -> tuple[Outcome, float]:
    """The run of a seed, of that many lifecycles, and the seconds of processor time that it took."""
    began = time.process_time()
    return run(plan_of(*task)), time.process_time() - began


def prepare() -> None:
    """Whatever is made only once is made here, before there are processes; nothing looks for garbage from now on."""
    run(replace(plan_of(1, _TO_WARM, apps=True), http=True))
    gc.collect()
    gc.freeze()
    gc.disable()


def outcomes(first_seed: int, lifecycles: int, cores: int) -> Iterator[tuple[Outcome, float]]:
    """Outcomes as they come, with what each took.

    Each run has a process of its own, which ends without looking for what can be freed.
    """
    with get_context("fork").Pool(cores, maxtasksperchild=1) as pool:
        yield from pool.imap_unordered(one, runs(first_seed, lifecycles))


def runs(first_seed: int, lifecycles: int) -> Iterator[tuple[int, int]]:
    """Seeds, and how many lifecycles each has; the last run has what is left."""
    for seed in count(first_seed):
        size = min(PER_RUN, lifecycles)
        if not size:
            return
        lifecycles -= size
        yield seed, size


def _kind_of(plan: Plan) -> str:
    """What there is beside orders and payments that are told of by Kafka."""
    there = {"HTTP": plan.http, "apps": plan.apps, "an acquirer": plan.intents}
    return " and ".join(name for name, is_there in there.items() if is_there) or "nothing: by Kafka alone"


def _by_kind(lifecycles: Mapping[str, int], took_s: Mapping[str, float]) -> Table:
    table = Table("beside orders and payments", box=SIMPLE)
    table.add_column("lifecycles", justify="right")
    table.add_column("a second of one core", justify="right")
    for kind, number in sorted(lifecycles.items()):
        table.add_row(kind, f"{number:,}", f"{number / took_s[kind]:,.0f}")
    return table


def processor_s() -> float:
    """What this process has used of the processors, and those of its children that have ended."""
    return sum(os.times()[:4])


def main() -> int:
    """Exit code 1 when anything was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of the first run; the next ones follow")
    parser.add_argument("--lifecycles", type=int, default=1_000_000)
    parser.add_argument("--cores", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    console = Console()
    prepare()
    began, used = time.perf_counter(), processor_s()
    records, runs, faults, failed = 0, 0, Counter[str](), list[Outcome]()
    kinds, took_s = Counter[str](), defaultdict[str, float](float)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console, refresh_per_second=1
    ) as progress:
        bar = progress.add_task("lifecycles", total=options.lifecycles)
        for outcome, processor in outcomes(options.seed, options.lifecycles, options.cores):
            runs, records, kind = runs + 1, records + outcome.records, _kind_of(outcome.plan)
            kinds[kind] += len(outcome.plan.lifecycles)
            took_s[kind] += processor
            faults.update(fault.kind for fault in outcome.plan.faults)
            progress.advance(bar, len(outcome.plan.lifecycles))
            if outcome.findings:
                failed.append(outcome)
                progress.console.print(f"[red]seed {outcome.plan.seed}: {outcome.findings[0]}")
                if len(failed) == _MOST_FAILURES:
                    break
            if not console.is_terminal and runs % _TELL_EVERY == 0:
                took = time.perf_counter() - began
                console.print(f"{kinds.total():,} lifecycles after {took:,.0f} s, {len(failed)} runs failed")
    done = kinds.total()
    wall, used = time.perf_counter() - began, processor_s() - used
    console.print(
        f"{done:,} lifecycles in {runs:,} runs, {records:,} messages, {faults.total():,} faults; "
        f"{len(failed)} runs failed"
    )
    console.print(
        f"{done / used:,.0f} lifecycles per second of processor time, of all processes together; "
        f"{wall:,.0f} s in {options.cores} processes, {done / wall:,.0f} lifecycles per second"
    )
    console.print(_by_kind(kinds, took_s))
    console.print(", ".join(f"{times:,} {kind}" for kind, times in sorted(faults.items())))
    for outcome in failed[:1]:
        console.print("Looking for the shortest way to it ...")
        tell(console, shrink(outcome))
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
