"""Merchants: who sells. Each has a test and a live environment, which share nothing."""

from datetime import datetime
from typing import Literal

from shared.contracts.model import Metadata
from shared.immutable import immutable

MerchantStatus = Literal["active", "suspended", "closed"]


@immutable
class Merchant:
    """A merchant with the ids of its two environments."""

    merchant_id: str
    test_environment_id: str
    live_environment_id: str
    name: str
    country: str | None
    default_currency: str | None
    time_zone: str | None
    metadata: Metadata
    created_at: datetime
    updated_at: datetime
    status: MerchantStatus = "active"
    version: int = 1


def may_become(before: MerchantStatus, after: MerchantStatus) -> bool:
    """Closing is for good; everything else can be undone."""
    return before != "closed" or after == "closed"
