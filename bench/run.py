"""Measures the order service beside the bare pipe: the same durable writes without rules. Results: `bench/results`."""

import argparse
import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
import psutil

from bench import bare_pipe, workload
from bench.http_load import Load, load, request
from bench.machine import Machine, machine, worker
from bench.report import print_report
from deploy.local.ports import HOST, Ports
from deploy.prepare import prepare_database, prepare_topics
from shared.auth.keys import hash_credential, new_api_key
from shared.contracts.access import SCOPES, Grant
from shared.ids import new_id
from shared.kafka import producer
from shared.kafka_admin import KafkaAdmin
from shared.topics import ACCESS_GRANTS, ORDERS_COMMANDS, ORDERS_EVENTS, ORDERS_REPLIES, TopicSpec

RESULTS = Path(__file__).parent / "results"
_TABLES = ("inbox", "orders", "order_events", "outbox")
_LONG_S = 300.0
_IDLE_S = 8.0
_MB = 1024 * 1024


@dataclass(frozen=True)
class Contender:
    """Something that handles the same commands."""

    name: str
    module: str
    commands: str
    replies: str
    schema: str
    like: str | None = None
    """How the bare pipe's tables resemble the order service's: what `LIKE` includes."""


BARE_KEYS = Contender(
    "bare pipe, keys only",
    "bench.bare_pipe",
    bare_pipe.COMMANDS,
    bare_pipe.REPLIES,
    "bench",
    "INCLUDING IDENTITY INCLUDING STORAGE",
)
BARE_SAME = Contender(
    "bare pipe, same indexes", "bench.bare_pipe", bare_pipe.COMMANDS, bare_pipe.REPLIES, "bench", "INCLUDING ALL"
)
ORDERS = Contender("orders service", "bench.orders_worker", ORDERS_COMMANDS, ORDERS_REPLIES, "orders")
CONTENDERS = (BARE_KEYS, BARE_SAME, ORDERS)
_PRIMARY_KEYS = {
    "inbox": "aggregate_id, command_id",
    "orders": "order_id",
    "order_events": "order_id, version",
    "outbox": "seq",
}


@dataclass(frozen=True)
class Round:
    """One run of one contender."""

    contender: str
    batch: int
    commands: int
    per_second: float
    cpu_ms_per_command: float
    wal_bytes_per_command: float


