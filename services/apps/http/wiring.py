"""What the routes of apps need, put together by the composition root and found in the app's state."""

from collections.abc import Callable
from dataclasses import dataclass

from shared.clock import Clock
from shared.postgres import Pool


@dataclass(frozen=True, slots=True)
class Wiring:
    """`committed` is called after each commit that may have left messages in the outbox."""

    pool: Pool
    clock: Clock
    committed: Callable[[], None]
