"""The chaos runs judge what probes said, and for how long messages waited when a worker ended."""

import pytest

from tests.chaos.evidence import Evidence, Message
from tests.chaos.faults import EVERY_SERVICE, Fault
from tests.chaos.handover import handovers
from tests.chaos.health import Answer, Outage, Pause, judge
from tests.chaos.inject import Injected, Plan

DATABASE, KAFKA = Outage("PostgreSQL", 10, 30), Outage("Kafka", 10, 30)


def said(at_s: float, live: int | None = 200, ready: int | None = 200, service: str = "worker") -> Answer:
    return Answer(service, at_s, at_s + 0.1, live, ready, "why" if live == 503 else "")


def untrue(answers: list[Answer], outage: Outage | None = None, pauses: list[Pause] | None = None) -> list[str]:
    return judge(answers, [outage] if outage else [], pauses or [], {"worker"}).untrue


def test_the_truth_is_fine() -> None:
    assert untrue([said(9), said(12, ready=503), said(29, ready=503), said(31)], DATABASE) == []


@pytest.mark.parametrize(("outage", "at_s"), [(DATABASE, 10.6), (DATABASE, 29), (KAFKA, 19.5)])
def test_ready_while_a_server_is_away_is_untrue(outage: Outage, at_s: float) -> None:
    [lie] = untrue([said(9), said(at_s), said(29.5, ready=503)], outage)
    assert lie.startswith(f"{at_s:.1f} s: worker is ready, and {outage.server} is away since 10.0 s")


def test_an_answer_that_may_be_from_before_or_after_is_not_judged() -> None:
    assert untrue([said(10.2), said(20, ready=503), said(29.95)], DATABASE) == []


def test_whoever_only_answers_requests_needs_no_kafka() -> None:
    assert untrue([said(25, service="api")], KAFKA) == []
    assert len(untrue([said(25, service="api")], DATABASE)) == 1


def test_not_alive_is_always_told_of() -> None:
    assert untrue([said(5, live=503)]) == ["5 s: worker is not alive: why"]


def test_saying_nothing_is_untrue_where_the_process_runs() -> None:
    silence = [said(5), *(said(at_s, live=None, ready=None) for at_s in range(6, 25))]
    assert untrue(silence) == ["5 s: worker did not answer for 15 s"]
    assert untrue(silence, pauses=[Pause("worker", 4, 30)]) == []
    assert "10 s: worker said nothing while PostgreSQL was away" in untrue(silence, DATABASE)


def test_on_a_machine_that_gives_little_everything_may_take_longer() -> None:
    silence = [said(5), *(said(at_s, live=None, ready=None) for at_s in range(6, 25))]
    assert judge(silence, [], [], {"worker"}, patience=2.0).untrue == []
    strict = Plan(1, 1, recovery_limit_s=30, handover_limit_s=5, revocation_limit_s=1)
    assert strict.patient(3) == Plan(1, 1, recovery_limit_s=90, handover_limit_s=15, revocation_limit_s=3)


def injected(at_s: float, *, alone: bool = True, kind: str = "SIGKILL", target: str = "orders worker 1") -> Injected:
    return Injected(kind, target, None, at_s, alone)


def waits(*injected: Injected) -> dict[str, list[float]]:
    """Of one command that was sent at 100 s and answered at 104 s."""
    command = Message("orders.commands", 0, 0, "ord_1", b"{}", {"ce_id": "c1"}, 1100.0)
    reply = Message("orders.replies", 0, 0, "ord_1", b'{"command_id": "c1"}', {}, 1104.0)
    row = {"event_id": "e1", "attempt": 1, "command_id": "c1", "named_order_id": "ord_1"}
    told = Message("channels.chn_a.payments", 0, 0, "ord_1", b"{}", {"ce_id": "e1"}, 1097.0)
    version = Message("orders.events", 0, 0, "ord_1", b'{"version": 1}', {}, 1098.0)
    passed_on = Message("plugins.app_1.orders", 0, 0, "ord_1", b'{"order_version": 1}', {}, 1099.5)
    of_orders = {"orders.commands": [command], "orders.replies": [reply], "orders.events": [version]}
    topics = of_orders | {told.topic: [told], passed_on.topic: [passed_on]}
    return handovers(Evidence({"channel_events": [row]}, topics), list(injected), began_at=1000.0)


@pytest.mark.parametrize(("at_s", "longest"), [(95, 4.0), (100.5, 3.5)])
def test_a_message_waits_from_the_end_or_from_its_coming(at_s: float, longest: float) -> None:
    assert waits(injected(at_s)) == {"SIGKILL of orders worker": [longest]}


def test_what_another_fault_holds_up_is_not_counted() -> None:
    """As in the run that found 7.6 s: the next fault, a frozen worker, began while the message was on its way."""
    frozen = injected(102.5, kind="SIGSTOP", target="payments 2")
    assert waits(injected(99), frozen) == {"SIGKILL of orders worker": [2.5]}
    assert waits(injected(96), injected(99.5, kind="SIGSTOP")) == {}


@pytest.mark.parametrize(
    ("target", "others", "disjoint"),
    [
        ("orders api", [], True),
        ("orders api", ["orders worker 1", "Kafka"], True),
        (EVERY_SERVICE, ["Kafka"], True),
        ("Kafka", [EVERY_SERVICE], True),
        ("orders api", ["orders api"], False),
        ("orders api", [EVERY_SERVICE], False),
        (EVERY_SERVICE, ["Kafka", "orders api"], False),
    ],
)
def test_no_two_faults_at_once_start_the_same_process(target: str, others: list[str], disjoint: bool) -> None:
    """It would be there twice, at one port."""
    assert fault(target).disjoint([fault(other) for other in others]) is disjoint


def fault(target: str) -> Fault:
    async def step() -> None:
        raise NotImplementedError

    return Fault("SIGKILL", target, step, step)


def test_the_way_of_a_channels_event_ends_with_its_command() -> None:
    assert waits(injected(96, kind="SIGTERM", target="payments 2")) == {"SIGTERM of payments": [3.0]}


def test_the_way_of_a_version_ends_on_the_plugins_topic() -> None:
    assert waits(injected(96, target="apps worker 1")) == {"SIGKILL of apps worker": [1.5]}
    assert waits(injected(96, target="apps api")) == {}


def test_ends_without_messages_and_ends_beside_other_faults_say_nothing() -> None:
    assert waits(injected(80), injected(110), injected(95, alone=False), injected(95, kind="SIGSTOP")) == {}
