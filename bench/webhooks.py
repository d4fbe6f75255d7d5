"""Webhooks beside a bare loop of the same client, which posts the same bodies to the same receiver; and what a dead
endpoint among a hundred lively ones costs those."""

import asyncio
import statistics
import time
from argparse import Namespace
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
import psutil
from pydantic import SecretStr
from yarl import URL

from bench.audience import apps_pool, listen
from bench.fleet import running
from bench.machine import Machine, cpu_us, machine, worker
from bench.race import free_port
from bench.results import Json, Result, middle, spread
from deploy.local.ports import HOST
from services.apps.core.events import Origin, PublicEvent, created_in
from services.apps.store import events
from services.apps.store.endpoints import Endpoint
from services.apps.webhook_signing import WebhookSigner
from services.apps.webhooks import WebhookFollower
from shared.clock import utc_now
from shared.ids import new_id
from shared.postgres import Pool, transaction
from shared.relay import notification_of
from shared.sealing import Sealer, new_sealing_key

ENDPOINTS = 100
DELIVERIES = 10_000
_AT_ONCE = 128
_TICK_S = 0.02
_WARM_UP_S = 3.0
_PATIENCE_S = 300.0
_TRANSACTIONS = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
# As large as an order of two lines.
_ORDER = b'{"order_id":"ord_x","line_items":[%b]}' % b",".join([b'{"name":"%b"}' % (b"x" * 800)] * 2)


async def measure(found: Result, options: Namespace) -> None:
    """First the rates, then the delays at half of them."""
    port, dead_port, key = free_port(), free_port(), new_sealing_key()
    async with machine() as here:
        with worker("bench.receiver", "--port", port, "--dead-port", dead_port, environment=here.environment()):
            service = running(here, "apps", "worker", SEALING_KEY=key, OUTBOUND_LOCAL="true")
            async with service as sender, _bench(here, key, int(port), int(dead_port)) as bench:
                await bench.sender_rate()
                found.add(**await _rates(here, bench, sender.process, options.rounds))
                pace = found.found["medians"]["webhooks_per_s"] / 2
                found.add(pace_per_s=round(pace), **await _delays(bench, pace, options))


async def _rates(here: Machine, bench: "_Bench", sender: psutil.Process, count: int) -> Json:
    """Turns about: the bare loop and the service, each with the processor time of a delivery."""
    rounds, before = [], await here.value(_TRANSACTIONS)
    for _ in range(count):
        costs = [cpu_us(one) for one in (psutil.Process(), sender, here.postgres)]
        one = {"bare_per_s": await bench.bare_rate()}
        one["bare_us"] = (cpu_us(psutil.Process()) - costs[0]) / DELIVERIES
        one["webhooks_per_s"] = await bench.sender_rate()
        one["python_us"] = (cpu_us(sender) - costs[1]) / DELIVERIES
        one["postgres_us"] = (cpu_us(here.postgres) - costs[2]) / DELIVERIES
        rounds.append(one | {"of_bare": one["webhooks_per_s"] / one["bare_per_s"]})
        print(", ".join(f"{name} {value:.4g}" for name, value in rounds[-1].items()), flush=True)
    spent = (await here.value(_TRANSACTIONS) - before) / (DELIVERIES * count)
    medians = middle(rounds)
    print(f"{spent:.3f} transactions per delivery, with those that enqueue")
    print(f"webhooks have {medians['of_bare']:.0%} of the bare loop", flush=True)
    return {"rounds": rounds, "medians": medians, "transactions": round(spent, 4)}


async def _delays(bench: "_Bench", pace: float, options: Namespace) -> Json:
    """Turns about, with and without a dead endpoint, each time in the other order."""
    turns = []
    for number in range(options.rounds * 2):
        one = {}
        for name in ("alone", "beside_dead")[:: -1 if number % 2 else 1]:
            one[name] = await (bench.delays if name == "alone" else bench.beside_dead)(pace, options.seconds)
        turns.append(one)
        told = (f"{name} p50 {each['p50_ms']:.1f}, p99 {each['p99_ms']:.1f} ms" for name, each in sorted(one.items()))
        print(f"commit -> received at {pace:,.0f}/s: {', '.join(told)}", flush=True)
    changes = sorted(one["beside_dead"]["p99_ms"] / one["alone"]["p99_ms"] for one in turns)
    print(f"p99 beside a dead endpoint: {statistics.median(changes):.0%} ({changes[0]:.0%} to {changes[-1]:.0%})")
    return {"delay_turns": turns, "delays": middle(turns), "p99_beside_dead": changes}


