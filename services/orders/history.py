"""An order as it was: the fold of its recorded events up to a version or a moment.

An order may have thousands of versions. They are read in batches, between which the process does other things.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import orjson

from services.orders.core.evolve import follow, summed
from services.orders.core.state import Order
from services.orders.store.history import read_history, version_by
from shared.contracts.order_events import OrderEvent
from shared.contracts.orders import EVENTS
from shared.postgres import Pool

_AT_ONCE = 100
"""Versions in a batch: a few milliseconds, also of large orders."""


def events_in(payload: Mapping[str, Any]) -> list[OrderEvent]:
    """What happened in one version, from what is kept of it."""
    return [EVENTS[entry["type"]].model_validate(entry["data"]) for entry in payload["events"]]


async def order_as_of(
    pool: Pool, order: Order, *, version: int | None, at: datetime | None
) -> tuple[Order, datetime] | None:
    """The order at a version or a moment, with the moment at which it is to be seen; `None` before it was there."""
    if at is not None:
        version = await version_by(pool, order.order_id, at)
    if version is None or version > order.version:
        return None
    past = await _replayed(pool, order.order_id, version)
    return None if past is None else (past, at or past.updated_at)


async def _replayed(pool: Pool, order_id: str, version: int) -> Order | None:
    order: Order | None = None
    for first in range(1, version + 1, _AT_ONCE):
        for row in await read_history(pool, order_id, first, min(version, first + _AT_ONCE - 1)):
            order = follow(order, order_id, row.version, events_in(orjson.loads(row.payload)), row.recorded_at)
    return None if order is None or order.version != version else summed(order)
