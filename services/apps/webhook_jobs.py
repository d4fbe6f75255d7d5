"""Timed work around webhooks."""

from datetime import timedelta

import structlog

from services.apps.store import deliveries, endpoints
from services.apps.webhooks import disable
from shared.clock import Clock
from shared.postgres import Pool, transaction

log = structlog.get_logger(__name__)

KEPT_FOR = timedelta(days=30)
_AT_ONCE = 5_000
_ENDPOINTS_AT_ONCE = 100


class EndWebhooksJob:
    """Disables endpoints of apps that are no longer installed and of closed merchants; cancels what waits in vain.

    Nothing is sent to them before it runs, either: this only says so.
    """

    def __init__(self, pool: Pool, clock: Clock) -> None:
        self._pool, self._clock = pool, clock

    async def __call__(self) -> None:
        now = self._clock()
        async with transaction(self._pool) as connection:
            for endpoint_id in await endpoints.revoked(connection, _ENDPOINTS_AT_ONCE):
                await disable(connection, endpoint_id, "revoked", now)
            canceled = await deliveries.cancel(connection, now, _AT_ONCE)
        if canceled:
            log.info("webhook_deliveries_canceled", deliveries=canceled)


class ForgetWebhooksJob:
    """Deliveries and attempts are kept for 30 days."""

    def __init__(self, pool: Pool, clock: Clock) -> None:
        self._pool, self._clock = pool, clock

    async def __call__(self) -> None:
        before = self._clock() - KEPT_FOR
        while True:
            async with transaction(self._pool) as connection:
                if not await deliveries.forget(connection, before, _AT_ONCE):
                    return
