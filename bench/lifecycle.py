"""The life of an order that is paid by card over HTTP, with the sandbox in process: made, held, captured, read.

Beside it, in turns, the bare handler that does as many writes and reads with no rules.
"""

import asyncio
import json
import re
import statistics
import time
from argparse import Namespace
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import psutil

from bench import bare_http
from bench.fleet import Running, admit, bare, creation, running
from bench.http_load import Caller, request
from bench.machine import Machine, cpu_us, machine
from bench.process import TOGETHER
from bench.results import Json, Result, spread
from bench.slow_calls import in_flight
from deploy.local.ports import HOST
from shared.ids import new_id
from shared.sealing import new_sealing_key
from shared.topics import ORDERS_COMMANDS, ORDERS_EVENTS, ORDERS_REPLIES, PAYMENTS_EVENTS

CONCURRENT = (16, 64)
SLOW = 1_000
_TOTAL_MINOR = 13_500
_WRITES = 3
_TOPICS = (ORDERS_COMMANDS, ORDERS_REPLIES, ORDERS_EVENTS, PAYMENTS_EVENTS)
_LOGGED = re.compile(r"^(\S+) LOG:  duration: [\d.]+ ms  (?:execute|statement)", re.MULTILINE)
_SLOW_FOR_S = 3.0
_CARD = {"type": "card", "token": "sandbox_approve"}


