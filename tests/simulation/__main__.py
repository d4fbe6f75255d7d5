"""`make sim SEED=1 LIFECYCLES=1000000`: runs from as many seeds as it takes, on all cores; stops at what it finds."""

import argparse
import gc
import os
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from itertools import islice

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tests.simulation.report import tell
from tests.simulation.run import Outcome, plan_of, run
from tests.simulation.shrink import shrink

PER_RUN = 400
_MOST_FAILURES = 5


def prepare() -> None:
    """Whatever is there stays; what a run leaves is collected after it."""
    gc.collect()
    gc.freeze()
    gc.disable()


def one(seed: int, lifecycles: int) -> Outcome:
    """The run of a seed."""
    outcome = run(plan_of(seed, lifecycles))
    gc.collect()
    return outcome


def outcomes(first_seed: int, lifecycles: int, cores: int) -> Iterator[Outcome]:
    """Outcomes as they come, a few seeds ahead of who reads them."""
    sizes = [PER_RUN] * (lifecycles // PER_RUN) + ([lifecycles % PER_RUN] if lifecycles % PER_RUN else [])
    waiting = enumerate(sizes, first_seed)
    with ProcessPoolExecutor(cores, initializer=prepare) as pool:
        under_way: set[Future[Outcome]] = {pool.submit(one, *each) for each in islice(waiting, 2 * cores)}
        while under_way:
            done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
            for future in done:
                under_way |= {pool.submit(one, *each) for each in islice(waiting, 1)}
                yield future.result()


def main() -> int:
    """Exit code 1 when anything was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of the first run; the next ones follow")
    parser.add_argument("--lifecycles", type=int, default=1_000_000)
    parser.add_argument("--cores", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    console = Console()
    began, cpu, faults, failed = time.perf_counter(), 0.0, Counter[str](), list[Outcome]()
    done, records, runs = 0, 0, 0
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console) as progress:
        bar = progress.add_task("lifecycles", total=options.lifecycles)
        for outcome in outcomes(options.seed, options.lifecycles, options.cores):
            runs, records, cpu = runs + 1, records + outcome.records, cpu + outcome.cpu_s
            done += len(outcome.plan.lifecycles)
            faults.update(fault.kind for fault in outcome.plan.faults)
            progress.advance(bar, len(outcome.plan.lifecycles))
            if outcome.findings:
                failed.append(outcome)
                progress.console.print(f"[red]seed {outcome.plan.seed}: {outcome.findings[0]}")
                if len(failed) == _MOST_FAILURES:
                    break
    wall = time.perf_counter() - began
    console.print(
        f"{done:,} lifecycles in {runs:,} runs, {records:,} messages, {faults.total():,} faults; "
        f"{wall:,.0f} s, {done / max(cpu, 1e-9):,.0f} lifecycles per second and core; {len(failed)} runs failed"
    )
    console.print(", ".join(f"{count:,} {kind}" for kind, count in sorted(faults.items())))
    for outcome in failed[:1]:
        console.print("Looking for the shortest way to it ...")
        tell(console, shrink(outcome))
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
