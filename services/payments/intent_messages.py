"""What the payment service sends of intents: commands to orders, and events for everybody else."""

from collections.abc import Sequence

from services.payments.core.intents.moves import Command
from services.payments.messages import SOURCE, told_by
from shared.contracts.payment_intents import IntentEvent
from shared.envelope import Envelope
from shared.outbox import OutboxMessage
from shared.telemetry import current_traceparent
from shared.topics import ORDERS_COMMANDS, PAYMENTS_EVENTS


def command_message(asked: Command) -> OutboxMessage:
    """What an order is asked or told, by whoever made the intent."""
    intent, command = asked.intent, asked.command
    return OutboxMessage(
        ORDERS_COMMANDS,
        Envelope(
            id=asked.command_id,
            type=command.wire_type,
            source=SOURCE,
            data=command.model_dump_json(exclude_none=True).encode(),
            key=intent.order_id,
            subject=intent.order_id,
            traceparent=current_traceparent(),
            correlation_id=intent.group_id,
            causation_id=intent.attempt_id or intent.payment_intent_id,
            merchant_id=intent.merchant_id,
            environment=intent.environment,
            actor=told_by(intent.created_by),
        ),
    )


def event_messages(events: Sequence[tuple[str, str, IntentEvent]]) -> list[OutboxMessage]:
    """What the public hears; each with the tenant whose intent it is."""
    return [_event_message(*each) for each in events]


def _event_message(merchant_id: str, environment: str, event: IntentEvent) -> OutboxMessage:
    intent = event.payment_intent
    kind = event.wire_type.split(".")[1].removeprefix("payment_intent_")
    return OutboxMessage(
        PAYMENTS_EVENTS,
        Envelope(
            id=f"{intent.payment_intent_id}.{kind}.{intent.version}",
            type=event.wire_type,
            source=SOURCE,
            data=event.model_dump_json().encode(),
            key=intent.order_id,
            subject=intent.payment_intent_id,
            time=intent.updated_at,
            traceparent=current_traceparent(),
            correlation_id=intent.group_id or intent.payment_intent_id,
            causation_id=intent.payment_intent_id,
            merchant_id=merchant_id,
            environment=environment,
            actor=told_by(intent.created_by),
        ),
    )
