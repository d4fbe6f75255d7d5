"""One run: start everything, load and faults side by side, wait until all is quiet, audit."""

import asyncio
import json
import re
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import asyncpg
import httpx

from shared.auth.keys import hash_credential, new_api_key
from shared.contracts.access import SCOPES, Grant
from shared.ids import new_id
from shared.kafka import producer
from shared.topics import ACCESS_GRANTS
from tests.chaos import probe
from tests.chaos.audit import Findings, audit
from tests.chaos.channels import Channel
from tests.chaos.evidence import gather
from tests.chaos.faults import Fault, deck
from tests.chaos.journal import Journal
from tests.chaos.load import Teller, World
from tests.chaos.system import ServiceProcess, System, build, is_ready

CLIENTS = 8
CHANNELS = 2
_LOOK_EVERY_S = 5.0
_FAILURES = 3
_QUIET_S = 3.0
_DRAIN_S = 180.0
_FINISH_S = 120.0


@dataclass
class Injected:
    """One fault as it went. Times until fresh writes and events took effect, from its beginning and from its end."""

    kind: str
    target: str
    at_s: float
    lasted_s: float
    from_begin_s: float | None
    from_end_s: float | None


@dataclass
class _Run:
    system: System
    world: World
    random: Random
    began: float
    injected: list[Injected] = field(default_factory=list)


async def run(directory: Path, minutes: float, seed: int, only: str) -> dict[str, Any]:
    """What happened and what the auditor found, as JSON."""
    system = build(directory)
    random = Random(seed)  # noqa: S311 - to be repeated, not to be secret
    try:
        await system.start()
        key = await _admit(system)
        headers = {"Authorization": f"Bearer {key}"}
        async with (
            httpx.AsyncClient(base_url=system.orders_url, headers=headers, timeout=5) as orders,
            httpx.AsyncClient(base_url=system.payments_url, headers=headers, timeout=5) as payments,
        ):
            world = World(orders, payments, [], Journal())
            await _make_channels(world)
            this = _Run(system, world, random, time.monotonic())
            drained = await _storm(this, minutes, only)
            findings = await _audit(this, drained)
            for channel in world.channels:
                channel.stop()
    finally:
        await system.stop()
    return _as_json(this, minutes, seed, findings)


async def _admit(system: System) -> str:
    """An API key that the services know."""
    key = new_api_key("test")
    grant = Grant(
        grant_id=new_id("key"),
        credential_hash=hash_credential(key),
        kind="api_key",
        merchant_id=new_id("mer"),
        environment="test",
        scopes=SCOPES,
    )
    async with producer(system.direct.kafka) as kafka:
        await kafka.send_and_wait(ACCESS_GRANTS, grant.model_dump_json().encode(), grant.credential_hash.encode())
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(headers=headers) as client, asyncio.timeout(30):
        for url in (f"{system.orders_url}/v1/orders/ord_none", f"{system.payments_url}/v1/unmatched-money"):
            while (await client.get(url)).status_code in (401, 503):  # noqa: ASYNC110 - another process does it
                await asyncio.sleep(0.05)
    return key


async def _make_channels(world: World) -> None:
    for number in range(CHANNELS):
        answer = await world.payments.post("/v1/channels", json={"name": f"Chaos {number}", "source": "checkout"})
        answer.raise_for_status()
        world.channels.append(Channel(answer.json()["data"], world.journal))


async def _storm(this: _Run, minutes: float, only: str) -> bool:
    """Load and faults for as long as wanted; then everything is up, answered and quiet, or false."""
    stopped = asyncio.Event()
    tellers = [Teller(this.world, Random(this.random.random())) for _ in range(CLIENTS)]  # noqa: S311
    telling = [asyncio.create_task(teller.run(stopped)) for teller in tellers]
    watching = asyncio.create_task(_watch(this))
    try:
        await probe.effect_s(this.world, 0)
        await _inject(this, minutes * 60, only)
    finally:
        stopped.set()
        watching.cancel()
    with suppress(TimeoutError):
        await this.system.wait_ready()
    _, late = await asyncio.wait(telling, timeout=_FINISH_S)
    for task in late:
        task.cancel()
    for task in telling:
        if task not in late:
            await task
    if late:
        this.world.journal.oddities.append(f"{len(late)} clients could not finish what they had begun")
    return await _drained(this) and not late


async def _inject(this: _Run, seconds: float, only: str) -> None:
    for fault in deck(this.system, this.random):
        if time.monotonic() - this.began > seconds:
            return
        if only and only not in f"{fault.kind} {fault.target}":
            continue
        await _one(this, fault)
        await asyncio.sleep(this.random.uniform(0.2, 3))


async def _one(this: _Run, fault: Fault) -> None:
    at = time.monotonic()
    print(f"{at - this.began:6.1f} s  {fault.kind:12} {fault.target:16}", end="", flush=True)
    await fault.begin()
    seed = this.random.randrange(1 << 30)
    first = asyncio.create_task(probe.effect_s(this.world, seed))
    await asyncio.sleep(fault.lasts_s)
    await fault.end()
    over = time.monotonic()
    from_end = await probe.effect_s(this.world, seed + 1000)
    from_begin = await first
    one = Injected(fault.kind, fault.target, at - this.began, over - at, from_begin, from_end)
    this.injected.append(one)
    print(f" for {one.lasted_s:5.1f} s; effect {_s(from_begin)} after its beginning, {_s(from_end)} after its end")


