"""The auditor of the chaos runs finds what is wrong: a clean world is spoilt in one way after another."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.audit import audit
from tests.chaos.audit_topics import audit_topics
from tests.chaos.evidence import SERVICES, Evidence, Message
from tests.chaos.findings import Findings
from tests.chaos.journal import Journal, Leg, Promised, Told, Write
from tests.chaos.logs import logged, mistakes

TOPIC = "channels.chn_a.payments"
DEAD = f"{TOPIC}.dead-letters"


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
    # The second version comes from a channel's event, by way of a command; the others were made over HTTP.
    payload = {"events": [{"type": kind, "data": data}], "command_id": "cev_1" if number == 2 else f"c{number}"}
    return {"order_id": "ord_1", "version": number, "type": kind, "payload": payload}


def message(topic: str, offset: int, value: dict[str, Any] | None = None, **headers: str) -> Message:
    return Message(topic, 0, offset, "ord_1", json.dumps(value or {}).encode(), headers)


def dead_letter(offset: int, event_id: str) -> Message:
    return message(DEAD, 0, ce_id=event_id, tl_topic=TOPIC, tl_partition="0", tl_offset=str(offset))


def evidence() -> Evidence:
    settlement = {"captured": 500, "refunded": 0, "net_collected": 500, "outstanding": 500, "credit": 0}
    shown = {
        "version": 3,
        "pricing": {"tip_money": money(0), "total_money": money(1000), "net_total_money": money(1000)},
        "settlement": {f"{name}_money": money(amount) for name, amount in settlement.items()},
        "payments": [
            {
                "reference": "p1",
                "status": "captured",
                **{
                    f"{name}_money": money(amount)
                    for name, amount in {"captured": 500, "refunded": 0, "authorized": 0}.items()
                },
            }
        ],
    }
    history = [
        version(1, "orders.order_created.v1"),
        version(2, "orders.payment_captured.v1", payment_reference="p1", amount_minor=500),
        version(3, "orders.note_added.v1", text="hello"),
    ]
    told = [
        message("orders.events", 0, {"version": row["version"], "events": row["payload"]["events"]}) for row in history
    ]
    return Evidence(
        tables={
            "orders": [{"order_id": "ord_1", "version": 3, "external_reference": "r1"}],
            "history": history,
            "inbox": [{"aggregate_id": "ord_1", "command_id": "cev_1"}],
            "orders_outbox": [],
            "payments_outbox": [],
            "channel_events": [
                {"channel_event_id": "cev_1", "order_id": "ord_1", "status": "applied", "command_id": "cev_1"}
            ],
            "unmatched": [],
            "known_orders": [{"order_id": "ord_1", "version": 3}],
            "apps_outbox": [],
            **{name: [] for name in ("intents", "attempts", "acquired", "ledger")},
            "pending_webhooks": [],
            **{f"{name}_grants": [granted()] for name in SERVICES},
            **{f"{name}_signing_keys": [{"kid": "ord_1", "status": "active"}] for name in SERVICES},
        },
        topics={
            TOPIC: [message(TOPIC, offset, {"payment_reference": "p1"}) for offset in range(3)],
            DEAD: [dead_letter(2, "e2")],
            "orders.events": [told[0], told[1], told[0], told[2]],
            "orders.commands": [message("orders.commands", 0, ce_id="cev_1")],
            "orders.replies": [message("orders.replies", 0, {"command_id": "cev_1", "order_version": 2})],
            "payments.events": [message("payments.events", 0, {"order_version": 2}, ce_id="cev_1.applied")],
            "access.grants": [
                message("access.grants", 0, {"grant_id": "g1", "status": "active"}),
                message("access.grants", 1, {"status": "active"}, ce_type="access.signing_key.v1"),
            ],
        },
        shown={"ord_1": shown},
    )


def granted() -> dict[str, Any]:
    return {"credential_hash": "ord_1", "grant_id": "g1", "status": "active"}


def item(**changes: Any) -> dict[str, Any]:
    about = {"payment_reference": "p9", "amount_minor": 1, "kind": "surplus", "status": "open"}
    return {"unmatched_money_id": "unm_1", **about, **changes}


def further_command(seen: Evidence, effect_at: int) -> None:
    """A second command on the order, whose effect is in the history at this index."""
    seen.tables["channel_events"].append(
        {"channel_event_id": "cev_2", "order_id": "ord_1", "status": "sent", "command_id": "cev_2"}
    )
    seen.tables["inbox"].append({"aggregate_id": "ord_1", "command_id": "cev_2"})
    seen.tables["history"][effect_at]["payload"]["command_id"] = "cev_2"
    seen.topics["orders.commands"].append(message("orders.commands", 1, ce_id="cev_2"))
    seen.topics["orders.replies"].append(
        message("orders.replies", 1, {"command_id": "cev_2", "order_version": effect_at + 1})
    )


def by_intent(seen: Evidence, commands: int) -> None:
    """The command was not of a channel's event but of an intent, which says that it sent so many."""
    seen.tables["intents"].append({"payment_intent_id": "pi_1", "commands": commands, "settled": True})
    seen.tables["channel_events"].clear()
    seen.topics["payments.events"].clear()
    seen.tables["inbox"][0].update(command_id="pi_1.fact.1")
    seen.tables["history"][1]["payload"]["command_id"] = "pi_1.fact.1"
    seen.topics["orders.commands"] = [message("orders.commands", 0, ce_id="pi_1.fact.1")]
    reply = {"command_id": "pi_1.fact.1", "order_version": 2}
    seen.topics["orders.replies"] = [message("orders.replies", 0, reply)]


