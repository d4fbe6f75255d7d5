"""An order as far as it matters here, from the versions that the order service publishes."""

from typing import Annotated

from pydantic import StringConstraints

from services.payments.core.state import KnownOrder
from shared.contracts.model import Clean, JsonObject, Part, Reference
from shared.contracts.order_events import (
    OrderCanceled,
    OrderClosed,
    OrderCreated,
    OrderDetailsUpdated,
    OrderOpened,
)
from shared.contracts.orders import OrderVersion
from shared.immutable import immutable, replace

_STATUSES = {
    OrderCanceled.wire_type: "canceled",
    OrderClosed.wire_type: "closed",
    OrderOpened.wire_type: "open",
}


class _Snapshot(Part):
    """What matters here of the order in a message; statuses may come to be that this reader does not know."""

    status: Annotated[str, StringConstraints(min_length=1, max_length=40), Clean]
    external_reference: Reference | None = None


@immutable
class Seen:
    """One version of an order, read; it says only what it changes."""

    order_id: str
    merchant_id: str
    environment: str
    version: int
    currency: str
    outstanding_minor: int
    status: str | None = None
    names: bool = False
    """Whether it says what the merchant calls the order, be it nothing."""
    external_reference: str | None = None


def seen_in(version: OrderVersion, merchant_id: str, environment: str) -> Seen:
    """What a version says; raises `ValueError` where its order or an event in it is none.

    A large order's message may come without the order; what happened to it says enough then.
    """
    seen = Seen(
        order_id=version.order_id,
        merchant_id=merchant_id,
        environment=environment,
        version=version.version,
        currency=version.balance_after.currency,
        outstanding_minor=max(0, version.balance_after.amount),
    )
    if version.order is not None:
        order = _Snapshot.model_validate(version.order)
        return replace(seen, status=order.status, names=True, external_reference=order.external_reference)
    for entry in version.events:
        seen = _with_event(seen, entry.type, entry.data)
    return seen


def order_after(before: KnownOrder | None, seen: Seen) -> KnownOrder:
    """The order after this version; a version that was seen, or an older one, changes nothing."""
    if before is not None and before.version >= seen.version:
        return before
    known = before or _unnamed(seen)
    return replace(
        known,
        version=seen.version,
        outstanding_minor=seen.outstanding_minor,
        status=seen.status or known.status,
        external_reference=seen.external_reference if seen.names else known.external_reference,
    )


def _unnamed(seen: Seen) -> KnownOrder:
    return KnownOrder(
        order_id=seen.order_id,
        merchant_id=seen.merchant_id,
        environment=seen.environment,
        external_reference=None,
        currency=seen.currency,
        status="open",
        outstanding_minor=0,
        version=0,
    )


def _with_event(seen: Seen, event_type: str, data: JsonObject) -> Seen:
    if event_type == OrderCreated.wire_type:
        created = OrderCreated.model_validate(data)
        status = "draft" if created.draft else "open"
        return replace(seen, status=status, names=True, external_reference=created.context.external_reference)
    if event_type == OrderDetailsUpdated.wire_type:
        details = OrderDetailsUpdated.model_validate(data)
        return replace(seen, names=True, external_reference=details.context.external_reference)
    return replace(seen, status=_STATUSES.get(event_type, seen.status))
