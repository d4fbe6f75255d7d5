"""What the order is told about a channel event."""

from typing import assert_never

from services.payments.core.state import KeptEvent
from shared.contracts.channels import (
    ChannelPaymentAuthorized,
    ChannelPaymentCaptured,
    ChannelPaymentFailed,
    ChannelPaymentRefunded,
    ChannelPaymentVoided,
)
from shared.contracts.order_commands import (
    MoneyFact,
    RecordAuthorization,
    RecordCapture,
    RecordPaymentFailure,
    RecordRefund,
    RecordVoid,
)
from shared.contracts.order_parts import Tender


def command_for(kept: KeptEvent) -> MoneyFact:
    """The fact that a sent event reports to its order."""
    event, currency = kept.event, kept.currency
    assert currency is not None, "what was sent has a currency"
    tender = Tender(source=event.source, method=event.method, channel_id=kept.channel_id)
    payment_id, reference = kept.payment_id, event.payment_reference
    match event:
        case ChannelPaymentAuthorized():
            return RecordAuthorization(
                payment_id=payment_id,
                payment_reference=reference,
                amount_minor=event.amount_money.amount,
                currency=currency,
                tender=tender,
                authorized_at=event.authorized_at,
            )
        case ChannelPaymentCaptured():
            return RecordCapture(
                payment_id=payment_id,
                payment_reference=reference,
                capture_reference=event.capture_reference,
                amount_minor=event.amount_money.amount,
                currency=currency,
                tender=tender,
                captured_at=event.captured_at,
            )
        case ChannelPaymentFailed():
            return RecordPaymentFailure(
                payment_id=payment_id,
                payment_reference=reference,
                amount_minor=event.amount_money.amount if event.amount_money else None,
                currency=currency,
                code=event.code,
                message=event.message,
                tender=tender,
            )
        case ChannelPaymentVoided():
            return RecordVoid(
                payment_id=payment_id,
                payment_reference=reference,
                amount_minor=event.amount_money.amount if event.amount_money else None,
                currency=currency,
                tender=tender,
            )
        case ChannelPaymentRefunded():
            return RecordRefund(
                refund_id=kept.refund_id,
                refund_reference=event.refund_reference,
                payment_id=payment_id,
                payment_reference=reference,
                amount_minor=event.amount_money.amount,
                currency=currency,
                tender=tender,
                refunded_at=event.refunded_at,
                reason=event.reason,
            )
        case _:
            assert_never(event)
