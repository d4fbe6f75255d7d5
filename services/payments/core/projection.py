"""An order as far as it matters here, from the versions that the order service publishes."""

from services.payments.core.state import KnownOrder
from shared.contracts.model import JsonObject
from shared.contracts.order_events import (
    OrderCanceled,
    OrderClosed,
    OrderCreated,
    OrderDetailsUpdated,
    OrderOpened,
)
from shared.contracts.orders import OrderVersion
from shared.immutable import replace

_STATUSES = {
    OrderCanceled.wire_type: "canceled",
    OrderClosed.wire_type: "closed",
    OrderOpened.wire_type: "open",
}


def order_after(before: KnownOrder | None, version: OrderVersion, merchant_id: str, environment: str) -> KnownOrder:
    """The order after this version; a version that was seen, or an older one, changes nothing.

    A large order's message may come without the order; what happened to it says enough then.
    """
    if before is not None and before.version >= version.version:
        return before
    known = before or _unnamed(version, merchant_id, environment)
    known = replace(known, version=version.version, outstanding_minor=max(0, version.balance_after.amount))
    if version.order is not None:
        return _from_snapshot(known, version.order)
    for entry in version.events:
        known = _after_event(known, entry.type, entry.data)
    return known


def _unnamed(version: OrderVersion, merchant_id: str, environment: str) -> KnownOrder:
    return KnownOrder(
        order_id=version.order_id,
        merchant_id=merchant_id,
        environment=environment,
        external_reference=None,
        currency=version.balance_after.currency,
        status="open",
        outstanding_minor=0,
        version=0,
    )


def _from_snapshot(known: KnownOrder, order: JsonObject) -> KnownOrder:
    return replace(known, external_reference=order.get("external_reference"), status=str(order["status"]))


def _after_event(known: KnownOrder, event_type: str, data: JsonObject) -> KnownOrder:
    if event_type == OrderCreated.wire_type:
        created = OrderCreated.model_validate(data)
        status = "draft" if created.draft else "open"
        return replace(known, external_reference=created.context.external_reference, status=status)
    if event_type == OrderDetailsUpdated.wire_type:
        details = OrderDetailsUpdated.model_validate(data)
        return replace(known, external_reference=details.context.external_reference)
    return replace(known, status=_STATUSES.get(event_type, known.status))
