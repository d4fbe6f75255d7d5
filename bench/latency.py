"""How long it takes until others see what happened, beside bare pings of the same Kafka and PostgreSQL.

At half and at a quarter of the load that the same processes take on the same machine.
"""

import asyncio
import json
import time
from argparse import Namespace
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import asyncpg
from confluent_kafka import Producer

from bench import workload
from bench.fleet import Running, admit, creation, make_channel, running, until_read
from bench.http_load import Caller, load, request
from bench.machine import Machine, machine, worker
from bench.pace import client, publish_steadily
from bench.results import Json, Result, spread
from deploy.local.ports import HOST
from shared.kafka_admin import KafkaAdmin
from shared.topics import ORDERS_COMMANDS, ORDERS_EVENTS, ORDERS_REPLIES, TopicSpec, channel_topic

PING = "bench.ping"
CAPACITY_ORDERS = 6_000
_PING_EVERY_S = 0.01
_INSERT_EVERY_S = 0.02
SHARES = (0.5, 0.25)
"""Of what the processes can do."""
WARM_UPS = 2
WARM_UP_S = 5.0
_BROKER_WARM_UP_S = 30.0
"""For so long a new broker compiles itself, on a processor that the others then lack."""
_PROBES_PER_S = 10
_LOOK_EVERY_S = 0.005
PATIENCE_S = 300.0
_TOTAL_MINOR = 13_500
_CONNECTIONS = 4
"""Few, and they look seldom: who asks all the time whether an order is paid takes the time that paying it needs."""


async def measure(found: Result, options: Namespace) -> None:
    """Both ways, each at shares of what the same processes can do of it on the same machine."""
    async with machine({"track_commit_timestamp": "on"}) as here:
        await KafkaAdmin(here.settings.kafka).ensure_topics([TopicSpec(PING, 1)])
        await here.execute("CREATE TABLE public.ping (id bigint)")
        found.add(commit_to_consumer=await _commit_to_consumer(here, options.seconds))
        found.add(channel_to_paid=await _channel_to_paid(here, options.seconds))


async def _commit_to_consumer(here: Machine, seconds: float) -> list[Json]:
    """From the time that PostgreSQL gives a commit, before its flush, until a foreign consumer has the event."""
    async with running(here, "orders", "worker"):
        capacity = [await _commands_per_second(here) for _ in range(WARM_UPS + 1)][-1]
        await warm_up(here, capacity * min(SHARES))
        return [await _commits_at(here, capacity, share, seconds) for share in SHARES]


async def _commits_at(here: Machine, capacity: float, share: float, seconds: float) -> Json:
    rate = capacity * share
    commands = list(workload.commands(int(rate * (seconds + WARM_UP_S) / workload.COMMANDS_PER_ORDER)))
    with observed(here, ORDERS_EVENTS, PING) as seen:
        async with pinging(here) as pings:
            began = time.time_ns() + int(WARM_UP_S * 1e9)
            await publish_steadily(here, ORDERS_COMMANDS, commands, rate)
        await _published(here)
    rows = await here.rows(
        """
        SELECT order_id || '.' || version, extract(epoch FROM pg_xact_commit_timestamp(xmin)) FROM orders.order_events
        WHERE recorded_at >= to_timestamp($1)
        """,
        began / 1e9,
    )
    committed = {name: int(at * 1_000_000_000) for name, at in rows}
    taken = [(seen[name] - at) / 1e9 for name, at in committed.items() if at >= began]
    delays = {"commit_to_consumer": spread(taken)} | beside(pings, seen)
    return reported("commit -> consumer", capacity, share, seconds, delays)


async def warm_up(here: Machine, rate: float) -> int:
    """Commands at a steady pace until the broker has compiled itself; how many there were."""
    commands = list(workload.commands(int(rate * _BROKER_WARM_UP_S / workload.COMMANDS_PER_ORDER)))
    await publish_steadily(here, ORDERS_COMMANDS, commands, rate)
    await _published(here)
    return len(commands)


