"""What the public is told of a version."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from ulid import ULID

from services.apps.core.event_types import EVENT_TYPES, FAMILIES, is_like, types_like
from services.apps.core.events import Happened, Origin, PublicEvent, Version, created_in, public_events
from shared.contracts.orders import EVENTS
from shared.immutable import replace

NOON = datetime(2026, 11, 21, 12, 0, 0, 123456, tzinfo=UTC)
VERSION = Version(
    order_id="ord_1",
    version=3,
    merchant_id="mer_1",
    environment="test",
    recorded_at=NOON,
    currency="EUR",
    actor=Origin("channel", "chn_web"),
    cause=Origin("command", "cmd_1"),
    happened=(),
    order=b'{"order_id":"ord_1","version":3}',
)


def told(*wire_types: str, **changes: Any) -> tuple[PublicEvent, ...]:
    happened = tuple(Happened(wire_type, {}) for wire_type in wire_types)
    return public_events(replace(VERSION, happened=happened, **changes))


@pytest.mark.parametrize(
    ("wire_type", "expected"),
    [
        ("orders.order_created.v1", ["order.created"]),
        ("orders.order_opened.v1", ["order.opened"]),
        ("orders.order_canceled.v1", ["order.canceled"]),
        ("orders.order_closed.v1", ["order.closed"]),
        ("orders.order_paid.v1", ["order.paid"]),
        ("orders.order_partially_paid.v1", ["order.partially_paid"]),
        ("orders.order_overpaid.v1", ["order.overpaid"]),
        ("orders.payment_authorized.v1", ["order.payment_authorized"]),
        ("orders.payment_captured.v1", ["order.payment_captured"]),
        ("orders.payment_failed.v1", ["order.payment_failed"]),
        ("orders.refund_recorded.v1", ["order.refunded"]),
        ("orders.lease_granted.v1", ["order.lease_granted"]),
        ("orders.lease_released.v1", ["order.lease_released"]),
        ("orders.lease_expired.v1", ["order.lease_expired"]),
        ("orders.lease_handed_over.v1", ["order.lease_released", "order.lease_granted"]),
        ("orders.line_item_added.v1", ["order.updated"]),
        ("orders.payment_voided.v1", ["order.updated"]),
        ("orders.refund_reserved.v1", ["order.updated"]),
        ("orders.something_new.v7", ["order.updated"]),
    ],
)
def test_each_happening_is_told_by_its_public_name(wire_type: str, expected: list[str]) -> None:
    assert [event.type for event in told(wire_type)] == expected


def test_an_events_id_never_changes() -> None:
    """It was told to receivers before, and is told again."""
    early = told("orders.order_opened.v1", recorded_at=datetime(1970, 1, 1, tzinfo=UTC))
    late = told("orders.order_opened.v1", recorded_at=datetime(9999, 12, 31, tzinfo=UTC))
    ids = [event.event_id for event in (*told("orders.order_opened.v1", "orders.order_paid.v1"), *early, *late)]
    assert ids == [
        "evt_01M7YZMHKVXXGFPP7G3D519G36",
        "evt_01M7YZMHKV1TKG0BEWQHHT2CCW",
        "evt_0000000000XXGFPP7G3D519G36",
        "evt_76EZ6FK000XXGFPP7G3D519G36",
    ]


def test_every_type_is_told_of_something_and_everything_is_told() -> None:
    types = [event.type for wire_type in EVENTS for event in told(wire_type)]
    assert set(types) == set(FAMILIES["order"].types)
    assert len(types) >= len(EVENTS)
    assert all(told(wire_type) for wire_type in EVENTS)


def test_one_version_may_be_several_events_in_the_order_in_which_they_happened() -> None:
    events = told("orders.line_item_removed.v1", "orders.lease_expired.v1", "orders.order_paid.v1")
    assert [event.type for event in events] == ["order.updated", "order.lease_expired", "order.paid"]
    assert len({event.event_id for event in events}) == 3


def test_the_same_version_gives_the_same_events_and_any_other_gives_others() -> None:
    names = ("orders.payment_captured.v1", "orders.order_paid.v1")
    ids = [event.event_id for event in told(*names)]
    assert [event.event_id for event in told(*names)] == ids
    for changes in ({"version": 4}, {"order_id": "ord_2"}, {"environment": "live"}, {"merchant_id": "mer_2"}):
        assert not set(ids) & {event.event_id for event in told(*names, **changes)}


def test_an_id_says_when_the_event_was_made() -> None:
    [event] = told("orders.order_paid.v1")
    assert ULID.from_str(event.event_id.removeprefix("evt_")).datetime == NOON.replace(microsecond=123000)
    began = NOON.replace(microsecond=123000)
    assert created_in(event.event_id) == (began, began + timedelta(milliseconds=1))
    for other in (
        "evt_",
        "ord_" + event.event_id[4:],
        event.event_id + "0",
        event.event_id[:-1] + "U",
        "evt_" + "Z" * 26,
    ):
        assert created_in(other) is None


def test_the_body_is_the_event_as_everybody_sees_it() -> None:
    captured = Happened(
        "orders.payment_captured.v1",
        {"payment_id": "pay_1", "payment_reference": "psp-77", "amount_minor": 9000, "tender": {"source": "pos"}},
    )
    [event] = public_events(replace(VERSION, happened=(captured,)))
    assert json.loads(event.body()) == {
        "event_id": event.event_id,
        "type": "order.payment_captured",
        "created_at": "2026-11-21T12:00:00.123456Z",
        "merchant_id": "mer_1",
        "environment": "test",
        "subject": {"type": "order", "id": "ord_1"},
        "order_id": "ord_1",
        "order_version": 3,
        "actor": {"type": "channel", "id": "chn_web"},
        "cause": {"type": "command", "id": "cmd_1"},
        "data": {
            "change": {
                "type": "payment_captured",
                "payment_id": "pay_1",
                "payment_reference": "psp-77",
                "amount_money": {"amount": 9000, "currency": "EUR"},
            },
            "order": {"order_id": "ord_1", "version": 3},
        },
    }


def test_an_order_too_large_for_a_message_is_null_and_a_cause_may_be_unknown() -> None:
    [event] = told("orders.order_paid.v1", order=b"null", cause=None)
    body = json.loads(event.body())
    assert body["data"]["order"] is None
    assert body["cause"] is None


def test_the_customer_is_only_for_those_who_may_see_customers() -> None:
    [event] = told("orders.order_paid.v1", customer=b'{"name":"Ada"}')
    whole = {"order_id": "ord_1", "version": 3, "customer": {"name": "Ada"}}
    plain = {"order_id": "ord_1", "version": 3}
    for scopes, expected in (
        (None, whole),
        (["orders.read", "customers.read"], whole),
        (["customers.write"], whole),
        (["orders.read"], plain),
        ([], plain),
    ):
        assert json.loads(event.body(scopes))["data"]["order"] == expected


def test_patterns_name_types_by_whole_words() -> None:
    assert types_like(["order.paid", "order.paid", "order.created"]) == ["order.created", "order.paid"]
    assert types_like(["order.*"]) == sorted(FAMILIES["order"].types)
    assert types_like(["*"]) == sorted(EVENT_TYPES)
    assert types_like(["partner_app.install.*", "webhook_endpoint.*"]) == [
        "partner_app.install.created",
        "partner_app.install.permissions_updated",
        "partner_app.install.revoked",
        "webhook_endpoint.disabled",
    ]
    assert not is_like("order.paid", "order.pa*")
    assert not is_like("order.paid", "ord.*")
    for wrong in ("order.pa*", "orders.*", "", ".*", "order", "order.unknown"):
        with pytest.raises(ValueError, match=f"^{wrong.replace('*', '[*]')}$"):
            types_like([wrong])
