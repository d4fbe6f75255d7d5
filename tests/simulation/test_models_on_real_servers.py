"""Models and auditor agree with the real product: lifecycles on real PostgreSQL and Kafka leave nothing to find."""

import asyncio
import contextlib
import os
import secrets
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime
from random import Random
from typing import Any

import asyncpg
import orjson
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from tests.simulation.auditor import Finding, audit, glance
from tests.simulation.books import Books
from tests.simulation.life import Story
from tests.simulation.models import STORIES, lifecycle
from tests.simulation.stories.staff import by_http
from tests.simulation.world_api import (
    COMMANDS,
    DEAD_LETTERS,
    EVENTS,
    PAYMENTS_EVENTS,
    REPLIES,
    Channel,
    Evidence,
    Json,
    Told,
)
from tests.stack import Stack, Tenant, tail

_OF_EACH, _AT_ONCE = 5, 10
_SETTLED_WITHIN_S = 30


class RealWorld:
    """The running stack as a model sees it, with tenants and channels of its own."""

    http, intents = True, False

    def __init__(self, stack: Stack, tenants: list[Tenant], channels: list[Channel], seed: int) -> None:
        self.stack, self.channels = stack, channels
        self.random = Random(seed)
        self._clients = {tenant.merchant_id: tenant.http for tenant in tenants}
        self._replies: dict[str, asyncio.Future[Json]] = {}

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def publish(self, topic: str, key: str, headers: dict[str, str], value: bytes) -> None:
        encoded = [(name, text.encode()) for name, text in headers.items()]
        try:
            await self.stack.kafka.send_and_wait(topic, value=value, key=key.encode(), headers=encoded)
        except KafkaError as failure:
            raise ConnectionError from failure

    async def request(
        self, service: str, method: str, path: str, body: Json | None, idempotency_key: str | None, *, merchant_id: str
    ) -> tuple[int, Json]:
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        answer = await self._clients[merchant_id].request(method, path, json=body, headers=headers)
        return answer.status_code, answer.json() if answer.content else {}

    async def reply(self, command_id: str) -> Json:
        return await self._awaited(command_id)

    async def answer_challenge(self, url: str, *, approves: bool) -> None:
        raise NotImplementedError("no story of this world meets a challenge")

    def _awaited(self, command_id: str) -> asyncio.Future[Json]:
        return self._replies.setdefault(command_id, asyncio.get_running_loop().create_future())

    async def listen(self) -> None:
        """Hands replies to who waits for them."""
        async with tail(self.stack.settings.kafka, REPLIES) as records:
            async for record in records:
                body = orjson.loads(record.value)
                awaited = self._awaited(body["command_id"])
                if not awaited.done():
                    awaited.set_result(body | {"type": dict(record.headers)["ce_type"].decode()})


@contextlib.asynccontextmanager
async def real_world(stack: Stack, seed: int) -> AsyncIterator[RealWorld]:
    tenants = [await stack.tenant(), await stack.tenant()]
    channels = []
    for number, tenant in enumerate((tenants[0], tenants[0], tenants[1])):
        asked = {"channel_id": f"chn_{tenant.merchant_id[4:]}{number}", "name": "A channel", "source": "pos"}
        made = await tenant.http.post("/v1/channels", json=asked)
        assert made.status_code == 201, made.text
        channels.append(Channel(made.json()["data"]["channel_id"], tenant.merchant_id))
    world = RealWorld(stack, tenants, channels, seed)
    listening = asyncio.create_task(world.listen())
    yield world
    listening.cancel()
    for tenant in tenants:
        await tenant.http.aclose()


async def evidence_of(world: RealWorld) -> Evidence:
    """What concerns this world's merchants, of all that there is."""
    merchants = sorted({channel.merchant_id for channel in world.channels})
    read = [COMMANDS, *(channel.topic for channel in world.channels)]
    letters = [topic + DEAD_LETTERS for topic in read]
    told = await _read(world.stack, [*read, *letters, EVENTS, REPLIES, PAYMENTS_EVENTS])
    for topic in (COMMANDS, EVENTS, REPLIES, PAYMENTS_EVENTS):
        told[topic] = [each for each in told[topic] if _merchant_of(each) in merchants]
    places = {str((each.partition, each.offset)) for each in told[COMMANDS]}
    dead = told[COMMANDS + DEAD_LETTERS]
    told[COMMANDS + DEAD_LETTERS] = [each for each in dead if _place_of(each) in places]
    orders = {(each.key or b"").decode() for topic in (COMMANDS, EVENTS) for each in told[topic]}
    return Evidence(told, await _tables(world, merchants, sorted(orders)))


