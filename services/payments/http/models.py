"""What clients send and get about channels, their events and unmatched money."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field

from services.payments.core.state import ChannelStatus
from shared.contracts.channels import ChannelId
from shared.contracts.model import Clean, Text
from shared.contracts.order_parts import Source
from shared.contracts.payments import UnmatchedKind, UnmatchedStatus
from shared.http.bodies import RequestModel
from shared.http.pages import ListQuery


class ChannelRequest(RequestModel):
    name: Text
    channel_id: ChannelId | None = None
    """Your own, beginning with `chn_`; it names the topic, so it is unique across all merchants."""
    source: Source | None = None
    """What payments of this channel are taken through where an event does not say."""


class ChannelPatch(RequestModel):
    name: Text


class KafkaAccess(BaseModel):
    """How the channel logs in to Kafka."""

    bootstrap_servers: str
    security_protocol: str
    sasl_mechanism: str
    username: str
    password: str | None
    """Shown once, when it is made, and kept nowhere: `null` in every other answer, also in a replayed one."""


class ChannelView(BaseModel):
    """Somebody who tells about payments, on a topic that only it can write."""

    channel_id: str
    name: str
    status: ChannelStatus
    source: Source | None
    topic: str
    dead_letter_topic: str
    """What could not be processed, with the reason in the headers; the channel may read it."""
    kafka: KafkaAccess
    created_at: datetime
    updated_at: datetime


class CloudEvent(BaseModel):
    """One event in CloudEvents' JSON format; `source` names the channel: `/channels/chn_…`."""

    specversion: Literal["1.0"]
    id: str
    type: str
    source: str
    subject: str | None = None
    time: datetime | None = None
    datacontenttype: str | None = None
    data: dict[str, Any]


class ChannelEventOutcome(BaseModel):
    """What became of one event of the request; they are in the request's order."""

    event_id: str | None
    outcome: Literal["accepted", "duplicate", "conflict", "unmatched", "rejected"]
    """`accepted`: on its way to the order. `duplicate`: told before, nothing happens. `conflict`: the same reference
    said something else before, which stands. `unmatched`: no order answers to the name yet, it is kept. `rejected`:
    it is no event that counts."""
    reason: str | None = None
    detail: str | None = None
    payment_id: str | None = None
    unmatched_money_id: str | None = None


def _with_zone(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("needs a time zone, such as Z")
    return value


QueryTime = Annotated[datetime, AfterValidator(_with_zone)]
QueryText = Annotated[str, Field(min_length=1, max_length=200), Clean]


class UnmatchedMoneyQuery(ListQuery):
    """Filters of the list; all that are given must match."""

    status: UnmatchedStatus | None = None
    kind: UnmatchedKind | None = None
    channel_id: QueryText | None = None
    order_id: QueryText | None = None
    created_from: QueryTime | None = None
    created_before: QueryTime | None = None
