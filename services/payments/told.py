"""What the order service's messages say, read no further than it matters here.

Everything that is to be kept or reckoned with is checked here: a message that could not be kept is refused before any
statement is run.
"""

from typing import Annotated

from pydantic import Field, StringConstraints

from services.payments.core.projection import Seen
from shared.contracts.model import MAX_MINOR, Clean, Identifier, JsonObject, Part, RecordedAt, Reference, Timestamp
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


class Facts(Part):
    """What matters of the facts in a reply."""

    order_status: Annotated[str, Clean] | None = None
    surplus_minor: Annotated[int, Field(strict=True, ge=0, le=MAX_MINOR * 1000)] = 0


class _Snapshot(Part):
    """What matters of the order in a message; statuses may come to be that this reader does not know."""

    status: Annotated[str, StringConstraints(min_length=1, max_length=40), Clean]
    external_reference: Reference | None = None
    customer_id: Identifier | None = None
    created_at: Timestamp | None = None


class Told(OrderVersion):
    """A version, without most of its snapshot: reading all of it takes twice the time."""

    order: _Snapshot | None  # type: ignore[assignment]
    recorded_at: RecordedAt


def seen_in(version: Told, merchant_id: str, environment: str) -> Seen:
    """What a version says; raises `ValueError` where an event in it is none.

    A large order's message may come without the order; what happened to it says enough then.
    """
    seen = Seen(
        order_id=version.order_id,
        merchant_id=merchant_id,
        environment=environment,
        version=version.version,
        currency=version.balance_after.currency,
        outstanding_minor=max(0, version.balance_after.amount),
        credit_minor=max(0, -version.balance_after.amount),
    )
    order = version.order
    if order is not None:
        seen = _with_names(seen, order.external_reference, order.customer_id)
        return replace(seen, status=order.status, placed_at=order.created_at)
    for entry in version.events:
        seen = _with_event(seen, entry.type, entry.data)
        if entry.type == OrderCreated.wire_type:
            seen = replace(seen, placed_at=version.recorded_at)
    return seen


def _with_event(seen: Seen, event_type: str, data: JsonObject) -> Seen:
    if event_type == OrderCreated.wire_type:
        created = OrderCreated.model_validate(data)
        status, context = "draft" if created.draft else "open", created.context
        return replace(_with_names(seen, context.external_reference, context.customer_id), status=status)
    if event_type == OrderDetailsUpdated.wire_type:
        context = OrderDetailsUpdated.model_validate(data).context
        return _with_names(seen, context.external_reference, context.customer_id)
    return replace(seen, status=_STATUSES.get(event_type, seen.status))


def _with_names(seen: Seen, external_reference: str | None, customer_id: str | None) -> Seen:
    return replace(seen, names=True, external_reference=external_reference, customer_id=customer_id)
