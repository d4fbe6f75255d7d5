"""Whether orders that lie there cost anything: the same work on ten thousand orders and on many more, taking turns.

Two databases of one server: the small one always has `SMALL` orders, the large one has more with every step. What the
machine does besides hits both alike, so that their ratio is growth and not drift.
"""

import asyncio
import random
import time
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import asyncpg
from pydantic import SecretStr

from bench import workload
from bench.filling import BIG, MOST_WITH_HISTORY, TYPICAL, fill, make_templates, require_disk
from bench.fleet import Running, admit, running
from bench.http_load import load, request
from bench.machine import Machine, machine
from bench.race import ORDERS
from bench.results import Json, Result, middle, spread
from deploy.local.ports import HOST
from deploy.prepare import prepare_database
from shared import inbox
from shared.clock import utc_now
from shared.ids import new_id
from shared.kafka import producer
from shared.postgres import connect
from shared.writes import write

SMALL = 10_000
SIZES = (1_000_000, 10_000_000)
POSTGRES = {
    # Filling writes no WAL; everything that is measured is durable as ever.
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "maintenance_work_mem": "1GB",
    # A sixth of the memory, and checkpoints far apart, as a server of this size has; the local one is small.
    "shared_buffers": "4GB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "15min",
}
_CONNECTIONS = 4
_RECALLED = 500
_LONG_S = 300.0
_PASSED_S = 70.0
"""After which the relay reads above what was published before; it asks every half minute, and twice."""


async def measure(found: Result, options: Namespace) -> None:
    """Small against large at every size, then the outbox before and after many messages."""
    async with machine(POSTGRES) as small:
        require_disk(small, max(options.sizes))
        await make_templates(small)
        large = await _second_database(small)
        steps: list[Json] = []
        for size in options.sizes:
            whole = size <= MOST_WITH_HISTORY
            sizes_of_tables = await fill(large, size, whole)
            turns: dict[str, list[Json]] = {"small": [], "large": []}
            for number in range(options.rounds):
                print(f"{size:,} orders, round {number + 1} of {options.rounds}", flush=True)
                await fill(small, SMALL, whole)
                for name, here in (("small", small), ("large", large)):
                    turns[name].append(await _turn(here, options.orders, options.reads))
            steps.append(_compared(turns) | {"orders": size, "whole_history": whole, "bytes": sizes_of_tables})
            found.add(small=SMALL, steps=steps)
            _print(steps[-1])
        found.add(outbox=await _outbox(small, options.messages))


async def _second_database(here: Machine) -> Machine:
    """A copy of the small one in the same server."""
    url = here.settings.database_url.get_secret_value()
    root, _, name = url.rpartition("/")
    connection = await asyncpg.connect(f"{root}/postgres")
    await connection.execute(f"CREATE DATABASE large TEMPLATE {name}")
    await connection.close()
    large = replace(here, settings=here.settings.model_copy(update={"database_url": SecretStr(f"{root}/large")}))
    await prepare_database(large.settings)
    return large


async def _turn(here: Machine, orders: int, requests: int) -> Json:
    """One look at one database."""
    sample = await _sample(here, orders)
    new = await _throughput(here, workload.commands(orders, merchants=[merchant for merchant, _ in sample]))
    old = await _throughput(here, workload.notes(sample))
    return {
        "commands_per_s": {"new orders": round(new), "any orders": round(old)},
        "inbox": await _inbox(here),
        "reads": await _reads(here, requests),
    }


async def _sample(here: Machine, count: int) -> list[tuple[str, str]]:
    """Orders from anywhere in the table (merchant and id), in random order."""
    total = await here.value("SELECT reltuples FROM pg_class WHERE oid = 'orders.orders'::regclass")
    numbers = [f"ord_01{random.randint(1, int(total)):024}" for _ in range(count)]
    rows = await here.rows("SELECT merchant_id, order_id FROM orders.orders WHERE order_id = ANY($1)", numbers)
    found = [(row[0], row[1]) for row in rows]
    random.shuffle(found)
    return found