async def measure(found: Result, options: Namespace) -> None:
    """One process per service, then all in one; each beside the bare handler."""
    async with machine() as here:
        await here.execute("CREATE SCHEMA IF NOT EXISTS bench", bare_http.TABLE)
        for name, fleet in (("separate", _separate), ("together", _together)):
            async with fleet(here) as shop:
                await _lives(here, shop, 64, options.lifecycles // 4)
                rates = {str(many): await _turns(here, shop, many, options) for many in CONCURRENT}
                found.add(**{name: rates})
                _print(name, rates)
                if name == "separate":
                    found.add(statements=await _statements(here, shop, options.lifecycles // 2))
                    print(f"statements per lifecycle: {found.found['statements']}", flush=True)
                    pace = statistics.median(one["per_second"] for one in rates["64"]["lives"]) / 2
                    found.add(pay=await _pays(here, shop, pace, options.seconds))
                    print(f"pay at {pace:.0f}/s: {found.found['pay']}", flush=True)


@dataclass(frozen=True)
class _Shop:
    """Who is asked for orders and who for payments, with which key, and all processes whose time counts."""

    orders: Running
    payments: Running
    key: str

    @property
    def parts(self) -> dict[str, psutil.Process]:
        same = self.orders.process.pid == self.payments.process.pid
        return (
            {TOGETHER: self.orders.process}
            if same
            else {
                "orders": self.orders.process,
                "payments and sandbox": self.payments.process,
            }
        )


def _environment() -> dict[str, str]:
    return {"SANDBOX_SECRET": "secret-of-the-sandbox", "SEALING_KEY": new_sealing_key()}


@asynccontextmanager
async def _separate(here: Machine) -> AsyncIterator[_Shop]:
    async with running(here, "orders") as orders, running(here, "payments", **_environment()) as payments:
        yield _Shop(orders, payments, await admit(here, orders, payments))


@asynccontextmanager
async def _together(here: Machine) -> AsyncIterator[_Shop]:
    async with running(here, TOGETHER, **_environment()) as one:
        orders, payments = (Running(name, one.port, one.process) for name in ("orders", "payments"))
        yield _Shop(orders, payments, await admit(here, orders, payments))


async def _turns(here: Machine, shop: _Shop, concurrent: int, options: Namespace) -> Json:
    """Lives and bare requests take turns; processor time is of lives alone."""
    lives, bares = [], []
    async with bare(here) as handler:
        for _ in range(options.rounds):
            bares.append(await _bare_rate(handler, concurrent, options.lifecycles))
            lives.append(await _lives(here, shop, concurrent, options.lifecycles))
    ratio = statistics.median(one["per_second"] for one in lives) / statistics.median(bares)
    return {"lives": lives, "bare_per_second": bares, "of_bare": round(ratio, 3)}


async def _lives(here: Machine, shop: _Shop, concurrent: int, count: int) -> Json:
    """So many lives at once until `count` have ended: how many in a second, and what each of them took."""
    components = shop.parts | {"PostgreSQL": here.postgres, "Kafka": here.kafka}
    before, ends = {name: cpu_us(one) for name, one in components.items()}, await here.ends(*_TOPICS)
    seconds = await _repeat(shop, concurrent, count, _life)
    used = {name: round((cpu_us(one) - before[name]) / count) for name, one in components.items()}
    after = await here.ends(*_TOPICS)
    messages = sum(after[place] - ends[place] for place in after) / count
    return {"per_second": round(count / seconds, 1), "cpu_us": used, "messages": round(messages, 2)}


Live = Callable[[Caller, Caller, str], Awaitable[None]]


async def _repeat(shop: _Shop, concurrent: int, count: int, live: Live) -> float:
    """Seconds that it took."""
    remaining = iter(range(count))

    async def one_after_another() -> None:
        async with Caller(HOST, shop.orders.port) as orders, Caller(HOST, shop.payments.port) as payments:
            for _ in remaining:
                await live(orders, payments, shop.key)

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(concurrent):
            group.create_task(one_after_another())
    return time.perf_counter() - began


async def _life(orders: Caller, payments: Caller, key: str) -> None:
    made = await _asked(orders, creation(key, _TOTAL_MINOR), 201)
    path = f"/v1/orders/{made['order_id']}"
    body = {"method": _CARD, "capture_method": "manual", "confirm": True}
    held = await _asked(payments, _post(f"{path}/payment-intents", key, body), 201)
    assert held["status"] == "requires_capture", held["status"]
    await _asked(payments, _post(f"/v1/payment-intents/{held['payment_intent_id']}/capture", key, {}), 200)
    read = await _asked(orders, request("GET", path, key), 200)
    assert read["payment_status"] == "paid", read["payment_status"]


async def _asked(caller: Caller, question: bytes, expected: int) -> Json:
    status, body = await caller.ask(question)
    assert status == expected, (status, body[:500])
    data: Json = json.loads(body)["data"]
    return data


def _post(path: str, key: str, body: Json) -> bytes:
    return request("POST", path, key, json.dumps(body).encode(), new_id("idem"))


async def _bare_rate(handler: Running, concurrent: int, count: int) -> float:
    """As many writes and reads as a life has, in a second."""
    shop = _Shop(handler, handler, "bare")

    async def live(caller: Caller, also: Caller, key: str) -> None:
        for _ in range(_WRITES):
            made = await _asked(caller, creation(key, _TOTAL_MINOR), 201)
        await _asked(caller, request("GET", f"/v1/orders/{made['order_id']}", key), 200)

    return round(count / await _repeat(shop, concurrent, count, live), 1)


async def _statements(here: Machine, shop: _Shop, count: int) -> Json:
    """SQL statements for each life at 64 concurrent, by service; those of relays and of waiting requests included."""
    await here.execute(
        "ALTER SYSTEM SET log_line_prefix = '%a '",
        "ALTER SYSTEM SET log_min_duration_statement = 0",
        "SELECT pg_reload_conf()",
    )
    log = here.directory / "postgres.log"
    begins = log.stat().st_size
    await _repeat(shop, 64, count, _life)
    with log.open("rb") as file:
        file.seek(begins)
        who = _LOGGED.findall(file.read().decode(errors="replace"))
    await here.execute("ALTER SYSTEM RESET log_min_duration_statement", "SELECT pg_reload_conf()")
    return {name: round(who.count(name) / count, 2) for name in sorted(set(who)) if name.startswith("throughline-")}


async def _pays(here: Machine, shop: _Shop, pace: float, seconds: float) -> Json:
    """Delays of `pay` at a steady pace, without and with a thousand slow calls in flight, in turns."""
    alone, beside = list[float](), list[float]()
    turns = max(1, int(seconds / 2 / _SLOW_FOR_S))
    for _ in range(turns):
        alone += await _paced(shop, pace)
        async with in_flight(here, shop.payments, SLOW):
            beside += await _paced(shop, pace)
    return {"per_second": round(pace, 1), "alone": spread(alone), "beside_1000_slow": spread(beside)}


async def _paced(shop: _Shop, pace: float) -> list[float]:
    """Seconds that each `pay` took, begun at its time whatever became of the ones before."""
    async with AsyncExitStack() as exits:
        free: asyncio.Queue[tuple[Caller, Caller]] = asyncio.Queue()
        for _ in range(64):
            both = [await exits.enter_async_context(Caller(HOST, one.port)) for one in (shop.orders, shop.payments)]
            free.put_nowait((both[0], both[1]))
        began, paying = time.perf_counter(), []
        for number in range(int(pace * _SLOW_FOR_S)):
            await asyncio.sleep(max(0.0, began + number / pace - time.perf_counter()))
            paying.append(asyncio.create_task(_pay(free, shop.key)))
        return list(await asyncio.gather(*paying))


async def _pay(free: "asyncio.Queue[tuple[Caller, Caller]]", key: str) -> float:
    orders, payments = await free.get()
    made = await _asked(orders, creation(key, _TOTAL_MINOR), 201)
    question = _post(f"/v1/orders/{made['order_id']}/pay", key, {"method": _CARD})
    began = time.perf_counter()
    paid = await _asked(payments, question, 200)
    assert paid["status"] == "succeeded", paid["status"]
    free.put_nowait((orders, payments))
    return time.perf_counter() - began


def _print(name: str, rates: Json) -> None:
    for concurrent, found in rates.items():
        told = f"{name}, {concurrent} at once:"
        for one in found["lives"]:
            print(f"{told} {one['per_second']}/s, us {one['cpu_us']}, {one['messages']} messages", flush=True)
        print(f"{told} {found['of_bare']} of the bare handler's {found['bare_per_second']}/s", flush=True)
