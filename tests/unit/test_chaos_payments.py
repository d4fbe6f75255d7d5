"""The auditor of the chaos runs finds what is wrong with money that was collected through intents, wherever it is."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.chaos.audit_payments import audit_payments
from tests.chaos.evidence import Evidence, Message
from tests.chaos.findings import Findings
from tests.chaos.journal import Answered, Collecting, Journal, Leg, Promised

Spoil = Callable[[Journal, Evidence], Any]
CAPTURED, AUTHORIZED = "orders.payment_captured.v1", "orders.payment_authorized.v1"


def money(amount: int) -> dict[str, Any]:
    return {"amount": amount, "currency": "EUR"}


def intent(number: int, version: int, status: str, held: int = 0, captured: int = 0, **changes: Any) -> dict[str, Any]:
    """That of order `number`: the first is paid, the second held, and captured in part."""
    sums = {"amount": 1000, "authorized": held, "captured": captured, "voided": 0}
    return {
        "payment_intent_id": f"pi_{number}",
        "order_id": f"ord_{number}",
        "status": status,
        "version": version,
        "order_version": version if captured else 1,
        "capture_method": "manual" if number == 2 else "automatic",
        "payment_reference": f"sbp_{number}" if held or captured else None,
        **{f"{name}_money": money(amount) for name, amount in sums.items()},
        **changes,
    }


PROCESSING, PAID = intent(1, 1, "processing"), intent(1, 4, "succeeded", captured=1000)
HELD, LEFT = intent(2, 3, "requires_capture", held=1000), intent(2, 6, "requires_capture", held=700, captured=300)
DECLINED = intent(3, 3, "requires_payment_method")


def told(body: dict[str, Any], kind: str) -> Message:
    headers = {
        "ce_id": f"{body['payment_intent_id']}.{kind}.{body['version']}",
        "ce_type": f"payments.payment_intent_{kind}.v1",
        "ce_subject": body["payment_intent_id"],
    }
    return Message("payments.events", 0, 0, body["order_id"], json.dumps({"payment_intent": body}).encode(), headers)


def asked(number: int, kind: str, *answers: Answered) -> Collecting:
    return Collecting(f"k{number}{kind}", kind, f"/{kind}", {}, f"ord_{number}", len(answers), list(answers))


def journal() -> Journal:
    """The first was told that it takes longer, and then twice that it is paid."""
    orders = {f"ord_{number}": Promised(f"ord_{number}", f"r{number}", 1000) for number in (1, 2, 3)}
    orders["ord_1"].legs["sbp_1"] = Leg(captured=1000)
    orders["ord_2"].legs["sbp_2"] = Leg(authorized=1000, captured=300)
    paid = asked(1, "pay", Answered(202, (PROCESSING,)), Answered(200, (PAID,)), Answered(200, (PAID,)))
    held, captured = asked(2, "hold", Answered(201, (HELD,))), asked(2, "capture", Answered(200, (LEFT,)))
    return Journal(collecting=[paid, held, captured, asked(3, "pay", Answered(200, (DECLINED,)))], orders=orders)


def movement(name: str, payment: str, kind: str, amount: int) -> list[dict[str, Any]]:
    source, target = {"sale": ("holder", "merchant"), "hold": ("holder", "held"), "capture": ("held", "merchant")}[kind]
    about = {"movement_id": name, "payment_id": payment, "kind": kind}
    return [about | {"account": source, "amount_minor": -amount}, about | {"account": target, "amount_minor": amount}]


def leg(number: int, held: int, **changes: Any) -> dict[str, Any]:
    about = {"reference": f"sbp_{number}", "payment_intent_id": f"pi_{number}", "status": "captured"}
    return {"payments": [about | {"authorized_money": money(held)} | changes]}


def version(number: int, at: int, kind: str, amount: int) -> dict[str, Any]:
    event = {"type": kind, "data": {"payment_reference": f"sbp_{number}", "amount_minor": amount}}
    return {"order_id": f"ord_{number}", "version": at, "payload": {"events": [event]}}


def evidence() -> Evidence:
    rows = [("succeeded", 1), ("requires_capture", 2), ("requires_payment_method", 3)]
    return Evidence(
        tables={
            "intents": [{"payment_intent_id": f"pi_{n}", "status": status, "settled": True} for status, n in rows],
            "attempts": [
                {"attempt_id": f"att_{number}", "payment_intent_id": f"pi_{number}", "status": "ended"}
                for number in (1, 2, 2, 3)
            ],
            "acquired": [
                {"payment_id": f"sbp_{number}", "order_id": f"ord_{number}", "payment_intent_id": f"pi_{number}"}
                for number in (1, 2)
            ],
            "ledger": [
                *movement("m1", "sbp_1", "sale", 1000),
                *movement("m2", "sbp_2", "hold", 1000),
                *movement("m3", "sbp_2", "capture", 300),
            ],
            "history": [
                version(1, 4, CAPTURED, 1000),
                version(2, 3, AUTHORIZED, 1000),
                version(2, 6, CAPTURED, 300),
            ],
        },
        topics={
            "payments.events": [
                *(told(PROCESSING, "processing"), told(PROCESSING, "processing"), told(PAID, "succeeded")),
                *(told(intent(2, 1, "processing"), "processing"), told(HELD, "requires_capture")),
                told(LEFT, "requires_capture"),
                *(told(intent(3, 1, "processing"), "processing"), told(intent(3, 2, "unknown"), "unknown")),
                told(DECLINED, "failed"),
            ]
        },
        shown={
            "ord_1": leg(1, 0),
            "ord_2": leg(2, 700),
            "ord_3": leg(3, 0, status="failed", reference="att_3"),
        },
        shown_intents=[PAID, LEFT, DECLINED],
    )


def found(spoil: Spoil) -> Findings:
    written, seen, findings = journal(), evidence(), Findings()
    spoil(written, seen)
    audit_payments(written, seen, findings)
    return findings


def shown(seen: Evidence, number: int, **changes: Any) -> None:
    """HTTP says something else of this intent."""
    seen.shown_intents[number - 1] = seen.shown_intents[number - 1] | changes


def also(seen: Evidence, name: str, payment_intent_id: str) -> None:
    """A further payment at the acquirer."""
    seen.tables["acquired"].append({"payment_id": name, "order_id": "ord_1", "payment_intent_id": payment_intent_id})


def answered(written: Journal, number: int, *answers: Answered) -> None:
    written.collecting[number].answers[:] = answers


def test_a_clean_world_is_clean() -> None:
    findings = found(lambda *_: None)
    assert findings.clean(), findings.lists()
    assert (findings.counted["payments at the acquirer"], findings.counted["events of intents"]) == (2, 8)


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (lambda _, seen: seen.tables["ledger"].pop(0), "m1 of the ledger"),
        (lambda _, seen: seen.tables["history"].pop(0), "collected of sbp_1, and not on ord_1"),
        (lambda _, seen: seen.tables["history"].pop(1), "held of sbp_2, and not on ord_2"),
        (lambda _, seen: seen.shown.update(ord_2=leg(2, 0)), "ord_2 shows 0 held"),
        (lambda _, seen: seen.shown.update(ord_2={"payments": []}), "ord_2 shows None held"),
        (lambda _, seen: shown(seen, 2, authorized_money=money(0)), "pi_2 has (0, 300)"),
        (lambda _, seen: shown(seen, 1, captured_money=money(0)), "pi_1 has (0, 0)"),
        (lambda _, seen: seen.tables["intents"][0].update(settled=False), "pi_1 did not come to rest"),
        (lambda _, seen: shown(seen, 2, status="unknown"), "pi_2 did not come to rest: it is unknown"),
        (lambda _, seen: seen.tables["attempts"][1].update(status="unknown"), "att_2 of pi_2 is unknown"),
        (lambda _, seen: seen.shown_intents.pop(), "pi_3 is not among the intents"),
        (lambda written, _: answered(written, 0, Answered(202, (PROCESSING,))), "never answered: pay k1pay"),
        (lambda _, seen: shown(seen, 1, version=5), "pi_1 was answered for good at version 4, and is at 5"),
        (lambda _, seen: shown(seen, 1, version=3), "pi_1 at version 4 is not there"),
        (lambda _, seen: seen.tables["history"][0].update(version=5), "where its order has 0"),
        (
            lambda _, seen: seen.topics["payments.events"].pop(4),
            "pi_2 was told of as ['processing', 'requires_capture'] instead",
        ),
        (lambda _, seen: seen.topics["payments.events"].pop(), "pi_3 was told of as ['processing'] instead"),
    ],
)
def test_what_is_lost_is_found(spoil: Spoil, named: str) -> None:
    assert named in "\n".join(found(spoil).lost)


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (lambda _, seen: also(seen, "sbp_9", "pi_1"), "pi_1 was authorized 2 times"),
        (lambda _, seen: also(seen, "sbp_9", "pi_9"), "sbp_9 is at the acquirer for pi_9"),
        (lambda written, _: setattr(written.orders["ord_1"], "price", 999), "1000 held and collected of ord_1"),
        (lambda written, _: setattr(written.orders["ord_2"], "price", 999), "1000 held and collected of ord_2"),
        (
            lambda _, seen: seen.tables["ledger"].extend(movement("m4", "sbp_7", "sale", 1)),
            "1 held and collected of sbp_7",
        ),
        (
            lambda _, seen: seen.tables["history"].append(version(2, 7, CAPTURED, 300)),
            "collected of sbp_2 by ord_2, and not by the acquirer: [300]",
        ),
        (
            lambda _, seen: (
                seen.shown.update(ord_3=leg(3, 0)) or seen.tables["history"].append(version(3, 2, CAPTURED, 5))
            ),
            "collected of sbp_3 by ord_3, and not by the acquirer: [5]",
        ),
        (
            lambda written, _: answered(written, 0, Answered(200, (PAID,)), Answered(200, (PROCESSING,))),
            "answered in different ways: pay k1pay",
        ),
        (
            lambda written, _: answered(written, 0, Answered(202, (HELD,)), Answered(200, (PAID,))),
            "pay k1pay of ord_1 is of",
        ),
        (
            lambda written, _: answered(written, 0, Answered(200, (PAID | {"captured_money": money(999)},))),
            "an answer to pay k1pay of ord_1: pi_1 at version 4 is told in two ways",
        ),
        (lambda written, _: written.collecting.pop(0), "1 intents for ord_1, asked for were 0"),
        (
            lambda _, seen: seen.topics["payments.events"].append(told(HELD | {"status": "canceled"}, "unknown")),
            "message pi_2.unknown.3: pi_2 at version 3 is told in two ways",
        ),
        (
            lambda _, seen: seen.topics["payments.events"].append(told(intent(4, 1, "processing"), "processing")),
            "payments.events tells of pi_4, which does not exist",
        ),
        (
            lambda _, seen: seen.topics["payments.events"].append(told(PAID, "canceled")),
            "pi_1 was told of as ['processing', 'succeeded', 'canceled'] instead of",
        ),
        (lambda _, seen: seen.tables["attempts"].pop(), "pi_3 was unknown at [2], and 0 times asked for"),
        (
            lambda _, seen: seen.topics["payments.events"][0].headers.update(ce_subject="pi_2"),
            "pi_1.processing.1 tells of pi_1",
        ),
    ],
)
def test_what_is_double_or_told_in_two_ways_is_found(spoil: Spoil, named: str) -> None:
    assert named in "\n".join(found(spoil).double)


def test_disorder_is_found() -> None:
    def reversed_(_: Journal, seen: Evidence) -> None:
        seen.topics["payments.events"].reverse()

    assert found(reversed_).disorder[0] == "payments.events has pi_1 as [(4, 'succeeded'), (1, 'processing')]"


def test_a_refusal_is_an_answer() -> None:
    """Of two who pay the same order one is refused, and has an intent or none."""

    def refused(written: Journal, _: Evidence) -> None:
        written.collecting.append(asked(1, "rival", Answered(409, code="ORDER_BALANCE_LEASED")))

    findings = found(refused)
    assert findings.clean(), findings.lists()