async def _throughput(here: Machine, commands: Any) -> float:
    """Commands per second at batches of 500, from Kafka to their published replies; all lie there at the start."""
    here.empty([ORDERS.commands, ORDERS.events, ORDERS.replies])
    before = await here.ends(ORDERS.replies)
    async with producer(here.settings.kafka, max_batch_size=900 * 1024) as sender:
        count = await workload.publish(sender, ORDERS.commands, here.settings.command_partitions, commands)
    async with running(here, "orders", "worker"):
        times = await here.times(ORDERS.replies, before, count, _LONG_S)
    return sum(at > times[0] for at in times) * 1000 / (times[-1] - times[0])


async def _inbox(here: Machine) -> Json:
    """Milliseconds to look for and to record the outcomes of a batch of commands, on old orders; nothing is kept."""
    taken: dict[str, list[float]] = {"recall": [], "record": []}
    connection = await connect(here.settings.database_url.get_secret_value(), "orders")
    try:
        for _ in range(20):
            keys = [(order_id, new_id("cmd")) for _, order_id in await _sample(here, _RECALLED)]
            transaction = connection.transaction()
            await transaction.start()
            began = time.perf_counter()
            await inbox.recall(connection, keys)
            recalled = time.perf_counter()
            await write(connection, inbox.rows_of([(key, '{"version": 1}') for key in keys], utc_now()))
            taken["recall"].append(recalled - began)
            taken["record"].append(time.perf_counter() - recalled)
            await transaction.rollback()
    finally:
        await connection.close()
    return {name: spread(seconds) for name, seconds in taken.items()}


async def _reads(here: Machine, requests: int) -> Json:
    """Every kind of question, of a merchant with a tenth of all orders and of a typical one."""
    found: Json = {}
    async with running(here, "orders", "api") as api:
        for name, merchant in (("big", BIG), ("typical", TYPICAL)):
            key = await admit(here, api, merchant=merchant)
            for kind, paths in (await _questions(here, merchant, requests)).items():
                found[f"{kind}, {name} merchant"] = await _asked(api, [request("GET", path, key) for path in paths])
    return found


async def _asked(api: Running, requests: Sequence[bytes]) -> Json:
    answered = await load(HOST, [api.port], requests, _CONNECTIONS)
    assert answered.statuses.keys() <= {200, 503}, answered.statuses
    given_up = answered.statuses.get(503, 0)
    return {"p50_ms": round(answered.p50_ms, 2), "p99_ms": round(answered.p99_ms, 2), "given_up": given_up}


async def _questions(here: Machine, merchant: str, count: int) -> dict[str, list[str]]:
    rows = await here.rows(
        """
        SELECT order_id, number, customer_id, external_reference FROM (
            SELECT * FROM orders.orders WHERE merchant_id = $1 AND environment = 'test' ORDER BY created_at LIMIT 20000
        ) AS old ORDER BY random() LIMIT $2
        """,
        merchant,
        count,
    )
    newest = await here.rows(
        """
        SELECT order_id FROM orders.orders WHERE merchant_id = $1 AND environment = 'test'
        ORDER BY created_at DESC LIMIT 200
        """,
        merchant,
    )
    old = random.choices(rows, k=count)
    customers = [row["customer_id"] for row in rows if row["customer_id"]] or ["cus_none"]
    references = [row["external_reference"] for row in rows if row["external_reference"]] or ["web-none"]
    page = "/v1/orders?page_size=20"
    return {
        "by id, old": [f"/v1/orders/{row['order_id']}" for row in old],
        "by id, newest": [f"/v1/orders/{row['order_id']}" for row in random.choices(newest, k=count)],
        "history": [f"/v1/orders/{row['order_id']}/activities" for row in old],
        "newest": [page] * count,
        "filter: status": [f"{page}&status=canceled"] * count,
        "filter: payment": [f"{page}&status=open&payment_status=unpaid"] * count,
        "filter: customer": [f"{page}&customer_id={one}" for one in random.choices(customers, k=count)],
        "filter: reference": [f"{page}&external_reference={one}" for one in random.choices(references, k=count)],
        "filter: number": [f"{page}&number={row['number']}" for row in old],
        "search: number": [f"{page}&query={row['number']}" for row in old],
        "search: common word": [f"{page}&query=jacket"] * count,
        "search: two words": [f"{page}&query=blue%20tent"] * count,
        "search: no result": [f"{page}&query=jacket%20nowhere"] * count,
    }


