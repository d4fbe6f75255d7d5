"""How long the plugin was still told, or let in, after a merchant had thrown it out."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from tests.chaos.audit_events import on_topic
from tests.chaos.evidence import Evidence
from tests.chaos.inject import Injected, Plan, Run
from tests.chaos.journal import Arrival, Journal

Times = dict[str, list[float]]


@dataclass(frozen=True)
class _Revocation:
    begun_at: float
    answered_at: float


def open_after(this: Run, plan: Plan, evidence: Evidence) -> tuple[Times, Times, list[str]]:
    """By door, the seconds from each answered revocation on: while nothing was at fault, and otherwise; and what was
    open although faults do not explain it any more."""
    undisturbed: Times = defaultdict(list)
    disturbed: Times = defaultdict(list)
    unexplained = []
    for one, door, seconds in _doors(this.world.journal, evidence):
        began_s, shut_s = one.begun_at - this.began_at, one.answered_at - this.began_at + seconds
        at_fault = [fault for fault in this.injected if fault.at_s < shut_s and _over_s(fault) > began_s]
        (disturbed if at_fault else undisturbed)[door].append(seconds)
        if at_fault and shut_s > max(map(_over_s, at_fault)) + plan.recovery_limit_s:
            unexplained.append(f"{began_s:.0f} s: {door} was open for {seconds:.1f} s after a revocation")
    return dict(undisturbed), dict(disturbed), unexplained


def _over_s(one: Injected) -> float:
    """When the fault and what follows from it were over."""
    times = [seconds for seconds in (one.ready_s, one.told_s, one.from_end_s) if seconds is not None]
    return one.ended_s + max(times, default=0.0)


def _doors(journal: Journal, evidence: Evidence) -> Iterator[tuple[_Revocation, str, float]]:
    published: dict[int, list[Arrival]] = defaultdict(list)
    for of, arrival in on_topic(journal, evidence):
        if of is not None:
            published[id(of)].append(arrival)
    for install in journal.installs:
        if install.revoking_at is None or install.revoked_at is None:
            continue
        revocation = _Revocation(install.revoking_at, install.revoked_at)
        told = {"topic": published[id(install)], "webhook": install.arrivals["webhook"]}
        last_told = {door: max((one.at for one in arrivals), default=0.0) for door, arrivals in told.items()}
        for door, at in last_told.items():
            yield revocation, door, max(0.0, at - install.revoked_at)
        for door, seconds in install.shut_after_s.items():
            yield revocation, door, seconds
