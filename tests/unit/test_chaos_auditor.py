"""The auditor of the chaos runs finds what is wrong: a clean world is spoilt in one way after another."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.chaos.audit import Findings, audit
from tests.chaos.evidence import Evidence, Message
from tests.chaos.journal import Journal, Leg, Promised, Told, Write

TOPIC = "channels.chn_a.payments"


def money(amount: int) -> dict[str, Any]:
    return {"amount": amount, "currency": "EUR"}


def journal() -> Journal:
    created = Write("k1", "create", "/v1/orders", {"external_reference": "r1"}, 1, 201, order_id="ord_1", version=1)
    created.answers.add(("ord_1", 1))
    note = Write("k2", "note", "/v1/orders/ord_1/notes", {"text": "hello"}, 2, 201, order_id="ord_1", version=3)
    note.answers.add(("ord_1", 3))
    captured = Told("e1", "chn_a", "captured", "p1", 500, "applied", "ord_1", accepted=True, positions=[(0, 0), (0, 1)])
    garbage = Told("e2", "chn_a", "garbage", "p2", 1, "dead", accepted=True, positions=[(0, 2)])
    order = Promised("ord_1", "r1", 1000, notes=["hello"], legs={"p1": Leg(captured=500)})
    return Journal(writes=[created, note], told=[captured, garbage], orders={"ord_1": order})


def version(number: int, kind: str, **data: Any) -> dict[str, Any]:
    payload = {"events": [{"type": kind, "data": data}], "command_id": f"c{number}"}
    return {"order_id": "ord_1", "version": number, "type": kind, "payload": payload}


def message(topic: str, offset: int, value: dict[str, Any] | None = None, **headers: str) -> Message:
    return Message(topic, 0, offset, "ord_1", json.dumps(value or {}).encode(), headers)


def evidence() -> Evidence:
    settlement = {"captured": 500, "refunded": 0, "net_collected": 500, "outstanding": 500, "credit": 0}
    shown = {
        "version": 3,
        "pricing": {"tip_money": money(0), "total_money": money(1000), "net_total_money": money(1000)},
        "settlement": {f"{name}_money": money(amount) for name, amount in settlement.items()},
        "payments": [{"reference": "p1", "captured_money": money(500), "refunded_money": money(0)}],
    }
    history = [
        version(1, "orders.order_created.v1"),
        version(2, "orders.payment_captured.v1", payment_reference="p1", amount_minor=500),
        version(3, "orders.note_added.v1", text="hello"),
    ]
    return Evidence(
        tables={
            "orders": [{"order_id": "ord_1", "version": 3, "external_reference": "r1"}],
            "history": history,
            "inbox": [{"aggregate_id": "ord_1", "command_id": "c2"}],
            "orders_outbox": [],
            "payments_outbox": [],
            "channel_events": [{"channel_event_id": "ce_1", "order_id": "ord_1", "status": "applied"}],
            "unmatched": [],
            "known_orders": [{"order_id": "ord_1", "version": 3}],
        },
        topics={
            TOPIC: [message(TOPIC, offset) for offset in range(3)],
            f"{TOPIC}.dead-letters": [message("", 0, tl_topic=TOPIC, tl_partition="0", tl_offset="2")],
            "orders.events": [message("orders.events", number, {"version": number}) for number in (1, 2, 1, 3)],
            "orders.commands": [message("orders.commands", 0, ce_id="c2")],
            "orders.replies": [message("orders.replies", 0, {"command_id": "c2", "order_version": 2})],
        },
        shown={"ord_1": shown},
    )


def found(spoil: Callable[[Journal, Evidence], Any]) -> Findings:
    told, seen = journal(), evidence()
    spoil(told, seen)
    return audit(told, seen)


def test_a_clean_world_is_clean() -> None:
    assert found(lambda _told, _seen: None).clean()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda _, seen: seen.tables["orders"].clear(),
        lambda _, seen: seen.tables["history"][2]["payload"]["events"].clear(),
        lambda _, seen: seen.tables["history"][1]["payload"]["events"].clear(),
        lambda _, seen: seen.tables["inbox"].clear(),
        lambda _, seen: seen.tables["orders_outbox"].append({"aggregatetype": "orders.events"}),
        lambda _, seen: seen.tables["known_orders"][0].update(version=2),
        lambda _, seen: seen.tables["channel_events"][0].update(status="sent"),
        lambda _, seen: seen.topics[TOPIC].pop(1),
        lambda _, seen: seen.topics[f"{TOPIC}.dead-letters"].clear(),
        lambda _, seen: seen.topics["orders.events"].pop(),
        lambda _, seen: seen.topics["orders.replies"].clear(),
        lambda _, seen: seen.shown["ord_1"]["settlement"].update(captured_money=money(499)),
        lambda told, _: setattr(told.told[0], "accepted", False),
        lambda told, _: setattr(told.told[0], "fate", "conflict"),
        lambda told, _: setattr(told.orders["ord_1"], "tip", 5),
    ],
)
def test_what_is_lost_is_found(spoil: Callable[[Journal, Evidence], Any]) -> None:
    assert found(spoil).lost


@pytest.mark.parametrize(
    "spoil",
    [
        lambda _, seen: seen.tables["orders"].append(
            {"order_id": "ord_2", "version": 0, "external_reference": "r1"}  # the same key made two orders
        ),
        lambda _, seen: seen.tables["history"][2]["payload"]["events"].append(
            {"type": "orders.payment_captured.v1", "data": {"payment_reference": "p1", "amount_minor": 500}}
        ),
        lambda _, seen: seen.tables["history"][2]["payload"].update(command_id="c2"),
        lambda _, seen: seen.topics["orders.replies"].append(
            message("orders.replies", 1, {"command_id": "c2", "code": "NOT_FOUND"})
        ),
        lambda _, seen: seen.topics["orders.events"].append(message("orders.events", 9, {"version": 1, "other": 1})),
        lambda _, seen: seen.topics["orders.events"].append(message("orders.events", 9, {"version": 4})),
        lambda told, _: told.writes[1].answers.add(("ord_1", 4)),
    ],
)
def test_what_is_double_is_found(spoil: Callable[[Journal, Evidence], Any]) -> None:
    assert found(spoil).double


@pytest.mark.parametrize(
    "spoil",
    [
        lambda _, seen: seen.topics["orders.events"].insert(0, seen.topics["orders.events"].pop()),
        lambda _, seen: seen.tables["history"].pop(0),
    ],
)
def test_disorder_is_found(spoil: Callable[[Journal, Evidence], Any]) -> None:
    assert found(spoil).disorder
