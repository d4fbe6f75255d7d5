"""Faults are done one at a time or two at once, and it is measured how long everything takes to work again."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from random import Random

from tests.chaos import probe
from tests.chaos.faults import EVERY_SERVICE, Fault, deck
from tests.chaos.health import Answer, Outage, Pause
from tests.chaos.load import World
from tests.chaos.machine import Machine
from tests.chaos.system import System

WORKERS = ("orders worker", "payments", "apps worker")
"""What the names of processes that take messages from Kafka begin with."""
QUIET_AFTER_S = 8.0
"""For so long after a worker ended alone no other fault begins, so that waits of messages can be told to be its own."""
_LONGEST_S = 120.0


@dataclass(frozen=True)
class Plan:
    """How much, and how strictly times are judged. Limits are for a machine that does little else: see `machine`."""

    seed: int
    minutes: float
    faults: int = 100_000
    at_least: int = 1
    """With fewer faults a run says nothing."""
    only: str = ""
    """What a fault's kind and target must contain."""
    longest_fault_s: float = 12.0
    at_once: Sequence[int] = (1, 1, 2, 2, 3)
    """How many faults overlap, by chance; recovery is measured for all of them together."""
    recovery_limit_s: float = 30.0
    handover_limit_s: float = 5.0
    """How long a message may wait because a worker ended, with or without notice."""
    revocation_limit_s: float = 1.0
    """How long anything may be open to a plugin that was thrown out, while nothing is at fault."""

    def patient(self, patience: float) -> "Plan":
        """With limits so many times as long."""
        return replace(
            self,
            recovery_limit_s=self.recovery_limit_s * patience,
            handover_limit_s=self.handover_limit_s * patience,
            revocation_limit_s=self.revocation_limit_s * patience,
        )


SHORT = Plan(
    seed=15015,
    minutes=30.0,
    faults=12,
    at_least=12,
    longest_fault_s=7.0,
    at_once=(3,),
    recovery_limit_s=60.0,
    handover_limit_s=20.0,
    revocation_limit_s=20.0,
)
"""Times depend on what else the machine does; nothing else is judged more leniently."""


@dataclass
class Injected:
    """One fault as it went. Moments are in seconds since the run began."""

    kind: str
    target: str
    away: str | None
    at_s: float
    alone: bool
    begun_s: float = 0.0
    """The harm is done."""
    held_until_s: float = 0.0
    """The harm is about to be undone."""
    ended_s: float = 0.0
    from_begin_s: float | None = None
    """Seconds until fresh writes and events took effect, from its beginning (with another one: from both's)."""
    from_end_s: float | None = None
    ready_s: float | None = None
    """Seconds from its end until every process said that it is ready."""
    told_s: float | None = None
    """Seconds from its end until the plugin was told of fresh orders in every way."""

    @property
    def hands_over(self) -> bool:
        """Whether all that happened is that a worker ended, whose work others take over."""
        ended = self.kind in ("SIGKILL", "SIGTERM") and self.target.startswith(WORKERS)
        return ended and self.alone


@dataclass
class Run:
    """What one run knows of itself."""

    system: System
    world: World
    random: Random
    began: float = field(default_factory=time.monotonic)
    began_at: float = field(default_factory=time.time)
    undisturbed: probe.Effect = probe.Effect(None, None)
    """What `from_end_s` and `told_s` are without a fault."""
    injected: list[Injected] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    machine: Machine = field(default_factory=Machine)

    def now_s(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self.began

    def outages(self) -> list[Outage]:
        """When services could not reach a server."""
        return [Outage(one.away, one.begun_s, one.held_until_s) for one in self.injected if one.away]

    def pauses(self) -> list[Pause]:
        """When services could not answer."""
        return [
            Pause(service, one.at_s, one.ended_s + (one.ready_s or _LONGEST_S))
            for one in self.injected
            for service in (self.system.services if one.target == EVERY_SERVICE else [one.target])
        ]


async def inject(this: Run, plan: Plan) -> None:
    """Fault after fault, for so long or until so many are done."""
    drawn = deck(this.system, this.random, plan.longest_fault_s)
    next_one = next(drawn)
    while this.now_s() < plan.minutes * 60 and len(this.injected) < plan.faults:
        faults: list[Fault] = []
        wanted = this.random.choice(plan.at_once)
        while len(faults) < wanted and next_one.disjoint(faults):
            if plan.only in f"{next_one.kind} {next_one.target}":
                faults.append(next_one)
            next_one = next(drawn)
            await asyncio.sleep(0)
        await _do(this, faults)
        await asyncio.sleep(max(this.random.uniform(0.1, 1), _left_in_peace_s(this)))


def _left_in_peace_s(this: Run) -> float:
    """How long the next fault has to wait, so that what is measured of the last one is of that one alone."""
    last = this.injected[-1]
    return last.at_s + QUIET_AFTER_S - this.now_s() if last.hands_over else 0.0


async def _do(this: Run, faults: list[Fault]) -> None:
    done: list[Injected] = []
    for fault in faults:
        if done:
            await asyncio.sleep(this.random.uniform(0, 1))
        one = Injected(fault.kind, fault.target, fault.away, this.now_s(), alone=len(faults) == 1)
        await fault.begin()
        one.begun_s = this.now_s()
        done.append(one)
    seed = this.random.randrange(1 << 30)
    first = asyncio.create_task(probe.effect(this.world, seed))
    await asyncio.gather(*(_finish(this, fault, one) for fault, one in zip(faults, done, strict=True)))
    after, ready = await asyncio.gather(probe.effect(this.world, seed + 1000), _ready_s(this.system))
    from_begin = (await first).works_s
    for one in done:
        one.from_begin_s, one.from_end_s, one.ready_s, one.told_s = from_begin, after.works_s, ready, after.told_s
    this.injected += done
    _show(this, done)


async def _finish(this: Run, fault: Fault, one: Injected) -> None:
    await asyncio.sleep(fault.lasts_s)
    one.held_until_s = this.now_s()
    try:
        await fault.end()
    except RuntimeError as error:
        this.world.journal.oddities.append(f"{one.at_s:.0f} s: {fault.kind} of {fault.target}: {error}")
    one.ended_s = this.now_s()


async def _ready_s(system: System) -> float | None:
    began = time.monotonic()
    try:
        await system.wait_ready(_LONGEST_S)
    except TimeoutError:
        return None
    return time.monotonic() - began


def _show(this: Run, done: list[Injected]) -> None:
    what = " and ".join(f"{one.kind} of {one.target} for {one.held_until_s - one.at_s:.1f} s" for one in done)
    one = done[0]
    times = f"works after {_s(one.from_end_s)}, told after {_s(one.told_s)}, all ready after {_s(one.ready_s)}"
    print(f"{one.at_s:7.1f} s {len(this.injected):4}  {what}: {times}", flush=True)


def _s(seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds:.2f} s"
