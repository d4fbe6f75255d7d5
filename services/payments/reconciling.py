"""The job that compares an acquirer's ledger with what orders say, of all that changed lately."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta

import structlog
from prometheus_client import Gauge

from services.payments.connectors.sandbox_http import NotReached
from services.payments.core.reconciling import Difference, differences
from services.payments.store import facts
from shared.clock import Clock
from shared.contracts.sandbox import Acquirer, SandboxMovement, Whose
from shared.faults import OutcomeUnknown, Transient
from shared.immutable import immutable
from shared.postgres import Pool

log = structlog.get_logger(__name__)

DIFFERENCES = Gauge(
    "throughline_payments_differences", "Payments of which the acquirer's ledger and the order say different things"
)

LOOK_BACK = timedelta(hours=1)
"""How far the first run after a start looks back; `throughline reconcile` compares everything."""
_OVERLAP = timedelta(minutes=5)
"""Longer than a transaction takes: what it writes has the time of its beginning."""
SETTLED_AFTER = timedelta(minutes=1)
"""What moved more recently is still on its way from one side to the other."""
_AT_ONCE = 100


@immutable
class _Place:
    """An order and whose it is."""

    merchant_id: str
    order_id: str


class ReconcileJob:
    """Compares whole orders, but only those of which either side has heard something since the run before, and those
    that differed then. What differs is counted until it does no more, or until this process ends."""

    def __init__(self, pool: Pool, clock: Clock, ledger: Acquirer) -> None:
        self._pool, self._clock, self._ledger = pool, clock, ledger
        self._since: datetime | None = None
        self._different: dict[_Place, list[Difference]] = {}

    async def __call__(self) -> None:
        now = self._clock()
        since = self._since or now - LOOK_BACK
        for merchant_id in await facts.merchants(self._pool):
            await self._compare_all(Whose(merchant_id=merchant_id, environment="test"), since)
        self._since = now - _OVERLAP
        settled = self.found(now)
        DIFFERENCES.set(len(settled))
        for _, difference in settled:
            log.error("books_differ", order_id=difference.order_id, payment_reference=difference.reference)

    def found(self, now: datetime) -> list[tuple[str, Difference]]:
        """The differences that are no matter of time any more, each with its merchant."""
        return [
            (place.merchant_id, difference)
            for place, found in self._different.items()
            for difference in found
            if difference.newest_at <= now - SETTLED_AFTER
        ]

    async def _compare_all(self, whose: Whose, since: datetime) -> None:
        try:
            async for order_ids in self._changed(whose, since):
                await self._compare(whose, order_ids)
        except (OutcomeUnknown, NotReached) as reason:
            raise Transient(f"the ledger could not be read: {reason}") from reason

    async def _changed(self, whose: Whose, since: datetime) -> AsyncIterator[Sequence[str]]:
        """Orders to look at, some at a time; one may come more than once."""
        known = [place.order_id for place in self._different if place.merchant_id == whose.merchant_id]
        for first in range(0, len(known), _AT_ONCE):
            yield known[first : first + _AT_ONCE]
        async for page in self._movements(whose, made_from=since):
            yield sorted({movement.order_id for movement in page})
        tenant, after = (whose.merchant_id, whose.environment), ""
        while seen := await facts.seen_since(self._pool, tenant, since, after, _AT_ONCE):
            yield seen
            after = seen[-1]

    async def _compare(self, whose: Whose, order_ids: Sequence[str]) -> None:
        moved = [movement async for page in self._movements(whose, order_ids=order_ids) for movement in page]
        # Read after the ledger: what is in neither yet cannot differ, and a fact follows its movement.
        told = await facts.of_orders(self._pool, (whose.merchant_id, whose.environment), order_ids)
        for order_id in order_ids:
            self._different.pop(_Place(whose.merchant_id, order_id), None)
        for difference in differences(moved, told):
            place = _Place(whose.merchant_id, difference.order_id)
            self._different.setdefault(place, []).append(difference)

    async def _movements(
        self, whose: Whose, made_from: datetime | None = None, order_ids: Sequence[str] = ()
    ) -> AsyncIterator[Sequence[SandboxMovement]]:
        token: str | None = None
        while True:
            page = await self._ledger.movements(whose, token, made_from=made_from, order_ids=order_ids)
            if page.movements:
                yield page.movements
            token = page.next_page_token
            if token is None:
                return
