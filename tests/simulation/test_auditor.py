"""The auditor finds what is wrong: an honest world is spoilt in one way after another."""

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.simulation.auditor import Invariant, audit, glance
from tests.simulation.auditor.seen import record_of
from tests.simulation.books import Garbage, Saying, Wanted, Write
from tests.simulation.test_app_auditor import SPOILT as SPOILT_APPS
from tests.simulation.test_intent_auditor import SPOILT as SPOILT_INTENTS
from tests.simulation.toy import CHANNEL, MERCHANT, TOPIC, ToyWorld, taken
from tests.simulation.world_api import COMMANDS, DEAD_LETTERS, EVENTS, PAYMENTS_EVENTS, REPLIES, Json, Told

HOLDER: Json = {"type": "device", "id": "dev_1"}
LEASE: Json = {"lease_id": "ls_1", "holder": HOLDER, "amount_minor": 600}
CASH: Json = {"payment_id": "pay_1", "payment_reference": "cash", "amount_minor": 600, "lease_id": "ls_1"}
REFUND: Json = {"refund_id": "ref_1", "amount_minor": 100}


def honest() -> ToyWorld:
    """An order that is leased, paid, overpaid and partly to be given back; a canceled one; money that fits nowhere."""
    world = ToyWorld()
    world.create("ord_A", 1000, "web-1")
    world.ask("ord_A", "c-lease", "acquire_lease", **LEASE, term_s=300)
    world.happen("ord_A", "c-lease", ("lease_granted", LEASE | {"expires_at": "2026-11-22T00:05:00Z"}))
    world.ask("ord_A", "c-rival", "acquire_lease", **LEASE | {"lease_id": "ls_2"}, term_s=300)
    world.refuse("ord_A", "c-rival", "ORDER_BALANCE_LEASED")
    world.ask("ord_A", "c-cash", "record_capture", **CASH, currency="EUR")
    world.happen("ord_A", "c-cash", ("payment_captured", CASH), ("order_partially_paid", {}))
    world.take("psp-1", 400, "ord_A", ("order_paid", {}))
    world.say("captured", "psp-1", 400, "ord_A")
    world.item("conflict", world.say("captured", "psp-1", 500, "ord_A"), "ord_A")
    world.take("psp-2", 50, "ord_A", ("order_overpaid", {"credit_minor": 50}), surplus_minor=50)
    world.item("surplus", world.say("captured", "psp-2", 50, "ord_A"), "ord_A", 50)
    world.ask("ord_A", "c-refund", "reserve_refund", **REFUND)
    world.happen("ord_A", "c-refund", ("refund_reserved", REFUND | {"effect": "reduce_total", "allocation": []}))
    world.ask("ord_A", "c-refund-2", "reserve_refund", refund_id="ref_2", amount_minor=1000)
    world.refuse("ord_A", "c-refund-2", "REFUND_EXCEEDS_COLLECTED")
    world.ask("ord_A", "c-note", "add_note", note_id="note_1", text="hello")
    world.happen("ord_A", "c-note", ("note_added", {"note_id": "note_1", "text": "hello"}))
    world.capture("psp-chf", 20, "ord_A", "refused", "CHF")["refusal"] = "CURRENCY_MISMATCH"
    world.refuse("ord_A", "cev-psp-chf", "CURRENCY_MISMATCH")
    world.item("currency", world.say("captured", "psp-chf", 20, "ord_A", "CHF"), "ord_A")

    world.create("ord_B", 300)
    world.ask("ord_B", "c-cancel", "cancel_order")
    world.happen("ord_B", "c-cancel", ("order_canceled", {}), order_status="canceled")
    facts: Json = {"surplus_minor": 300, "order_status": "canceled"}
    world.take("psp-3", 300, "ord_B", ("order_overpaid", {"credit_minor": 300}), **facts)
    world.item("closed_order", world.say("captured", "psp-3", 300, "ord_B"), "ord_B")

    world.capture("psp-lost", 30, "ord_N", "waiting")
    world.refuse("ord_N", "cev-psp-lost", "NOT_FOUND")
    world.item("unknown_order", world.say("captured", "psp-lost", 30, "ord_N"), "ord_N")
    world.garbage(b"{not json", "INVALID_BODY")
    world.books.heard["ord_A", "c-cash"] = {"order_version": 3}
    note = Write("k", "/v1/orders/ord_A/notes", {"text": "hello"}, [(201, "ord_A", 7)])
    world.books.writes.append(note)
    world.settle()
    return world


Spoil = Callable[[ToyWorld], Any]


