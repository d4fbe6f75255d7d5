"""Events become deliveries: one for each endpoint that asks for them."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime

from services.apps.audit import By, changes_between, note
from services.apps.core.event_types import Reader
from services.apps.core.events import PublicEvent
from services.apps.core.webhooks import DisabledReason, asks_for
from services.apps.store import deliveries, endpoints
from services.apps.store.deliveries import NewDelivery
from services.apps.store.endpoints import Endpoint, Listener, Owner
from services.apps.store.installs import Tenant
from services.apps.telling import endpoint_disabled
from shared.clock import Clock
from shared.contracts.model import Actor
from shared.ids import new_id
from shared.postgres import Connection
from shared.writes import NewRows, write

_REPLAYED_AT_ONCE = 5_000


class WebhookFollower:
    """Follows the public events. What it gives is sent once the transaction has committed."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def follow(self, connection: Connection, events: Sequence[PublicEvent]) -> NewRows:
        tenants = {(event.merchant_id, event.environment) for event in events}
        listeners = await endpoints.listening(connection, sorted(tenants))
        return deliveries.rows_of(deliveries_for(events, listeners), self._clock())


def deliveries_for(events: Sequence[PublicEvent], listeners: Iterable[Listener]) -> list[NewDelivery]:
    """Every listener gets those of its tenant's events that it asks for, in their order."""
    by_tenant: defaultdict[Tenant, list[Listener]] = defaultdict(list)
    for listener in listeners:
        by_tenant[listener.merchant_id, listener.environment].append(listener)
    return [
        NewDelivery(new_id("del"), listener.endpoint_id, event.event_id, event.type, event.key)
        for event in events
        for listener in by_tenant.get((event.merchant_id, event.environment), ())
        if asks_for(listener.event_types, listener.reader, event.type, event.grant_id)
    ]


async def replay(
    connection: Connection, endpoint: Endpoint, window: tuple[datetime, datetime], after: int, now: datetime
) -> tuple[int, int | None]:
    """Enqueue again what the endpoint asks for of the window's events above a position.

    Gives how many will be sent, and the position that was reached while there may be more.
    """
    owner = Owner(endpoint.merchant_id, endpoint.environment, endpoint.grant_id)
    reader = Reader(endpoint.scopes, endpoint.grant_id)
    past = await deliveries.past(connection, owner, window, after, _REPLAYED_AT_ONCE)
    new = [
        NewDelivery(new_id("del"), endpoint.endpoint_id, event.event_id, event.type, event.key)
        for event in past
        if asks_for(endpoint.event_types, reader, event.type, event.grant_id)
    ]
    await write(connection, deliveries.rows_of(new, now))
    return len(new), past[-1].position if len(past) == _REPLAYED_AT_ONCE else None


async def disable(connection: Connection, endpoint_id: str, reason: DisabledReason, now: datetime) -> Endpoint | None:
    """The endpoint, to which nothing more is sent although its owner did not say so; `None` when it was not active."""
    endpoint = await endpoints.disable(connection, endpoint_id, reason, now)
    if endpoint is None:
        return None
    by = By(Actor(type="system", id="webhooks"), now)
    after = {"status": endpoint.status, "disabled_reason": endpoint.disabled_reason}
    entry = by.did(
        "webhook_endpoint.disabled",
        endpoint.endpoint_id,
        merchant_id=endpoint.merchant_id,
        environment=endpoint.environment,
        changes=changes_between({"status": "active"}, after),
    )
    await note(connection, entry)
    await endpoint_disabled(connection, by, endpoint)
    return endpoint
