"""What clients may ask for about orders and customers, and what they may send about customers."""

from typing import Annotated

from pydantic import Field, model_validator

from services.orders.http import examples
from shared.contracts import order_parts as parts
from shared.contracts.model import Clean, Metadata, MetadataPatch, Reference, Text
from shared.http.bodies import RequestModel, shown
from shared.http.pages import ListQuery, QueryTime

QueryText = Annotated[str, Field(min_length=1, max_length=200), Clean]
# Control characters and the byte order mark are named, because not every engine counts the same ones as spaces.
_NO_SPACE = r"[^@\s\x00-\x1f\x7f-\x9f\uFEFF]+"
Email = Annotated[str, Field(max_length=254, pattern=rf"^{_NO_SPACE}@{_NO_SPACE}\.{_NO_SPACE}$"), Clean]
_EXPANDED = r"\s*(customer|payments|refunds)\s*"
Expand = Annotated[QueryText, Field(json_schema_extra={"pattern": f"^{_EXPANDED}(,{_EXPANDED})*$"})]
QueryAmount = Annotated[int, Field(ge=0, le=2**53)]


class OrderQuery(RequestModel):
    """Which state of an order: the newest, a version, or that of a moment."""

    version: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    """The order as it was at this version."""
    at: QueryTime | None = None
    """The order as it was at this moment, as `2026-11-21T12:00:00Z`."""
    expand: Expand | None = None
    """Comma-separated: `customer`. Payments and refunds are always objects."""

    @model_validator(mode="after")
    def _one_of_both(self) -> "OrderQuery":
        if self.version is not None and self.at is not None:
            raise ValueError("give either version or at")
        return self


class OrdersQuery(ListQuery):
    """Filters of the list; all that are given must match."""

    status: parts.Status | None = None
    payment_status: parts.PaymentStatus | None = None
    refund_status: parts.RefundStatus | None = None
    source: parts.Source | None = None
    customer_id: QueryText | None = None
    number: QueryText | None = None
    """The number for people, exactly."""
    external_reference: QueryText | None = None
    """The order's name in the merchant's own system, exactly."""
    location_id: QueryText | None = None
    device_id: QueryText | None = None
    created_from: QueryTime | None = None
    """The earliest `created_at`."""
    created_before: QueryTime | None = None
    """`created_at` is earlier than this."""
    total_from: QueryAmount | None = None
    """Least total in minor units."""
    total_to: QueryAmount | None = None
    """Largest total in minor units."""
    query: QueryText | None = None
    """Words, or their beginnings, in number, external reference, SKUs and line names: the first 300 of an order."""
    expand: Expand | None = None
    """Comma-separated: `customer`. Payments and refunds are always objects."""


class CustomerRequest(RequestModel):
    model_config = shown(examples.NEW_CUSTOMER)

    name: Text | None = None
    email: Email | None = None
    phone: Annotated[str, Field(pattern=r"^\+[1-9][0-9]{6,14}$")] | None = None
    """E.164: `+4930123456`."""
    external_reference: Reference | None = None
    metadata: Annotated[Metadata, Field(max_length=parts.MAX_METADATA_KEYS, default_factory=dict)]


class CustomerPatch(RequestModel):
    """Only the fields that are given change; `null` clears one. Metadata merges by key."""

    name: Text | None = None
    email: Email | None = None
    phone: Annotated[str, Field(pattern=r"^\+[1-9][0-9]{6,14}$")] | None = None
    external_reference: Reference | None = None
    metadata: MetadataPatch | None = None
    expected_version: int | None = None


class CustomersQuery(ListQuery):
    email: QueryText | None = None
    external_reference: QueryText | None = None
    query: QueryText | None = None
    """Words, or their beginnings, in name, e-mail, phone and external reference."""