def edit(world: ToyWorld, topic: str, position: int, change: Callable[[Json], Any]) -> None:
    """Another value for the record."""
    told = world.records(topic)[position]
    body = orjson.loads(told.value or b"{}")
    change(body)
    world.records(topic)[position] = told._replace(value=orjson.dumps(body))


def edit_row(world: ToyWorld, table: str, position: int, column: str, change: Callable[[Json], Any]) -> None:
    """Another JSON text in the row."""
    row = world.rows(table)[position]
    body = orjson.loads(row[column])
    change(body)
    row[column] = orjson.dumps(body).decode()


def rewritten(world: ToyWorld, position: int, change: Callable[[Json], Any]) -> None:
    """History and message say alike what did not happen."""
    edit_row(world, "orders.order_events", position, "payload", change)
    edit(world, EVENTS, position, change)


def again(world: ToyWorld, topic: str, position: int, **changes: Any) -> None:
    """The record once more, changed."""
    records = world.records(topic)
    records.append(records[position]._replace(offset=len(records), **changes))


def data_of(body: Json, number: int = 0) -> Json:
    found: Json = body["events"][number]["data"]
    return found


def headers_of(told: Told, **changes: str) -> tuple[tuple[str, bytes], ...]:
    return tuple((name, changes[name].encode() if name in changes else value) for name, value in told.headers)


def shown_as(body: Json, part: str, name: str, amount: int) -> None:
    body["order"][part][name]["amount"] = amount


def over_granted(world: ToyWorld) -> None:
    rewritten(world, 1, lambda body: data_of(body).update(amount_minor=1001))


def over_collected(world: ToyWorld) -> None:
    """Two holders were granted the same money, and both have collected."""
    rewritten(world, 0, lambda body: data_of(body)["line_items"][0].update(unit_price_minor=500))


def forgotten_capture(world: ToyWorld) -> None:
    rewritten(world, 3, lambda body: body["events"].pop(0))


def reserved_too_much(world: ToyWorld) -> None:
    rewritten(world, 5, lambda body: data_of(body).update(amount_minor=1051))


def letter_of_nothing(world: ToyWorld) -> None:
    world.garbage(b"{more", "INVALID_BODY")
    world.records(TOPIC).pop()


def canceled_with_money(world: ToyWorld) -> None:
    rewritten(world, 6, lambda body: body["events"].append({"type": "orders.order_canceled.v1", "data": {}}))


