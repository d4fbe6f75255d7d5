"""What the order service's messages say, read no further than the public needs it."""

from pydantic_core import to_json

from services.apps.core.events import Happened, Origin, PublicEvent, Version, public_events
from shared.contracts.model import Timestamp
from shared.contracts.orders import OrderVersion
from shared.envelope import Envelope, decode, tenant_of
from shared.kafka import Record
from shared.kafka.reading import invalid_body
from shared.topics import LARGEST_EVENT_BYTES


class _Told(OrderVersion):
    recorded_at: Timestamp


def events_in(record: Record) -> tuple[PublicEvent, ...]:
    """The public events in a record of `orders.events`; raises `Poison` with the reason when it is no version."""
    envelope = decode(record.headers, record.key, record.value, LARGEST_EVENT_BYTES)
    merchant_id, environment = tenant_of(envelope)
    order, customer, told = _parsed(envelope)
    version = Version(
        order_id=told.order_id,
        version=told.version,
        merchant_id=merchant_id,
        environment=environment,
        recorded_at=told.recorded_at,
        currency=told.balance_after.currency,
        actor=Origin(told.actor.type, told.actor.id),
        cause=Origin("command", envelope.causation_id) if envelope.causation_id else None,
        happened=tuple(Happened(entry.type, entry.data) for entry in told.events),
        order=order,
        customer=customer,
    )
    return public_events(version)


def _parsed(envelope: Envelope) -> tuple[bytes, bytes | None, _Told]:
    """The order and its customer as JSON, and the rest.

    Read and written by the parser of the models, so that a message is right for every service or for none.
    """
    with invalid_body():
        told = _Told.model_validate_json(envelope.data)
    order = told.order or None
    customer = order.pop("customer", None) if order else None
    return _json(order), _json(customer) if customer else None, told


def _json(value: object) -> bytes:
    return to_json(value, inf_nan_mode="null")
