"""The auditor of hostile input finds each kind of fault: planted one at a time, in evidence that is clean without."""

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from shared.topics import ACCESS_GRANTS
from tests.hostile.audit import Entry, Findings, audit, audit_logs, audit_money, entry_of
from tests.hostile.evidence import Evidence, Letter, read_log
from tests.hostile.messages import Honest, Message, Must, Tenant, World, channel_event, command
from tests.hostile.model import Command, Reference, claim_of
from tests.hostile.mutations import _truncated
from tests.hostile.sending import Position

RANDOM = Random(1)
TENANT = Tenant("mer_1")
BODY = {"order_id": "ord_1", "payment_reference": "psp-1", "amount_money": {"amount": 5, "currency": "EUR"}}
TIP = command(RANDOM, "ord_1", TENANT, "orders.set_tip.v1", {"tip_minor": 1})
BROKEN = TIP.mutated("truncated", Must.DEAD, value=b"{")
CAPTURE = channel_event(RANDOM, "chn_a", "ord_1", "channel.payment.captured.v1", BODY)
NO_GRANT = Message(ACCESS_GRANTS, b"key", b"{}", (), Must.DEAD, "no grant")
POSITIONS: dict[Position, Message] = {
    (TIP.topic, 0, 0): TIP,
    (TIP.topic, 0, 1): BROKEN,
    (CAPTURE.topic, 0, 0): CAPTURE,
    (ACCESS_GRANTS, 0, 7): NO_GRANT,
}
SKIPPED = '{"event": "no grant in this record", "partition": 0, "offset": 7, "level": "warning"}'


def tip() -> Command:
    found = claim_of(TIP)
    assert isinstance(found, Command)
    return found


def clean() -> Evidence:
    reference = Reference("chn_a", "channel.payment.captured.v1", "psp-1", None, None)
    return Evidence(
        letters={(TIP.topic, 0, 1): [Letter("INVALID_BODY", entry_of(BROKEN).checksum)]},
        replies={tip(): {""}},
        outcomes={tip(): ""},
        events={reference: {"status": "applied", "body": BODY}},
        conflicts=set(),
        hidden_money=[],
        versions={},
        public=set(),
        grants={"orders": {}},
        logged={"orders": read_log([SKIPPED])},
    )


def faults(evidence: Evidence) -> set[str]:
    findings = Findings()
    ledger: dict[Position, Entry] = {position: entry_of(message) for position, message in POSITIONS.items()}
    audit(ledger, evidence, findings)
    audit_logs(evidence, findings)
    return set(findings.wrong)


def test_clean_evidence_is_clean() -> None:
    assert faults(clean()) == set()


PLANTED: dict[str, tuple[str, Callable[[Evidence], Any]]] = {
    "a command without an outcome": ("without a fate", lambda found: found.outcomes.clear()),
    "an outcome that nobody was told": ("without a fate", lambda found: found.replies.clear()),
    "another outcome than was told": ("without a fate", lambda found: found.replies.update({tip(): {"", "NOT_FOUND"}})),
    "an event that is not kept": ("without a fate", lambda found: found.events.clear()),
    "a dead letter less": ("taken although it is wrong", lambda found: found.letters.clear()),
    "a dead letter more": (
        "refused although it is right",
        lambda found: found.letters.update({(TIP.topic, 0, 0): [Letter("UNKNOWN_TYPE", None)]}),
    ),
    "a reason that is about us": (
        "our mistake",
        lambda found: found.letters.update({(TIP.topic, 0, 1): [Letter("HANDLER_FAILED", None)]}),
    ),
    "a letter that says something else": (
        "changed on its way",
        lambda found: found.letters.update({(TIP.topic, 0, 1): [Letter("INVALID_BODY", 1)]}),
    ),
    "a service's own message given up": (
        "a service's own message is a dead letter",
        lambda found: found.letters.update({(TIP.topic, 0, 9): [Letter("INVALID_BODY", 1)]}),
    ),
    "a grant that one service takes": (
        "two fates",
        lambda found: found.logged.update({"payments": read_log([])}),
    ),
    "money that nobody sees": ("money that nobody is shown", lambda found: found.hidden_money.append("cev_1")),
    "a payload in the log": (
        "payload in the log",
        lambda found: found.logged.update({"orders": read_log([SKIPPED, '{"event": "x hostile-secret"}'])}),
    ),
    "an error in the log": (
        "error in the log",
        lambda found: found.logged.update({"orders": read_log([SKIPPED, '{"event": "x", "level": "error"}'])}),
    ),
    "a consumer that started again": (
        "stopped or stumbled",
        lambda found: found.logged.update({"orders": read_log([SKIPPED, '{"event": "consumer_restarts"}'])}),
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_is_found(name: str) -> None:
    evidence = clean()
    fault, plant = PLANTED[name]
    plant(evidence)
    assert fault in faults(evidence)


def test_a_dead_letter_that_took_effect_is_found() -> None:
    other = replace(TIP, headers=tuple((n, b"cmd_2" if n == b"ce_id" else t) for n, t in TIP.headers), must=Must.EITHER)
    evidence, position = clean(), (TIP.topic, 0, 2)
    evidence.letters[position] = [Letter("UNKNOWN_TYPE", None)]
    evidence.outcomes[Command("ord_1", "cmd_2")] = ""
    evidence.replies[Command("ord_1", "cmd_2")] = {""}
    findings = Findings()
    audit({position: entry_of(other)}, evidence, findings)
    assert "two fates" in findings.wrong


@pytest.mark.parametrize(("captured", "wrong"), [(5, False), (6, True)])
def test_known_money_is_compared(captured: int, wrong: bool) -> None:
    order = Honest("ord_1", "web-1", price=10, tip=0, captures={"psp-1": 5})
    shown = {
        "pricing": {"total_money": {"amount": 10}},
        "settlement": {"captured_money": {"amount": captured}, "refunded_money": {"amount": 0}},
        "payments": [{"reference": "psp-1"}],
    }
    findings = Findings()
    audit_money([order], {"ord_1": shown}, findings)
    assert bool(findings.wrong) is wrong


def test_the_same_seed_makes_the_same_messages() -> None:
    def made() -> list[Message]:
        world = World(Random(3), TENANT, [Tenant("mer_2")], ["chn_a"], [], [])
        return [_truncated(world, world.any_well_formed(TIP.topic)) for _ in range(20)]

    assert made() == made()
