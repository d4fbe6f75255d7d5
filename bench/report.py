"""The throughput as a table."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.race import Round

SERVICE = "orders service"
_WIDTH = 110
_COSTS = ("python_us", "postgres_us", "kafka_us", "wal_bytes_per_command")
_MEASURED = ("per_second", *_COSTS)


def medians(rounds: Sequence[Round]) -> list[dict[str, Any]]:
    """For each contender and batch size."""
    groups: dict[tuple[str, int], list[Round]] = {}
    for one in rounds:
        groups.setdefault((one.contender, one.batch), []).append(one)
    return [
        {"contender": contender, "batch": batch}
        | {name: round(statistics.median(getattr(one, name) for one in each), 3) for name in _MEASURED}
        for (contender, batch), each in groups.items()
    ]


def print_throughput(found: Mapping[str, Any]) -> None:
    """On the terminal."""
    console = Console(width=_WIDTH)
    console.print(_throughput(found["medians"]))
    fastest = max(found["publishing"], key=lambda name: found["publishing"][name])
    console.print(f"The bare pipe publishes by {fastest}: {_listed(found['publishing'], '{:.0f} commands/s')}")
    console.print(f"SQL statements per command at batches of 500: {found['statements_per_command']:.3f}")
    console.print(f"Resident memory after orders: {_listed(found['memory'], '{:.0f} MB')}")


def _throughput(found: Sequence[Mapping[str, Any]]) -> Table:
    title = "Commands from Kafka to their published replies (medians; microseconds of CPU and bytes of WAL per command)"
    table = Table(title=title)
    for column in ("", "batch", "commands/s", "service has", "Python", "PostgreSQL", "Kafka", "WAL"):
        table.add_column(column, justify="right" if column else "left", no_wrap=not column)
    ours = {one["batch"]: one["per_second"] for one in found if one["contender"] == SERVICE}
    for one in found:
        name, batch, rate = one["contender"], one["batch"], one["per_second"]
        share = "" if name == SERVICE else f"{ours[batch] / rate:.0%}"
        table.add_row(name, str(batch), f"{rate:,.0f}", share, *(f"{one[cost]:,.0f}" for cost in _COSTS))
    return table


def _listed(values: Mapping[str, float], form: str) -> str:
    return ", ".join(f"{name} {form.format(value)}" for name, value in values.items())
