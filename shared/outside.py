"""What a process meets outside itself: the time, Kafka, the database, foreign receivers. Real, unless a simulation
brings its own."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shared.clock import Clock, utc_now
from shared.kafka.clients import REAL_CLIENTS, Clients
from shared.postgres import REAL_DRIVERS, Drivers

if TYPE_CHECKING:
    from shared.contracts.sandbox import Acquirer
    from shared.outbound import Outbound


@dataclass(frozen=True, slots=True)
class Outside:
    """Handed to a service's composition root, and from there to whatever needs it."""

    clock: Clock = utc_now
    kafka: Clients = REAL_CLIENTS
    postgres: Drivers = REAL_DRIVERS
    outbound: "Callable[[], Outbound] | None" = None
    """Makes the client for requests to foreign addresses; the service makes the real one where there is none."""
    acquirer: "Acquirer | None" = None
    """The simulated acquirer, where it runs in this process."""


REAL = Outside()
