"""What the public is told: on the topics of installed apps, in webhooks, in lists and in streams, always the same."""

from datetime import datetime
from typing import ClassVar

from pydantic import Field

from shared.contracts.access import Environment
from shared.contracts.model import Identifier, JsonObject, Message, Part


class Origin(Part):
    """Who caused it (`key`, `channel`, `app`, `device` …), or what it was caused by."""

    type: str
    id: str


class PublicEventData(Part):
    """What happened, and what it happened to as it was afterwards.

    An order is under `order`; anything else is under the name that `subject.type` says (`webhook_endpoint` …).
    """

    model_config = Part.model_config | {"extra": "allow"}

    change: JsonObject
    """The name of what happened in `type`, and the ids and amounts that tell which part of the order it was about."""
    order: JsonObject | None
    """As `GET /v1/orders/{order_id}` shows it; `null` where the order is too large for an event, and where the event is
    about something else. `customer` is there only for those who may read customers."""


class PublicEvent(Message):
    """Something happened. The same event has the same id on every path and whenever it comes again.

    `ce_type` is the event's type (`order.paid`), `ce_id` its id.
    """

    wire_type: ClassVar[str] = "apps.public_event.v1"

    event_id: Identifier
    type: str = Field(examples=["order.paid"])
    created_at: datetime
    merchant_id: Identifier
    environment: Environment
    subject: Origin | None = None
    """What it happened to: an `order`, or what else the type is about. Always there."""
    order_id: Identifier | None
    """The order, where it concerns one."""
    order_version: int | None
    """Events of one order come in the order of its versions; `null` where the event is not about a version."""
    actor: Origin
    cause: Origin | None
    """The command that led to it, where it is known."""
    data: PublicEventData
