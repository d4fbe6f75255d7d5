"""What counts of what channels tell, which order it is for, and what the orders' answers make of it."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from services.payments.consumers import _version_in
from services.payments.core.commands import command_for
from services.payments.core.identities import derived_id, payment_id_of, refund_id_of
from services.payments.core.items import item_id
from services.payments.core.projection import Seen, order_after
from services.payments.core.settling import settle
from services.payments.core.state import Arrival, Channel, KeptEvent, KnownOrder, KnownOrders, Leg
from services.payments.core.taking import Taken, sent_again, take, take_all
from services.payments.core.targets import Nowhere, Target, first_target
from services.payments.told import Facts, Told, seen_in
from shared.contracts.channels import (
    ChannelEvent,
    ChannelPaymentAuthorized,
    ChannelPaymentCaptured,
    ChannelPaymentFailed,
    ChannelPaymentRefunded,
    ChannelPaymentVoided,
)
from shared.contracts.model import Message, Money, PositiveMoney
from shared.contracts.order_commands import (
    RecordAuthorization,
    RecordCapture,
    RecordPaymentFailure,
    RecordRefund,
    RecordVoid,
)
from shared.contracts.orders import CommandAccepted, CommandRefused

NOW = datetime(2026, 11, 21, 10, tzinfo=UTC)
CHANNEL = Channel("chn_web", "mer_1", "test", "active", "checkout")
EUR_90 = PositiveMoney(amount=9000, currency="EUR")


def captured(**more: Any) -> ChannelPaymentCaptured:
    given = {"order_id": "ord_1", "payment_reference": "psp-1", "amount_money": EUR_90.model_dump()}
    return ChannelPaymentCaptured.model_validate_json(json.dumps(given | more))


def arrival(event: ChannelEvent | None = None, event_id: str = "evt-1") -> Arrival:
    return Arrival(CHANNEL, event_id, event or captured(), "corr", "00-1")


def order(order_id: str = "ord_1", reference: str | None = None, status: str = "open", **more: Any) -> KnownOrder:
    known = KnownOrder(order_id, "mer_1", "test", reference, "EUR", status, outstanding_minor=9000, version=1)
    return replace(known, **more)


def orders(*known: KnownOrder) -> KnownOrders:
    called: dict[tuple[str, str, str], list[KnownOrder]] = {}
    for each in known:
        called.setdefault((each.merchant_id, each.environment, each.external_reference or ""), []).append(each)
    return KnownOrders({each.order_id: each for each in known}, called)


def taken_of(first: Arrival, *known: KnownOrder) -> Taken:
    return take(
        first, None, Leg(first.payment_id, CHANNEL.channel_id, first.event.payment_reference), orders(*known), NOW
    )


def kept_of(event: ChannelEvent | None = None) -> KeptEvent:
    kept = taken_of(arrival(event), order()).kept
    assert kept is not None
    return kept


def test_ids_follow_from_what_they_name() -> None:
    assert payment_id_of("chn_web", "psp-1") == payment_id_of("chn_web", "psp-1")
    assert derived_id("x", "ab", "c") != derived_id("x", "a", "bc")
    assert derived_id("x", None) != derived_id("x", "")
    assert len({refund_id_of("chn_web", payment, "re") for payment in ("psp-1", "psp-2")}) == 2
    assert payment_id_of("chn_web", "psp-1").startswith("pay_")
    assert len(payment_id_of("chn_web", "psp-1")) == 30


def test_the_first_of_a_reference_becomes_a_command() -> None:
    taken = taken_of(arrival())
    assert taken.outcome == "accepted"
    assert taken.item is None
    assert taken.kept is not None
    assert (taken.kept.status, taken.kept.order_id, taken.kept.currency) == ("sent", "ord_1", "EUR")
    assert taken.kept.command_id == taken.kept.channel_event_id
    assert taken.kept.event.source == "checkout"
    assert taken.leg.currency == "EUR"


@pytest.mark.parametrize(
    "again",
    [
        {},
        {"captured_at": "2026-11-21T10:00:00Z"},
        {"external_reference": "web-1"},
        {"order_id": None, "external_reference": "web-1"},
        {"source": "pos", "method": {"type": "cash"}},
    ],
)
def test_the_same_again_is_nothing(again: dict[str, Any]) -> None:
    known = orders(order(reference="web-1"))
    first, second = take_all([arrival(), arrival(captured(**again), "evt-2")], {}, {}, known, NOW)
    assert (first.outcome, second.outcome) == ("accepted", "duplicate")
    assert (second.kept, second.item) == (None, None)


@pytest.mark.parametrize(
    "other",
    [
        {"amount_money": {"amount": 9001, "currency": "EUR"}},
        {"amount_money": {"amount": 9000, "currency": "USD"}},
        {"order_id": "ord_2"},
        {"order_id": None, "external_reference": "web-2"},
    ],
)
def test_another_content_is_a_conflict(other: dict[str, Any]) -> None:
    known = orders(order(), order("ord_2", "web-2"))
    first, second, third = take_all(
        [arrival(), arrival(captured(**other), "evt-2"), arrival(captured(**other), "evt-3")], {}, {}, known, NOW
    )
    assert [first.outcome, second.outcome, third.outcome] == ["accepted", "conflict", "conflict"]
    assert second.kept is None
    assert second.item is not None
    assert third.item is not None
    assert (second.item.money.kind, second.item.money.event_id) == ("conflict", "evt-2")
    assert second.item.money.unmatched_money_id == third.item.money.unmatched_money_id


@pytest.mark.parametrize(
    "further",
    [
        captured(capture_reference="c2"),
        captured(payment_reference="psp-2"),
        ChannelPaymentAuthorized(order_id="ord_1", payment_reference="psp-1", amount_money=EUR_90),
        ChannelPaymentRefunded(
            order_id="ord_1", payment_reference="psp-1", refund_reference="re-1", amount_money=EUR_90
        ),
    ],
)
def test_another_reference_is_something_else(further: ChannelEvent) -> None:
    first, second = take_all([arrival(), arrival(further)], {}, {}, KnownOrders(), NOW)
    assert (first.outcome, second.outcome) == ("accepted", "accepted")
    assert (first.leg.payment_id == second.leg.payment_id) is (further.payment_reference == "psp-1")


def test_a_payment_of_one_order_is_not_one_of_another() -> None:
    leg = Leg(payment_id_of("chn_web", "psp-1"), "chn_web", "psp-1", order_id="ord_1", currency="EUR")
    refund = ChannelPaymentRefunded(
        order_id="ord_2", payment_reference="psp-1", refund_reference="re-1", amount_money=EUR_90
    )
    taken = take(arrival(refund), None, leg, KnownOrders(), NOW)
    assert (taken.outcome, taken.kept) == ("conflict", None)
    assert taken.item is not None
    assert "ord_1" in taken.item.money.detail


@pytest.mark.parametrize(
    ("names", "known", "expected"),
    [
        ({"order_id": "ord_1"}, [], Target("ord_1")),
        ({"order_id": "ord_1"}, [order(merchant_id="mer_2")], Target("ord_1")),
        ({"order_id": "ord_1"}, [order()], Target("ord_1", order())),
        ({"order_id": "no such form"}, [order()], Nowhere()),
        ({"external_reference": "web-1"}, [], Nowhere()),
        ({"external_reference": "web-1"}, [order(reference="web-1", environment="live")], Nowhere()),
        ({"external_reference": "web-1"}, [order(reference="web-1")], Target("ord_1", order(reference="web-1"))),
        (
            {"external_reference": "web-1"},
            [order(reference="web-1"), order("ord_2", "web-1", "closed")],
            Target("ord_1", order(reference="web-1")),
        ),
        (
            {"external_reference": "web-1"},
            [order(reference="web-1", status="canceled")],
            Target("ord_1", order(reference="web-1", status="canceled")),
        ),
        ({"external_reference": "web-1"}, [order(reference="web-1"), order("ord_2", "web-1")], Nowhere(ambiguous=True)),
    ],
)
def test_which_order(names: dict[str, str], known: list[KnownOrder], expected: Target | Nowhere) -> None:
    event = captured(**({"order_id": None, "external_reference": None} | names))
    assert first_target(event, "mer_1", "test", orders(*known)) == expected


@pytest.mark.parametrize(
    ("event_class", "more", "shown"),
    [
        (ChannelPaymentCaptured, {}, True),
        (ChannelPaymentAuthorized, {}, True),
        (ChannelPaymentRefunded, {"refund_reference": "re-1"}, True),
        (ChannelPaymentVoided, {}, False),
        (ChannelPaymentFailed, {}, False),
    ],
)
def test_only_money_that_moved_is_unmatched(event_class: Any, more: dict[str, str], shown: bool) -> None:
    given = {"external_reference": "web-1", "payment_reference": "psp-1", "amount_money": EUR_90}
    taken = taken_of(arrival(event_class.model_validate(given | more)))
    assert taken.outcome == "unmatched"
    assert taken.kept is not None
    assert (taken.kept.status, taken.kept.command_id) == ("waiting", None)
    assert (taken.item is not None) is shown


def test_a_void_without_amount_waits_until_a_currency_is_known() -> None:
    void = arrival(ChannelPaymentVoided(order_id="ord_1", payment_reference="psp-1"))
    waiting = taken_of(void)
    assert waiting.kept is not None
    assert waiting.kept.status == "waiting"
    known = taken_of(void, order())
    assert known.kept is not None
    assert (known.kept.status, known.kept.currency) == ("sent", "EUR")
    after = sent_again(waiting.kept, replace(waiting.leg, currency="USD"), orders(order()))
    assert (after.status, after.currency) == ("sent", "USD")


def test_commands_name_the_leg_the_channel_and_the_time() -> None:
    about: dict[str, Any] = {"order_id": "ord_1", "payment_reference": "psp-1"}
    at = datetime(2026, 11, 21, 9, tzinfo=UTC)
    events: list[tuple[ChannelEvent, type[Message]]] = [
        (ChannelPaymentAuthorized(**about, amount_money=EUR_90, authorized_at=at), RecordAuthorization),
        (ChannelPaymentCaptured(**about, amount_money=EUR_90, capture_reference="c", captured_at=at), RecordCapture),
        (ChannelPaymentFailed(**about, code="lost_card", message="no"), RecordPaymentFailure),
        (ChannelPaymentVoided(**about), RecordVoid),
        (ChannelPaymentRefunded(**about, amount_money=EUR_90, refund_reference="re", refunded_at=at), RecordRefund),
    ]
    for event, command_class in events:
        command: Any = command_for(kept_of(event))
        assert command.wire_type == command_class.wire_type
        assert command.payment_id == payment_id_of("chn_web", "psp-1")
        assert (command.currency, command.tender.channel_id, command.tender.source) == ("EUR", "chn_web", "checkout")


def reply(kept: KeptEvent, code: str | None = None, **facts: Any) -> CommandAccepted | CommandRefused:
    given = {"command_id": kept.command_id, "order_id": "ord_1", "order_version": 2, "facts": facts}
    if code is None:
        return CommandAccepted.model_validate(given)
    return CommandRefused.model_validate(given | {"code": code, "detail": "No."})


@pytest.mark.parametrize(
    ("facts", "kind", "amount"),
    [
        ({}, None, None),
        ({"surplus_minor": 500}, "surplus", 500),
        ({"order_status": "closed"}, "closed_order", 9000),
        ({"order_status": "canceled", "surplus_minor": 9000}, "closed_order", 9000),
    ],
)
def test_what_an_order_took(facts: dict[str, Any], kind: str | None, amount: int | None) -> None:
    kept = kept_of()
    settled = settle(kept, reply(kept, **facts), NOW)
    assert (settled.kept.status, settled.kept.order_version, settled.found_order) == ("applied", 2, True)
    if kind is None:
        assert settled.item is None
    else:
        assert settled.item is not None
        assert settled.item.money.kind == kind
        assert settled.item.money.amount_money == Money(amount=amount or 0, currency="EUR")


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("NOT_FOUND", "waiting", "unknown_order"),
        ("CURRENCY_MISMATCH", "refused", "currency"),
        ("PAYMENT_REFERENCE_REUSED", "refused", "conflict"),
        ("SOMETHING_NEW", "refused", "conflict"),
    ],
)
def test_what_an_order_refused(code: str, status: str, kind: str) -> None:
    kept = kept_of()
    settled = settle(kept, reply(kept, code), NOW)
    assert settled.kept.status == status
    assert settled.item is not None
    assert settled.item.money.kind == kind
    assert settled.found_order is (status == "refused")
    failed = kept_of(ChannelPaymentFailed(order_id="ord_1", payment_reference="psp-1"))
    assert settle(failed, reply(failed, code), NOW).item is None


def test_every_attempt_has_a_command_id_of_its_own() -> None:
    kept = kept_of()
    refused = settle(kept, reply(kept, "NOT_FOUND"), NOW).kept
    leg = Leg(kept.payment_id, "chn_web", "psp-1")
    assert sent_again(refused, leg, KnownOrders()) == refused
    again = sent_again(refused, leg, orders(order()))
    assert (again.status, again.command_id) == ("sent", f"{kept.channel_event_id}.2")
    assert item_id(kept.channel_event_id, "unknown_order") != item_id(kept.channel_event_id, "currency")


def version_body(number: int, snapshot: dict[str, Any] | None, *events: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    return {
        "order_id": "ord_1",
        "version": number,
        "previous_version": number - 1,
        "events": [{"type": kind, "data": data} for kind, data in events],
        "order": snapshot,
        "actor": {"type": "key", "id": "key_1"},
        "recorded_at": NOW,
        "balance_before": {"amount": 0, "currency": "EUR"},
        "balance_after": {"amount": 9000 - number, "currency": "EUR"},
    }


def version(number: int, snapshot: dict[str, Any] | None, *events: tuple[str, dict[str, Any]]) -> Seen:
    return seen_in(Told.model_validate(version_body(number, snapshot, *events)), "mer_1", "test")


def test_orders_are_known_from_their_versions_with_and_without_the_order() -> None:
    snapshot = {"external_reference": "web-1", "customer_id": "cus_1", "status": "open", "created_at": NOW}
    first = order_after(None, version(1, snapshot))
    assert first == order(reference="web-1", outstanding_minor=8999, customer_id="cus_1", placed_at=NOW)
    created = {
        "merchant_id": "mer_1",
        "environment": "test",
        "number": "1",
        "currency": "EUR",
        "source": "api",
        "context": {"external_reference": "web-1", "customer_id": "cus_1"},
    }
    assert order_after(None, version(1, None, ("orders.order_created.v1", created))) == first
    details = {"context": {"external_reference": "web-2"}}
    second = order_after(first, version(2, None, ("orders.order_details_updated.v1", details)))
    assert (second.external_reference, second.outstanding_minor, second.version) == ("web-2", 8998, 2)
    assert (second.customer_id, second.placed_at) == (None, NOW)
    third = order_after(second, version(3, None, ("orders.order_closed.v1", {})))
    assert (third.status, third.ended) == ("closed", True)
    assert order_after(third, version(2, {"status": "open"})) == third
    overpaid = order_after(first, version(9_002, None))
    assert (overpaid.outstanding_minor, overpaid.credit_minor, overpaid.customer_id) == (0, 2, "cus_1")


def test_a_version_that_says_all_needs_nothing_of_the_order_before() -> None:
    whole = version(5, {"status": "closed", "created_at": NOW})
    before = order(reference="web-1", customer_id="cus_1", version=4)
    assert whole.whole
    assert order_after(before, whole) == order_after(None, whole)
    parts = (version(5, None), version(5, {"status": "closed"}), version(5, None, ("orders.order_closed.v1", {})))
    assert not any(part.whole for part in parts)


@pytest.mark.parametrize(
    ("number", "snapshot", "event"),
    [
        (2**31, {"status": "open"}, None),
        (-1, {"status": "open"}, None),
        (1, {}, None),
        (1, {"status": "\0"}, None),
        (1, {"status": "open", "external_reference": 7}, None),
        (1, {"status": "open", "external_reference": "\0"}, None),
        (1, {"status": "open", "external_reference": "x" * 201}, None),
        (1, {"status": "open", "customer_id": "nobody"}, None),
        (1, {"status": "open", "created_at": "yesterday"}, None),
        (1, None, ("orders.order_created.v1", {})),
        (1, None, ("orders.order_details_updated.v1", {"context": 1})),
    ],
)
def test_a_version_that_could_not_be_kept_is_none(
    number: int, snapshot: dict[str, Any] | None, event: tuple[str, dict[str, Any]] | None
) -> None:
    with pytest.raises(ValueError, match="validation error"):
        version(number, snapshot, *([event] if event else []))


@pytest.mark.parametrize(
    "facts", [{"surplus_minor": "5"}, {"surplus_minor": -1}, {"surplus_minor": 10**30}, {"order_status": "\0"}]
)
def test_facts_that_could_not_be_kept_are_none(facts: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        Facts.model_validate(facts)


@pytest.mark.parametrize("odd", [{"command_id": "\0"}, {"order_version": 2**31}, {"order_version": -1}])
def test_a_reply_that_could_not_be_kept_is_none(odd: dict[str, Any]) -> None:
    body = {"command_id": "cmd_1", "order_id": "ord_1", "order_version": 1}
    assert CommandAccepted.model_validate(body)
    with pytest.raises(ValueError, match="validation error"):
        CommandAccepted.model_validate(body | odd)


def test_an_order_larger_than_any_command_is_read() -> None:
    """What follows from the largest command is larger than it, and its topic takes it."""
    body = version_body(1, None, ("orders.note_added.v1", {"text": "x" * 2 * 1024 * 1024}))
    told = {"specversion": "1.0", "id": "1", "type": "t", "source": "/services/orders"}
    tenant = {"merchantid": "mer_1", "environment": "test"}
    headers = [(f"ce_{name}", value.encode()) for name, value in (told | tenant).items()]
    record = SimpleNamespace(key=b"ord_1", value=json.dumps(body, default=str).encode(), headers=headers)
    assert _version_in(record).seen.version == 1
