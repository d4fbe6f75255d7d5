"""How much waits in an outbox, and for how long at least: for the alert rule, and whoever wonders."""

from collections import deque

from prometheus_client import Gauge

from shared.clock import monotonic
from shared.postgres import Pool

_WAITING = Gauge("throughline_outbox_waiting", "Messages that wait in the outbox, up to 100,000", ["service"])
_OLDEST = Gauge("throughline_outbox_oldest_seconds", "How long the oldest of them has waited at least", ["service"])

MEASURE_EVERY_S = 15.0
_MOST = 100_000
_REMEMBERED = 240

_LOOK = f"""
SELECT (SELECT min(seq) FROM outbox) AS oldest, (SELECT max(seq) FROM outbox) AS newest,
    (SELECT count(*) FROM (SELECT FROM outbox ORDER BY seq LIMIT {_MOST}) AS first) AS waiting
"""


class MeasureOutboxJob:
    """Rows tell no time, and what is published again is older than its row. So what was the newest is remembered for
    an hour: the oldest row has waited since it was that, or longer."""

    def __init__(self, pool: Pool, service: str) -> None:
        self._pool = pool
        self._waiting, self._oldest = _WAITING.labels(service), _OLDEST.labels(service)
        self._newest: deque[tuple[float, int]] = deque(maxlen=_REMEMBERED)

    async def __call__(self) -> None:
        row = await self._pool.fetchrow(_LOOK)
        assert row is not None, "a SELECT without FROM has a row"
        now = monotonic()
        if row["newest"] is not None:
            self._newest.append((now, row["newest"]))
        waited = [now - at for at, newest in self._newest if row["oldest"] is not None and newest >= row["oldest"]]
        self._waiting.set(row["waiting"])
        self._oldest.set(max(waited, default=0.0))
