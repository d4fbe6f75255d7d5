"""What the routes of apps need, put together by the composition root and found in the app's state."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from services.apps.core.audit import By
from shared.auth.guard import ApiRequest
from shared.clock import Clock
from shared.http.request_ids import request_id_of
from shared.postgres import Pool


@dataclass(frozen=True, slots=True)
class Wiring:
    """`committed` is called after each commit that may have left messages in the outbox."""

    pool: Pool
    clock: Clock
    committed: Callable[[], None]


def by_caller(request: ApiRequest, now: datetime) -> By:
    """The caller as the one who acts, for the audit log."""
    return By(request.user.actor, now, request_id_of(request.scope))
