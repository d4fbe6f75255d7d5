"""What is answered over HTTP per second, beside a bare handler that does one INSERT or SELECT for each request."""

import json
import time
from argparse import Namespace
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from confluent_kafka import Producer

from bench import bare_http, workload
from bench.fleet import Running, admit, bare, creation, make_channel, running, until_read
from bench.http_load import Load, load, request
from bench.machine import Machine, machine
from bench.pace import client
from bench.race import ORDERS, prepare
from bench.results import Json, Result, middle
from deploy.local.ports import HOST
from shared.topics import ORDERS_EVENTS, channel_topic

ONE_EACH = {"HTTP_BATCH_SIZE": "1"}
"""Every request has a transaction of its own."""
_TOTAL_MINOR = 13_500
_LONG_S = 300.0


async def measure(found: Result, options: Namespace) -> None:
    """With one and two processes; the contenders take turns."""
    async with machine() as here:
        await here.execute("CREATE SCHEMA IF NOT EXISTS bench", bare_http.TABLE)
        for processes in (1, 2):
            turns = [await _turn(here, processes, options.requests, options.connections) for _ in range(options.rounds)]
            found.add(**{f"processes_{processes}": _compared(turns)})
            _print(processes, found.found[f"processes_{processes}"])


async def _turn(here: Machine, processes: int, requests: int, connections: int) -> Json:
    await prepare(here, ORDERS, 0)
    async with _several(here, processes, "bare") as asked:
        found = {"bare": await _creates_and_reads(asked, "bare", requests, connections)}
    async with _several(here, processes, "orders", **ONE_EACH) as asked:
        key = await admit(here, *asked)
        found["one transaction each"] = await _creates_and_reads(asked, key, requests, connections)
    async with _several(here, processes, "orders") as asked:
        key = await admit(here, *asked)
        found["orders"] = await _creates_and_reads(asked, key, requests, connections)
        async with _several(here, processes, "payments") as payments:
            key = await admit(here, *asked, *payments)
            channel = await make_channel(payments[0], key)
            await until_read(here, channel)
            per_second = await lifecycles_per_second(here, asked, key, channel, count=requests, connections=connections)
            found["lifecycles"] = {"per_second": round(per_second, 1)}
    return found


@asynccontextmanager
async def _several(here: Machine, count: int, service: str, **environment: str) -> AsyncIterator[Sequence[Running]]:
    async with AsyncExitStack() as stack:
        make = bare if service == "bare" else running
        yield [await stack.enter_async_context(make(here, service, **environment)) for _ in range(count)]


async def _creates_and_reads(asked: Sequence[Running], key: str, requests: int, connections: int) -> Json:
    ports = [one.port for one in asked]
    made = await load(HOST, ports, [creation(key, _TOTAL_MINOR) for _ in range(requests)], connections)
    ids = [json.loads(body)["data"]["order_id"] for body in made.bodies]
    read = await load(HOST, ports, [request("GET", f"/v1/orders/{one}", key) for one in ids], connections)
    return {"creates": _summary(made, 201), "reads": _summary(read, 200)}


async def lifecycles_per_second(
    here: Machine, orders: Sequence[Running], key: str, channel: str, *, count: int, connections: int
) -> float:
    """Orders made over HTTP and paid by a channel, from the first request until the last is paid."""
    ports, sender = [one.port for one in orders], Producer(client(here))

    def pay(body: bytes) -> None:
        order_id = json.loads(body)["data"]["order_id"]
        told = workload.capture(channel, order_id, _TOTAL_MINOR)
        sender.produce(channel_topic(channel), told.value, told.key, headers=list(told.headers))
        sender.poll(0)

    before = await here.ends(ORDERS_EVENTS)
    began = time.time()
    made = await load(HOST, ports, [creation(key, _TOTAL_MINOR) for _ in range(count)], connections, pay)
    sender.flush()
    times = await here.times(ORDERS_EVENTS, before, 2 * count, _LONG_S)
    seconds = times[-1] / 1000 - began
    ids = [json.loads(body)["data"]["order_id"] for body in made.bodies]
    read = await load(HOST, ports, [request("GET", f"/v1/orders/{one}", key) for one in ids], connections)
    paid = sum(b'"payment_status":"paid"' in body for body in read.bodies)
    assert paid == count, f"{paid} of {count} orders are paid"
    return count / seconds


def _summary(done: Load, status: int) -> Json:
    assert set(done.statuses) == {status}, done.statuses
    return {"per_second": round(done.per_second), "p50_ms": round(done.p50_ms, 1), "p99_ms": round(done.p99_ms, 1)}


def _compared(turns: Sequence[Json]) -> Json:
    """Medians of the rounds, and what of the bare handler's rate remains."""
    found: Json = middle(turns)
    share = {
        f"{name}, {kind}": round(found[name][kind]["per_second"] / found["bare"][kind]["per_second"], 2)
        for name in ("orders", "one transaction each")
        for kind in ("creates", "reads")
    }
    return found | {"of_bare": share}


def _print(processes: int, found: Json) -> None:
    for name in ("bare", "orders", "one transaction each"):
        told = ", ".join(
            f"{kind} {each['per_second']:,.0f}/s (p50 {each['p50_ms']} ms, p99 {each['p99_ms']} ms)"
            for kind, each in found[name].items()
        )
        print(f"{processes} process(es), {name}: {told}")
    print(f"lifecycles: {found['lifecycles']['per_second']}/s; of the bare handler's: {found['of_bare']}", flush=True)