async def _outbox(here: Machine, messages: int) -> Json:
    """What a batch in the outbox costs to write and until it is published: at the start, at once after so many messages
    and a minute later, when the relay no longer looks for stragglers among them."""
    await here.execute("TRUNCATE orders.outbox")
    async with running(here, "orders", "worker"):
        before = [await _passed(here, 1_000) for _ in range(50)]
        began, done = time.monotonic(), 0
        while done < messages:
            await _passed(here, 20_000)
            done += 20_000
            if done % 500_000 == 0:
                print(f"outbox: {done:,} messages in {time.monotonic() - began:.0f} s", flush=True)
                here.empty([ORDERS.replies])
        at_once = [await _passed(here, 1_000) for _ in range(50)]
        await asyncio.sleep(_PASSED_S)
        after = [await _passed(here, 1_000) for _ in range(50)]
    size = await here.value("SELECT pg_total_relation_size('orders.outbox')")
    return {"messages": done, "bytes_left": size} | {
        name: {"write": spread([w for w, _ in each]), "publish": spread([p for _, p in each])}
        for name, each in (("before", before), ("at_once", at_once), ("after", after))
    }


async def _passed(here: Machine, count: int) -> tuple[float, float]:
    """Seconds to commit that many messages, and until the relay has published and removed them."""
    last = await here.value("SELECT last_value FROM orders.outbox_seq_seq")
    began = time.perf_counter()
    await here.execute(
        f"""
        INSERT INTO orders.outbox (shard, id, aggregatetype, aggregateid, type, headers, payload)
        SELECT n % 16, 'evt_' || n, '{ORDERS.replies}', 'ord_' || n, 'bench.happened.v1', '{{"ce_id": "evt"}}', 'x'
        FROM generate_series(1, {count}) AS n
        """,
        'NOTIFY "throughline_orders_outbox"',
    )
    written = time.perf_counter()
    # By the end of the index, as the relay reads: the table and the index keep what is gone until it is cleaned up.
    while await here.value(f"SELECT count(*) FROM (SELECT FROM orders.outbox WHERE seq > {last:.0f} LIMIT 1) AS rest"):
        await asyncio.sleep(0.002)
    return written - began, time.perf_counter() - written


def _compared(turns: dict[str, list[Json]]) -> Json:
    """Medians over the rounds (of what was given up, the sum), and large to small: throughput kept, time taken."""
    medians = {name: middle(each) for name, each in turns.items()}
    for name, each in turns.items():
        for kind, read in medians[name]["reads"].items():
            read["given_up"] = sum(turn["reads"][kind]["given_up"] for turn in each)
    small, large = medians["small"], medians["large"]
    kept = {
        name: round(large["commands_per_s"][name] / small["commands_per_s"][name], 2)
        for name in small["commands_per_s"]
    }
    slower = {
        name: {at: round(large["reads"][name][at] / small["reads"][name][at], 2) for at in ("p50_ms", "p99_ms")}
        for name in small["reads"]
    }
    return {**medians, "throughput_kept": kept, "reads_slower": slower}


def _print(step: Json) -> None:
    print(f"{step['orders']:,} orders against {SMALL:,}: throughput kept {step['throughput_kept']}")
    for name, ratio in step["reads_slower"].items():
        small, large = step["small"]["reads"][name], step["large"]["reads"][name]
        print(
            f"  {name:36} p50 {small['p50_ms']:8.2f} -> {large['p50_ms']:8.2f} ms ({ratio['p50_ms']:.2f})   "
            f"p99 {small['p99_ms']:8.2f} -> {large['p99_ms']:8.2f} ms ({ratio['p99_ms']:.2f})"
            + (f"   {large['given_up']:.0f} given up" if large["given_up"] else ""),
            flush=True,
        )
