"""What clients send and get about channels, their events and unmatched money."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel

from services.payments.core.state import ChannelStatus
from services.payments.http import examples
from shared.contracts.channels import ChannelEvent, ChannelId
from shared.contracts.model import Clean, Text
from shared.contracts.order_parts import Source
from shared.contracts.payments import UnmatchedKind, UnmatchedStatus
from shared.http.answers import AnswerModel
from shared.http.bodies import RequestModel, shown
from shared.http.pages import ListQuery, QueryTime


class ChannelRequest(RequestModel):
    model_config = shown(examples.NEW_CHANNEL)

    name: Text
    channel_id: ChannelId | None = None
    """Your own, beginning with `chn_`; it names the topic, so it is unique across all merchants."""
    source: Source | None = None
    """What payments of this channel are taken through where an event does not say."""


class ChannelPatch(RequestModel):
    model_config = shown({"name": "Web shop"})

    name: Text


class KafkaAccess(AnswerModel):
    """How the channel logs in to Kafka."""

    bootstrap_servers: str
    security_protocol: str
    sasl_mechanism: str
    username: str
    password: str | None
    """Shown once, when it is made, and kept nowhere: `null` in every other answer, also in a replayed one."""


class ChannelView(AnswerModel):
    """Somebody who tells about payments, on a topic that only it can write."""

    model_config = shown(examples.CHANNEL)

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
    """One event in CloudEvents' JSON format."""

    model_config = shown(examples.EVENT) | ConfigDict(use_attribute_docstrings=True)

    specversion: Literal["1.0"]
    id: str
    """Yours, the same when you send the event again."""
    type: str
    """`channel.payment.authorized.v1`, `.captured.v1`, `.failed.v1`, `.voided.v1` or `.refunded.v1`."""
    source: str
    """Names the channel: `/channels/chn_…`."""
    subject: str | None = None
    time: datetime | None = None
    datacontenttype: str | None = None
    data: ChannelEvent
    """What happened; its fields depend on `type`."""


class CloudEventBatch(RootModel[list[CloudEvent]]):
    """Several events; the answer has one outcome for each, in this order."""

    model_config = shown([examples.EVENT])


class ChannelPayment(RootModel[ChannelEvent]):
    """The `data` of one event in CloudEvents' binary mode: `ce-specversion`, `ce-id`, `ce-type` and `ce-source` are
    headers."""

    model_config = shown(examples.PAYMENT)


class ChannelEventOutcome(AnswerModel):
    """What became of one event of the request; they are in the request's order."""

    model_config = shown(examples.OUTCOME)

    event_id: str | None = None
    """Not there for what had no readable `id`."""
    outcome: Literal["accepted", "duplicate", "conflict", "unmatched", "rejected"]
    """`accepted`: on its way to the order. `duplicate`: told before, nothing happens. `conflict`: the same reference
    said something else before, which stands. `unmatched`: no order answers to the name yet, it is kept. `rejected`:
    it is no event that counts."""
    reason: str | None = None
    detail: str | None = None
    payment_id: str | None = None
    unmatched_money_id: str | None = None


QueryText = Annotated[str, Field(min_length=1, max_length=200), Clean]


class UnmatchedMoneyQuery(ListQuery):
    """Filters of the list; all that are given must match."""

    status: UnmatchedStatus | None = None
    kind: UnmatchedKind | None = None
    channel_id: QueryText | None = None
    order_id: QueryText | None = None
    created_from: QueryTime | None = None
    """The earliest `created_at`."""
    created_before: QueryTime | None = None
    """`created_at` is earlier than this."""
