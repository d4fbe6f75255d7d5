"""Timed work of the order service."""

import structlog

from services.orders.core.state import Order
from services.orders.store.orders import expired_leases
from shared.clock import Clock
from shared.contracts.model import Actor
from shared.contracts.order_commands import ExpireLeases, OrderCommand
from shared.ids import new_id
from shared.isolation import describe, run_isolated
from shared.postgres import Pool
from shared.processor import Incoming, Runner

log = structlog.get_logger(__name__)


_AT_ONCE = 200
_SYSTEM = Actor(type="system", id="jobs.expire_leases")

_CHANGED = """
    order_id IN (
        SELECT aggregate_id FROM inbox WHERE recorded_at > now() - interval '{since}'
        UNION SELECT order_id FROM order_events WHERE recorded_at > now() - interval '{since}'
    )
"""
"""Orders that had a command or a version since then. Rows of these tables lie in the order of their times; orders that
change lie anywhere, and a range index on the time of change would have all of them read."""

INVARIANTS = {
    "number_is_unique": f"""
        SELECT count(*) FROM (
            SELECT FROM orders WHERE created_at > now() - interval '1 hour' AND {_CHANGED.format(since="1 hour")}
            GROUP BY merchant_id, environment, number HAVING count(*) > 1
        ) AS twice
    """,
    "history_reaches_version": f"""
        SELECT count(*) FROM orders AS o WHERE {_CHANGED.format(since="10 minutes")}
            AND version <> (SELECT max(version) FROM order_events AS e WHERE e.order_id = o.order_id)
    """,
    "history_has_no_gap": f"""
        SELECT count(*) FROM orders AS o WHERE {_CHANGED.format(since="10 minutes")}
            AND version <> (SELECT count(*) FROM order_events AS e WHERE e.order_id = o.order_id)
    """,
}
"""What must hold, one query each that counts what does not; over what changed lately."""


class ExpireLeasesJob:
    """Writes down which leases have run out. Nothing depends on its being on time: they have stopped counting."""

    def __init__(self, pool: Pool, run: Runner[OrderCommand, Order], clock: Clock) -> None:
        self._pool, self._run, self._clock = pool, run, clock

    async def __call__(self) -> None:
        due = await expired_leases(self._pool, self._clock(), _AT_ONCE)
        if due:
            outcomes = await run_isolated(self._run, [_expire(*each) for each in due])
            failed = [describe(outcome) for outcome in outcomes if isinstance(outcome, Exception)]
            log.info("leases_expired", orders=len(due) - len(failed))
            if failed:
                log.error("leases_not_expired", orders=len(failed), failure=failed[0])


def _expire(order_id: str, merchant_id: str, environment: str) -> Incoming[OrderCommand]:
    return Incoming(
        command_id=new_id("cmd"),
        key=order_id,
        command=ExpireLeases(),
        merchant_id=merchant_id,
        environment=environment,
        actor=_SYSTEM,
        source="/services/orders/jobs",
        channel="system",
        wants_reply=False,
    )
