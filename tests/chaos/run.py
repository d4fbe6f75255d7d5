"""One run: start everything, load and faults side by side, wait until all is quiet, audit."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from random import Random
from typing import Any

import asyncpg
import httpx2

from tests.chaos import probe
from tests.chaos.audit import audit
from tests.chaos.buyers import Buyer
from tests.chaos.coming_and_going import come_and_go
from tests.chaos.evidence import Clients, Evidence, gather
from tests.chaos.findings import Findings
from tests.chaos.handover import handovers
from tests.chaos.health import judge
from tests.chaos.hooks import Hooks
from tests.chaos.inject import Injected, Plan, Run, inject
from tests.chaos.journal import Journal
from tests.chaos.load import Teller
from tests.chaos.logs import logged, mistakes
from tests.chaos.merchants import Merchant, open_shop
from tests.chaos.plugin import Plugin, Session
from tests.chaos.revocations import open_after
from tests.chaos.system import SERVICES, System, build, is_ready
from tests.chaos.watch import watch
from tests.lag import SERVICE_GROUPS, unacknowledged
from tests.receiver import receiving

CLIENTS = 8
BUYERS = 4
_QUIET_S = 3.0
_DRAIN_S = 300.0
_FINISH_S = 300.0


async def run(directory: Path, plan: Plan) -> dict[str, Any]:
    """What happened and what the auditor found, as JSON."""
    system, journal = build(directory), Journal()
    random = Random(plan.seed)
    try:
        await system.start()
        async with AsyncExitStack() as exits:
            merchants = [await open_shop(system, journal, exits) for _ in range(2)]
            hooks = Hooks(await exits.enter_async_context(receiving()), journal, Random(random.random()))
            http = await exits.enter_async_context(httpx2.AsyncClient(base_url=system.apps_url))
            plugin = Plugin(journal, Random(random.random()), http, hooks)
            await plugin.register(merchants[0].apps)
            this = Run(system, merchants[0].world, random)
            drained = await _storm(this, plan, plugin, merchants)
            print(f"{this.now_s():7.1f} s  {len(this.injected)} faults done; the audit begins", flush=True)
            clients = {one.merchant_id: Clients(one.world.orders, one.world.payments, one.apps) for one in merchants}
            evidence = await gather(system.postgres.url, system.kafka.bootstrap_servers, clients)
            for merchant in merchants:
                for channel in merchant.world.channels:
                    channel.stop()
    finally:
        await system.stop()
    return _judged(this, plan, evidence, drained)


async def _storm(this: Run, plan: Plan, plugin: Plugin, merchants: Sequence[Merchant]) -> bool:
    """Load and faults for as long as wanted; then everything is up, answered and quiet, or false."""
    staying = await plugin.enter(merchants[0])
    await plugin.listen(staying)
    await plugin.read_topic(staying)
    stopped = asyncio.Event()
    clients = [
        *(Teller(merchants[number % 2].world, Random(this.random.random())).run(stopped) for number in range(CLIENTS)),
        *(Buyer(merchants[number % 2].world, Random(this.random.random())).run(stopped) for number in range(BUYERS)),
        come_and_go(this.system, plugin, merchants[1], Random(this.random.random()), stopped),
    ]
    busy = [asyncio.create_task(client) for client in clients]
    watching = asyncio.create_task(watch(this))
    measuring = asyncio.create_task(this.machine.watch())
    try:
        await probe.effect(this.world, 0)
        this.undisturbed = await probe.effect(this.world, 1)
        await inject(this, plan)
    finally:
        stopped.set()
        plugin.hooks.behaves = True
    await _finished(this, busy)
    drained = await _drained(this, plugin, staying)
    await _canceled(watching, measuring, staying.following)
    await plugin.stop()
    return drained


async def _finished(this: Run, busy: Sequence["asyncio.Task[None]"]) -> None:
    """Whatever clients have begun is done; it is noted where it is not."""
    _, late = await asyncio.wait(busy, timeout=_FINISH_S)
    for task in late:
        task.cancel()
    for ended in await asyncio.gather(*(task for task in busy if task not in late), return_exceptions=True):
        if isinstance(ended, BaseException):
            this.world.journal.oddities.append(f"a client gave up: {ended!r}")
    if late:
        this.world.journal.oddities.append(f"{len(late)} clients could not finish what they had begun")


async def _canceled(*tasks: "asyncio.Task[None] | None") -> None:
    for task in tasks:
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def _drained(this: Run, plugin: Plugin, staying: Session) -> bool:
    """Whether, in time, nothing waits any more in outboxes, for receivers and in consumer groups, for a while."""
    deadline = time.monotonic() + _DRAIN_S
    quiet_since: float | None = None
    while time.monotonic() < deadline:
        waiting = await _waiting(this.system, plugin, staying)
        if waiting:
            quiet_since = None
            await plugin.resend(staying)
        else:
            quiet_since = quiet_since or time.monotonic()
            if time.monotonic() - quiet_since >= _QUIET_S:
                return True
        await asyncio.sleep(0.5)
    this.world.journal.oddities.append(f"not drained: {await _waiting(this.system, plugin, staying)}")
    return False


async def _waiting(system: System, plugin: Plugin, staying: Session) -> list[str]:
    connection = await asyncpg.connect(system.postgres.url)
    try:
        found = [
            f"{count} in {what}"
            for what, query in _WAITING.items()
            if (count := await connection.fetchval(f"SELECT count(*) FROM {query}"))
        ]
        newest = await connection.fetchval(_NEWEST_EVENT, staying.install.merchant_id)
    finally:
        await connection.close()
    streamed = staying.install.arrivals["stream"]
    if newest is not None and (not streamed or streamed[-1].event_id != newest):
        found.append("the stream is behind")
    async with httpx2.AsyncClient() as client:
        for service in system.services.values():
            if not await is_ready(client, service.url):
                found.append(f"{service.name} is not ready")
    groups = [*SERVICE_GROUPS, "apps.events", "apps.uses", plugin.group]
    return found + await asyncio.to_thread(unacknowledged, system.kafka.bootstrap_servers, groups=groups)


_WAITING = {
    "orders.outbox": "orders.outbox",
    "payments.outbox": "payments.outbox",
    "apps.outbox": "apps.outbox",
    "apps.webhook_deliveries": "apps.webhook_deliveries WHERE status = 'pending'",
    "payments.payment_intents": "payments.payment_intents WHERE NOT settled",
    "payments.channel_events": "payments.channel_events WHERE status = 'sent'",
}
_NEWEST_EVENT = "SELECT event_id FROM apps.events WHERE merchant_id = $1 ORDER BY position DESC LIMIT 1"


def _judged(this: Run, planned: Plan, evidence: Evidence, drained: bool) -> dict[str, Any]:
    plan = planned.patient(this.machine.patience)
    findings = audit(this.world.journal, evidence)
    if not drained:
        findings.lost.append("the system did not come to rest: see what is odd")
    _judge_recovery(this.injected, plan, findings)
    workers = {name for name, (_, role) in SERVICES.items() if role != "api"}
    verdict = judge(this.answers, this.outages(), this.pauses(), workers, this.machine.patience)
    findings.untrue += verdict.untrue
    findings.counted.update(verdict.judged)
    handed_over = handovers(evidence, this.injected, this.began_at)
    for what, waits in handed_over.items():
        findings.late += [
            f"after a {what} a message waited for {wait:.1f} s" for wait in waits if wait > plan.handover_limit_s
        ]
    undisturbed, disturbed, unexplained = open_after(this, plan, evidence)
    findings.late += unexplained
    for door, times in undisturbed.items():
        late = [seconds for seconds in times if seconds > plan.revocation_limit_s]
        findings.late += [f"{door} was open for {seconds:.1f} s after a revocation" for seconds in late]
    findings.odd += mistakes(logged(this.system.directory))
    times = {
        "handed_over_s": handed_over,
        "open_s": undisturbed,
        "open_during_faults_s": disturbed,
        "answered_s": _answered_s(this.world.journal),
    }
    return _as_json(this, plan, findings, times)


def _answered_s(journal: Journal) -> dict[str, list[float]]:
    found: dict[str, list[float]] = defaultdict(list)
    for one in journal.collecting:
        found[one.kind].append(one.took_s)
    return dict(found)


def _judge_recovery(injected: Sequence[Injected], plan: Plan, findings: Findings) -> None:
    limit_s = plan.recovery_limit_s
    if len(injected) < plan.at_least:
        findings.odd.append(f"there were {len(injected)} faults, and should have been {plan.at_least}")
    for one in injected:
        name = f"{one.at_s:.0f} s: {one.kind} of {one.target}"
        if one.from_end_s is None or one.from_end_s > limit_s:
            findings.late.append(f"{name}: works after {one.from_end_s} s")
        if one.told_s is None or one.told_s > limit_s:
            findings.late.append(f"{name}: the plugin is told after {one.told_s} s")
        if one.ready_s is None or one.ready_s > limit_s:
            findings.untrue.append(f"{name}: all ready after {one.ready_s} s")
        elif one.from_end_s is not None and one.from_end_s - one.ready_s > limit_s / 2:
            findings.untrue.append(
                f"{name}: all ready after {one.ready_s:.1f} s, and nothing works before {one.from_end_s:.1f} s"
            )


def _as_json(this: Run, plan: Plan, findings: Findings, times: dict[str, dict[str, list[float]]]) -> dict[str, Any]:
    return {
        "seed": plan.seed,
        "minutes": plan.minutes,
        "took_s": this.now_s(),
        "stretched": this.machine.stretched,
        "patience": this.machine.patience,
        "undisturbed": vars(this.undisturbed),
        "clean": findings.clean(),
        "faults": [vars(one) for one in this.injected],
        **times,
        "counted": dict(findings.counted + this.world.journal.counted),
        "errors": dict(this.world.journal.errors),
        "logged": logged(this.system.directory),
        "findings": findings.lists(),
    }
