"""An order as far as it matters here, from the versions that the order service publishes."""

from datetime import datetime

from services.payments.core.state import KnownOrder
from shared.immutable import immutable, replace


@immutable
class Seen:
    """One version of an order, read; it says only what it changes."""

    order_id: str
    merchant_id: str
    environment: str
    version: int
    currency: str
    outstanding_minor: int
    credit_minor: int = 0
    status: str | None = None
    names: bool = False
    """Whether it says what the merchant calls the order and whose it is, be it nothing and nobody's."""
    external_reference: str | None = None
    customer_id: str | None = None
    placed_at: datetime | None = None

    @property
    def whole(self) -> bool:
        """Whether it says all, so that nothing needs to be known of the order before."""
        return self.names and self.status is not None and self.placed_at is not None


def order_after(before: KnownOrder | None, seen: Seen) -> KnownOrder:
    """The order after this version; a version that was seen, or an older one, changes nothing."""
    if before is not None and before.version >= seen.version:
        return before
    known = before or _unnamed(seen)
    return replace(
        known,
        version=seen.version,
        outstanding_minor=seen.outstanding_minor,
        credit_minor=seen.credit_minor,
        status=seen.status or known.status,
        external_reference=seen.external_reference if seen.names else known.external_reference,
        customer_id=seen.customer_id if seen.names else known.customer_id,
        placed_at=seen.placed_at or known.placed_at,
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