def on_topics(spoil: Callable[[Evidence], Any]) -> Findings:
    """What is wrong with the topics alone."""
    seen, findings = evidence(), Findings()
    spoil(seen)
    audit_topics(journal(), seen, findings)
    return findings


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
        lambda _, seen: seen.topics[DEAD].clear(),
        lambda _, seen: seen.topics[DEAD].append(dead_letter(0, "e1")),
        lambda _, seen: seen.topics["orders.commands"].clear(),
        lambda _, seen: seen.topics["payments.events"].clear(),
        lambda _, seen: seen.tables["unmatched"].append(item()),
        lambda _, seen: seen.tables["payments_grants"].clear(),
        lambda _, seen: seen.tables["orders_grants"][0].update(grant_id="older"),
        lambda _, seen: seen.tables["apps_grants"][0].update(status="revoked"),
        lambda _, seen: seen.tables["payments_signing_keys"].clear(),
        lambda _, seen: seen.tables["apps_outbox"].append({"aggregatetype": "plugins.app_1.orders"}),
        lambda _, seen: seen.tables["pending_webhooks"].append(
            {"delivery_id": "del_1", "event_id": "evt_1", "tries": 2}
        ),
        lambda _, seen: seen.topics["orders.events"].__setitem__(
            3, message("orders.events", 3, {"version": 3, "events": []})
        ),
        lambda _, seen: seen.topics["orders.events"].pop(),
        lambda _, seen: seen.topics["orders.replies"].clear(),
        lambda _, seen: seen.shown["ord_1"]["settlement"].update(captured_money=money(499)),
        lambda told, _: setattr(told.told[0], "accepted", False),
        lambda told, _: setattr(told.told[0], "fate", "conflict"),
        lambda told, _: setattr(told.orders["ord_1"], "tip", 5),
        lambda told, _: setattr(told.orders["ord_1"], "declined", 1),
        lambda _, seen: seen.shown["ord_1"]["payments"].append({"reference": "att_1", "status": "failed"}),
        lambda told, _: setattr(told.orders["ord_1"].legs["p1"], "authorized", 501),
        lambda _, seen: seen.tables["intents"].append(
            {"payment_intent_id": "pi_1", "status": "unknown", "commands": 0}
        ),
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
        lambda _, seen: seen.tables["history"][2]["payload"].update(command_id="cev_1"),
        lambda _, seen: seen.topics["orders.replies"].append(
            message("orders.replies", 1, {"command_id": "cev_1", "code": "NOT_FOUND", "order_version": 2})
        ),
        lambda _, seen: seen.topics["orders.replies"].append(
            message("orders.replies", 1, {"command_id": "cev_7", "order_version": 2})
        ),
        lambda _, seen: seen.topics["orders.events"].append(
            message("orders.events", 9, {"version": 1, "events": [], "other": 1})
        ),
        lambda _, seen: seen.topics["orders.events"].append(message("orders.events", 9, {"version": 4, "events": []})),
        lambda _, seen: seen.topics["orders.commands"].append(message("orders.commands", 1, ce_id="cev_7")),
        lambda _, seen: seen.topics["payments.events"].append(message("payments.events", 1, ce_id="cev_1.refused")),
        lambda _, seen: seen.topics["payments.events"].append(
            message("payments.events", 1, {"order_version": 3}, ce_id="cev_1.applied")
        ),
        lambda _, seen: seen.topics[TOPIC].append(message(TOPIC, 3, {"payment_reference": "p7"})),
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
        lambda _, seen: further_command(seen, effect_at=0),
        lambda _, seen: seen.topics["payments.events"].insert(
            0, message("payments.events", 0, {"order_version": 3}, ce_id="cev_9.applied")
        ),
    ],
)
def test_disorder_is_found(spoil: Callable[[Journal, Evidence], Any]) -> None:
    assert found(spoil).disorder


