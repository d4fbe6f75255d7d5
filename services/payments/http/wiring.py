"""What the routes of payments need, put together by the composition root and found in the app's state."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from services.payments.channels import ChannelLife
from services.payments.connectors.registry import Connectors
from services.payments.core.intents.state import Intent
from services.payments.finding import OrderFinder
from services.payments.intents import Result, Told, Wanted
from services.payments.runner import AttemptRunner
from services.payments.store.intents import Named
from shared.batcher import Batcher
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
    outcomes: Outcomes[bool]
    """Of what orders or processors are asked about unmatched items."""
    groups: Outcomes[Sequence[Intent]]
    """Of intents that pay together, once nothing is under way; told by whoever settles them in this process."""
    orders: OrderFinder
    reads: Batcher[Named, Intent | None]
    """Intents as they are."""
    intents: Batcher[Wanted, Result]
    answers: Batcher[Told, None]
    """Keeps what requests were answered that had waited."""
    runner: AttemptRunner
    connectors: Connectors
