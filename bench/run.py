"""Measures Throughline beside the reference that bounds it. Results: `bench/results`, and with --publish
`docs/performance`, from where the figures are drawn."""

import argparse
import asyncio
import signal
from collections.abc import Sequence
from dataclasses import asdict

from bench import (
    access,
    bare_pipe,
    event_latency,
    fan_out,
    growth,
    http_rates,
    latency,
    lifecycle,
    reconcile,
    revocation,
    service,
    soak,
    webhooks,
    writes,
)
from bench.machine import machine
from bench.race import Race
from bench.report import medians, print_throughput
from bench.results import Result, result
from shared.kafka_admin import KafkaAdmin
from shared.topics import TopicSpec


async def main(options: argparse.Namespace) -> None:
    """What was asked for; servers and files are gone afterwards, also when it is ended by SIGTERM."""
    task = asyncio.current_task()
    assert task is not None, "a coroutine runs in a task"
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    for name in ("throughput", "latency", "http") if options.what == "all" else (options.what,):
        if name == "figures":
            # A library that nothing else here needs.
            from bench.figures import draw_all

            draw_all()
            return
        with result(name, options.publish) as found:
            await _MEASURES[name](found, options)


async def _throughput(found: Result, options: argparse.Namespace) -> None:
    async with machine() as here:
        partitions = here.settings.command_partitions
        names = (bare_pipe.COMMANDS, bare_pipe.EVENTS, bare_pipe.REPLIES)
        await KafkaAdmin(here.settings.kafka).ensure_topics([TopicSpec(name, partitions) for name in names])
        race = Race(here, options.orders)
        await race.prepare()
        rounds = await race.rounds(options.batches, options.rounds)
        found.add(publishing=race.publishing, rounds=[asdict(one) for one in rounds], medians=medians(rounds))
        found.add(statements_per_command=await service.statements(here, options.orders // 4))
        found.add(memory=await service.memory(here, options.memory_orders))
    print_throughput(found.found)


_MEASURES = {
    "access": access.measure,
    "throughput": _throughput,
    "latency": latency.measure,
    "http": http_rates.measure,
    "lifecycle": lifecycle.measure,
    "growth": growth.measure,
    "reconcile": reconcile.measure,
    "soak": soak.measure,
    "revocation": revocation.measure,
    "webhooks": webhooks.measure,
    "fan_out": fan_out.measure,
    "event_latency": event_latency.measure,
    "writes": writes.measure,
}


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("what", nargs="?", default="all", choices=("all", *_MEASURES, "figures"))
    parser.add_argument("--publish", action="store_true", help="also write docs/performance/*.json")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each contender")
    parser.add_argument("--orders", type=int, default=8_000, help="in each turn of throughput and growth")
    parser.add_argument("--batches", type=int, nargs="+", default=[50, 500, 2000], help="throughput")
    parser.add_argument("--memory-orders", type=int, default=100_000, help="throughput")
    parser.add_argument("--seconds", type=float, default=60, help="latency, event_latency, webhooks")
    parser.add_argument("--apps", type=int, nargs="+", default=list(fan_out.ORDERS), help="fan_out: at a merchant")
    parser.add_argument("--requests", type=int, default=10_000, help="http")
    parser.add_argument("--connections", type=int, default=64, help="http")
    parser.add_argument("--lifecycles", type=int, default=2_000, help="lifecycle: in each turn")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(growth.SIZES), help="growth: orders")
    parser.add_argument("--reads", type=int, default=300, help="growth: requests of each kind")
    parser.add_argument("--messages", type=int, default=10_000_000, help="growth: through the outbox")
    parser.add_argument("--movements", type=int, nargs="+", default=list(reconcile.MOVEMENTS), help="reconcile")
    parser.add_argument("--minutes", type=float, default=30, help="soak")
    parser.add_argument("--grants", type=int, default=100_000, help="revocation")
    parser.add_argument("--revocations", type=int, default=300, help="revocation")
    return parser.parse_args(arguments)
