"""What the routes of webhooks have in common: whose they are, who may do more with them than look, how they look, and
what the audit log says of them."""

from dataclasses import replace

from services.apps.audit import AuditEntry, By, changes_between
from services.apps.core.event_types import READ_SCOPE, common_scopes, told_beyond
from services.apps.http.webhook_models import WebhookDeliveryView, WebhookEndpointView
from services.apps.store import deliveries
from services.apps.store.deliveries import Delivery
from services.apps.store.endpoints import Endpoint, Owner
from shared.auth.access import Access
from shared.http.problems import Problem, not_found
from shared.postgres import Connection

MOST_WAITING = 20_000
"""Deliveries to one endpoint above which none are added on demand: at the pace of a slow receiver some minutes."""


def owner_of(access: Access) -> Owner:
    """Whose endpoints a credential sees: an app's token those of the app, any other the merchant's own."""
    return Owner(access.merchant, access.environment, access.grant_id if access.kind == "installation" else None)


def beyond(endpoint: Endpoint, access: Access) -> list[str]:
    """What the endpoint is told that the caller may not read. Of an app's own it is nothing: its grant says both."""
    return [] if endpoint.grant_id is not None else told_beyond(endpoint.scopes, access.scopes)


def require_all(endpoint: Endpoint, access: Access) -> Endpoint:
    """The endpoint, for a caller who may read all that it is told; raises the `Problem` for any other."""
    return _unless_lacking(endpoint, beyond(endpoint, access))


def narrowed(endpoint: Endpoint, access: Access) -> Endpoint:
    """The endpoint as one that the caller has directed: it is told no more than the caller may read too."""
    _unless_lacking(endpoint, told_beyond([READ_SCOPE], access.scopes))
    if endpoint.grant_id is not None:
        return endpoint
    return replace(endpoint, scopes=tuple(common_scopes(endpoint.scopes, access.scopes)))


def _unless_lacking(endpoint: Endpoint, lacking: list[str]) -> Endpoint:
    if lacking:
        detail = f"The credential lacks: {', '.join(lacking)}."
        raise Problem("INSUFFICIENT_SCOPE", detail, facts={"missing_scopes": lacking})
    return endpoint


def endpoint_view(endpoint: Endpoint, secret: str | None = None) -> WebhookEndpointView:
    """The endpoint as its owner sees it."""
    return WebhookEndpointView(
        webhook_endpoint_id=endpoint.endpoint_id,
        url=endpoint.url,
        description=endpoint.description,
        event_types=list(endpoint.event_types),
        scopes=list(endpoint.scopes),
        status=endpoint.status,
        disabled_reason=endpoint.disabled_reason,
        failing_since=endpoint.failing_since,
        secret=secret,
        previous_secret_ends_at=endpoint.previous_secret_ends_at,
        version=endpoint.version,
        created_at=endpoint.created_at,
        updated_at=endpoint.updated_at,
    )


def delivery_view(delivery: Delivery) -> WebhookDeliveryView:
    """The delivery as its owner sees it."""
    return WebhookDeliveryView(
        webhook_delivery_id=delivery.delivery_id,
        webhook_endpoint_id=delivery.endpoint_id,
        event_id=delivery.event_id,
        event_type=delivery.event_type,
        order_id=delivery.order_id if delivery.order_id.startswith("ord_") else None,
        test=delivery.test,
        status=delivery.status,
        attempts=delivery.attempts,
        next_attempt_at=delivery.due_at if delivery.status == "pending" else None,
        last_status_code=delivery.last_status_code,
        last_error=delivery.last_error,
        created_at=delivery.created_at,
        settled_at=delivery.settled_at,
    )


def told(by: By, done: str, before: Endpoint | None, after: Endpoint | None) -> AuditEntry:
    """What the audit log says of something that was done to an endpoint."""
    target = after or before
    assert target is not None, "something was there before or after"
    return by.did(
        f"webhook_endpoint.{done}",
        target.endpoint_id,
        merchant_id=target.merchant_id,
        environment=target.environment,
        changes=changes_between(_facts(before), _facts(after)),
    )


def known(endpoint: Endpoint | None) -> Endpoint:
    """The endpoint, or the problem that there is none."""
    if endpoint is None:
        raise not_found("There is no such webhook endpoint.")
    return endpoint


async def open_to_more(connection: Connection, endpoint: Endpoint | None) -> Endpoint:
    """The endpoint, or the problem that there is none to which something is sent, or that too much waits for it."""
    found = known(endpoint)
    if found.status != "active":
        raise Problem("WEBHOOK_ENDPOINT_DISABLED", "The webhook endpoint is disabled.")
    if await deliveries.are_waiting(connection, found.endpoint_id, MOST_WAITING):
        raise Problem("TOO_MANY_WEBHOOK_DELIVERIES", f"{MOST_WAITING} deliveries or more wait for this endpoint.")
    return found


def _facts(endpoint: Endpoint | None) -> dict[str, object]:
    """What the audit log says of an endpoint; the address only up to its query, which may hold a secret."""
    if endpoint is None:
        return {}
    return {
        "url": endpoint.url.partition("?")[0],
        "event_types": list(endpoint.event_types),
        "scopes": list(endpoint.scopes),
        "description": endpoint.description,
        "status": endpoint.status,
    }
