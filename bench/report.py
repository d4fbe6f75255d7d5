"""The measurements as tables."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

SERVICE = "orders service"


def print_report(found: Mapping[str, Any], path: Path) -> None:
    """Everything that was measured, on the terminal."""
    console = Console()
    console.print(_throughput(found["rounds"]))
    fastest = max(found["publishing"], key=lambda name: found["publishing"][name])
    console.print(f"The bare pipe publishes by {fastest}: {_listed(found['publishing'], '{:.0f} commands/s')}")
    console.print(f"SQL statements per command at batches of 500: {found['statements_per_command']:.3f}")
    console.print(f"Resident memory after orders: {_listed(found['memory'], '{:.0f} MB')}")
    for name in ("creates", "reads"):
        one = found["http"][name]
        console.print(
            f"HTTP {name}: {one['per_second']:.0f}/s, median {one['p50_ms']:.1f} ms, "
            f"99 % within {one['p99_ms']:.1f} ms, statuses {one['statuses']}"
        )
    console.print(f"Written to {path}")


def medians(rounds: Sequence[Mapping[str, Any]], field: str) -> dict[tuple[str, int], float]:
    """The median of a field for each contender and batch size."""
    groups: dict[tuple[str, int], list[float]] = {}
    for one in rounds:
        groups.setdefault((one["contender"], one["batch"]), []).append(one[field])
    return {group: statistics.median(values) for group, values in groups.items()}


def _throughput(rounds: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(
        title="Commands from Kafka to their published replies (medians; CPU of the worker and WAL per command)"
    )
    for column in ("", "batch", "commands/s", "service has", "CPU ms", "WAL bytes"):
        table.add_column(column, justify="right" if column else "left", no_wrap=not column)
    speed, cpu, wal = (medians(rounds, name) for name in ("per_second", "cpu_ms_per_command", "wal_bytes_per_command"))
    for (name, batch), rate in speed.items():
        share = "" if name == SERVICE else f"{speed[SERVICE, batch] / rate:.0%}"
        table.add_row(name, str(batch), f"{rate:,.0f}", share, f"{cpu[name, batch]:.3f}", f"{wal[name, batch]:,.0f}")
    return table


def _listed(values: Mapping[str, float], form: str) -> str:
    return ", ".join(f"{name} {form.format(value)}" for name, value in values.items())
