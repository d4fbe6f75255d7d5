"""What changes no amount: details, notes, opening, closing and canceling."""

from datetime import datetime

from services.orders.core.blockers import authorizations_in_the_way, money_in_the_way
from services.orders.core.refusal import Refusal
from services.orders.core.state import Order
from shared.contracts.order_commands import AddNote, CancelOrder, CloseOrder, UpdateOrder
from shared.contracts.order_events import (
    LeaseReleased,
    NoteAdded,
    OrderCanceled,
    OrderClosed,
    OrderDetailsUpdated,
    OrderEvent,
    OrderOpened,
)
from shared.contracts.order_parts import MAX_METADATA_KEYS

_CONTEXT_FIELDS = ("location_id", "device_id", "operator_id", "customer_id", "external_reference")


def open_order(order: Order) -> list[OrderEvent] | Refusal:
    if order.status == "draft":
        return [OrderOpened()]
    return [] if order.status == "open" else _ended(order)


def update(order: Order, command: UpdateOrder) -> list[OrderEvent] | Refusal:
    """Only the fields that were given change; `null` clears one; metadata merges by key, `null` removes a key."""
    given = {name: getattr(command, name) for name in _CONTEXT_FIELDS if name in command.model_fields_set}
    context = order.context.model_copy(update=given)
    patch = command.metadata or {}
    merged = {**order.metadata, **patch}
    metadata = {key: value for key, value in merged.items() if value is not None}
    if len(metadata) > MAX_METADATA_KEYS:
        return Refusal("VALIDATION_FAILED", f"At most {MAX_METADATA_KEYS} metadata keys.", param="metadata")
    if (context, metadata) == (order.context, order.metadata):
        return []
    return [OrderDetailsUpdated(context=context, metadata=metadata)]


def add_note(command: AddNote) -> list[OrderEvent]:
    return [NoteAdded(note_id=command.note_id, text=command.text)]


def cancel(order: Order, command: CancelOrder, now: datetime) -> list[OrderEvent] | Refusal:
    """Refused while the order holds money: it has to be given back or let go first."""
    if order.status == "canceled":
        return []
    if order.status == "closed":
        return _ended(order)
    if order.authorized or order.net_collected > 0:
        detail = "Money is held or collected on this order."
        return Refusal("ORDER_HAS_MONEY", detail, {}, money_in_the_way(order))
    return [OrderCanceled(reason=command.reason), *_releases(order, now, "order_canceled")]


def close(order: Order, command: CloseOrder, now: datetime) -> list[OrderEvent] | Refusal:
    """What is still owed stays as it is; refused while a held authorization would be forgotten."""
    if order.status == "closed":
        return []
    if order.status != "open":
        return _ended(order)
    if order.authorized:
        detail = "An authorization is open: capture or void it first."
        return Refusal("ORDER_HAS_MONEY", detail, {}, authorizations_in_the_way(order))
    return [OrderClosed(reason=command.reason), *_releases(order, now, "order_closed")]


def _releases(order: Order, now: datetime, reason: str) -> list[OrderEvent]:
    return [LeaseReleased(lease_id=lease.lease_id, reason=reason) for lease in order.live_leases(now)]


def _ended(order: Order) -> Refusal:
    return Refusal("ORDER_NOT_OPEN", f"The order is {order.status}.", {"status": order.status})
