"""The flood: mutated messages on every topic that a service reads, with honest traffic in between."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

import asyncpg
import httpx2

from shared.kafka_admin import KafkaAdmin
from shared.topics import (
    ACCESS_GRANTS,
    ACCESS_USED,
    ORDERS_COMMANDS,
    ORDERS_EVENTS,
    ORDERS_REPLIES,
    PAYMENTS_EVENTS,
    channel_topic,
    channel_topics,
)
from tests.hostile.audit import Entry, Findings, audit, audit_logs, audit_money, entry_of
from tests.hostile.evidence import Json, gather
from tests.hostile.messages import Message, Tenant, World, fresh, honest_order
from tests.hostile.mutations import mutate
from tests.hostile.sending import Position, Sender, Sent
from tests.hostile.system import Key, System, admit, new_key
from tests.lag import unacknowledged

Progress = Callable[[str, float], None]
"""Told how many messages have been `sent` or `processed` by now."""

_AT_ONCE = 5_000
_HONEST_SHARE = 0.01
_IN_TRANSACTIONS = 4
_SHARES = {
    ORDERS_COMMANDS: 30,
    ORDERS_EVENTS: 13,
    ORDERS_REPLIES: 10,
    PAYMENTS_EVENTS: 3,
    ACCESS_GRANTS: 4,
    ACCESS_USED: 2,
    "channels": 36,
    "closed": 2,
}
_QUIET_S = 2.0
_LOOK_EVERY_S = 1.0
_SLOWEST_PER_S = 100
"""Fewer messages processed per second than this, and the run is given up."""
_PROCESSED = ("throughline_consumer_processed_total", "throughline_consumer_dead_lettered_total")


@dataclass
class _Flood:
    system: System
    world: World
    key: Key
    ledger: dict[Position, Entry] = field(default_factory=dict)
    topics: Counter[str] = field(default_factory=Counter)
    findings: Findings = field(default_factory=Findings)

    def note(self, sent: Sent) -> None:
        for position, message in zip(sent.positions, sent.messages, strict=True):
            self.ledger[position] = entry_of(message)
            self.topics[message.topic] += 1


async def send_messages(system: System, count: int, seed: int, progress: Progress) -> dict[str, Any]:
    """What became of every message, and what is wrong with that."""
    random = Random(seed)
    key = new_key()
    await admit(system, [key])
    flood = _Flood(system, await _world(system, key, random), key)
    began = time.monotonic()
    watching = asyncio.create_task(_watch(flood, progress))
    before = system.cpu_s()
    try:
        async with Sender(system.settings.kafka, random) as sender:
            await _send(flood, sender, count, progress)
        sent_s = time.monotonic() - began
        await _settle(flood, count)
    finally:
        watching.cancel()
    took_s = time.monotonic() - began - _QUIET_S
    cpu_s = {service: round(after - before[service], 1) for service, after in system.cpu_s().items()}
    memory_mb = system.memory_mb()
    await _audit(flood)
    findings = flood.findings
    return {
        "messages": len(flood.ledger),
        "sending_s": round(sent_s, 1),
        "took_s": round(took_s, 1),
        "cpu_s": cpu_s,
        "memory_mb": memory_mb,
        "per_s": round(len(flood.ledger) / took_s),
        "topics": dict(sorted(flood.topics.items())),
        "fates": dict(sorted(findings.fates.items())),
        "kinds": dict(sorted(Counter(entry.kind for entry in flood.ledger.values()).items())),
        "counts": dict(findings.counts),
        "wrong": findings.wrong,
    }


async def _world(system: System, key: Key, random: Random) -> World:
    headers = {"Authorization": f"Bearer {key.secret}"}
    async with httpx2.AsyncClient(base_url=system.url("payments"), headers=headers, timeout=30) as client:
        made = []
        for name in ("web", "register", "gone"):
            answer = await client.post("/v1/channels", json={"name": name, "source": "checkout"})
            made.append(answer.raise_for_status().json()["data"]["channel_id"])
        (await client.delete(f"/v1/channels/{made[-1]}")).raise_for_status()
    never_made = fresh(random, "chn")
    await KafkaAdmin(system.settings.kafka, timeout_s=60).ensure_topics(channel_topics(never_made))
    return World(
        random,
        Tenant(key.merchant_id),
        [Tenant(fresh(random, "mer")), Tenant(fresh(random, "mer"), "live"), Tenant(key.merchant_id, "live")],
        channels=made[:2],
        closed_channels=[made[2], never_made],
        secrets=[key.grant().credential_hash],
    )


async def _send(flood: _Flood, sender: Sender, count: int, progress: Progress) -> None:
    pending: list[Message] = []
    for message in _stream(flood.world, count):
        pending.append(message)
        if len(pending) == _AT_ONCE:
            flood.note(await sender.send(pending))
            progress("sent", len(flood.ledger))
            pending = []
    flood.note(await sender.send(pending))
    for number in range(_IN_TRANSACTIONS):
        topics = (ORDERS_COMMANDS, channel_topic(flood.world.channels[0]), ORDERS_EVENTS)
        messages = [flood.world.any_well_formed(topic) for topic in topics]
        flood.note(await sender.send_in_transaction(messages, commit=bool(number % 2)))
    progress("sent", len(flood.ledger))


def _stream(world: World, count: int) -> Iterator[Message]:
    """Hostile messages, and honest ones whose parts come at any later time, but in their order."""
    random, under_way, made = world.random, [], 0
    topics, weights = list(_SHARES), list(_SHARES.values())
    while made < count:
        if random.random() < _HONEST_SHARE:
            order = honest_order(random)
            under_way.append((order, order.messages(random, world.tenant, world.channels[0])))
        if under_way and random.random() < 0.1:
            order, told = random.choice(under_way)
            yield told.pop(0)
            if not told:
                under_way.remove((order, told))
                world.honest.append(order)
        else:
            [topic] = random.choices(topics, weights)
            if topic in ("channels", "closed"):
                topic = channel_topic(random.choice(world.channels if topic == "channels" else world.closed_channels))
            yield mutate(world, world.any_well_formed(topic))
        made += 1
    for order, told in under_way:
        yield from told
        world.honest.append(order)


async def _watch(flood: _Flood, progress: Progress) -> None:
    """Every service is alive all the time; on a busy machine one may say that it is not ready for a moment."""
    while True:
        await asyncio.sleep(_LOOK_EVERY_S)
        for text in await flood.system.unwell("livez"):
            flood.findings.add("not alive", text)
        flood.findings.counts["looks that found somebody not ready"] += bool(await flood.system.unwell("readyz"))
        progress("processed", await _processed(flood.system))


async def _processed(system: System) -> float:
    metrics = await system.metrics()
    return sum(value for (_, name, *_), value in metrics.items() if name in _PROCESSED)


async def _settle(flood: _Flood, count: int) -> None:
    """Returns when nothing waits any more, for a while; or notes what still does."""
    deadline = time.monotonic() + 60 + count / _SLOWEST_PER_S
    quiet_since: float | None = None
    while time.monotonic() < deadline:
        waiting = await _waiting(flood.system)
        quiet_since = None if waiting else quiet_since or time.monotonic()
        if quiet_since and time.monotonic() - quiet_since >= _QUIET_S:
            return
        await asyncio.sleep(_LOOK_EVERY_S / 2)
    flood.findings.add("not at rest", str(await _waiting(flood.system)))


_WAITING = {
    "orders' outbox": "orders.outbox",
    "payments' outbox": "payments.outbox",
    "channel events without an answer": "payments.channel_events WHERE status = 'sent'",
}


async def _waiting(system: System) -> list[str]:
    """What is not done yet: by the broker's own account, and in the tables."""
    found = await asyncio.to_thread(unacknowledged, system.servers.kafka_bootstrap_servers, _IN_TRANSACTIONS)
    connection = await asyncpg.connect(system.servers.database_url)
    try:
        for what, query in _WAITING.items():
            if count := await connection.fetchval(f"SELECT count(*) FROM {query}"):
                found.append(f"{count} {what}")
    finally:
        await connection.close()
    metrics = await system.metrics()
    lags = {
        name: value
        for name, value in metrics.items()
        if name[1] in ("throughline_consumer_lag", "throughline_grants_lag")
    }
    return found + [f"{' '.join(name)} is {value:.0f}" for name, value in lags.items() if value]


async def _audit(flood: _Flood) -> None:
    system, findings = flood.system, flood.findings
    evidence = await gather(system, flood.ledger.keys())
    audit(flood.ledger, evidence, findings)
    audit_logs(evidence, findings)
    audit_money(flood.world.honest, await _shown(flood), findings)
    for probe in ("livez", "readyz"):
        for text in await system.unwell(probe):
            findings.add("not well at the end", text)


async def _shown(flood: _Flood) -> dict[str, Json]:
    """The honest orders as HTTP shows them."""
    found: dict[str, Json] = {}
    headers = {"Authorization": f"Bearer {flood.key.secret}"}
    async with httpx2.AsyncClient(base_url=flood.system.url("orders"), headers=headers, timeout=30) as client:
        for order in flood.world.honest:
            answer = await client.get(f"/v1/orders/{order.order_id}")
            if answer.status_code == 200:
                found[order.order_id] = answer.json()["data"]
    return found
