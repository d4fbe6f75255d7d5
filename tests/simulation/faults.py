"""What goes wrong in a run, drawn from its seed before it begins."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from tests.simulation.nodes import Node, Servers

KINDS = (
    "kill",
    "terminate",
    "freeze",
    "freeze_long",
    "cut_kafka",
    "cut_postgres",
    "slow_postgres",
    "postgres_crash",
    "kafka_down",
    "rebalance",
    "clock_jump",
)
OF_INTENTS = (*KINDS, "kill", "freeze_for_a_minute", "cut_outward")
"""Where there is an acquirer; a claim of an attempt that nobody renews runs out after 15 seconds."""
AWAY = ("orders_away", "kafka_away")
"""The order service, all of it, or Kafka is away for a minute and more."""
_LEASES_LAST_S = 300.0
_SERVICES_AWAY = {"orders_away": "orders", "payments_away": "payments", "acquirer_away": "sandbox"}
_LASTS_S = {
    "kill": (0.05, 3.0),
    "terminate": (0.05, 2.0),
    "freeze": (0.5, 5.0),
    "freeze_long": (7.0, 14.0),
    "cut_kafka": (0.2, 9.0),
    "cut_postgres": (0.05, 4.0),
    "slow_postgres": (0.5, 3.0),
    "postgres_crash": (0.1, 5.0),
    "kafka_down": (0.1, 5.0),
    "rebalance": (0.0, 0.0),
    "clock_jump": (0.0, 0.0),
    "freeze_for_a_minute": (61.0, 90.0),
    "cut_outward": (0.2, 20.0),
    "orders_away": (61.0, 120.0),
    "kafka_away": (61.0, 120.0),
    "acquirer_away": (61.0, 120.0),
    "payments_away": (_LEASES_LAST_S - 20.0, _LEASES_LAST_S + 20.0),
}

_FROM_S = 0.8
"""A little before the load begins."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong: when, where, and for how long (virtual seconds)."""

    at_s: float
    kind: str
    node: int
    lasts_s: float
    amount: float

    def __str__(self) -> str:
        return f"{self.at_s:7.3f} s  {self.kind} of node {self.node} for {self.lasts_s:.2f} s"


def draw(random: Random, count: int, within_s: float, nodes: int, kinds: Sequence[str] = KINDS) -> tuple[Fault, ...]:
    """`count` faults, most of them while there is load."""
    faults = []
    for _ in range(count):
        kind = random.choice(kinds)
        shortest, longest = _LASTS_S[kind]
        faults.append(
            Fault(
                at_s=random.uniform(_FROM_S, _FROM_S + within_s + 1.0),
                kind=kind,
                node=random.randrange(nodes),
                lasts_s=random.uniform(shortest, longest),
                amount=random.uniform(-2.0, 2.0),
            )
        )
    return tuple(sorted(faults, key=lambda fault: fault.at_s))


def unanswered(random: Random, within_s: float, askers: Sequence[int]) -> tuple[Fault, ...]:
    """Those who ask the acquirer die at once, and it is away until after their claims have run out."""
    at_s = random.uniform(_FROM_S, _FROM_S + within_s + 0.5)
    away = Fault(at_s + 0.2, "acquirer_away", 0, random.uniform(*_LASTS_S["acquirer_away"]), 0.0)
    return (*(Fault(at_s, "kill", node, 0.5, 0.0) for node in askers), away)


def abandoned(random: Random, within_s: float) -> tuple[Fault, ...]:
    """Payments are away until what they had leased is free again, or nearly; when they come back, others are away."""
    at_s = random.uniform(_FROM_S, _FROM_S + within_s + 0.5)
    payments = Fault(at_s, "payments_away", 0, random.uniform(*_LASTS_S["payments_away"]), 0.0)
    next_one = random.choice(("acquirer_away", *AWAY))
    other = Fault(at_s + payments.lasts_s - random.uniform(0.0, 8.0), next_one, 0, random.uniform(1.0, 61.0), 0.0)
    return payments, other


async def happen(fault: Fault, nodes: list[Node], servers: Servers) -> None:
    """The fault from its beginning to its end."""
    await asyncio.sleep(fault.at_s)
    node = nodes[fault.node % len(nodes)]
    match fault.kind:
        case "kill":
            node.kill()
            await asyncio.sleep(fault.lasts_s)
            node.start()
        case "terminate":
            await node.terminate()
            await asyncio.sleep(fault.lasts_s)
            node.start()
        case "freeze" | "freeze_long" | "freeze_for_a_minute":
            node.freeze()
            await asyncio.sleep(fault.lasts_s)
            node.thaw()
        case "cut_kafka":
            node.cut(fault.lasts_s, kafka_too=True, postgres_too=False)
        case "cut_postgres":
            node.cut(fault.lasts_s, kafka_too=False, postgres_too=True)
        case "cut_outward":
            node.cut_outward(fault.lasts_s)
        case "slow_postgres":
            node.slow(fault.amount**2 / 20)
            await asyncio.sleep(fault.lasts_s)
            node.slow(0.0)
        case "postgres_crash":
            for database in servers.databases.values():
                database.down = True
                database.crash()
            await asyncio.sleep(fault.lasts_s)
            for database in servers.databases.values():
                database.down = False
        case "orders_away" | "payments_away" | "acquirer_away":
            away = [each for each in nodes if each.service == _SERVICES_AWAY[fault.kind]]
            for each in away:
                each.kill()
            await asyncio.sleep(fault.lasts_s)
            for each in away:
                each.start()
        case "kafka_down" | "kafka_away":
            servers.cluster.down = True
            await asyncio.sleep(fault.lasts_s)
            servers.cluster.down = False
        case "rebalance":
            servers.cluster.rebalance()
        case "clock_jump":
            node.skew_s += fault.amount
