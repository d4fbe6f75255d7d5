"""The auditor of the chaos runs finds what is wrong with public events, by whichever way the plugin was told."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.chaos.audit_events import audit_events
from tests.chaos.evidence import Evidence, Message
from tests.chaos.findings import Findings
from tests.chaos.inject import Injected, Plan, Run
from tests.chaos.journal import WAYS, Arrival, Install, Journal, digest_of
from tests.chaos.revocations import open_after

STAYS, LEAVES = "mer_stays", "mer_leaves"
KINDS = ("orders.order_created.v1", "orders.payment_captured.v1", "orders.note_added.v1")
TYPES = ("order.created", "order.payment_captured", "order.updated")
Spoil = Callable[[Journal, Evidence], Any]


def event(merchant_id: str, version: int) -> dict[str, Any]:
    """Version 1 is of 1001 s, version 2 of 1002 s …"""
    created_at = datetime.fromtimestamp(1000 + version, UTC).isoformat()
    return {
        "event_id": f"{merchant_id}.{version}",
        "type": TYPES[version - 1],
        "created_at": created_at,
        "merchant_id": merchant_id,
        "subject": {"type": "order", "id": f"ord_{merchant_id}"},
        "order_id": f"ord_{merchant_id}",
        "order_version": version,
    }


def surplus() -> dict[str, Any]:
    """Of the merchant that stays, between its second event and its third."""
    told = event(STAYS, 2) | {"event_id": "um_1.found", "type": "unmatched_money.found", "order_version": None}
    created_at = datetime.fromtimestamp(1002.3, UTC).isoformat()
    return told | {"created_at": created_at, "subject": {"type": "unmatched_money", "id": "um_1"}}


def surplus_message() -> Message:
    headers = {
        "ce_id": "um_1.found",
        "ce_type": "payments.unmatched_money_found.v1",
        "ce_subject": "um_1",
        "ce_merchantid": STAYS,
    }
    return Message("payments.events", 0, 0, f"ord_{STAYS}", b"{}", headers)


def created_s(told: dict[str, Any]) -> float:
    return datetime.fromisoformat(told["created_at"]).timestamp()


def arrival(told: dict[str, Any], later_s: float = 0.1) -> Arrival:
    at = created_s(told) + later_s
    return Arrival(told["event_id"], told["order_id"], digest_of(told), at, at)


def version(merchant_id: str, number: int) -> Message:
    body = {"version": number, "events": [{"type": KINDS[number - 1]}]}
    headers = {"ce_merchantid": merchant_id}
    return Message("orders.events", 0, 0, f"ord_{merchant_id}", json.dumps(body).encode(), headers)


def published(told: dict[str, Any], offset: int, at_s: float | None = None) -> Message:
    at_s = at_s or created_s(told) + 0.1
    headers = {"ce_id": told["event_id"]}
    return Message("plugins.app_1.orders", 0, offset, told["order_id"], json.dumps(told).encode(), headers, at_s)


def install(merchant_id: str, told: list[dict[str, Any]], **changes: Any) -> Install:
    listens_from = dict.fromkeys(WAYS, 1000.5)
    found = Install(merchant_id, asked_at=1000.0, given_at=1000.5, listens_from=listens_from, **changes)
    found.arrivals["webhook"] = [arrival(each) for each in told]
    found.arrivals["stream"] = [arrival(each) for each in told]
    return found


def journal() -> Journal:
    """One merchant stays; the other throws the plugin out between its second event and its third."""
    stays = install(STAYS, of_stays())
    leaves = install(LEAVES, [event(LEAVES, number) for number in (1, 2)], revoking_at=1002.4, revoked_at=1002.5)
    read = {(0, offset): message.headers["ce_id"] for offset, message in enumerate(topic())}
    return Journal(installs=[stays, leaves], read=read)


def of_stays() -> list[dict[str, Any]]:
    return [event(STAYS, 1), event(STAYS, 2), surplus(), event(STAYS, 3)]


def topic() -> list[Message]:
    told = [event(STAYS, 1), event(LEAVES, 1), event(STAYS, 2), event(LEAVES, 2), surplus(), event(STAYS, 3)]
    return [published(each, offset) for offset, each in enumerate(told)]


def evidence() -> Evidence:
    merchants, numbers = (STAYS, LEAVES), (1, 2, 3)
    return Evidence(
        topics={
            "orders.events": [version(merchant, number) for merchant in merchants for number in numbers],
            "payments.events": [surplus_message()],
            "plugins.app_1.orders": topic(),
        },
        events={STAYS: of_stays(), LEAVES: [event(LEAVES, number) for number in numbers]},
    )


def found(spoil: Spoil) -> Findings:
    told, seen, findings = journal(), evidence(), Findings()
    spoil(told, seen)
    audit_events(told, seen, findings)
    return findings


def put(told: Journal, seen: Evidence, message: Message) -> None:
    """On the topic, and read by the plugin."""
    seen.topics["plugins.app_1.orders"].append(message)
    told.read[message.partition, message.offset] = message.headers["ce_id"]


def came(told: Journal, way: Any, merchant: int, *arrivals: Arrival) -> None:
    told.installs[merchant].arrivals[way].extend(arrivals)


def test_a_clean_world_is_clean() -> None:
    findings = found(lambda *_: None)
    assert findings.clean(), findings.lists()
    counted = {"public events": 7, "topic: events": 6, "webhook: events": 6, "stream: events": 6}
    assert findings.counted == counted


def test_what_is_told_again_is_counted_and_fine() -> None:
    def again(told: Journal, seen: Evidence) -> None:
        put(told, seen, published(event(STAYS, 1), 6, 1003.5))
        came(told, "webhook", 0, arrival(event(STAYS, 2), 3))
        came(told, "stream", 0, arrival(event(STAYS, 3)))

    findings = found(again)
    assert findings.clean(), findings.lists()
    assert [findings.counted[f"{way}: told again"] for way in WAYS] == [1, 1, 1]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda _, seen: seen.events[STAYS].pop(),
        lambda _, seen: seen.events[STAYS][1].update(type="order.updated"),
        lambda _, seen: seen.events[STAYS].remove(surplus()),
        lambda _, seen: seen.events[STAYS][2].update(type="unmatched_money.attached"),
        lambda _, seen: seen.topics["plugins.app_1.orders"].pop(4),
        lambda told, _: told.installs[0].arrivals["webhook"].pop(2),
        lambda _, seen: seen.topics["plugins.app_1.orders"].pop(0),
        lambda _, seen: seen.topics["plugins.app_1.orders"].pop(1),
        lambda told, _: told.installs[0].arrivals["webhook"].pop(),
        lambda told, _: told.installs[0].arrivals["stream"].pop(1),
        lambda told, _: told.installs[1].arrivals["webhook"].pop(0),
        lambda told, _: told.installs[0].listens_from.clear(),
        lambda told, _: told.read.pop((0, 2)),
    ],
)
def test_what_is_lost_is_found(spoil: Spoil) -> None:
    assert found(spoil).lost


def test_what_waited_when_the_plugin_was_thrown_out_is_not_lost() -> None:
    def dropped(told: Journal, seen: Evidence) -> None:
        del seen.topics["plugins.app_1.orders"][3]
        told.installs[1].arrivals["stream"].pop()

    findings = found(dropped)
    assert findings.clean(), findings.lists()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda _, seen: seen.events[STAYS].append(event(STAYS, 3)),
        lambda _, seen: seen.topics["orders.events"].pop(2),
        lambda _, seen: seen.topics["payments.events"].clear(),
        lambda _, seen: seen.events[STAYS].insert(3, surplus() | {"event_id": "evt_other"}),
        lambda told, _: came(told, "webhook", 0, arrival(event(STAYS, 3) | {"event_id": "evt_none"})),
        lambda told, _: came(told, "stream", 0, arrival(event(STAYS, 3) | {"type": "order.paid"})),
    ],
)
def test_what_is_double_or_told_in_two_ways_is_found(spoil: Spoil) -> None:
    assert found(spoil).double


@pytest.mark.parametrize(
    "spoil",
    [
        lambda _, seen: seen.events[STAYS].reverse(),
        lambda _, seen: seen.topics["plugins.app_1.orders"].insert(0, seen.topics["plugins.app_1.orders"].pop()),
        lambda told, _: told.installs[0].arrivals["stream"].reverse(),
        lambda told, _: setattr(told.installs[0].arrivals["webhook"][0], "received_at", 1002.5),
        lambda told, _: setattr(told.installs[0].arrivals["webhook"][0], "received_at", None),
    ],
)
def test_disorder_is_found(spoil: Spoil) -> None:
    assert found(spoil).disorder


@pytest.mark.parametrize(
    "spoil",
    [
        lambda told, seen: put(told, seen, published(event(LEAVES, 3), 6)),
        lambda told, seen: put(told, seen, published(event(LEAVES, 1), 6, 999)),
        lambda told, _: came(told, "webhook", 1, arrival(event(LEAVES, 3))),
        lambda told, _: came(told, "webhook", 1, arrival(event(STAYS, 1))),
        lambda told, _: came(told, "stream", 0, arrival(event(LEAVES, 1))),
        lambda _, seen: seen.events[STAYS].append(event(LEAVES, 1)),
    ],
)
def test_what_the_plugin_should_not_have_been_told_is_found(spoil: Spoil) -> None:
    assert found(spoil).leaked


def test_let_in_again_it_is_told_of_what_happened_meanwhile() -> None:
    def again(told: Journal, seen: Evidence) -> None:
        told.installs.append(Install(LEAVES, asked_at=1003.2, given_at=1003.4, listens_from={"topic": 1003.4}))
        put(told, seen, published(event(LEAVES, 3), 6, 1003.5))

    assert found(again).leaked == []


def opened(*injected: Injected) -> tuple[dict[str, list[float]], dict[str, list[float]], list[str]]:
    told = journal()
    told.installs[1].shut_after_s["HTTP of orders"] = 0.3
    run: Any = Run(system=None, world=type("World", (), {"journal": told}), random=None)  # type: ignore[arg-type]
    run.began_at, run.injected = 1000.0, list(injected)
    return open_after(run, Plan(1, 1, recovery_limit_s=10), evidence())


def test_how_long_doors_were_open_is_told_apart_by_faults() -> None:
    times = {"topic": [0.0], "webhook": [0.0], "HTTP of orders": [pytest.approx(0.3)]}
    over = Injected("SIGKILL", "apps api", None, at_s=0.1, alone=True, ended_s=0.2, told_s=1.0)
    assert opened(over) == (times, {}, [])
    still = Injected("held", "Kafka", "Kafka", at_s=0.1, alone=True, ended_s=0.2, told_s=2.5)
    assert opened(still) == ({}, times, [])