def _merchant_of(told: Told) -> str:
    """Whose it is; other tests write whatever they like to the same topics."""
    return dict(told.headers).get("ce_merchantid", b"").decode(errors="replace")


def _place_of(letter: Told) -> str:
    headers = dict(letter.headers)
    return f"({headers['tl_partition'].decode()}, {headers['tl_offset'].decode()})"


async def _read(stack: Stack, topics: Iterable[str]) -> dict[str, list[Told]]:
    found: dict[str, list[Told]] = {topic: [] for topic in topics}
    async with tail(stack.settings.kafka, EVENTS) as consumer:
        places = [
            TopicPartition(topic, number) for topic in found for number in sorted(await _partitions(consumer, topic))
        ]
        consumer.unsubscribe()
        consumer.assign(places)
        await consumer.seek_to_beginning(*places)
        ends = await consumer.end_offsets(places)
        while any([await consumer.position(place) < end for place, end in ends.items()]):
            for place, records in (await consumer.getmany(timeout_ms=200)).items():
                found[place.topic] += [
                    Told(place.topic, place.partition, each.offset, each.key, each.value, tuple(each.headers))
                    for each in records
                ]
    return found


async def _partitions(consumer: Any, topic: str) -> set[int]:
    await consumer._client.add_topic(topic)
    return consumer.partitions_for_topic(topic) or {0}


_BY_MERCHANT = (
    "orders.orders",
    "payments.channel_events",
    "payments.unmatched_money",
    "payments.known_orders",
)


async def _tables(world: RealWorld, merchants: list[str], orders: list[str]) -> dict[str, list[Json]]:
    connection = await asyncpg.connect(world.stack.settings.database_url.get_secret_value())
    queries: dict[str, tuple[str, Any]] = {
        name: (f"SELECT * FROM {name} WHERE merchant_id = ANY($1)", merchants) for name in _BY_MERCHANT
    }
    queries["orders.order_events"] = ("SELECT * FROM orders.order_events WHERE order_id = ANY($1)", orders)
    queries["orders.inbox"] = ("SELECT * FROM orders.inbox WHERE aggregate_id = ANY($1)", orders)
    for name in ("orders.outbox", "payments.outbox"):
        queries[name] = (f"SELECT * FROM {name} WHERE headers LIKE ANY($1)", [f"%{each}%" for each in merchants])
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            return {
                name: [dict(row) for row in await connection.fetch(query, argument)]
                for name, (query, argument) in queries.items()
            }
    finally:
        await connection.close()


async def test_lifecycles_on_real_servers_leave_nothing_to_find(stack: Stack) -> None:
    seed = int(os.environ.get("SIMULATION_SEED", secrets.randbits(32)))
    books = Books()
    async with real_world(stack, seed) as world:
        at_once = asyncio.Semaphore(_AT_ONCE)

        async def live(number: int, story: Story) -> None:
            async with at_once:
                await lifecycle(world, books, number, story)

        lives = enumerate([*STORIES, by_http] * _OF_EACH)
        await asyncio.gather(*[live(number, story) for number, story in lives])
        early = glance(books, await evidence_of(world), list(books.wanted))
        findings = await settled(world, books)
    assert not early + findings, "\n".join([f"SIMULATION_SEED={seed}", *map(str, early + findings)])


async def settled(world: RealWorld, books: Books) -> list[Finding]:
    """What is still wrong when enough time has passed for everything to come to its end."""
    deadline = asyncio.get_running_loop().time() + _SETTLED_WITHIN_S
    while True:
        findings = audit(books, await evidence_of(world), finished=True)
        if not findings or asyncio.get_running_loop().time() > deadline:
            return findings
        await asyncio.sleep(0.5)
