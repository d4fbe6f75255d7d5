"""What the services' messages say, read no further than the public needs it.

How a service joins is in docs/concepts/events.md.
"""

from collections.abc import Mapping
from typing import Any, Final

from pydantic_core import from_json, to_json

from services.apps.core.events import (
    Happened,
    Origin,
    PublicEvent,
    Subject,
    Told,
    Version,
    event_told,
    public_events,
)
from shared.contracts import apps, payment_intents, payments
from shared.contracts.model import Message, RecordedAt, of_our_time
from shared.contracts.orders import OrderVersion
from shared.envelope import INVALID_ATTRIBUTE, INVALID_BODY, MISSING_ATTRIBUTE, Envelope, decode, tenant_of
from shared.faults import Poison
from shared.immutable import immutable
from shared.kafka import Record
from shared.kafka.reading import invalid_body
from shared.topics import APPS_EVENTS, LARGEST_EVENT_BYTES, ORDERS_EVENTS, PAYMENTS_EVENTS

TOPICS_OF_EVENTS: Final = (ORDERS_EVENTS, PAYMENTS_EVENTS, APPS_EVENTS)


@immutable
class Kind:
    """How a message of a service becomes a public event."""

    event_type: str
    subject: str
    """The type of what it is about, the field of the message that holds it, and with `_id` the field of its id."""
    message: type[Message]


_INTENT, _MONEY = "payment_intent", "unmatched_money"
_INSTALL, _GRANT = "partner_app_install", "environment_grant"
KINDS: Final[Mapping[str, Kind]] = {
    kind.message.wire_type: kind
    for kind in (
        Kind("payment_intent.processing", _INTENT, payment_intents.PaymentIntentProcessing),
        Kind("payment_intent.requires_action", _INTENT, payment_intents.PaymentIntentRequiresAction),
        Kind("payment_intent.requires_capture", _INTENT, payment_intents.PaymentIntentRequiresCapture),
        Kind("payment_intent.succeeded", _INTENT, payment_intents.PaymentIntentSucceeded),
        Kind("payment_intent.failed", _INTENT, payment_intents.PaymentIntentFailed),
        Kind("payment_intent.canceled", _INTENT, payment_intents.PaymentIntentCanceled),
        Kind("payment_intent.unknown", _INTENT, payment_intents.PaymentIntentUnknown),
        Kind("unmatched_money.found", _MONEY, payments.UnmatchedMoneyFound),
        Kind("unmatched_money.attached", _MONEY, payments.UnmatchedMoneyAttached),
        Kind("unmatched_money.returned", _MONEY, payments.UnmatchedMoneyReturned),
        Kind("unmatched_money.dismissed", _MONEY, payments.UnmatchedMoneyDismissed),
        Kind("partner_app.install.created", _INSTALL, apps.InstallCreated),
        Kind("partner_app.install.permissions_updated", _INSTALL, apps.InstallPermissionsUpdated),
        Kind("partner_app.install.revoked", _INSTALL, apps.InstallRevoked),
        Kind("partner_app.environment_grant.created", _GRANT, apps.EnvironmentGrantCreated),
        Kind("partner_app.environment_grant.revoked", _GRANT, apps.EnvironmentGrantRevoked),
        Kind("webhook_endpoint.disabled", "webhook_endpoint", apps.WebhookEndpointDisabled),
    )
}
"""By wire type. What is not in here the public is not told, except what happens to orders."""


class _Recorded(OrderVersion):
    recorded_at: RecordedAt


def events_in(record: Record) -> tuple[PublicEvent, ...]:
    """The public events in a record of a service's topic; raises `Poison` with the reason when it means nothing."""
    envelope = decode(record.headers, record.key, record.value, LARGEST_EVENT_BYTES)
    if record.topic == ORDERS_EVENTS:
        return _of_version(envelope)
    kind = KINDS.get(envelope.type)
    return () if kind is None else (told_in(envelope, kind),)


def told_in(envelope: Envelope, kind: Kind) -> PublicEvent:
    """What a message says of its subject, which is passed on as its service wrote it."""
    merchant_id, environment = tenant_of(envelope)
    if envelope.time is None:
        raise Poison(MISSING_ATTRIBUTE, "ce_time is missing")
    try:
        of_our_time(envelope.time)
    except ValueError as reason:
        raise Poison(INVALID_ATTRIBUTE, f"ce_time {reason}") from None
    body = _checked(envelope, kind)
    subject = body.pop(kind.subject)
    subject_id: str = subject[f"{kind.subject}_id"]
    actor_type, _, actor_id = (envelope.actor or f"service:{envelope.source}").partition(":")
    told = Told(
        type=kind.event_type,
        source=envelope.source,
        message_id=envelope.id,
        recorded_at=envelope.time,
        merchant_id=merchant_id,
        environment=environment,
        actor=Origin(actor_type, actor_id),
        cause=Origin("message", envelope.causation_id) if envelope.causation_id else None,
        subject=Subject(kind.subject, subject_id, _json(subject)),
        change=_json({"type": envelope.type.partition(".")[2].rpartition(".")[0], **body}),
        # The key is the order's id where one is known, else that of the subject.
        order_id=envelope.key if envelope.key != subject_id else None,
        order_version=envelope.order_version,
        grant_id=subject.get("environment_grant_id"),
    )
    return event_told(told)


def _checked(envelope: Envelope, kind: Kind) -> dict[str, Any]:
    """The body as its service wrote it, once its model has read it."""
    try:
        body = from_json(envelope.data)
    except ValueError:
        raise Poison(INVALID_BODY, "the body is no JSON") from None
    with invalid_body():
        kind.message.model_validate(body)
    return dict(body)


def _of_version(envelope: Envelope) -> tuple[PublicEvent, ...]:
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


def _parsed(envelope: Envelope) -> tuple[bytes, bytes | None, _Recorded]:
    """The order and its customer as JSON, and the rest.

    Read and written by the parser of the models, so that a message is right for every service or for none.
    """
    with invalid_body():
        told = _Recorded.model_validate_json(envelope.data)
    order = told.order or None
    customer = order.pop("customer", None) if order else None
    return _json(order), _json(customer) if customer else None, told


def _json(value: object) -> bytes:
    return to_json(value, inf_nan_mode="null")
