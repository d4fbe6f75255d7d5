"""What clients may ask for about orders and customers, and what they may send about customers."""

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from shared.contracts import order_parts as parts
from shared.contracts.model import Clean, Metadata, MetadataPatch, Reference, Text
from shared.http.bodies import RequestModel
from shared.http.pages import ListQuery


def _timestamp(value: datetime | None) -> datetime | None:
    if value is not None and value.tzinfo is None:
        raise ValueError("needs a time zone, such as Z")
    return value


QueryTime = Annotated[datetime, AfterValidator(_timestamp)]
QueryText = Annotated[str, Field(min_length=1, max_length=200), Clean]
QueryAmount = Annotated[int, Field(ge=0, le=2**53)]


class OrderQuery(RequestModel):
    """Which state of an order: the newest, a version, or that of a moment."""

    version: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    at: QueryTime | None = None
    expand: QueryText | None = None
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
    external_reference: QueryText | None = None
    location_id: QueryText | None = None
    device_id: QueryText | None = None
    created_from: QueryTime | None = None
    created_before: QueryTime | None = None
    total_from: QueryAmount | None = None
    """Least total in minor units."""
    total_to: QueryAmount | None = None
    """Largest total in minor units."""
    query: QueryText | None = None
    """Words, or their beginnings, in number, external reference, line names and SKUs."""
    expand: QueryText | None = None


class CustomerRequest(RequestModel):
    name: Text | None = None
    email: Annotated[str, Field(max_length=254, pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$"), Clean] | None = None
    phone: Annotated[str, Field(pattern=r"^\+[1-9][0-9]{6,14}$")] | None = None
    """E.164: `+4930123456`."""
    external_reference: Reference | None = None
    metadata: Annotated[Metadata, Field(max_length=50, default_factory=dict)]


class CustomerPatch(RequestModel):
    """Only the fields that are given change; `null` clears one. Metadata merges by key."""

    name: Text | None = None
    email: Annotated[str, Field(max_length=254, pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$"), Clean] | None = None
    phone: Annotated[str, Field(pattern=r"^\+[1-9][0-9]{6,14}$")] | None = None
    external_reference: Reference | None = None
    metadata: MetadataPatch | None = None
    expected_version: int | None = None


class CustomersQuery(ListQuery):
    email: QueryText | None = None
    external_reference: QueryText | None = None
    query: QueryText | None = None
    """Words, or their beginnings, in name, e-mail, phone and external reference."""
