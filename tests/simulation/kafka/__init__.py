"""Kafka in memory: partitions that only grow, groups that rebalance, and aiokafka's face on them for one process.

What holds: a batch is appended whole, each partition keeps its order, a repeat by an idempotent producer is one record,
a member that is silent for the session's time is expelled, whoever is not a member of the current generation commits
nothing, and a partition goes on at what was committed. A fetch may take any time, and who was expelled without knowing
reads on. A commit is tried until it has an answer, so that it may count although its caller has given up, or in a later
generation. `tests/contract/kafka` holds all of it against real Kafka.
"""

from collections.abc import Callable
from typing import Any

from shared.kafka.clients import Clients
from tests.simulation.kafka.admin import Admin
from tests.simulation.kafka.cluster import SESSION_S, Cluster
from tests.simulation.kafka.consumer import Consumer
from tests.simulation.kafka.log import Record
from tests.simulation.kafka.producer import Producer
from tests.simulation.network import Link

__all__ = ["SESSION_S", "Cluster", "Record", "clients"]


def clients(cluster: Cluster, link: Link) -> Clients:
    """What one process connects with."""
    made: Callable[..., Any] = Clients
    return made(
        consumer=lambda *topics, **options: Consumer(cluster, link, *topics, **options),
        producer=lambda **options: Producer(cluster, link, **options),
        admin=lambda _: Admin(cluster, link),
    )