async def _commands_per_second(here: Machine) -> float:
    """Handed over as fast as a client can while the service works: it shares the machine with the client."""
    before = await here.ends(ORDERS_REPLIES)
    commands = list(workload.commands(CAPACITY_ORDERS))
    await publish_steadily(here, ORDERS_COMMANDS, commands, rate=1e6)
    times = await here.times(ORDERS_REPLIES, before, len(commands), PATIENCE_S)
    return (len(times) - 1) * 1000 / (times[-1] - times[0])


async def _channel_to_paid(here: Machine, seconds: float) -> list[Json]:
    """From when a channel hands its event to its Kafka client until a reader over HTTP finds the order paid."""
    async with running(here, "orders") as orders, running(here, "payments") as payments:
        key = await admit(here, orders, payments)
        channel = await make_channel(payments, key)
        await until_read(here, channel)
        shop = _Shop(orders, key, channel)
        capacity = [await _paid_per_second(here, shop) for _ in range(WARM_UPS + 1)][-1]
        return [await _paid_at(here, shop, capacity, share, seconds) for share in SHARES]


@dataclass(frozen=True)
class _Shop:
    """Whose orders are paid: the process that has them, a key for them, the channel that takes the money."""

    orders: Running
    key: str
    channel: str


async def _paid_at(here: Machine, shop: _Shop, capacity: float, share: float, seconds: float) -> Json:
    orders, key, channel = shop.orders, shop.key, shop.channel
    rate = capacity * share
    made = await _make_orders(orders, key, int(rate * (seconds + WARM_UP_S)))
    await _published(here)
    with observed(here, PING) as seen:
        async with pinging(here) as pings:
            messages = [workload.capture(channel, order_id, _TOTAL_MINOR) for order_id in made]
            paid = _Paid(orders, key, made, every=max(1, int(rate / _PROBES_PER_S)))
            async with paid:
                await publish_steadily(here, channel_topic(channel), messages, rate, paid.sent)
            taken = paid.taken[int(WARM_UP_S * _PROBES_PER_S) :]
    delays = {"channel_to_paid": spread(taken)} | beside(pings, seen)
    return reported("channel -> paid over HTTP", capacity, share, seconds, delays)


class _Paid:
    """Asks for some of the orders, from when their event is handed over, until they are paid."""

    def __init__(self, orders: Running, key: str, made: Sequence[str], every: int) -> None:
        self._key, self._made, self._every = key, made, every
        self._callers = [Caller(HOST, orders.port) for _ in range(_CONNECTIONS)]
        self._free: asyncio.Queue[Caller] = asyncio.Queue()
        self._asking: list[asyncio.Task[float]] = []
        self.taken: list[float] = []
        """Seconds, in the order of the events; complete when the context has ended."""

    async def __aenter__(self) -> Self:
        for caller in self._callers:
            self._free.put_nowait(await caller.__aenter__())
        return self

    async def __aexit__(self, *_: object) -> None:
        async with asyncio.timeout(PATIENCE_S):
            self.taken = await asyncio.gather(*self._asking)
        for caller in self._callers:
            await caller.__aexit__()

    def sent(self, number: int) -> None:
        """The event about this one of the orders is on its way."""
        if number % self._every == 0:
            question = request("GET", f"/v1/orders/{self._made[number]}", self._key)
            self._asking.append(asyncio.create_task(self._until_paid(question)))

    async def _until_paid(self, question: bytes) -> float:
        began = time.perf_counter()
        caller = await self._free.get()
        while b'"payment_status":"paid"' not in (await caller.ask(question))[1]:
            await asyncio.sleep(_LOOK_EVERY_S)
        self._free.put_nowait(caller)
        return time.perf_counter() - began


async def _make_orders(orders: Running, key: str, count: int) -> list[str]:
    made = await load(HOST, [orders.port], [creation(key, _TOTAL_MINOR) for _ in range(count)], 32)
    assert set(made.statuses) == {201}, made.statuses
    return [json.loads(body)["data"]["order_id"] for body in made.bodies]