def test_a_second_command_in_its_order_is_fine() -> None:
    findings = found(lambda _told, seen: further_command(seen, effect_at=2))
    assert (findings.disorder, findings.double) == ([], [])


def test_the_commands_of_intents_are_accounted_for() -> None:
    assert on_topics(lambda seen: by_intent(seen, 1)).clean()
    assert on_topics(lambda seen: by_intent(seen, 2)).lost == ["orders.commands has [1] of the 2 commands of pi_1"]
    assert on_topics(lambda seen: by_intent(seen, 0)).double == ["orders.commands has [1] of the 0 commands of pi_1"]

    def of_nobody(seen: Evidence) -> None:
        by_intent(seen, 1)
        seen.tables["intents"].clear()

    assert on_topics(of_nobody).double == ["nobody needed command pi_1.fact.1 on ord_1"]


def test_an_outcome_may_come_again_with_its_fields_in_another_order() -> None:
    def again(seen: Evidence) -> None:
        body = {"order_version": 2, "command_id": "cev_1"}
        seen.topics["orders.replies"].append(message("orders.replies", 1, body))

    assert on_topics(again).clean()


def test_messages_about_intents_are_no_outcomes_of_channel_events() -> None:
    def told(kind: str) -> Callable[[Evidence], Any]:
        about = {"ce_id": "pi_1.told.1", "ce_type": f"payments.{kind}.v1"}
        return lambda seen: seen.topics["payments.events"].append(message("payments.events", 1, **about))

    assert on_topics(told("payment_intent_failed")).clean()
    assert on_topics(told("unmatched_money_found")).double == ["payments.events has pi_1.told.1 for nothing"]


def test_what_nobody_expected_is_odd() -> None:
    assert found(lambda told, _: told.oddities.append("500")).odd == ["500"]
    assert found(lambda _, seen: seen.topics.update(strange=[])).odd == ["a topic that nobody made: strange"]


@pytest.mark.parametrize("kind", ["lost", "double", "disorder", "leaked", "untrue", "late", "odd"])
def test_any_finding_fails_the_run(kind: str) -> None:
    assert not Findings(**{kind: ["something"]}).clean()


def test_logged_errors_that_no_outage_explains_are_mistakes(tmp_path: Path) -> None:
    unseen = "Future exception was never retrieved"
    commit = "Task exception was never retrieved\nfuture: <Task coro=<GroupCoordinator._do_commit_offsets() done, in "
    entries: list[dict[str, Any]] = [
        {"level": "error", "event": "Unable to update metadata from [1]"},
        {"level": "error", "event": unseen, "exception": ["ConnectionDoesNotExistError"]},
        {"level": "error", "event": commit + "long/" * 50, "exception": ["KafkaError"]},
        {"level": "error", "event": unseen, "exception": ["ValueError"]},
        {"level": "error", "event": "consumer_broken", "failure": "KeyError at consumers.py:12"},
        {"level": "warning", "event": "consumer_broken"},
    ]
    (tmp_path / "worker.log").write_text("Traceback\n" + "\n".join(map(json.dumps, entries)))
    assert mistakes(logged(tmp_path)) == [
        "logged 1 times: worker: Future exception was never retrieved ValueError",
        "logged 1 times: worker: consumer_broken KeyError at consumers.py:#",
    ]
