"""The report: on the terminal for people, as JSON for later."""

import json
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).with_name("results")
_SHOWN = 20
_WIDTH = 140
_TIMES = (
    "times",
    "alone",
    "after its end: p50",
    "p99",
    "after its beginning: p50",
    "p99",
    "ready: p99",
    "told: p50",
    "p99",
)


def save(found: dict[str, Any]) -> Path:
    """Write the whole of it; gives the file."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{time.strftime('%Y%m%dT%H%M%S')}-seed-{found['seed']}.json"
    path.write_text(json.dumps(found, indent=2) + "\n")
    return path


def print_report(found: dict[str, Any], path: Path) -> None:
    """Faults with their recovery times, what was looked at, and what is wrong; as text beside the JSON too."""
    console = Console(highlight=False, record=True, width=None if sys.stdout.isatty() else _WIDTH)
    console.print(_recovery(found["faults"]))
    undisturbed = found["undisturbed"]
    console.print(f"Undisturbed: {_s(undisturbed['works_s'])}, told after {_s(undisturbed['told_s'])}")
    console.print(
        f"A computation took {found['stretched']:.1f} times as long as alone; limits to times are multiplied by "
        f"{found['patience']:.1f}"
    )
    console.print(
        _longest("Seconds that messages waited at most when a worker ended, from the signal on", found["handed_over_s"])
    )
    console.print(
        _longest("Seconds that something was open after a revocation, while nothing was at fault", found["open_s"])
    )
    console.print(_longest("The same, during faults and soon after", found["open_during_faults_s"]))
    console.print(_longest("Seconds until requests about payments were answered for good", found["answered_s"]))
    console.print(_counts("Looked at", found["counted"]))
    console.print(_counts("Errors on the way, all tried again", found["errors"]))
    console.print(_counts("Errors in the services' logs", found["logged"]))
    for title, entries in found["findings"].items():
        _print_list(console, title.capitalize(), entries)
    verdict = "Nothing lost, nothing double, everything in order." if found["clean"] else "NOT clean."
    minutes = found["took_s"] / 60
    console.print(f"\n{verdict} {len(found['faults'])} faults in {minutes:.1f} minutes, seed {found['seed']}.")
    path.with_suffix(".txt").write_text(console.export_text())
    console.print(f"Written to {path}, and as text beside it", soft_wrap=True)


def quantile(values: list[float], share: float) -> float:
    """The nearest-rank quantile."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _recovery(faults: list[dict[str, Any]]) -> Table:
    table = Table(
        title="Seconds until fresh HTTP writes and channel events took effect, all said that they are ready, "
        "and the plugin was told in every way"
    )
    for column in ("fault", "of", *_TIMES):
        table.add_column(column, justify="right" if column in _TIMES else "left")
    groups: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for fault in faults:
        groups[fault["kind"], fault["target"]].append(fault)
    for (kind, target), members in sorted(groups.items()):
        table.add_row(kind, target, str(len(members)), *_quantiles([one for one in members if one["alone"]]))
    table.add_section()
    table.add_row("all, by those alone", "", str(len(faults)), *_quantiles([one for one in faults if one["alone"]]))
    table.add_row("all", "", str(len(faults)), *_quantiles(faults))
    return table


def _quantiles(faults: list[dict[str, Any]]) -> list[str]:
    wanted = (
        ("from_end_s", 0.5),
        ("from_end_s", 0.99),
        ("from_begin_s", 0.5),
        ("from_begin_s", 0.99),
        ("ready_s", 0.99),
        ("told_s", 0.5),
        ("told_s", 0.99),
    )
    cells = [str(len(faults))]
    for name, share in wanted:
        values = [float("inf") if fault[name] is None else fault[name] for fault in faults]
        cells.append(f"{quantile(values, share):.2f}" if values else "-")
    return cells


def _s(seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds:.2f} s"


def _longest(title: str, times: dict[str, list[float]]) -> Table:
    table = Table(title=title)
    for column in ("what", "times", "p50", "p99", "longest"):
        table.add_column(column, justify="left" if column == "what" else "right")
    for what, found in sorted(times.items()):
        cells = [quantile(found, 0.5), quantile(found, 0.99), max(found)]
        table.add_row(what, str(len(found)), *(f"{cell:.2f}" for cell in cells))
    return table


def _counts(title: str, counts: dict[str, int]) -> Table:
    table = Table(title=title)
    table.add_column("what")
    table.add_column("how many", justify="right")
    for what, count in sorted(counts.items()):
        table.add_row(what, f"{count:,}")
    return table


def _print_list(console: Console, title: str, entries: list[str]) -> None:
    style = "green" if not entries else "red"
    console.print(f"[bold {style}]{title}: {len(entries)}[/bold {style}]")
    for entry in entries[:_SHOWN]:
        console.print(f"  {entry}", markup=False, soft_wrap=True)
    if len(entries) > _SHOWN:
        console.print(f"  … and {len(entries) - _SHOWN} more")
