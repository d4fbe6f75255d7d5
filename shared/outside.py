"""What a process meets outside itself: the time, Kafka and the database. Real, unless a simulation brings its own."""

from dataclasses import dataclass

from shared.clock import Clock, utc_now
from shared.kafka.clients import REAL_CLIENTS, Clients
from shared.postgres import REAL_DRIVERS, Drivers


@dataclass(frozen=True, slots=True)
class Outside:
    """Handed to a service's composition root, and from there to whatever needs it."""

    clock: Clock = utc_now
    kafka: Clients = REAL_CLIENTS
    postgres: Drivers = REAL_DRIVERS


REAL = Outside()
