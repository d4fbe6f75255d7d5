"""What orders' events say of money that intents moved at an acquirer; see `services.payments.core.reconciling`."""

from typing import Annotated

from pydantic import Field

from services.payments.core.reconciling import AT_THE_ACQUIRER, Fact, FactKind
from services.payments.told import Told
from shared.contracts.model import MAX_MINOR, Identifier, Part, Reference
from shared.contracts.order_events import (
    AuthorizationExpired,
    PaymentAuthorized,
    PaymentCaptured,
    PaymentVoided,
    RefundRecorded,
    RefundReversed,
)

_TENDERED: dict[str, FactKind] = {
    PaymentAuthorized.wire_type: "authorized",
    PaymentCaptured.wire_type: "captured",
    PaymentVoided.wire_type: "voided",
}
"""Events that say where and how the money was taken."""
_FOLLOWING: dict[str, FactKind] = {
    AuthorizationExpired.wire_type: "expired",
    RefundRecorded.wire_type: "refunded",
    RefundReversed.wire_type: "reversed",
}
"""Events of money that was taken before."""


class _Method(Part):
    type: str


class _Tender(Part):
    method: _Method | None = None
    payment_intent_id: str | None = None
    channel_id: str | None = None

    @property
    def at_the_acquirer(self) -> bool:
        by_intent = self.payment_intent_id is not None and self.channel_id is None
        return by_intent and self.method is not None and self.method.type in AT_THE_ACQUIRER

    @property
    def elsewhere(self) -> bool:
        """Whether it went back in a way of which no acquirer knows."""
        return self.method is not None and self.method.type == "external"


class _Moved(Part):
    """What matters of any of these events."""

    payment_id: Identifier | None = None
    payment_reference: Reference | None = None
    amount_minor: Annotated[int, Field(strict=True, ge=0, le=MAX_MINOR)] | None = None
    refund_id: Identifier | None = None
    refund_reference: Reference | None = None
    tender: _Tender = _Tender()


def facts_in(version: Told, merchant_id: str, environment: str) -> list[Fact]:
    """Nothing of live money: no acquirer says anything about that. Raises `ValueError` where an event is none."""
    if environment != "test":
        return []
    found = []
    for ordinal, entry in enumerate(version.events):
        kind = _TENDERED.get(entry.type) or _FOLLOWING.get(entry.type)
        if kind is None:
            continue
        moved = _Moved.model_validate(entry.data)
        tendered = entry.type in _TENDERED
        if (tendered and not moved.tender.at_the_acquirer) or (kind == "refunded" and moved.tender.elsewhere):
            continue
        found.append(
            Fact(
                order_id=version.order_id,
                version=version.version,
                ordinal=ordinal,
                merchant_id=merchant_id,
                environment=environment,
                kind=kind,
                currency=version.balance_after.currency,
                payment_id=moved.payment_id,
                reference=moved.payment_reference if tendered else None,
                amount_minor=moved.amount_minor,
                refund=f"{moved.refund_id}/{moved.refund_reference}" if moved.refund_id else None,
                recorded_at=version.recorded_at,
            )
        )
    return found