async def _paid_per_second(here: Machine, shop: _Shop) -> float:
    """Handed over as fast as a client can."""
    made = await _make_orders(shop.orders, shop.key, CAPACITY_ORDERS)
    await _published(here)
    before = await here.ends(ORDERS_EVENTS)
    messages = [workload.capture(shop.channel, order_id, _TOTAL_MINOR) for order_id in made]
    await publish_steadily(here, channel_topic(shop.channel), messages, rate=1e6)
    times = await here.times(ORDERS_EVENTS, before, len(made), PATIENCE_S)
    return (len(times) - 1) * 1000 / (times[-1] - times[0])


@contextmanager
def observed(here: Machine, *topics: str) -> Iterator[dict[str, int]]:
    """When a consumer first saw each message of the topics, by its id; filled at the end."""
    seen: dict[str, int] = {}
    file = Path(here.directory) / f"seen-{time.time_ns()}"
    servers = here.settings.kafka.bootstrap_servers
    arguments = ("bench.observer", "--bootstrap-servers", servers, "--file", str(file), *topics)
    with worker(*arguments, environment=here.environment()):
        while not file.exists():
            time.sleep(0.05)
        yield seen
        time.sleep(1)
    for line in file.read_text().splitlines():
        at, _, name = line.partition(" ")
        seen.setdefault(name, int(at))


class Pings:
    """When each bare message was sent, and how long each bare insert took."""

    def __init__(self) -> None:
        self.sent: dict[str, int] = {}
        self.inserts: list[float] = []


@asynccontextmanager
async def pinging(here: Machine) -> AsyncIterator[Pings]:
    """Bare messages and bare inserts, all the time."""
    pings = Pings()
    tasks = [asyncio.create_task(_ping(here, pings)), asyncio.create_task(_insert(here, pings))]
    try:
        yield pings
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task


async def _ping(here: Machine, pings: Pings) -> None:
    sender = Producer(client(here))
    try:
        while True:
            name = f"ping-{len(pings.sent)}"
            pings.sent[name] = time.time_ns()
            sender.produce(PING, b"x" * 2_000, headers=[("ce_id", name.encode())])
            sender.poll(0)
            await asyncio.sleep(_PING_EVERY_S)
    finally:
        sender.flush()


async def _insert(here: Machine, pings: Pings) -> None:
    connection = await asyncpg.connect(here.settings.database_url.get_secret_value())
    try:
        while True:
            began = time.perf_counter()
            await connection.execute("INSERT INTO public.ping VALUES ($1)", len(pings.inserts))
            pings.inserts.append(time.perf_counter() - began)
            await asyncio.sleep(_INSERT_EVERY_S)
    finally:
        connection.terminate()


def beside(pings: Pings, seen: dict[str, int]) -> Json:
    """How long the bare messages and inserts took, after the warm-up."""
    skipped = int(WARM_UP_S / _PING_EVERY_S)
    waits = [(seen[name] - at) / 1e9 for name, at in list(pings.sent.items())[skipped:] if name in seen]
    return {"bare_ping": spread(waits), "bare_insert": spread(pings.inserts[int(WARM_UP_S / _INSERT_EVERY_S) :])}


async def _published(here: Machine) -> None:
    """Nothing waits to go out any more."""
    async with asyncio.timeout(PATIENCE_S):
        while await here.value("SELECT count(*) FROM orders.outbox"):
            await asyncio.sleep(0.2)
    await asyncio.sleep(1)


def reported(what: str, capacity: float, share: float, seconds: float, delays: Json) -> Json:
    """The delays with the load they were measured under, printed too."""
    told = ", ".join(f"{name} {each['p50_ms']} / {each['p99_ms']} / {each['max_ms']}" for name, each in delays.items())
    rate = capacity * share
    print(f"{what} at {rate:,.0f} of {capacity:,.0f}/s, ms (p50 / p99 / max): {told}", flush=True)
    return {"capacity_per_s": round(capacity), "share": share, "rate_per_s": round(rate), "seconds": seconds} | delays