def _s(seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds:5.2f} s"


async def _watch(this: _Run) -> None:
    """What an orchestrator does: starts again what ended by itself, and what says that it is no longer alive.

    Both are noted, because they should not be needed.
    """
    failures: Counter[str] = Counter()
    async with httpx.AsyncClient(timeout=3) as client:
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            for service in this.system.services.values():
                why = await _not_alive(client, service)
                failures[service.name] = failures[service.name] + 1 if why else 0
                if not service.wanted or why is None:
                    continue
                this.world.journal.oddities.append(f"{time.monotonic() - this.began:.0f} s: {service.name}: {why}")
                if failures[service.name] == _FAILURES or not service.running:
                    service.kill()
                    service.start()


async def _not_alive(client: httpx.AsyncClient, service: ServiceProcess) -> str | None:
    if service.wanted and not service.running:
        return "ended by itself"
    with suppress(httpx.HTTPError):
        answer = await client.get(f"{service.url}/livez")
        return None if answer.status_code == 200 else f"not alive: {answer.text[:300]}"
    return None


async def _drained(this: _Run) -> bool:
    """Whether, in time, nothing waits any more in outboxes and consumer groups, for a while."""
    deadline = time.monotonic() + _DRAIN_S
    quiet_since: float | None = None
    while time.monotonic() < deadline:
        waiting = await _waiting(this.system)
        if waiting:
            quiet_since = None
        else:
            quiet_since = quiet_since or time.monotonic()
            if time.monotonic() - quiet_since >= _QUIET_S:
                return True
        await asyncio.sleep(0.5)
    this.world.journal.oddities.append(f"not drained: {await _waiting(this.system)}")
    return False


async def _waiting(system: System) -> list[str]:
    connection = await asyncpg.connect(system.postgres.url)
    try:
        found = [
            f"{count} in {what}"
            for what, query in _WAITING.items()
            if (count := await connection.fetchval(f"SELECT count(*) FROM {query}"))
        ]
    finally:
        await connection.close()
    async with httpx.AsyncClient() as client:
        for service in system.services.values():
            if not await is_ready(client, service.url):
                found.append(f"{service.name} is not ready")
    return found + await asyncio.to_thread(_lags, system.kafka.bootstrap_servers)


_WAITING = {
    "orders.outbox": "orders.outbox",
    "payments.outbox": "payments.outbox",
    "payments.channel_events": "payments.channel_events WHERE status = 'sent'",
}


def _lags(bootstrap_servers: str) -> list[str]:
    """Consumer groups that have not acknowledged everything."""
    from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, TopicPartition
    from confluent_kafka.admin import AdminClient

    admin = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0})
    reader = Consumer({"bootstrap.servers": bootstrap_servers, "group.id": "auditor", "log_level": 0})
    found = []
    try:
        for group in ("orders.commands", "payments.channels", "payments.orders", "payments.replies"):
            asked = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])
            for place in asked[group].result(timeout=20).topic_partitions:
                _, high = reader.get_watermark_offsets(TopicPartition(place.topic, place.partition), timeout=20)
                if place.offset < high:
                    found.append(f"{group} is at {place.offset} of {high} in {place.topic}[{place.partition}]")
    finally:
        reader.close()
    return found


async def _audit(this: _Run, drained: bool) -> Findings:
    system = this.system
    evidence = await gather(system.postgres.url, system.kafka.bootstrap_servers, this.world.orders, system.payments_url)
    findings = audit(this.world.journal, evidence)
    if not drained:
        findings.lost.append("the system did not come to rest: see the oddities")
    findings.lost += [
        f"no recovery within two minutes of {one.kind} of {one.target} at {one.at_s:.0f} s"
        for one in this.injected
        if one.from_end_s is None
    ]
    return findings


def _logged(directory: Path) -> dict[str, int]:
    """What the services logged as errors, by its words; most of it is the Kafka client's about the faults."""
    found: Counter[str] = Counter()
    for log in directory.glob("*.log"):
        for line in log.read_text(errors="replace").splitlines():
            with suppress(ValueError, AttributeError):
                entry = json.loads(line)
                if entry.get("level") in ("error", "critical"):
                    words = re.sub(r"[0-9]+|0x[0-9a-f]+", "#", f"{entry.get('event')} {entry.get('failure', '')}")
                    found[f"{log.stem}: {words[:110].strip()}"] += 1
    return dict(found)


def _as_json(this: _Run, minutes: float, seed: int, findings: Findings) -> dict[str, Any]:
    return {
        "seed": seed,
        "minutes": minutes,
        "clean": findings.clean(),
        "faults": [vars(one) for one in this.injected],
        "counted": dict(findings.counted),
        "errors": dict(this.world.journal.errors),
        "logged": _logged(this.system.directory),
        "oddities": this.world.journal.oddities,
        "lost": findings.lost,
        "double": findings.double,
        "disorder": findings.disorder,
    }
