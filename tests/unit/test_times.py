"""Moments from outside: in UTC from then on, and none that UTC cannot name."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from shared.contracts.channels import ChannelPaymentCaptured
from shared.contracts.model import in_utc

BODY = (
    b'{"order_id": "ord_1", "payment_reference": "p", "amount_money": {"amount": 1, "currency": "EUR"},'
    b' "captured_at": "%s"}'
)


def test_a_moment_is_in_utc() -> None:
    read = ChannelPaymentCaptured.model_validate_json(BODY % b"2026-11-21T14:00:00+02:00")
    assert read.captured_at == datetime(2026, 11, 21, 12, tzinfo=UTC)
    assert read.captured_at.tzinfo is UTC


@pytest.mark.parametrize(
    "moment",
    [
        datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))),
        datetime(9999, 12, 31, 23, tzinfo=timezone(-timedelta(hours=14))),
        datetime(2026, 1, 1),  # noqa: DTZ001 - no zone, on purpose
    ],
)
def test_what_utc_cannot_name_is_refused(moment: datetime) -> None:
    with pytest.raises(ValueError, match=r"zone|year"):
        in_utc(moment)


@pytest.mark.parametrize("moment", [b"0001-01-01T00:00:00+14:00", b"9999-12-31T23:59:59-14:00"])
def test_a_channel_cannot_tell_of_such_a_moment(moment: bytes) -> None:
    with pytest.raises(ValueError, match="year"):
        ChannelPaymentCaptured.model_validate_json(BODY % moment)
