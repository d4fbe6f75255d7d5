"""What can be wrong with a channel event, and the reason it gets."""

import json
from typing import Any

import pytest

from services.payments.core.state import Channel
from services.payments.incoming import arrival_of, channel_of_source, channel_of_topic, check_source
from shared.contracts.channels import ChannelPaymentCaptured
from shared.envelope import Envelope
from shared.faults import Poison


def dumps(value: Any) -> bytes:
    return json.dumps(value).encode()


CHANNELS = {
    "chn_web": Channel("chn_web", "mer_1", "test", "active"),
    "chn_new": Channel("chn_new", "mer_1", "test", "provisioning"),
    "chn_old": Channel("chn_old", "mer_1", "test", "disabled"),
    "chn_end": Channel("chn_end", "mer_1", "test", "disabling"),
}
BODY = {"order_id": "ord_1", "payment_reference": "psp-1", "amount_money": {"amount": 9000, "currency": "EUR"}}


def envelope(body: Any = None, kind: str = "captured", version: int = 1, source: str = "/channels/chn_web") -> Envelope:
    data = body if isinstance(body, bytes) else dumps(BODY | (body or {}))
    return Envelope(id="e", type=f"channel.payment.{kind}.v{version}", source=source, data=data)


def reason(told: Envelope, channel_id: str = "chn_web") -> str:
    with pytest.raises(Poison) as caught:
        arrival_of(told, channel_id, CHANNELS)
    return caught.value.reason


def test_a_good_one() -> None:
    arrival = arrival_of(envelope({"more": 1, "captured_at": "2026-11-21T10:00:00Z"}), "chn_web", CHANNELS)
    assert isinstance(arrival.event, ChannelPaymentCaptured)
    assert arrival.event.order_id == "ord_1"
    assert arrival_of(envelope(), "chn_new", CHANNELS).channel.open


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"amount_money": {"amount": 0, "currency": "EUR"}}, "INVALID_AMOUNT"),
        ({"amount_money": {"amount": -1, "currency": "EUR"}}, "INVALID_AMOUNT"),
        ({"amount_money": {"amount": 10**12, "currency": "EUR"}}, "INVALID_AMOUNT"),
        ({"amount_money": {"amount": 10**30, "currency": "EUR"}}, "INVALID_AMOUNT"),
        ({"amount_money": {"amount": 1.5, "currency": "EUR"}}, "INVALID_AMOUNT"),
        ({"amount_money": {"amount": "5", "currency": "EUR"}}, "INVALID_AMOUNT"),
        ({"amount_money": {"amount": True, "currency": "EUR"}}, "INVALID_AMOUNT"),
        ({"amount_money": {"amount": 5, "currency": "eur"}}, "INVALID_CURRENCY"),
        ({"amount_money": {"amount": 5, "currency": "XXX"}}, "INVALID_CURRENCY"),
        ({"amount_money": None}, "INVALID_BODY"),
        ({"order_id": None}, "INVALID_BODY"),
        ({"payment_reference": ""}, "INVALID_BODY"),
        ({"payment_reference": "p" * 201}, "INVALID_BODY"),
        ({"payment_reference": "p\0"}, "INVALID_BODY"),
        ({"method": {"type": "card", "brand": "a\0"}}, "INVALID_BODY"),
        ({"method": {"type": "barter"}}, "INVALID_BODY"),
        ({"captured_at": "2026-11-21T10:00:00"}, "INVALID_BODY"),
        ({"captured_at": 1}, "INVALID_BODY"),
        ({"source": "shop"}, "INVALID_BODY"),
        (b"[]", "INVALID_BODY"),
        (b"{", "INVALID_BODY"),
        (b"\xff", "INVALID_BODY"),
        (b'{"order_id": "\\ud800"}', "INVALID_BODY"),
    ],
)
def test_bodies_that_count_for_nothing(body: Any, expected: str) -> None:
    assert reason(envelope(body)) == expected


def test_types_versions_and_channels_that_count_for_nothing() -> None:
    assert reason(envelope(kind="imagined")) == "UNKNOWN_TYPE"
    assert reason(envelope(version=2)) == "UNKNOWN_VERSION"
    assert reason(envelope(kind="refunded")) == "INVALID_BODY"
    assert reason(envelope(), "chn_none") == "UNKNOWN_CHANNEL"
    assert reason(envelope(), "chn_old") == "CHANNEL_DISABLED"
    assert reason(envelope(), "chn_end") == "CHANNEL_DISABLED"


def test_a_void_needs_no_amount() -> None:
    body = dumps({"external_reference": "web-1", "payment_reference": "psp-1"})
    assert arrival_of(envelope(body, "voided"), "chn_web", CHANNELS).event.amount_money is None


def test_a_source_may_be_anything_but_another_channel() -> None:
    check_source(envelope(source="/my/shop"), "chn_web")
    check_source(envelope(), "chn_web")
    for source in ("/channels/chn_other", "/channels/", "/channels/chn_web/x"):
        with pytest.raises(Poison):
            check_source(envelope(source=source), "chn_web")
    with pytest.raises(Poison):
        channel_of_source("/my/shop")
    assert channel_of_source("/channels/chn_web") == "chn_web"
    assert channel_of_topic("channels.chn_a-B_1.payments") == "chn_a-B_1"
