"""The job that compares an acquirer's ledger with what orders say, of all that changed since it did so last."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta

import structlog
from prometheus_client import Gauge

from services.payments.connectors.sandbox_http import NotReached
from services.payments.core.reconciling import Difference, Fact, differences, summed
from services.payments.store import facts, reconciliations
from services.payments.store.reconciliations import Marks
from shared.clock import Clock
from shared.contracts.sandbox import Acquirer, SandboxMovement, Whose
from shared.faults import OutcomeUnknown, Transient
from shared.immutable import immutable
from shared.postgres import Pool, transaction

log = structlog.get_logger(__name__)

DIFFERENCES = Gauge(
    "throughline_payments_differences", "Payments of which the acquirer's ledger and the order say different things"
)

_OVERLAP = timedelta(minutes=5)
"""Longer than a transaction takes: what it writes has the time of its beginning."""
SETTLED_AFTER = timedelta(minutes=1)
"""What moved more recently is still on its way from one side to the other."""
WHOLE_FOR = timedelta(days=30)
"""For so long after it was last heard of, an order's facts stay as they were told."""
_AT_ONCE = 100


@immutable
class _Place:
    """An order and whose it is."""

    merchant_id: str
    order_id: str


class ReconcileJob:
    """Compares whole orders, but only those of which either side has heard something since this was done last, by
    whatever process, and those that differed then. What differs is counted until it does no more.

    The facts of orders that agree and that nobody has heard of for a long time are summed up.
    """

    def __init__(self, pool: Pool, clock: Clock, ledger: Acquirer) -> None:
        self._pool, self._clock, self._ledger = pool, clock, ledger
        self._different: dict[_Place, list[Difference]] = {}

    async def __call__(self) -> None:
        now = self._clock()
        self._different.clear()
        for merchant_id in await facts.merchants(self._pool):
            await self._reconcile(Whose(merchant_id=merchant_id, environment="test"), now)
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

    async def _reconcile(self, whose: Whose, now: datetime) -> None:
        tenant = (whose.merchant_id, whose.environment)
        marks = await reconciliations.marks(self._pool, tenant)
        reached, looked_at = Marks(now - _OVERLAP, now - WHOLE_FOR), 0
        try:
            await self._compare_again(whose)
            async for order_ids in self._changed(whose, marks.compared_to, now):
                await self._compare(whose, order_ids)
                looked_at += 1
            async for order_ids in self._heard_of(tenant, marks.summed_to, reached.summed_to):
                await self._sum_up(whose, order_ids, reached.summed_to)
                looked_at += 1
        except (OutcomeUnknown, NotReached) as reason:
            raise Transient(f"the ledger could not be read: {reason}") from reason
        if looked_at:
            await reconciliations.advance(self._pool, tenant, reached)

    async def _compare_again(self, whose: Whose) -> None:
        """Those that differed before."""
        tenant, after = (whose.merchant_id, whose.environment), ""
        while known := await reconciliations.differing(self._pool, tenant, after, _AT_ONCE):
            began_at, after = self._clock(), known[-1]
            agree = sorted(set(known) - set(await self._compare(whose, known)))
            if agree:
                await reconciliations.agree(self._pool, tenant, agree, began_at)

    async def _changed(self, whose: Whose, since: datetime, now: datetime) -> AsyncIterator[Sequence[str]]:
        """Orders of which either side has heard, some at a time; one may come more than once."""
        async for page in self._movements(whose, made_from=since):
            yield sorted({movement.order_id for movement in page})
        async for order_ids in self._heard_of((whose.merchant_id, whose.environment), since, now + _OVERLAP):
            yield order_ids

    async def _heard_of(self, tenant: facts.Tenant, since: datetime, before: datetime) -> AsyncIterator[Sequence[str]]:
        """Orders of which the payments have heard in that time."""
        after = (since, "")
        while seen := await facts.seen(self._pool, tenant, after, before, _AT_ONCE):
            yield sorted({order_id for _, order_id in seen})
            after = seen[-1]

    async def _compare(self, whose: Whose, order_ids: Sequence[str]) -> list[str]:
        """Those that differ."""
        found = differences(*await self._both(whose, order_ids))
        for order_id in order_ids:
            self._different.pop(_Place(whose.merchant_id, order_id), None)
        for difference in found:
            self._different.setdefault(_Place(whose.merchant_id, difference.order_id), []).append(difference)
        differ = sorted({difference.order_id for difference in found})
        if differ:
            tenant = (whose.merchant_id, whose.environment)
            await reconciliations.differ(self._pool, tenant, differ, self._clock())
        return differ

    async def _sum_up(self, whose: Whose, order_ids: Sequence[str], before: datetime) -> None:
        kept, gone = summed(*await self._both(whose, order_ids), before)
        if gone:
            async with transaction(self._pool) as connection:
                await facts.sum_up(connection, kept, gone)

    async def _both(self, whose: Whose, order_ids: Sequence[str]) -> tuple[list[SandboxMovement], list[Fact]]:
        moved = [movement async for page in self._movements(whose, order_ids=order_ids) for movement in page]
        # Read after the ledger: what is in neither yet cannot differ, and a fact follows its movement.
        return moved, await facts.of_orders(self._pool, (whose.merchant_id, whose.environment), order_ids)

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
