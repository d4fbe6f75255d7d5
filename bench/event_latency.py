"""How long it takes until an app and webhook endpoints are told of what happened, with everything on.

From two commits: the order's, and the one by which the apps service keeps the event. One app at 20 merchants, each with
a webhook endpoint; at half and at a quarter of the load that the same processes take on the same machine.
"""

import asyncio
import time
from argparse import Namespace
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass

import aiohttp
from pydantic import SecretStr

from bench import workload
from bench.audience import apps_pool, let_in, listen
from bench.fleet import running
from bench.latency import PATIENCE_S, PING, SHARES, WARM_UP_S, WARM_UPS, beside, observed, pinging, reported, warm_up
from bench.machine import Machine, machine, worker
from bench.pace import publish_steadily
from bench.race import free_port
from bench.results import Json, Result, spread
from deploy.local.ports import HOST
from services.apps.webhook_signing import WebhookSigner
from shared.ids import new_id
from shared.kafka_admin import KafkaAdmin
from shared.sealing import Sealer, new_sealing_key
from shared.topics import ORDERS_COMMANDS, TopicSpec, plugin_topic

MERCHANTS = tuple(f"mer_{number}" for number in range(20))
CAPACITY_ORDERS = 1_000
_LOOK_EVERY_S = 0.2
_WAITING = (
    """
    SELECT {versions} - (SELECT count(*) FROM orders.order_events) + (SELECT count(*) FROM orders.outbox)
        + (SELECT count(*) FROM apps.outbox) + (SELECT count(*) FROM apps.webhook_deliveries WHERE status = 'pending')
    """,
    """
    SELECT count(*) FROM orders.order_events AS v WHERE NOT EXISTS (
        SELECT FROM apps.events AS e WHERE e.order_id = v.order_id AND e.order_version = v.version
    )
    """,
)
"""What waits to be decided, published or sent; the versions not kept as events yet, which takes longer to ask."""
_COMMITTED = """
SELECT e.event_id, extract(epoch FROM pg_xact_commit_timestamp(v.xmin)) AS order_at,
    extract(epoch FROM pg_xact_commit_timestamp(e.xmin)) AS event_at
FROM orders.order_events AS v JOIN apps.events AS e ON e.order_id = v.order_id AND e.order_version = v.version
WHERE v.recorded_at >= to_timestamp($1)
"""


async def measure(found: Result, options: Namespace) -> None:
    """With the order service, the apps service, and whoever is told, beside each other."""
    key, app_id = new_sealing_key(), new_id("app")
    port, dead_port = free_port(), free_port()
    async with machine({"track_commit_timestamp": "on"}) as here, AsyncExitStack() as parts:
        await KafkaAdmin(here.settings.kafka).ensure_topics([TopicSpec(PING, 1)])
        await here.execute("CREATE TABLE public.ping (id bigint)")
        arguments = ("bench.receiver", "--port", port, "--dead-port", dead_port)
        parts.enter_context(worker(*arguments, environment=here.environment()))
        pool = await parts.enter_async_context(apps_pool(here))
        signer = WebhookSigner(Sealer(SecretStr(key)))
        for number, merchant_id in enumerate(MERCHANTS):
            await let_in(here, pool, merchant_id, [app_id])
            await listen(pool, signer, f"http://{HOST}:{port}/{number}", merchant_id)
        await parts.enter_async_context(running(here, "orders", "worker"))
        service = running(here, "apps", "worker", SEALING_KEY=key, OUTBOUND_LOCAL="true")
        await parts.enter_async_context(service)
        bench = _Bench(here, int(port), plugin_topic(app_id))
        capacity = [await bench.commands_per_second() for _ in range(WARM_UPS + 1)][-1]
        bench.versions += await warm_up(here, capacity * min(SHARES))
        found.add(told=[await bench.at(capacity, share, options.seconds) for share in SHARES])


@dataclass
class _Bench:
    here: Machine
    port: int
    topic: str
    versions: int = 0
    """One of each command that was handed over."""

    async def commands_per_second(self) -> float:
        """Handed over as fast as a client can, until everybody has been told of everything."""
        commands = list(workload.commands(CAPACITY_ORDERS, merchants=MERCHANTS))
        self.versions += len(commands)
        began = time.monotonic()
        await publish_steadily(self.here, ORDERS_COMMANDS, commands, rate=1e6)
        await self._all_told()
        last = max((await self._received()).values())
        return len(commands) / (last / 1e9 - time.time() + time.monotonic() - began)

    async def at(self, capacity: float, share: float, seconds: float) -> Json:
        """At a steady pace."""
        rate = capacity * share
        orders = int(rate * (seconds + WARM_UP_S) / workload.COMMANDS_PER_ORDER)
        commands = list(workload.commands(orders, merchants=MERCHANTS))
        self.versions += len(commands)
        with observed(self.here, self.topic, PING) as seen:
            async with pinging(self.here) as pings:
                began = time.time() + WARM_UP_S
                await publish_steadily(self.here, ORDERS_COMMANDS, commands, rate)
            await self._all_told()
        rows = await self.here.rows(_COMMITTED, began)
        delays = {}
        for name, told in (("topic", seen), ("webhook", await self._received())):
            for commit in ("order", "event"):
                taken = [told[row["event_id"]] / 1e9 - float(row[f"{commit}_at"]) for row in rows]
                delays[f"{commit}_to_{name}"] = spread(taken)
        return reported("commit -> told", capacity, share, seconds, delays | beside(pings, seen))

    async def _all_told(self) -> None:
        """Nothing waits to be published, kept or sent any more."""
        async with asyncio.timeout(PATIENCE_S):
            while await self._waiting():
                await asyncio.sleep(_LOOK_EVERY_S)

    async def _waiting(self) -> bool:
        for query in _WAITING:
            if await self.here.value(query.format(versions=self.versions)):
                return True
        return False

    async def _received(self) -> Mapping[str, int]:
        """When each webhook came, by its event, since the last time that this was asked; nanoseconds since 1970."""
        async with aiohttp.ClientSession() as session, session.get(f"http://{HOST}:{self.port}/") as response:
            came = await response.json(content_type=None)
        ahead = time.time() - time.monotonic()
        return {event_id: int((at + ahead) * 1e9) for _, event_id, at in came}
