"""How long messages waited because a worker had ended: until others had its partitions, and its share of the relay.

Only what nothing else can have held up is looked at: an end that came alone, until the next fault begins.
"""

from collections import defaultdict
from dataclasses import dataclass
from math import inf

from tests.chaos.audit_topics import first_of_each
from tests.chaos.evidence import Evidence
from tests.chaos.inject import QUIET_AFTER_S, WORKERS, Injected

_BEFORE_S = 1.0


@dataclass(frozen=True)
class Wait:
    """One message on its way through a service; moments in seconds since 1970."""

    asked_at: float
    answered_at: float


def handovers(evidence: Evidence, injected: list[Injected], began_at: float) -> dict[str, list[float]]:
    """For each end of a worker that came alone: the longest wait of a message that was there or came soon after.

    By signal and service. An end at which no message was on its way says nothing.
    """
    waits = dict(zip(WORKERS, (_commands(evidence), _channel_events(evidence), _public_events(evidence)), strict=True))
    found: dict[str, list[float]] = defaultdict(list)
    for number, one in enumerate(injected):
        next_at_s = min((other.at_s for other in injected[number + 1 :]), default=inf)
        for service, through in waits.items():
            if one.hands_over and one.target.startswith(service):
                longest = _longest(through, began_at + one.at_s, began_at + next_at_s)
                if longest is not None:
                    found[f"{one.kind} of {service}"].append(longest)
    return dict(found)


def _longest(waits: list[Wait], ended_at: float, next_at: float) -> float | None:
    """The longest wait from the end on; one that is not over when the next fault begins is as long as until then."""
    return max(
        (
            min(wait.answered_at, next_at) - max(wait.asked_at, ended_at)
            for wait in waits
            if wait.answered_at > ended_at
            and ended_at - _BEFORE_S < wait.asked_at < min(ended_at + QUIET_AFTER_S, next_at)
        ),
        default=None,
    )


def _commands(evidence: Evidence) -> list[Wait]:
    """From the command on `orders.commands` to its outcome on `orders.replies`."""
    answered: dict[str, float] = {}
    for message in evidence.topics["orders.replies"]:
        answered.setdefault(message.body["command_id"], message.at_s)
    sent = first_of_each(evidence.topics["orders.commands"])
    return [Wait(message.at_s, answered[command]) for command, message in sent.items() if command in answered]


def _channel_events(evidence: Evidence) -> list[Wait]:
    """From what a channel told to the command that it became, where it did not have to wait for its order."""
    sent = first_of_each(evidence.topics["orders.commands"])
    first_command = {
        row["event_id"]: sent[row["command_id"]].at_s
        for row in evidence.tables["channel_events"]
        if row["attempt"] == 1 and row["command_id"] in sent and row["named_order_id"]
    }
    told: dict[str, float] = {}
    for topic, messages in evidence.topics.items():
        if topic.startswith("channels.") and not topic.endswith(".dead-letters"):
            for message in messages:
                told.setdefault(message.headers.get("ce_id", ""), message.at_s)
    return [Wait(told[event], at) for event, at in first_command.items() if event in told]


def _public_events(evidence: Evidence) -> list[Wait]:
    """From an order's version on `orders.events` to the plugin's topic, where it came there."""
    told: dict[tuple[str, int], float] = {}
    for message in evidence.topics["orders.events"]:
        told.setdefault((message.key, message.body["version"]), message.at_s)
    passed_on: dict[tuple[str, int], float] = {}
    for topic, messages in evidence.topics.items():
        if topic.startswith("plugins."):
            for message in messages:
                passed_on.setdefault((message.key, message.body["order_version"]), message.at_s)
    return [Wait(told[version], at) for version, at in passed_on.items() if version in told]
