"""What happens in a run: how many lifecycles, how fast, with which services, and what goes wrong. All from its seed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

from tests.simulation import faults
from tests.simulation.faults import Fault
from tests.simulation.life import Story
from tests.simulation.nodes import COMPOSE

REPLICAS = 2
_RATES = (40, 200, 1_000, 2_500)
_FETCHES_S = (0.002, 0.02, 0.05)
_HTTP, _APPS, _INTENTS, _OVERDUE, _AWAY, _UNANSWERED, _ABANDONED = 0.25, 0.25, 0.25, 0.5, 0.1, 0.1, 0.05
_BATCH, _SMALL_BATCH, _SMALL_BATCHES = 500, 8, 0.25
_ASKED_FOR_S = 4.0
"""For so long acquirers are asked, and longer, when no life begins any more."""


@dataclass(frozen=True, slots=True)
class Plan:
    """All that a run depends on."""

    seed: int
    size: int
    """Lifecycles that it was drawn for."""
    lifecycles: tuple[int, ...]
    faults: tuple[Fault, ...]
    rate: int
    """Lifecycles that begin in a second."""
    fetch_s: float
    """How long Kafka takes to hand out records: the longer, the larger the batches."""
    batch_size: int
    """Messages that a worker handles in one transaction; where there are more, it has several under way."""
    http: bool
    apps: bool
    """Whether the apps service is there."""
    intents: bool
    """Whether there is an acquirer, and buyers and tills that collect through it."""
    overdue: bool = False
    """Whether unmatched money is overdue at once, and goes back where it can."""
    story: Story | None = None
    """What happens in all lifecycles, where it is one thing."""

    @property
    def services(self) -> tuple[str, ...]:
        """Those that run."""
        return _services(apps=self.apps, intents=self.intents)

    @property
    def within_s(self) -> float:
        """In which time all lifecycles begin."""
        return len(self.lifecycles) / self.rate


def plan_of(seed: int, lifecycles: int, *, apps: bool | None = None, intents: bool | None = None) -> Plan:
    """The run of a seed: one in six without faults, one in four with requests over HTTP, one in four with the apps
    service and one in four with an acquirer, unless these are given."""
    random = Random(f"plan {seed}")
    rate, fetch_s = random.choice(_RATES), random.choice(_FETCHES_S)
    count = 0 if random.random() < 1 / 6 else random.randint(1, max(10, lifecycles // 40))
    http = _has("http", seed, _HTTP)
    apps = _has("apps", seed, _APPS) if apps is None else apps
    intents = _has("intents", seed, _INTENTS) if intents is None else intents
    nodes = REPLICAS * len(_services(apps=apps, intents=intents))
    kinds = faults.OF_INTENTS if intents else faults.KINDS
    within_s = lifecycles / rate + (_ASKED_FOR_S if intents else 0.0)
    drawn = faults.draw(random, count, within_s, nodes, kinds)
    if intents and _has("away", seed, _AWAY):
        drawn += faults.draw(Random(f"away for long {seed}"), 1, within_s, nodes, faults.AWAY)
    if intents and _has("unanswered", seed, _UNANSWERED):
        drawn += unanswered(seed, within_s, _services(apps=apps, intents=intents))
    if intents and _has("abandoned", seed, _ABANDONED):
        drawn += abandoned(seed, within_s)
    batch_size = _SMALL_BATCH if _has("small batches", seed, _SMALL_BATCHES) else _BATCH
    overdue = intents and _has("overdue", seed, _OVERDUE)
    every = tuple(range(lifecycles))
    return Plan(seed, lifecycles, every, drawn, rate, fetch_s, batch_size, http, apps, intents, overdue)


def unanswered(seed: int, within_s: float, services: Sequence[str]) -> tuple[Fault, ...]:
    """Payments die while the acquirer is asked, and whoever goes on cannot reach it."""
    first = REPLICAS * services.index("payments")
    return faults.unanswered(Random(f"unanswered {seed}"), within_s, range(first, first + REPLICAS))


def abandoned(seed: int, within_s: float) -> tuple[Fault, ...]:
    """Payments are away until their leases have ended."""
    return faults.abandoned(Random(f"abandoned {seed}"), within_s)


def without(plan: Plan, *, lifecycles: set[int] = frozenset(), hazards: set[int] = frozenset()) -> Plan:  # type: ignore[assignment]
    """The plan without some of it."""
    return replace(
        plan,
        lifecycles=tuple(number for number in plan.lifecycles if number not in lifecycles),
        faults=tuple(fault for index, fault in enumerate(plan.faults) if index not in hazards),
    )


def _has(what: str, seed: int, chance: float) -> bool:
    return Random(f"{what} {seed}").random() < chance


def _services(*, apps: bool, intents: bool) -> tuple[str, ...]:
    absent = {"apps": not apps, "sandbox": not intents}
    return tuple(service for service in COMPOSE if not absent.get(service))
