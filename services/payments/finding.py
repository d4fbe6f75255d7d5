"""Orders for requests: all that ask at the same time share a statement, and one that was just made is waited for."""

import asyncio
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from functools import partial

from ulid import ULID

from services.payments.core.state import KnownOrder
from services.payments.store import orders
from services.payments.store.orders import Place
from shared.batcher import Batcher
from shared.clock import Clock
from shared.faults import Transient
from shared.kafka import BatchConsumer
from shared.postgres import Pool
from shared.waiting import Waiting

_WITHIN_S = 2.0
"""An order that was just made is not known here yet: for so long it is waited for."""
_LOOK_EVERY_S = 0.2
"""How soon an order is found that another process took in."""
YOUNG = timedelta(seconds=10)
"""An order whose id is older is known here, unless this process is behind."""
_BEHIND = timedelta(seconds=5)
_MOMENT_S = 0.3


class OrderFinder:
    """Finds the orders of a merchant."""

    def __init__(self, pool: Pool, clock: Clock) -> None:
        self._clock = clock
        self.consumer: BatchConsumer | None = None
        """What takes in orders here. Where there is none, nobody here knows whether it is behind."""
        self._reads: Batcher[Place, KnownOrder | None] = Batcher(partial(orders.read_at, pool), concurrent=1)
        self._looks: Batcher[Place, None] = Batcher(self._look, concurrent=1)
        self._waiting = Waiting[KnownOrder]()
        self._heard_until: datetime | None = None

    async def find(self, place: Place) -> KnownOrder | None:
        """The order; another tenant's is not there. `Transient` where it may be there, and was not heard of yet."""
        order = await self._reads.submit(place)
        if order is None and (self.consumer is None or self._is_new(place) is not False):
            order = await self._appeared(place)
            if order is None:
                await self._looks.submit(place)
        if order is None and self._behind(place) is not None:
            # After a quiet time the first version that comes waits for a moment, and nobody is behind.
            await asyncio.sleep(_MOMENT_S)
            order = await self._reads.submit(place)
        if order is None and (reason := self._behind(place)) is not None:
            raise Transient(f"orders may not have been heard of: {reason}")
        return order

    def heard(self, seen: Iterable[KnownOrder], until: datetime) -> None:
        """Orders are known as they are now, with all that was recorded until then."""
        self._heard_until = until
        for order in seen:
            self._waiting.tell(order.order_id, order)

    async def _appeared(self, place: Place) -> KnownOrder | None:
        loop = asyncio.get_running_loop()
        ends = loop.time() + _WITHIN_S
        with self._waiting.joined(place.order_id, place.names) as told:
            while (left := ends - loop.time()) > 0:
                # All that wait look at the same moments, and so together.
                await asyncio.wait([told], timeout=min(left, _LOOK_EVERY_S - loop.time() % _LOOK_EVERY_S))
                order = told.result() if told.done() else await self._reads.submit(place)
                if order is not None:
                    return order
        return None

    async def _look(self, places: Sequence[Place]) -> list[None]:
        """An outage of Kafka is otherwise noticed after some seconds only."""
        if self.consumer is not None:
            await self.consumer.look()
        return [None] * len(places)

    def _is_new(self, place: Place) -> bool | None:
        """Whether it may be on its way; None where the id tells no time."""
        try:
            made_at = ULID.from_str(place.order_id.removeprefix("ord_")).datetime
        except ValueError:
            return None
        return made_at > self._clock() - YOUNG

    def _behind(self, place: Place) -> str | None:
        """Why an order may not be known here although it is there."""
        if self.consumer is not None:
            return self.consumer.ready() or self._late(self.consumer.lag)
        return "it was just made" if self._is_new(place) else None

    def _late(self, waiting: int) -> str | None:
        """While messages wait and the newest that was taken in is old."""
        if not waiting or (self._heard_until is not None and self._heard_until > self._clock() - _BEHIND):
            return None
        return f"{waiting} of their versions wait"
