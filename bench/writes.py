"""What batches of the order service's write path cost by their size: written in one statement, or table by table.

Every order is made, leased and paid. Batches come one after the other, a few milliseconds apart, as they do where there
is little to do: waking up is part of what a statement costs.
"""

import argparse
import asyncio
import statistics
import time
from collections.abc import Sequence
from typing import cast
from unittest.mock import patch

import psutil

from bench import workload
from bench.machine import Machine, machine
from bench.results import Json, Result
from services.orders.aggregate import Numbers, OrderAggregates
from services.orders.consumers import incoming_of
from services.orders.core.state import Order
from services.orders.numbers import OrderNumbers
from shared import writes
from shared.clock import utc_now
from shared.contracts.order_commands import OrderCommand
from shared.kafka import Record
from shared.postgres import Pool
from shared.processor import CommandProcessor, Incoming, Runner

_SIZES = (1, 5, 20, 60, 200)
_BATCHES = 150
_ROUNDS = 5
_APART_S = 0.005
_WAYS = {"one statement": 1_000_000, "table by table": -1}
"""By how many rows are few."""

Batch = Sequence[Incoming[OrderCommand]]


async def measure(found: Result, _options: argparse.Namespace) -> None:
    """Milliseconds for a batch, and of processor time; both ways in turns."""
    async with machine() as here:
        pool = Pool(here.settings.database_url.get_secret_value(), "orders", 1)
        await pool.open()
        processor: CommandProcessor[Order, OrderCommand, Numbers] = CommandProcessor(
            pool, OrderAggregates(OrderNumbers(pool)), utc_now, lambda: None, "orders"
        )
        for size in _SIZES:
            rounds: dict[str, list[Json]] = {way: [] for way in _WAYS}
            for number in range(_ROUNDS + 1):
                for way in list(_WAYS)[:: 1 if number % 2 else -1]:
                    one = await _round(here, pool, processor.run, size, _WAYS[way])
                    rounds[way] += [one] if number else []
            costs = {way: _medians(several) for way, several in rounds.items()}
            found.add(**{f"batches_of_{size}": costs})
            for way, cost in costs.items():
                print(f"batches of {size:3}, {way}: " + ", ".join(f"{name} {ms}" for name, ms in cost.items()))
        await pool.close()


async def _round(here: Machine, pool: Pool, run: Runner[OrderCommand, Order], size: int, few: int) -> Json:
    orders = max(100, size * max(10, _BATCHES // size) // workload.COMMANDS_PER_ORDER)
    batches = _batches(orders, size)
    ours, servers = psutil.Process(), [psutil.Process(await pool.fetchval("SELECT pg_backend_pid()"))]
    client_s, server_s, wall_s = _cpu_s([ours]), _cpu_s(servers), 0.0
    with patch.object(writes, "FEW", few):
        for batch in batches:
            began = time.perf_counter()
            await run(batch)
            wall_s += time.perf_counter() - began
            await asyncio.sleep(_APART_S)
    client_s, server_s = _cpu_s([ours]) - client_s, _cpu_s(servers) - server_s
    await here.execute("TRUNCATE orders.outbox")
    return {"ms": wall_s / len(batches), "python_ms": client_s / len(batches), "postgres_ms": server_s / len(batches)}


def _batches(orders: int, size: int) -> list[Batch]:
    """No two commands on one order in a batch."""
    # A command has what is read of a record.
    incoming = [incoming_of(cast("Record", command)) for command in workload.commands(orders)]
    begins = range(0, len(incoming), size)
    return [incoming[begin : begin + size] for begin in begins]


def _cpu_s(processes: Sequence[psutil.Process]) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def _medians(rounds: Sequence[Json]) -> Json:
    return {name: round(statistics.median(one[name] for one in rounds) * 1000, 2) for name in rounds[0]}