@dataclass
class _Bench:
    pool: Pool
    signer: WebhookSigner
    port: int
    dead_port: int
    made: list[Endpoint] = field(default_factory=list)

    async def sender_rate(self) -> float:
        """Deliveries per second, all of which are enqueued at once."""
        await self.pool.execute("TRUNCATE webhook_deliveries, webhook_attempts")
        await self._came()
        await self._happen([self._event(number % ENDPOINTS) for number in range(DELIVERIES)])
        times = await self._received(DELIVERIES)
        return (len(times) - 1) / (times[-1] - times[0])

    async def bare_rate(self) -> float:
        """Requests per second of the client alone, with bodies and headers that are there already."""
        event = self._event(0)
        headers = self.signer.headers(event.event_id, utc_now(), event.body(), self.made[0].sealed_secret, None)
        urls = iter([URL(self.made[number % ENDPOINTS].url) for number in range(DELIVERIES)])
        await self._came()

        async def post(session: aiohttp.ClientSession) -> None:
            for url in urls:
                async with session.post(url, data=event.body(), headers=headers) as response:
                    await response.read()

        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            await asyncio.gather(*(post(session) for _ in range(_AT_ONCE)))
        times = await self._received(DELIVERIES)
        return (len(times) - 1) / (times[-1] - times[0])

    async def delays(self, pace: float, seconds: float) -> Json:
        """From after the commit until the receiver has it, at lively endpoints."""
        committed = dict[str, float]()
        await self._came()
        count, began = 0, time.monotonic()
        while (passed := time.monotonic() - began) < seconds:
            due = [self._event(number % len(self.made)) for number in range(count, int(passed * pace))]
            count += len(due)
            if due:
                at = await self._happen(due)
                committed |= dict.fromkeys((event.event_id for event in due), at)
            await asyncio.sleep(_TICK_S)
        lively = sum(number % len(self.made) < ENDPOINTS for number in range(count))
        came = await self._came_until(lively)
        taken = [at - committed[event_id] for _, event_id, at in came if committed[event_id] > began + _WARM_UP_S]
        return spread(taken)

    async def beside_dead(self, pace: float, seconds: float) -> Json:
        """The same beside one more endpoint with as many events, which takes connections and says nothing."""
        dead = await self.endpoint(f"http://{HOST}:{self.dead_port}/dead")
        try:
            return await self.delays(pace, seconds)
        finally:
            self.made.remove(dead)
            await self.pool.execute("DELETE FROM webhook_endpoints WHERE endpoint_id = $1", dead.endpoint_id)

    async def endpoint(self, url: str) -> Endpoint:
        """One more, of a merchant of its own."""
        self.made.append(await listen(self.pool, self.signer, url, new_id("mer")))
        return self.made[-1]

    def _event(self, number: int) -> PublicEvent:
        event_id = new_id("evt")
        created = created_in(event_id)
        assert created is not None, "it is an event's id"
        return PublicEvent(
            event_id=event_id,
            type="order.updated",
            created_at=created[0],
            merchant_id=self.made[number].merchant_id,
            environment="test",
            order_id=new_id("ord"),
            order_version=1,
            actor=Origin("key", "key_1"),
            cause=None,
            change=b'{"type":"noted"}',
            order=_ORDER,
        )

    async def _happen(self, new: Sequence[PublicEvent]) -> float:
        """Kept and followed in one transaction, as the consumer does it; gives when it had committed."""
        async with transaction(self.pool) as connection:
            await events.append(connection, new, await WebhookFollower(utc_now).follow(connection, new))
        at = time.monotonic()
        await self.pool.execute(f"NOTIFY \"{notification_of('apps')}\", 'bench'")
        return at

    async def _received(self, count: int) -> list[float]:
        return sorted(at for _, _, at in await self._came_until(count))

    async def _came_until(self, count: int) -> list[tuple[str, str, float]]:
        came: list[tuple[str, str, float]] = []
        async with asyncio.timeout(_PATIENCE_S):
            while len(came) < count:
                await asyncio.sleep(0.2)
                came += await self._came()
        return came

    async def _came(self) -> list[tuple[str, str, float]]:
        async with aiohttp.ClientSession() as session, session.get(f"http://{HOST}:{self.port}/") as response:
            came = await response.json(content_type=None)
        return [(path, event_id, at) for path, event_id, at in came]


@asynccontextmanager
async def _bench(here: Machine, key: str, port: int, dead_port: int) -> AsyncIterator[_Bench]:
    async with apps_pool(here) as pool:
        bench = _Bench(pool, WebhookSigner(Sealer(SecretStr(key))), port, dead_port)
        for number in range(ENDPOINTS):
            await bench.endpoint(f"http://{HOST}:{port}/{number}")
        yield bench