async def main(options: argparse.Namespace) -> None:
    """The whole measurement, and its report."""
    with machine() as here:
        await prepare_database(here.settings)
        await prepare_topics(here.settings)
        partitions = here.settings.command_partitions
        names = (bare_pipe.COMMANDS, bare_pipe.EVENTS, bare_pipe.REPLIES)
        await KafkaAdmin(here.settings.kafka).ensure_topics([TopicSpec(name, partitions) for name in names])
        idle = {contender.name: await idle_cpu_ms(here, contender) for contender in CONTENDERS}
        found: dict[str, object] = {"at": datetime.now(UTC).isoformat(), "processors": psutil.cpu_count()}
        publishing = {
            name: (await pipe(here, BARE_SAME, 500, options.orders, name, idle)).per_second
            for name in bare_pipe.PUBLISHERS
        }
        fastest = max(publishing, key=lambda name: publishing[name])
        rounds = await throughput(here, options.batches, options.rounds, options.orders, fastest, idle)
        found |= {"publishing": publishing, "rounds": [asdict(one) for one in rounds]}
        found["statements_per_command"] = await statements(here, options.orders // 4)
        found["memory"] = await memory(here, options.memory_orders)
        found["http"] = await http(here, options.requests, options.connections)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{time.strftime('%Y%m%d-%H%M%S')}.json"
    path.write_text(json.dumps(found, indent=2))
    print_report(found, path)


async def throughput(here: Machine, batches: Sequence[int], rounds: int, orders: int, publish: str) -> list[Round]:
    """All contenders take turns, so that what else the machine does hits all alike; the first turn is a warm-up."""
    found = []
    for batch in batches:
        for number in range(rounds + 1):
            for contender in CONTENDERS:
                one = await pipe(here, contender, batch, orders, publish, idle)
                print(f"{contender.name:24} batch {batch:5} {one.per_second:8.0f} commands/s", flush=True)
                if number:
                    found.append(one)
    return found


async def pipe(
    here: Machine, contender: Contender, batch: int, orders: int, publish: str, idle: dict[str, float]
) -> Round:
    """Commands that lie in Kafka until their replies do; the time before the first reply is not counted."""
    count, before = await _prepare(here, contender, orders)
    arguments = (
        ["--batch", str(batch), "--publish", publish] if contender.like else ["--port", str(Ports.free().postgres)]
    )
    wal = await here.value("SELECT pg_current_wal_lsn() - '0/0'")
    with worker(contender.module, *arguments, environment=here.environment(batch)) as process:
        times = await here.times(contender.replies, before, count, _LONG_S)
        spent = process.cpu_times()
    wal = await here.value("SELECT pg_current_wal_lsn() - '0/0'") - wal
    counted = sum(at > times[0] for at in times)
    seconds = (times[-1] - times[0]) / 1000
    cpu_ms = ((spent.user + spent.system) * 1000 - idle[contender.name]) / count
    return Round(contender.name, batch, count, counted / seconds, cpu_ms, wal / count)


async def idle_cpu_ms(here: Machine, contender: Contender) -> float:
    """What a worker spends until it waits for its first command."""
    await _prepare(here, contender, 0)
    arguments = [] if contender.like else ["--port", str(Ports.free().postgres)]
    with worker(contender.module, *arguments, environment=here.environment(500)) as process:
        await asyncio.sleep(_IDLE_S)
        spent = process.cpu_times()
    return float(spent.user + spent.system) * 1000


async def _prepare(here: Machine, contender: Contender, orders: int) -> tuple[int, dict[object, int]]:
    """Empty tables and topics, then the commands; gives their number and where the replies begin."""
    if contender.like:
        await here.execute("DROP SCHEMA IF EXISTS bench CASCADE", "CREATE SCHEMA bench", *_tables(contender.like))
    else:
        tables = ", ".join(f"orders.{table}" for table in (*_TABLES, "order_search"))
        await here.execute(f"TRUNCATE {tables}")
    await here.execute("CHECKPOINT")
    here.empty([contender.commands, contender.replies, bare_pipe.EVENTS, ORDERS_EVENTS])
    before = await here.ends(contender.replies)
    async with producer(here.settings.kafka, max_batch_size=900 * 1024) as sender:
        partitions = here.settings.command_partitions
        count = await workload.publish(sender, contender.commands, partitions, workload.commands(orders))
    return count, before


def _tables(like: str) -> list[str]:
    statements = [f"CREATE TABLE bench.{table} (LIKE orders.{table} {like})" for table in _TABLES]
    statements.append("ALTER TABLE bench.orders SET (fillfactor = 80)")
    if "ALL" not in like:
        statements += [f"ALTER TABLE bench.{table} ADD PRIMARY KEY ({key})" for table, key in _PRIMARY_KEYS.items()]
    return statements


async def statements(here: Machine, orders: int) -> float:
    """SQL statements of the order service's process for each command at batches of 500, its relay's included."""
    count, before = await _prepare(here, ORDERS, orders)
    await here.execute("ALTER SYSTEM SET log_min_duration_statement = 0", "SELECT pg_reload_conf()")
    logged = here.statements_logged()
    with worker(ORDERS.module, "--port", str(Ports.free().postgres), environment=here.environment(500)):
        await here.times(ORDERS.replies, before, count, _LONG_S)
    logged = here.statements_logged() - logged
    await here.execute("ALTER SYSTEM RESET log_min_duration_statement", "SELECT pg_reload_conf()")
    return logged / count


async def memory(here: Machine, orders: int) -> dict[str, float]:
    """Resident megabytes of a worker that has just started, after the first tenth, and after all orders."""
    await _prepare(here, ORDERS, 0)
    before = await here.ends(ORDERS.replies)
    port = Ports.free().postgres
    with worker(ORDERS.module, "--port", str(port), environment=here.environment(500)) as process:
        await _ready(port)
        found = {"0": process.memory_info().rss / _MB}
        async with producer(here.settings.kafka, max_batch_size=900 * 1024) as sender:
            done = 0
            for step in (orders // 10, orders - orders // 10):
                done += step
                messages = workload.commands(step, only_create=True)
                await workload.publish(sender, ORDERS.commands, here.settings.command_partitions, messages)
                await here.times(ORDERS.replies, before, done, _LONG_S)
                found[str(done)] = process.memory_info().rss / _MB
    return found


async def http(here: Machine, requests: int, connections: int) -> dict[str, dict[str, object]]:
    """Orders made and read over HTTP by one process that also relays and consumes."""
    await _prepare(here, ORDERS, 0)
    port, key = Ports.free().postgres, new_api_key("test")
    merchant, scopes = workload.MERCHANT, tuple(SCOPES)
    grant = Grant(
        grant_id=new_id("grt"),
        credential_hash=hash_credential(key),
        kind="api_key",
        merchant_id=merchant,
        environment="test",
        scopes=scopes,
    )
    async with producer(here.settings.kafka) as sender:
        await sender.send_and_wait(ACCESS_GRANTS, grant.model_dump_json().encode(), grant.credential_hash.encode())
    with worker(ORDERS.module, "--port", str(port), "--role", "all", environment=here.environment(500)) as process:
        await _ready(port)
        await asyncio.sleep(1)
        made = await load(HOST, port, [_creation(key) for _ in range(requests)], connections)
        ids = [json.loads(body)["data"]["order_id"] for body in made.bodies]
        read = await load(HOST, port, [request("GET", f"/v1/orders/{one}", key) for one in ids], connections)
        resident = process.memory_info().rss / _MB
    return {"creates": _summary(made), "reads": _summary(read), "resident_mb": {"after": resident}}


def _creation(key: str) -> bytes:
    line = {"quantity": 1, "unit_price_money": {"amount": 4500, "currency": "EUR"}}
    lines = [{"name": name, **line} for name in ("Rain jacket", "Walking boots", "Socks")]
    body = json.dumps({"source": "checkout", "currency": "EUR", "line_items": lines}).encode()
    return request("POST", "/v1/orders", key, body, new_id("idem"))


def _summary(result: Load) -> dict[str, object]:
    return {name: value for name, value in asdict(result).items() if name != "bodies"}


async def _ready(port: int) -> None:
    async with asyncio.timeout(60), httpx.AsyncClient(base_url=f"http://{HOST}:{port}") as client:
        while True:
            try:
                if (await client.get("/readyz")).status_code == 200:
                    return
            except httpx.HTTPError:
                pass
            await asyncio.sleep(0.1)


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
