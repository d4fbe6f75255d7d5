"""Channel events as they come from outside, read and checked; whatever can be wrong with one has a stable reason."""

import re
from collections.abc import Mapping

from pydantic import ValidationError

from services.payments.core.state import Arrival, Channel
from shared.contracts.channels import CHANNEL_EVENTS, ChannelEvent
from shared.contracts.model import MAX_MINOR
from shared.envelope import INVALID_BODY, Envelope
from shared.faults import Poison
from shared.telemetry import current_traceparent

UNKNOWN_TYPE = "UNKNOWN_TYPE"
UNKNOWN_VERSION = "UNKNOWN_VERSION"
SOURCE_MISMATCH = "SOURCE_MISMATCH"
UNKNOWN_CHANNEL = "UNKNOWN_CHANNEL"
CHANNEL_DISABLED = "CHANNEL_DISABLED"
INVALID_AMOUNT = "INVALID_AMOUNT"
INVALID_CURRENCY = "INVALID_CURRENCY"

_SOURCE_PREFIX = "/channels/"
_CHANNEL_TOPIC = re.compile(r"channels\.(?P<channel_id>.+)\.payments")
_VERSION = re.compile(r"\.v[0-9]+$")
_KNOWN_WITHOUT_VERSION = {_VERSION.sub("", wire_type) for wire_type in CHANNEL_EVENTS}


def channel_of_topic(topic: str) -> str:
    """The channel that alone may write this topic."""
    found = _CHANNEL_TOPIC.fullmatch(topic)
    assert found is not None, "only channels' topics are subscribed to"
    return found["channel_id"]


def channel_of_source(source: str) -> str:
    """The channel that an event's `source` names; raises `Poison` when it names none."""
    channel_id = source.removeprefix(_SOURCE_PREFIX)
    if channel_id == source or not channel_id:
        raise Poison(UNKNOWN_CHANNEL, "source names no channel, as /channels/chn_… does")
    return channel_id


def check_source(envelope: Envelope, channel_id: str) -> None:
    """A channel may call its events' source what it likes, but not another channel. Raises `Poison`."""
    named = envelope.source.startswith(_SOURCE_PREFIX)
    if named and envelope.source != _SOURCE_PREFIX + channel_id:
        raise Poison(SOURCE_MISMATCH, "ce_source names another channel than the topic")


def arrival_of(envelope: Envelope, channel_id: str, channels: Mapping[str, Channel]) -> Arrival:
    """The event of one of these channels; raises `Poison` with the reason when it is none that counts."""
    channel = channels.get(channel_id)
    if channel is None:
        raise Poison(UNKNOWN_CHANNEL, "there is no such channel")
    if not channel.open:
        raise Poison(CHANNEL_DISABLED, "the channel has been disabled")
    return Arrival(
        channel=channel,
        event_id=envelope.id,
        event=_event_of(envelope),
        correlation_id=envelope.correlation_id,
        traceparent=envelope.traceparent or current_traceparent(),
    )


def _event_of(envelope: Envelope) -> ChannelEvent:
    event_class = CHANNEL_EVENTS.get(envelope.type)
    if event_class is None:
        raise _unknown(envelope.type)
    try:
        return event_class.model_validate_json(envelope.data, strict=True)
    except ValidationError as error:
        raise Poison(_reason(error), _what_is_wrong(error)) from None


def _unknown(wire_type: str) -> Poison:
    if _VERSION.sub("", wire_type) in _KNOWN_WITHOUT_VERSION:
        return Poison(UNKNOWN_VERSION, "this version of the type is not understood")
    return Poison(UNKNOWN_TYPE, f"no channel event has the type {wire_type[:100]}")


def _reason(error: ValidationError) -> str:
    """Of the first fault; wrong money has reasons of its own."""
    place = error.errors(include_url=False, include_context=False, include_input=False)[0]["loc"]
    reasons = {"amount_money.amount": INVALID_AMOUNT, "amount_money.currency": INVALID_CURRENCY}
    return reasons.get(".".join(map(str, place)), INVALID_BODY)


def _what_is_wrong(error: ValidationError) -> str:
    """The path and kind of each fault; never the value, which may be anything."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    told = "; ".join(f"{'.'.join(map(str, fault['loc'])) or 'body'}: {fault['type']}" for fault in faults[:5])
    limits = f" (amounts are whole minor units from 1 to {MAX_MINOR})" if _reason(error) == INVALID_AMOUNT else ""
    return told + limits
