"""The report: on the terminal for people, as JSON for later."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from tests.hostile.run import Progress as Report

RESULTS = Path(__file__).with_name("results")
_SHOWN = 10


@contextmanager
def bars(messages: int, requests: int) -> Iterator[Report]:
    """A bar each for what was sent, processed and answered."""
    columns = (TextColumn("{task.description:32}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    wanted = {
        "sent": ("messages sent", messages),
        # What follows from them is processed too: orders, replies and commands of our own.
        "processed": ("processed, with what followed", None),
        "answered": ("requests answered", requests),
    }
    with Progress(*columns) as progress:
        tasks = {name: progress.add_task(text, total=total) for name, (text, total) in wanted.items()}
        yield lambda name, by_now: progress.update(tasks[name], completed=int(by_now))


def save(found: dict[str, Any]) -> Path:
    """Write the whole of it; gives the file."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{time.strftime('%Y%m%dT%H%M%S')}-seed-{found['seed']}.json"
    path.write_text(json.dumps(found, indent=2) + "\n")
    return path


def print_report(found: dict[str, Any], path: Path) -> None:
    """What was sent, what became of it, and what is wrong."""
    console = Console(highlight=False)
    if kafka := found.get("kafka"):
        console.print(_counts(f"{kafka['messages']:,} messages, {kafka['per_s']:,}/s", kafka["fates"]))
        for fault, told in kafka["wrong"].items():
            _print_list(console, f"{fault}: {kafka['counts'][fault]}", told)
    if http := found.get("http"):
        console.print(_counts(f"{http['requests']:,} requests, {http['per_s']:,}/s, by status", http["statuses"]))
        _print_list(console, "answers that break the contract", [json.dumps(each) for each in http["failures"]])
    verdict = "Everything accounted for." if found["clean"] else "NOT clean."
    console.print(f"\n{verdict} Seed {found['seed']}. Written to {path}", soft_wrap=True)


def _counts(title: str, counts: dict[str, int]) -> Table:
    table = Table(title=title)
    table.add_column("what")
    table.add_column("how many", justify="right")
    for what, count in counts.items():
        table.add_row(what, f"{count:,}")
    return table


def _print_list(console: Console, title: str, entries: list[str]) -> None:
    if not entries:
        return
    console.print(f"[bold red]{title}[/bold red]")
    for entry in entries[:_SHOWN]:
        console.print(f"  {entry}", markup=False, soft_wrap=True)
    if len(entries) > _SHOWN:
        console.print(f"  … and {len(entries) - _SHOWN} more")
