"""An order as it was: the fold of its recorded events up to a version or a moment."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import orjson

from services.orders.core.evolve import fold
from services.orders.core.state import Order
from services.orders.store.history import HistoryRow, read_history
from shared.contracts.order_events import OrderEvent
from shared.contracts.orders import EVENTS
from shared.postgres import Pool


def replay(rows: list[HistoryRow]) -> Order | None:
    """The order after these versions, or `None` when there are none."""
    order: Order | None = None
    for row in rows:
        order = fold(order, row.order_id, row.version, events_in(orjson.loads(row.payload)), row.recorded_at)
    return order


def events_in(payload: Mapping[str, Any]) -> list[OrderEvent]:
    """What happened in one version, from what is kept of it."""
    return [EVENTS[entry["type"]].model_validate(entry["data"]) for entry in payload["events"]]


async def order_as_of(
    pool: Pool, order: Order, *, version: int | None, at: datetime | None
) -> tuple[Order, datetime] | None:
    """The order at a version or a moment, with the moment at which it is to be seen; `None` before it was there."""
    rows = await read_history(pool, order.order_id, up_to=version, until=at)
    past = replay(rows)
    if past is None or (version is not None and past.version != version):
        return None
    return past, at or rows[-1].recorded_at
