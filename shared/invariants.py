"""What must hold in a service's tables, checked while it runs: one query each, which counts what does not."""

from collections.abc import Mapping

import structlog
from prometheus_client import Gauge

from shared.postgres import Pool

log = structlog.get_logger(__name__)

BROKEN = Gauge("throughline_broken_invariants", "Rows that contradict an invariant", ["service", "invariant"])


class CheckInvariantsJob:
    """Counts what contradicts an invariant, for the alert rule and for whoever reads the log."""

    def __init__(self, pool: Pool, service: str, invariants: Mapping[str, str]) -> None:
        self._pool, self._service, self._invariants = pool, service, invariants

    async def __call__(self) -> None:
        for name, query in self._invariants.items():
            broken = await self._pool.fetchval(query)
            BROKEN.labels(self._service, name).set(broken)
            if broken:
                log.error("invariant_broken", invariant=name, rows=broken)