SPOILT: dict[Invariant, list[Spoil]] = {
    Invariant.NOTHING_LOST: [
        lambda world: world.records(COMMANDS).pop(1),
        lambda world: world.records(EVENTS).pop(),
        lambda world: world.rows("payments.channel_events").pop(0),
        lambda world: world.records(PAYMENTS_EVENTS).pop(0),
        lambda world: world.books.wanted.update(ord_P=Wanted("ord_P", MERCHANT, "EUR", 1, None, promised=True)),
        lambda world: world.books.writes[0].body.update(text="another"),
        lambda world: world.rows("payments.channel_events")[-1].update(status="held"),
        lambda world: world.books.said(Saying((CHANNEL, "captured", "x", None), MERCHANT, None, None, 1, "EUR", True)),
        lambda world: world.books.records.update({(TOPIC, b"k", b"{", ""): Garbage("INVALID_BODY", acknowledged=True)}),
        forgotten_capture,
    ],
    Invariant.NOTHING_TWICE: [
        lambda world: rewritten(
            world,
            4,
            lambda body: body["events"].append({"type": "orders.payment_captured.v1", "data": taken("psp-2", 50)}),
        ),
        lambda world: edit_row(
            world, "orders.order_events", 6, "payload", lambda body: body.update(command_id="c-refund")
        ),
        lambda world: rewritten(world, 6, lambda body: body["events"].append(body["events"][0])),
        lambda world: world.rows("payments.channel_events").append(dict(world.rows("payments.channel_events")[0])),
    ],
    Invariant.NOTHING_INVENTED: [
        lambda world: world.books.wanted.pop("ord_B"),
        lambda world: world.books.commands.pop(("ord_A", "c-note")),
        lambda world: again(world, REPLIES, 0, headers=headers_of(world.records(REPLIES)[0], ce_causationid="c-none")),
        lambda world: world.books.records.pop(record_of(world.records(TOPIC)[0])),
        lambda world: again(
            world, PAYMENTS_EVENTS, 0, headers=headers_of(world.records(PAYMENTS_EVENTS)[0], ce_id="um-none.x")
        ),
        lambda world: world.rows("payments.known_orders")[0].update(version=99),
    ],
    Invariant.VERSIONS_GAP_FREE: [lambda world: world.rows("orders.order_events").pop(2)],
    Invariant.FIRST_IN_ORDER: [
        lambda world: world.records(EVENTS).insert(0, world.records(EVENTS).pop(3)),
        lambda world: world.records(EVENTS).__setitem__(3, world.records(EVENTS)[3]._replace(partition=1)),
    ],
    Invariant.REPEATS_SAY_THE_SAME: [
        lambda world: again(world, EVENTS, 3, value=b"{}"),
        lambda world: again(world, COMMANDS, 3, value=b"{}"),
        lambda world: again(world, PAYMENTS_EVENTS, 0, value=b"[]"),
    ],
    Invariant.ONE_OUTCOME: [
        lambda world: world.records(REPLIES).pop(),
        lambda world: again(world, REPLIES, 2, value=b"{}"),
        lambda world: edit(world, REPLIES, 2, lambda body: body.update(code="ORDER_ALREADY_PAID")),
        lambda world: world.books.heard["ord_A", "c-cash"].update(order_version=4),
    ],
    Invariant.OUTCOME_RECORDED: [
        lambda world: world.rows("orders.inbox").pop(3),
        lambda world: world.rows("orders.inbox").append(dict(world.rows("orders.inbox")[3])),
    ],
    Invariant.OUTCOME_BY_THE_RULES: [
        lambda world: world.books.commands["ord_A", "c-rival"].body.update(amount_minor=400),
        lambda world: world.books.commands["ord_A", "c-refund-2"].body.update(amount_minor=950),
        lambda world: edit_row(world, "orders.inbox", 5, "outcome", lambda kept: kept.pop("facts")),
        lambda world: edit_row(
            world, "orders.inbox", 2, "outcome", lambda kept: kept.update(code="NOT_FOUND", version=0)
        ),
    ],
    Invariant.DOES_WHAT_IT_SAYS: [
        lambda world: edit_row(world, "orders.inbox", 1, "outcome", lambda kept: kept.update(version=3)),
        lambda world: rewritten(world, 6, lambda body: data_of(body).update(text="bye")),
        lambda world: world.rows("payments.channel_events")[2].update(status="applied", order_version=7),
        lambda world: edit_row(world, "orders.inbox", 2, "outcome", lambda kept: kept.update(version=77)),
    ],
    Invariant.LEASES_NOT_OVER_GRANTED: [over_granted],
    Invariant.HOLDERS_DO_NOT_OVER_COLLECT: [over_collected],
    Invariant.FACTS_ARE_TAKEN: [
        lambda world: world.rows("payments.channel_events")[2].update(refusal="NOT_FOUND"),
        lambda world: world.rows("payments.channel_events")[-1].update(status="refused", refusal="NOT_FOUND"),
        lambda world: edit_row(world, "orders.inbox", 9, "outcome", lambda kept: kept.update(code="ORDER_NOT_OPEN")),
    ],
    Invariant.CANCELED_OWES_NOTHING: [canceled_with_money],
    Invariant.REFUNDS_WITHIN_COLLECTED: [reserved_too_much],
    Invariant.IDENTITIES: [
        lambda world: edit(
            world, EVENTS, 3, lambda body: body["order"]["settlement"]["outstanding_money"].update(amount=1)
        ),
        lambda world: edit(
            world, EVENTS, 1, lambda body: body["order"]["settlement"]["available_money"].update(amount=1000)
        ),
        lambda world: edit(world, EVENTS, 0, lambda body: body["order"]["pricing"]["total_money"].update(amount=999)),
        lambda world: rewritten(world, 3, lambda body: body["balance_after"].update(amount=1)),
    ],
    Invariant.ANNOUNCED: [
        lambda world: rewritten(world, 3, lambda body: body["events"].pop()),
        lambda world: rewritten(world, 4, lambda body: data_of(body, 1).update(credit_minor=49)),
    ],
    Invariant.HISTORY_IS_TOLD: [
        lambda world: edit(world, EVENTS, 3, lambda body: data_of(body).update(amount_minor=401)),
    ],
    Invariant.HISTORY_FOLDS_TO_STATE: [
        lambda world: world.rows("orders.orders")[0].update(payment_status="paid"),
        lambda world: world.rows("orders.orders").pop(0),
        lambda world: edit_row(
            world, "orders.orders", 0, "state", lambda state: state["settlement"].update(captured=1000)
        ),
        lambda world: rewritten(world, 2, lambda body: data_of(body).pop("amount_minor")),
    ],
    Invariant.ORDER_AS_ASKED: [lambda world: setattr(world.books.wanted["ord_A"], "total", 999)],
    Invariant.OUTBOX_EMPTY: [lambda world: world.rows("orders.outbox").append({"id": "ord_A.1"})],
    Invariant.NOTHING_SENT_FOR_EVER: [lambda world: world.rows("payments.channel_events")[0].update(status="sent")],
    Invariant.PAYMENTS_KNOW_ORDERS: [
        lambda world: world.rows("payments.known_orders")[0].update(version=6),
        lambda world: world.rows("payments.known_orders").pop(),
    ],
    Invariant.GARBAGE_IS_A_DEAD_LETTER: [
        lambda world: world.records(TOPIC + DEAD_LETTERS).clear(),
        letter_of_nothing,
        lambda world: again(
            world,
            TOPIC + DEAD_LETTERS,
            0,
            headers=headers_of(world.records(TOPIC + DEAD_LETTERS)[0], tl_offset="0"),
        ),
        lambda world: world.records(TOPIC + DEAD_LETTERS).__setitem__(
            0,
            world.records(TOPIC + DEAD_LETTERS)[0]._replace(
                headers=headers_of(world.records(TOPIC + DEAD_LETTERS)[0], tl_reason="WHATEVER")
            ),
        ),
    ],
    Invariant.UNMATCHED_AS_EXPECTED: [
        lambda world: world.rows("payments.unmatched_money").pop(0),
        lambda world: world.rows("payments.unmatched_money").pop(1),
        lambda world: world.rows("payments.unmatched_money").append(dict(world.rows("payments.unmatched_money")[3])),
        lambda world: world.rows("payments.unmatched_money")[4].update(status="attached"),
        lambda world: world.rows("payments.unmatched_money")[1].update(amount_minor=49),
    ],
    Invariant.MONEY_IN_IS_SOMEWHERE: [
        lambda world: rewritten(world, 3, lambda body: data_of(body).update(amount_minor=401)),
        lambda world: world.rows("payments.unmatched_money")[4].update(amount_minor=29),
    ],
    Invariant.ASKED_AGAIN_ANSWERED_AGAIN: [
        lambda world: world.records(COMMANDS).extend(world.records(COMMANDS)[:1] * 3),
    ],
    Invariant.ANSWERS_STAY: [lambda world: world.books.writes[0].answers.append((201, "ord_A", 8))],
}


