"""What clients send and get about channels, their events and unmatched money."""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, RootModel, model_validator

from services.payments.core.proposals import ReasonCode
from services.payments.core.state import ChannelStatus
from services.payments.http import examples
from shared.contracts.channels import ChannelEvent, ChannelId
from shared.contracts.model import Clean, Money, PositiveMinor, Reference, Text, Timestamp
from shared.contracts.order_parts import Source
from shared.contracts.payments import UnmatchedKind, UnmatchedMoney, UnmatchedStatus
from shared.http.answers import AnswerModel
from shared.http.bodies import Currency, RequestModel, shown
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


class PartMoney(RequestModel):
    """A part of an item's money, in its currency."""

    amount: PositiveMinor
    currency: Currency


class DecisionRequest(RequestModel):
    """What somebody decides about an item says."""

    expected_version: Annotated[int, Field(ge=1, lt=2**31)] | None = None
    """The version that you read; if the item has another by now, nothing changes: 409 `VERSION_CONFLICT`."""
    note: Text | None = None
    """For whoever asks later why."""


class MoneyDecisionRequest(DecisionRequest):
    amount_money: PartMoney | None = None
    """A part of it; without this all of it. What is left becomes an item of its own."""


class AttachRequest(MoneyDecisionRequest):
    model_config = shown(examples.ATTACH)

    order_id: Annotated[str, Field(pattern=r"^ord_[A-Za-z0-9]{1,64}$")]


class ReturnRequest(MoneyDecisionRequest):
    """Either it went back already (`reference`), or its processor is to give it back (`through_processor`)."""

    model_config = shown(examples.RETURN)

    reference: Reference | None = None
    """What the return is called where it was made: the number of a transfer, of a refund at the processor."""
    returned_at: Timestamp | None = None
    through_processor: bool = False
    """Whether the processor that collected it is asked to give it back; only for what a payment intent collected."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.reference is None) != self.through_processor:
            raise ValueError("give either reference or through_processor")
        if self.through_processor and self.returned_at is not None:
            raise ValueError("returned_at is known when the processor has given it back")
        return self


class DismissRequest(DecisionRequest):
    model_config = shown(examples.DISMISS)


class MatchReason(AnswerModel):
    """One thing that speaks for an order."""

    code: ReasonCode
    detail: str


class MatchProposal(AnswerModel):
    """An order that the money may belong to; it is in the money's currency."""

    order_id: str
    external_reference: str | None
    status: str
    """Of the order, as far as it is known here: it may be a moment behind."""
    outstanding_money: Money
    score: int
    """The sum of what its reasons weigh; only to be compared with the other proposals of the item."""
    reasons: list[MatchReason]


class UnmatchedMoneyView(UnmatchedMoney):
    """An item with the orders that it may belong to."""

    model_config = shown(examples.UNMATCHED)

    proposals: list[MatchProposal]
    """At most five, the likeliest first; none once somebody has decided."""
