"""Orders' versions on their way to the topics of installed apps, beside a bare loop that copies them.

A merchant's apps are 1, 10 or 100. The versions are what the order service told of one order, under new ids.
"""

import asyncio
import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import psutil
from aiokafka import AIOKafkaConsumer

from bench import workload
from bench.audience import apps_pool, let_in
from bench.bare_pipe import PUBLISHERS
from bench.fleet import Running, running
from bench.machine import Ends, Machine, cpu_us, machine, worker
from bench.pace import publish_steadily
from bench.results import Json, Result, middle
from bench.workload import Command
from services.apps.incoming import events_in
from shared.ids import new_id
from shared.kafka import client_options, producer
from shared.kafka_admin import KafkaAdmin
from shared.sealing import new_sealing_key
from shared.topics import ORDERS_COMMANDS, ORDERS_EVENTS, TopicSpec, plugin_topic

ORDERS = {1: 2_000, 10: 500, 100: 100}
"""How many orders' lives are told in a round, by the number of apps."""
_BARE = "bench.versions"
_PATIENCE_S = 300.0
_LOOK_EVERY_S = 0.05
_MEASURED = ("per_s", "python_us", "postgres_us", "kafka_us")


@dataclass(frozen=True)
class _Merchant:
    """A merchant with so many apps."""

    merchant_id: str
    app_ids: tuple[str, ...]

    @property
    def topics(self) -> list[str]:
        return [plugin_topic(app_id) for app_id in self.app_ids]


async def measure(found: Result, options: Namespace) -> None:
    """All take turns at each number of apps; the first turn is a warm-up."""
    async with machine() as here, apps_pool(here) as pool:
        life = await _life(here)
        await KafkaAdmin(here.settings.kafka).ensure_topics([TopicSpec(_BARE, here.settings.command_partitions)])
        merchants = [
            _Merchant(f"mer_with_{count}", tuple(new_id("app") for _ in range(count))) for count in options.apps
        ]
        for merchant in merchants:
            await let_in(here, pool, merchant.merchant_id, merchant.app_ids)
        async with running(here, "apps", "worker", SEALING_KEY=new_sealing_key()) as service:
            race = _Race(here, service, life)
            for merchant in merchants:
                turns = [await race.turn(merchant) for _ in range(options.rounds + 1)][1:]
                apps = len(merchant.app_ids)
                found.add(**{f"apps_{apps}": {"rounds": turns, "medians": _told(apps, turns)}})


class _Race:
    """Turns on one machine, beside a service that goes on running."""

    def __init__(self, here: Machine, service: Running, life: "_Life") -> None:
        self._here, self._service, self._life = here, service, life

    async def turn(self, merchant: _Merchant) -> Json:
        """The service, then the bare loop in each way of publishing."""
        told = {"service": await self._rate(merchant, ORDERS_EVENTS, self._life.events, self._service.process)}
        for name in PUBLISHERS:
            arguments = ("bench.bare_copy", "--source", _BARE, "--publish", name, "--topics", *merchant.topics)
            with worker(*arguments, environment=self._here.environment()) as process:
                told[f"bare_{name}"] = await self._rate(merchant, _BARE, len(self._life.versions), process)
        self._here.empty([*merchant.topics, _BARE, ORDERS_EVENTS])
        return told

    async def _rate(self, merchant: _Merchant, source: str, of_a_life: int, process: psutil.Process) -> Json:
        """From when versions are handed over until all are in the apps' topics; one order before finds all ready."""
        apps = len(merchant.app_ids)
        for orders in (1, ORDERS[apps]):
            versions, count = list(self._life.again(merchant.merchant_id, orders)), orders * of_a_life * apps
            before = await self._here.ends(*merchant.topics)
            costs = [cpu_us(one) for one in (process, self._here.postgres, self._here.kafka)]
            began = time.monotonic()
            await self._publish(source, versions)
            ended = await self._there(before, count)
            spent = [cpu_us(one) for one in (process, self._here.postgres, self._here.kafka)]
        each = [(after - at_first) / count for at_first, after in zip(costs, spent, strict=True)]
        return dict(zip(_MEASURED, (count / (ended - began), *each), strict=True))

    async def _publish(self, topic: str, versions: Sequence[Command]) -> None:
        async with producer(self._here.settings.kafka, max_batch_size=900 * 1024) as sender:
            await workload.publish(sender, topic, self._here.settings.command_partitions, iter(versions))

    async def _there(self, before: Ends, count: int) -> float:
        """When that many more were seen in the topics."""
        async with AIOKafkaConsumer(**client_options(self._here.settings.kafka)) as consumer:
            async with asyncio.timeout(_PATIENCE_S):
                there = 0
                while there < count:
                    await asyncio.sleep(_LOOK_EVERY_S)
                    ends = await consumer.end_offsets(list(before))
                    there = sum(ends[place] - offset for place, offset in before.items())
        assert there == count, f"{there} messages instead of {count}"
        return time.monotonic()


@dataclass(frozen=True)
class _Life:
    """What the order service told of one order."""

    order_id: str
    versions: tuple[Command, ...]
    events: int
    """What the public is told of it."""

    def again(self, merchant_id: str, orders: int) -> Iterator[Command]:
        """The same of so many orders of a merchant; neighbours of a hundred are interleaved."""
        for start in range(0, orders, 100):
            ids = [new_id("ord") for _ in range(min(100, orders - start))]
            for version in self.versions:
                yield from (self._under(version, order_id.encode(), merchant_id.encode()) for order_id in ids)

    def _under(self, version: Command, order_id: bytes, merchant_id: bytes) -> Command:
        def named(text: bytes) -> bytes:
            return text.replace(self.order_id.encode(), order_id).replace(workload.MERCHANT.encode(), merchant_id)

        headers = [(name, named(value)) for name, value in version.headers]
        return Command(order_id, named(version.value), headers)


async def _life(here: Machine) -> _Life:
    async with (
        running(here, "orders", "worker"),
        AIOKafkaConsumer(ORDERS_EVENTS, auto_offset_reset="earliest", **client_options(here.settings.kafka)) as reader,
    ):
        await publish_steadily(here, ORDERS_COMMANDS, list(workload.commands(1)), rate=100)
        async with asyncio.timeout(_PATIENCE_S):
            records = [await reader.getone() for _ in range(workload.COMMANDS_PER_ORDER)]
    versions = tuple(Command(each.key, each.value, list(each.headers)) for each in records)
    here.empty([ORDERS_EVENTS])
    return _Life(records[0].key.decode(), versions, sum(len(events_in(each)) for each in records))


def _told(apps: int, turns: Sequence[Json]) -> Json:
    """The medians, and what the service has of the bare loop's messages per second."""
    medians: Json = middle(turns)
    fastest = max(medians[f"bare_{name}"]["per_s"] for name in PUBLISHERS)
    medians["of_fastest_bare"] = round(medians["service"]["per_s"] / fastest, 3)
    for name, one in ((name, one) for name, one in medians.items() if isinstance(one, dict)):
        costs = ", ".join(f"{cost.removesuffix('_us')} {one[cost]:.1f}" for cost in _MEASURED[1:])
        print(f"{apps:3} apps, {name:12} {one['per_s']:9,.0f} messages/s, us for each: {costs}", flush=True)
    print(f"{apps:3} apps, the service has {medians['of_fastest_bare']:.0%} of the faster bare loop", flush=True)
    return medians