def test_an_honest_world_has_nothing_to_find() -> None:
    world = honest()
    assert list(map(str, audit(world.books, world.evidence, finished=True))) == []
    assert glance(world.books, world.evidence, ["ord_A", "ord_B"]) == []


@pytest.mark.parametrize(
    ("invariant", "spoil"),
    [
        pytest.param(invariant, spoil, id=f"{invariant.name.lower()}-{number}")
        for invariant, spoils in SPOILT.items()
        for number, spoil in enumerate(spoils, start=1)
    ],
)
def test_what_is_spoilt_is_found(invariant: Invariant, spoil: Spoil) -> None:
    world = honest()
    spoil(world)
    findings = audit(world.books, world.evidence, finished=True)
    assert invariant in {finding.invariant for finding in findings}, [*map(str, findings)]


def test_every_invariant_has_been_seen_to_fail() -> None:
    of_the_run = {Invariant.PROCESSES_ARE_WELL}
    elsewhere = {invariant for invariant, _ in [*SPOILT_APPS, *SPOILT_INTENTS]}
    assert set(SPOILT) | elsewhere == set(Invariant) - of_the_run


def test_models_and_auditor_share_no_code_with_the_product() -> None:
    """Whoever judges by the services' own rules repeats their mistakes."""
    here = Path(__file__).parent
    judged_by = [here / name for name in ("books.py", "life.py", "models.py", "voice.py", "world_api.py")]
    for module in (*judged_by, *(here / "auditor").glob("*.py"), *(here / "stories").glob("*.py")):
        nodes = list(ast.walk(ast.parse(module.read_text())))
        names = {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
        names |= {name.name for node in nodes if isinstance(node, ast.Import) for name in node.names}
        assert not {name for name in names if name.split(".")[0] in ("services", "shared", "deploy")}, module


def test_what_is_only_under_way_is_no_finding() -> None:
    """Before the end, messages may still be on their way; what is there is judged all the same."""
    world = honest()
    world.records(REPLIES).pop()
    world.records(EVENTS).pop()
    world.records(TOPIC + DEAD_LETTERS).clear()
    world.rows("payments.known_orders").clear()
    world.rows("orders.outbox").append({"id": "ord_A.1"})
    assert list(map(str, audit(world.books, world.evidence, finished=False))) == []
