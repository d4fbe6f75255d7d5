"""What the order service sends: one message per order version, and one outcome per command.

`orders.events`   key = order id, `ce_type` = the leading event's type, value `OrderVersion`
`orders.replies`  key = order id, `ce_causationid` = command id, value `CommandAccepted` or `CommandRefused`
"""

from datetime import datetime
from typing import Annotated, ClassVar, get_args

from pydantic import Field

from shared.contracts.model import Actor, Blocker, Clean, Identifier, JsonObject, Message, Money, Part, VersionNumber
from shared.contracts.order_commands import OrderCommand
from shared.contracts.order_events import OrderEvent

COMMANDS: dict[str, type[OrderCommand]] = {command.wire_type: command for command in get_args(OrderCommand)}
"""Wire type → command."""
EVENTS: dict[str, type[OrderEvent]] = {event.wire_type: event for event in get_args(OrderEvent)}
"""Wire type → event."""


class EventEntry(Part):
    """One event as it stands in a message and in the history."""

    type: str
    data: JsonObject


class OrderVersion(Message):
    """One version of an order: what happened and the order after it. Versions are 1, 2, 3 … without a gap.

    The balance is the net total less what was collected: positive is owed to the merchant, negative to the buyer.
    `order` is `null` where the message would exceed what a topic takes; such an order can be read over HTTP.
    """

    wire_type: ClassVar[str] = "orders.order_version.v1"

    order_id: Identifier
    version: VersionNumber
    previous_version: int
    events: tuple[EventEntry, ...]
    order: JsonObject | None
    actor: Actor
    channel: str | None = None
    reason: str | None = None
    recorded_at: datetime
    balance_before: Money
    balance_after: Money


class CommandAccepted(Message):
    """The order's version after the command; `facts` say what a sender may need to follow up (`surplus_minor` …).

    `sender` is the command's `ce_source`: whom this outcome is for.
    """

    wire_type: ClassVar[str] = "orders.command_accepted.v1"

    command_id: Annotated[str, Clean]
    order_id: str
    order_version: VersionNumber
    sender: str = ""
    facts: JsonObject = Field(default_factory=dict)


class CommandRefused(Message):
    """The order said no: `code` is stable, `facts` and `blockers` are what it said no because of."""

    wire_type: ClassVar[str] = "orders.command_refused.v1"

    command_id: Annotated[str, Clean]
    order_id: str
    order_version: VersionNumber
    sender: str = ""
    code: Annotated[str, Clean]
    detail: Annotated[str, Clean] = ""
    facts: JsonObject = Field(default_factory=dict)
    blockers: tuple[Blocker, ...] = ()
