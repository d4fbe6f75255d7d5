"""One run: start everything, load and faults side by side, wait until all is quiet, audit."""

import asyncio
import time
from contextlib import suppress
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
from tests.chaos.audit import audit
from tests.chaos.channels import Channel
from tests.chaos.evidence import Evidence, gather
from tests.chaos.findings import Findings
from tests.chaos.handover import handovers
from tests.chaos.health import judge
from tests.chaos.inject import Plan, Run, inject
from tests.chaos.journal import Journal
from tests.chaos.load import Teller, World
from tests.chaos.logs import logged, mistakes
from tests.chaos.system import SERVICES, System, build, is_ready
from tests.chaos.watch import watch
from tests.lag import unacknowledged

CLIENTS = 8
CHANNELS = 2
_QUIET_S = 3.0
_DRAIN_S = 180.0
_FINISH_S = 120.0


async def run(directory: Path, plan: Plan) -> dict[str, Any]:
    """What happened and what the auditor found, as JSON."""
    system = build(directory)
    random = Random(plan.seed)
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
            this = Run(system, world, random)
            drained = await _storm(this, plan)
            print(f"{this.now_s():7.1f} s  {len(this.injected)} faults done; the audit begins", flush=True)
            evidence = await gather(system.postgres.url, system.kafka.bootstrap_servers, orders, system.payments_url)
            for channel in world.channels:
                channel.stop()
    finally:
        await system.stop()
    findings, handed_over = _judge(this, plan, evidence, drained)
    return _as_json(this, plan, findings, handed_over)


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


async def _storm(this: Run, plan: Plan) -> bool:
    """Load and faults for as long as wanted; then everything is up, answered and quiet, or false."""
    stopped = asyncio.Event()
    tellers = [Teller(this.world, Random(this.random.random())) for _ in range(CLIENTS)]
    telling = [asyncio.create_task(teller.run(stopped)) for teller in tellers]
    watching = asyncio.create_task(watch(this))
    try:
        await probe.effect_s(this.world, 0)
        this.undisturbed_s = await probe.effect_s(this.world, 1)
        await inject(this, plan)
    finally:
        stopped.set()
    _, late = await asyncio.wait(telling, timeout=_FINISH_S)
    for task in late:
        task.cancel()
    for task in telling:
        if task not in late:
            await task
    if late:
        this.world.journal.oddities.append(f"{len(late)} clients could not finish what they had begun")
    drained = await _drained(this)
    watching.cancel()
    with suppress(asyncio.CancelledError):
        await watching
    return drained


async def _drained(this: Run) -> bool:
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
    return found + await asyncio.to_thread(unacknowledged, system.kafka.bootstrap_servers)


_WAITING = {
    "orders.outbox": "orders.outbox",
    "payments.outbox": "payments.outbox",
    "payments.channel_events": "payments.channel_events WHERE status = 'sent'",
}


def _judge(this: Run, plan: Plan, evidence: Evidence, drained: bool) -> tuple[Findings, dict[str, list[float]]]:
    findings = audit(this.world.journal, evidence)
    if not drained:
        findings.lost.append("the system did not come to rest: see what is odd")
    for one in this.injected:
        if one.from_end_s is None or one.from_end_s > plan.recovery_limit_s:
            findings.late.append(f"{one.at_s:.0f} s: {one.kind} of {one.target}: works after {one.from_end_s} s")
        if one.ready_s is None or one.ready_s > plan.recovery_limit_s:
            findings.untrue.append(f"{one.at_s:.0f} s: {one.kind} of {one.target}: all ready after {one.ready_s} s")
        elif one.from_end_s is not None and one.from_end_s - one.ready_s > plan.recovery_limit_s / 2:
            findings.untrue.append(
                f"{one.at_s:.0f} s: {one.kind} of {one.target}: "
                f"all ready after {one.ready_s:.1f} s, and nothing works before {one.from_end_s:.1f} s"
            )
    workers = {name for name, (_, role) in SERVICES.items() if role != "api"}
    verdict = judge(this.answers, this.outages(), this.pauses(), workers)
    findings.untrue += verdict.untrue
    findings.counted.update(verdict.judged)
    handed_over = handovers(evidence, this.injected, this.began_at)
    for what, waits in handed_over.items():
        findings.late += [
            f"after a {what} a message waited for {wait:.1f} s" for wait in waits if wait > plan.handover_limit_s
        ]
    findings.odd += mistakes(logged(this.system.directory))
    return findings, handed_over


def _as_json(this: Run, plan: Plan, findings: Findings, handed_over: dict[str, list[float]]) -> dict[str, Any]:
    return {
        "seed": plan.seed,
        "minutes": plan.minutes,
        "took_s": this.now_s(),
        "undisturbed_s": this.undisturbed_s,
        "clean": findings.clean(),
        "faults": [vars(one) for one in this.injected],
        "handed_over_s": handed_over,
        "counted": dict(findings.counted),
        "errors": dict(this.world.journal.errors),
        "logged": logged(this.system.directory),
        "findings": findings.lists(),
    }
