"""What the routes of payments need, put together by the composition root and found in the app's state."""

from collections.abc import Callable
from dataclasses import dataclass

from services.payments.channels import ChannelLife
from shared.clock import Clock
from shared.postgres import Pool
from shared.settings import KafkaSettings
from shared.waiting import Outcomes


@dataclass(frozen=True, slots=True)
class Wiring:
    """`committed` is called after each commit that may have left messages in the outbox."""

    pool: Pool
    clock: Clock
    committed: Callable[[], None]
    channels: ChannelLife
    kafka: KafkaSettings
    unmatched: Outcomes
    """Of the items that orders are asked about."""
