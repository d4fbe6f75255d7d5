"""Measures the order service beside the bare pipe: the same durable writes without rules. Results: `bench/results`."""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from bench import bare_pipe, service
from bench.machine import machine
from bench.race import Race
from bench.report import print_report
from deploy.prepare import prepare_database, prepare_topics
from shared.kafka_admin import KafkaAdmin
from shared.topics import TopicSpec

RESULTS = Path(__file__).parent / "results"


async def main(options: argparse.Namespace) -> None:
    """The whole measurement, and its report."""
    with machine() as here:
        await prepare_database(here.settings)
        await prepare_topics(here.settings)
        partitions = here.settings.command_partitions
        names = (bare_pipe.COMMANDS, bare_pipe.EVENTS, bare_pipe.REPLIES)
        await KafkaAdmin(here.settings.kafka).ensure_topics([TopicSpec(name, partitions) for name in names])
        race = Race(here, options.orders)
        await race.prepare()
        found: dict[str, Any] = {"at": datetime.now(UTC).isoformat(), "processors": psutil.cpu_count()}
        found["rounds"] = [asdict(one) for one in await race.rounds(options.batches, options.rounds)]
        found["publishing"] = race.publishing
        found["statements_per_command"] = await service.statements(here, options.orders // 4)
        found["memory"] = await service.memory(here, options.memory_orders)
        found["http"] = await service.http(here, options.requests, options.connections)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{time.strftime('%Y%m%d-%H%M%S')}.json"
    path.write_text(json.dumps(found, indent=2))
    print_report(found, path)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--batches", type=int, nargs="+", default=[50, 500, 2000])
    parser.add_argument("--rounds", type=int, default=3, help="of each contender, after one to warm up")
    parser.add_argument("--orders", type=int, default=8_000, help="in each round; three commands each")
    parser.add_argument("--memory-orders", type=int, default=100_000)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--connections", type=int, default=64)
    return parser.parse_args(arguments)
