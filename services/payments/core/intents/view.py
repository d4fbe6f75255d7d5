"""An intent as clients see it."""

from services.payments.core.asking import Means
from services.payments.core.intents.state import Intent
from shared.contracts.model import Money
from shared.contracts.payment_intents import PaymentIntent, PaymentMethodShown


def shown(intent: Intent) -> PaymentIntent:
    """Without tokens, and without what only the rules need."""
    return PaymentIntent(
        payment_intent_id=intent.payment_intent_id,
        order_id=intent.order_id,
        status=intent.status,
        version=intent.version,
        amount_money=_money(intent, intent.amount_minor),
        authorized_money=_money(intent, intent.authorized_minor),
        captured_money=_money(intent, intent.captured_minor),
        voided_money=_money(intent, intent.voided_minor),
        capture_method=intent.capture_method,
        source=intent.source,
        method=_method(intent),
        connector=intent.connector,
        payment_id=intent.payment_id,
        payment_reference=intent.reference,
        lease_id=intent.lease_id,
        group_id=intent.group_id if intent.legs > 1 else None,
        last_decline=intent.last_decline,
        last_refusal=intent.last_refusal,
        next_action=intent.next_action if intent.step == "challenged" else None,
        cancel_requested=intent.cancel_requested,
        order_version=intent.order_version,
        location_id=intent.location_id,
        device_id=intent.device_id,
        operator_id=intent.operator_id,
        metadata=intent.metadata,
        return_url=intent.return_url,
        authorization_expires_at=intent.authorization_ends_at if intent.step == "held" else None,
        created_by=intent.created_by,
        created_at=intent.created_at,
        updated_at=intent.updated_at,
    )


def method_shown(means: Means, currency: str, brand: str | None = None, last4: str | None = None) -> PaymentMethodShown:
    """What a buyer pays with; `brand` and `last4` as the processor says them, where it does."""
    tendered = means.tendered_minor
    return PaymentMethodShown(
        type=means.type,
        brand=brand or means.brand,
        last4=last4 or means.last4,
        reference=means.reference,
        tendered_money=None if tendered is None else Money(amount=tendered, currency=currency),
    )


def _method(intent: Intent) -> PaymentMethodShown | None:
    means = intent.means
    if means is None:
        return None
    method = method_shown(means, intent.currency, intent.shown_brand, intent.shown_last4)
    if means.tendered_minor is None:
        return method
    change = means.tendered_minor - (intent.captured_minor or intent.amount_minor)
    return method.model_copy(update={"change_money": _money(intent, change)})


def _money(intent: Intent, amount_minor: int) -> Money:
    return Money(amount=amount_minor, currency=intent.currency)
