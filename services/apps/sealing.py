"""Sealing keys are exchanged: what an older key sealed is sealed again with the newest; then the older one can go."""

from collections import Counter

import structlog
from prometheus_client import Gauge

from services.apps.store import sealed
from services.apps.store.sealed import PLACES, Place
from shared.postgres import Pool, transaction
from shared.sealing import Sealer, SealingError

log = structlog.get_logger(__name__)

FOUND = Gauge(
    "throughline_sealed_with_older_key",
    "Secrets that were found sealed with an `older` key, and are not any more, or with an `unknown` one.",
    ["key"],
)
_AT_ONCE = 200


class SealAgainJob:
    """Everything is sealed with the newest key. Where there is only one key, nothing is looked at.

    It begins anew each time, because a process that does not have the new key yet goes on sealing with an older one. An
    older key can go when nothing is found.
    """

    def __init__(self, pool: Pool, sealer: Sealer) -> None:
        self._pool, self._sealer = pool, sealer

    async def __call__(self) -> None:
        if not self._sealer.has_older:
            return
        found = Counter[str]()
        for place in PLACES:
            found += await self._walk(place)
        for key in ("older", "unknown"):
            FOUND.labels(key).set(found[key])
        log.info("sealed_again", secrets=found["older"])
        if found["unknown"]:
            log.error("sealed_with_unknown_key", secrets=found["unknown"], remedy="put that key into SEALING_KEY again")

    async def _walk(self, place: Place) -> Counter[str]:
        found, after = Counter[str](), ""
        while some := await sealed.some(self._pool, place, after, _AT_ONCE):
            again = []
            for key, before in some:
                try:
                    if (resealed := self._sealer.again(before)) is not None:
                        again.append((key, before, resealed))
                except SealingError:
                    found["unknown"] += 1
            if again:
                async with transaction(self._pool) as connection:
                    await sealed.put(connection, place, again)
            found["older"] += len(again)
            after = some[-1][0]
        return found
