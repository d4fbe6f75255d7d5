"""Half load for long: whether memory, lag and outboxes stay flat, and whether a consumer falls silent."""

import asyncio
import json
import statistics
import time
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass, field

import httpx2
from confluent_kafka import Producer
from prometheus_client.parser import text_string_to_metric_families

from bench import workload
from bench.fleet import Running, admit, creation, make_channel, running, until_read
from bench.http_load import Caller
from bench.http_rates import lifecycles_per_second
from bench.machine import Machine, machine
from bench.pace import client
from bench.results import Json, Result
from deploy.local.ports import HOST
from shared.topics import channel_topic

_CAPACITY_ORDERS = 4_000
_CONNECTIONS = 32
_TICK_S = 0.02
_SAMPLE_EVERY_S = 10.0
_DRAIN_S = 120.0
_TOTAL_MINOR = 13_500


@dataclass
class _Load:
    """Orders that are made over HTTP at a steady pace, each paid by its channel at once."""

    here: Machine
    key: str
    channel: str
    free: "asyncio.Queue[Caller]" = field(default_factory=asyncio.Queue)
    tasks: set["asyncio.Task[None]"] = field(default_factory=set)
    made: int = 0
    failed: int = 0

    async def run(self, orders: Running, rate: float, seconds: float) -> None:
        callers = [Caller(HOST, orders.port) for _ in range(_CONNECTIONS)]
        for caller in callers:
            self.free.put_nowait(await caller.__aenter__())
        sender, began, sent = Producer(client(self.here)), time.monotonic(), 0
        while (now := time.monotonic() - began) < seconds:
            while sent < now * rate:
                sent += 1
                task = asyncio.create_task(self._one(sender))
                self.tasks.add(task)
                task.add_done_callback(self.tasks.discard)
            sender.poll(0)
            await asyncio.sleep(_TICK_S)
        await asyncio.gather(*self.tasks)
        await asyncio.to_thread(sender.flush)
        for caller in callers:
            await caller.__aexit__()

    async def _one(self, sender: Producer) -> None:
        caller = await self.free.get()
        status, body = await caller.ask(creation(self.key, _TOTAL_MINOR))
        self.free.put_nowait(caller)
        if status != 201:
            self.failed += 1
            return
        self.made += 1
        told = workload.capture(self.channel, json.loads(body)["data"]["order_id"], _TOTAL_MINOR)
        sender.produce(channel_topic(self.channel), told.value, told.key, headers=list(told.headers))


async def measure(found: Result, options: Namespace) -> None:
    """One process of each service."""
    async with machine() as here, running(here, "orders") as orders, running(here, "payments") as payments:
        key = await admit(here, orders, payments)
        channel = await make_channel(payments, key)
        await until_read(here, channel)
        capacity = await lifecycles_per_second(
            here, [orders], key, channel, count=_CAPACITY_ORDERS, connections=_CONNECTIONS
        )
        rate = capacity / 2
        found.add(minutes=options.minutes, rate_per_s=round(rate, 1), samples=[])
        load = _Load(here, key, channel)
        running_load = asyncio.create_task(load.run(orders, rate, options.minutes * 60))
        samples = await _watch(here, (orders, payments), running_load, found)
        await running_load
        paid = await _paid(here, load.made + _CAPACITY_ORDERS)
        verdict = _verdict(samples) | {"made": load.made, "failed": load.failed, "all_paid": paid}
        found.add(verdict=verdict)
        print(json.dumps(verdict, indent=1))


async def _watch(here: Machine, processes: Sequence[Running], load: "asyncio.Task[None]", found: Result) -> list[Json]:
    samples: list[Json] = []
    began = time.monotonic()
    async with httpx2.AsyncClient(timeout=10) as http:
        while not load.done():
            await asyncio.wait([load], timeout=_SAMPLE_EVERY_S)
            sample: Json = {"at_s": round(time.monotonic() - began)}
            for one in processes:
                text = (await http.get(f"http://{HOST}:{one.port}/metrics")).text
                sample[one.service] = {"resident_mb": round(one.resident_mb, 1)} | _consumers(text)
                sample[one.service]["outbox"] = await here.value(f"SELECT count(*) FROM {one.service}.outbox")
            samples.append(sample)
            found.add(samples=samples)
            if len(samples) % 6 == 0:
                print(json.dumps(sample), flush=True)
    return samples


def _consumers(text: str) -> Json:
    """Of this process: how much waits, and for how long the one that is silent longest has done nothing about it."""
    lag: dict[str, float] = {}
    last: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == "throughline_consumer_lag":
                lag[sample.labels["group"]] = lag.get(sample.labels["group"], 0) + sample.value
            elif sample.name == "throughline_consumer_last_progress_timestamp_seconds":
                last[sample.labels["group"]] = sample.value
    silent = [time.time() - last.get(group, 0) for group, waiting in lag.items() if waiting]
    return {"lag": sum(lag.values()), "silent_s": round(max(silent, default=0.0), 1)}


async def _paid(here: Machine, orders: int) -> bool:
    """Whether, in time, every order that was made is paid."""
    deadline = time.monotonic() + _DRAIN_S
    while time.monotonic() < deadline:
        if await here.value("SELECT count(*) FROM orders.orders WHERE payment_status = 'paid'") >= orders:
            return True
        await asyncio.sleep(1)
    return False


def _verdict(samples: Sequence[Json]) -> Json:
    """Medians of the second and the last quarter; the first is for caches to fill."""
    quarter = max(1, len(samples) // 4)
    found: Json = {}
    for service in ("orders", "payments"):
        for name in ("resident_mb", "lag", "outbox"):
            values = [sample[service][name] for sample in samples]
            early, late = values[quarter : 2 * quarter] or values, values[-quarter:]
            found[f"{service} {name}"] = {
                "second_quarter": round(statistics.median(early), 1),
                "last_quarter": round(statistics.median(late), 1),
                "largest": max(values),
            }
        found[f"{service} silent_s"] = max(sample[service]["silent_s"] for sample in samples)
    return found
