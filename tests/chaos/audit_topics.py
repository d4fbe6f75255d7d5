"""The auditor's look at every topic from its beginning: what is there belongs there, once, in order, and is all."""

import json
from collections import Counter, defaultdict

from tests.chaos.channels import NO_EVENT
from tests.chaos.evidence import SERVICES, Evidence, Message, Row
from tests.chaos.findings import Findings
from tests.chaos.journal import Journal

_DEAD_LETTERS = ".dead-letters"
_SIGNING_KEY = "access.signing_key.v1"
_PLUGINS = "plugins."
OF_INTENTS = "payments.payment_intent_"
"""What the types of messages about intents begin with; `audit_payments` looks at those."""
_KNOWN = {
    "orders.events",
    "orders.commands",
    "orders.replies",
    "payments.events",
    "access.grants",
    "access.used",
    "apps.events",
}

Position = tuple[str, str, str]
"""Topic, partition and offset as a dead letter's headers name them."""


def audit_topics(journal: Journal, evidence: Evidence, findings: Findings) -> None:
    """Everything that is wrong with what was published."""
    audit = _Topics(journal, evidence, findings)
    for topic, messages in sorted(evidence.topics.items()):
        findings.counted[f"messages: {_kind_of(topic)}"] += len(messages)
        if topic.endswith(_DEAD_LETTERS):
            audit.dead_letters(messages)
        elif topic.startswith("channels."):
            audit.channel(messages)
        elif topic not in _KNOWN and not topic.startswith(_PLUGINS):
            findings.odd.append(f"a topic that nobody made: {topic}")
    audit.order_events()
    audit.commands()
    audit.replies()
    audit.payments_events()
    audit.grants()


def dead_positions(evidence: Evidence) -> set[Position]:
    """What the dead letters are letters of."""
    return {
        _position(message)
        for topic, messages in evidence.topics.items()
        if topic.endswith(_DEAD_LETTERS)
        for message in messages
    }


def first_of_each(messages: list[Message]) -> dict[str, Message]:
    """The first message of each id, in the order of the topic."""
    found: dict[str, Message] = {}
    for message in messages:
        found.setdefault(message.headers["ce_id"], message)
    return found


def _kind_of(topic: str) -> str:
    if topic.endswith(_DEAD_LETTERS):
        return "dead letters"
    kind = topic.partition(".")[0]
    return f"{kind}.*" if kind in ("channels", "plugins") else topic


def _position(message: Message) -> Position:
    headers = message.headers
    return headers.get("tl_topic", ""), headers.get("tl_partition", ""), headers.get("tl_offset", "")


class _Topics:
    def __init__(self, journal: Journal, evidence: Evidence, findings: Findings) -> None:
        self.evidence, self.findings = evidence, findings
        self.stored = {row["order_id"]: row for row in evidence.tables["orders"]}
        self.commands_sent = first_of_each(evidence.topics["orders.commands"])
        self.dead = dead_positions(evidence)
        self.garbage = {told.event_id for told in journal.told if told.fate == "dead"}
        self.references = {told.reference for told in journal.told}

    def dead_letters(self, messages: list[Message]) -> None:
        """Only garbage is given up."""
        for message in messages:
            if message.headers.get("ce_id") not in self.garbage and message.value != NO_EVENT:
                reason = message.headers.get("tl_reason")
                self.findings.lost.append(f"not garbage, and a dead letter ({reason}): {_position(message)}")

    def channel(self, messages: list[Message]) -> None:
        """Nothing is on a channel's topic that the channel did not tell."""
        for message in messages:
            if (message.topic, str(message.partition), str(message.offset)) in self.dead:
                continue
            if message.body["payment_reference"] not in self.references:
                self.findings.double.append(f"nobody told {message.topic}[{message.partition}] at {message.offset}")

    def order_events(self) -> None:
        """First occurrences are versions 1, 2, 3 … as the history has them; what comes again says the same."""
        history = {
            (row["order_id"], row["version"]): row["payload"]["events"] for row in self.evidence.tables["history"]
        }
        seen: dict[str, list[int]] = defaultdict(list)
        said: dict[tuple[str, int], bytes] = {}
        for message in self.evidence.topics["orders.events"]:
            body = message.body
            version = body["version"]
            if said.setdefault((message.key, version), message.value) != message.value:
                self.findings.double.append(f"version {version} of {message.key} was told in two ways")
            if version in seen[message.key]:
                self.findings.counted["order events: told again"] += 1
                continue
            seen[message.key].append(version)
            if body["events"] != history.get((message.key, version), body["events"]):
                self.findings.lost.append(f"version {version} of {message.key}: orders.events and history differ")
        for order_id, row in self.stored.items():
            self._versions(order_id, row["version"], seen[order_id])
        for order_id in seen.keys() - self.stored.keys():
            self.findings.double.append(f"orders.events tells of {order_id}, which does not exist")

    def _versions(self, order_id: str, version: int, seen: list[int]) -> None:
        wanted = list(range(1, version + 1))
        if missing := sorted(set(wanted) - set(seen)):
            self.findings.lost.append(f"versions {missing} of {order_id} are not on orders.events")
        if seen != sorted(seen):
            self.findings.disorder.append(f"orders.events has {order_id} as {seen}")
        if extra := sorted(set(seen) - set(wanted)):
            self.findings.double.append(f"orders.events has versions {extra} of {order_id}, which is at {version}")

    def commands(self) -> None:
        """Each is for a channel event or an intent, has an outcome, and took effect in the order of the topic."""
        rows = self.evidence.tables["channel_events"]
        intents = self.evidence.tables["intents"]
        known = {row["channel_event_id"] for row in rows} | {row["payment_intent_id"] for row in intents}
        for row in rows:
            if row["command_id"] is not None and row["command_id"] not in self.commands_sent:
                self.findings.lost.append(f"command {row['command_id']} is not on orders.commands")
        self._of_intents(intents)
        recorded = Counter((row["aggregate_id"], row["command_id"]) for row in self.evidence.tables["inbox"])
        effects: dict[str, list[str]] = defaultdict(list)
        for row in self.evidence.tables["history"]:
            effects[row["order_id"]].append(row["payload"]["command_id"])
        sent: dict[str, list[str]] = defaultdict(list)
        for command_id, message in self.commands_sent.items():
            self.findings.counted["commands"] += 1
            sent[message.key].append(command_id)
            if command_id.partition(".")[0] not in known:
                self.findings.double.append(f"nobody needed command {command_id} on {message.key}")
            if (count := recorded[message.key, command_id]) != 1:
                self.findings.lost.append(f"command {command_id} on {message.key} is recorded {count} times")
        for order_id, ids in sent.items():
            place = {command_id: number for number, command_id in enumerate(ids)}
            done = [command_id for command_id in effects[order_id] if command_id in place]
            if done != sorted(done, key=lambda command_id: place[command_id]):
                self.findings.disorder.append(f"commands on {order_id} came as {ids} and were done as {done}")

    def _of_intents(self, intents: list[Row]) -> None:
        """Those of one intent are numbered, by `pi_….lease.1`, and are as many as it says."""
        numbers: dict[str, list[int]] = defaultdict(list)
        for command_id in self.commands_sent:
            if command_id.startswith("pi_"):
                intent_id, _, number = command_id.split(".")
                numbers[intent_id].append(int(number))
        for row in intents:
            intent_id, sent = row["payment_intent_id"], sorted(numbers[row["payment_intent_id"]])
            wanted = list(range(1, row["commands"] + 1))
            if sent != wanted:
                wrong = self.findings.double if len(sent) > len(wanted) else self.findings.lost
                wrong.append(f"orders.commands has {sent} of the {len(wanted)} commands of {intent_id}")

    def replies(self) -> None:
        """One outcome for each command, for ever the same, in the order of the order's versions.

        A repeat is made anew from the inbox, where the fields of an object are in another order.
        """
        first: dict[str, Message] = {}
        for message in self.evidence.topics["orders.replies"]:
            command_id = message.body["command_id"]
            if first.setdefault(command_id, message).body != message.body:
                self.findings.double.append(f"command {command_id} has two outcomes")
        for command_id, message in self.commands_sent.items():
            if command_id not in first:
                self.findings.lost.append(f"command {command_id} on {message.key} has no outcome on orders.replies")
        for command_id in first.keys() - self.commands_sent.keys():
            self.findings.double.append(f"an outcome of command {command_id}, which nobody sent")
        self._by_version("orders.replies", list(first.values()))

    def payments_events(self) -> None:
        """What became of every channel event and of every unmatched item was told, once; besides, only of intents."""
        wanted = {
            f"{row['channel_event_id']}.{row['status']}"
            for row in self.evidence.tables["channel_events"]
            if row["status"] in ("applied", "refused")
        }
        for row in self.evidence.tables["unmatched"]:
            wanted.add(f"{row['unmatched_money_id']}.found")
            if row["status"] in ("attached", "returned", "dismissed"):
                wanted.add(f"{row['unmatched_money_id']}.{row['status']}")
        messages = self.evidence.topics["payments.events"]
        first = first_of_each(messages)
        for message in messages:
            if first[message.headers["ce_id"]].value != message.value:
                self.findings.double.append(f"payments.events tells {message.headers['ce_id']} in two ways")
        others = {
            name for name, message in first.items() if not message.headers.get("ce_type", "").startswith(OF_INTENTS)
        }
        self.findings.lost += [f"not on payments.events: {name}" for name in sorted(wanted - others)]
        self.findings.double += [f"payments.events has {name} for nothing" for name in sorted(others - wanted)]
        self._by_version("payments.events", [message for message in first.values() if "order_version" in message.body])

    def _by_version(self, topic: str, messages: list[Message]) -> None:
        """An order's messages, each at its first occurrence, have its versions in ascending order."""
        versions: dict[str, list[int]] = defaultdict(list)
        for message in messages:
            versions[message.key].append(message.body["order_version"])
        for order_id, seen in versions.items():
            if seen != sorted(seen):
                self.findings.disorder.append(f"{topic} has {order_id} at versions {seen}")

    def grants(self) -> None:
        """Every service's copy has the last word about each credential, and about each key that signs tokens."""
        grants: dict[str, tuple[str, str]] = {}
        keys: dict[str, str] = {}
        for message in self.evidence.topics["access.grants"]:
            body = json.loads(message.value)
            if message.headers.get("ce_type") == _SIGNING_KEY:
                keys[message.key] = body["status"]
            else:
                grants[message.key] = (body["grant_id"], body["status"])
        for service in SERVICES:
            tables = self.evidence.tables
            copy = {row["credential_hash"]: (row["grant_id"], row["status"]) for row in tables[f"{service}_grants"]}
            if copy != grants:
                self.findings.lost.append(f"the grants of {service} are not what access.grants says")
            if {row["kid"]: row["status"] for row in tables[f"{service}_signing_keys"]} != keys:
                self.findings.lost.append(f"the signing keys of {service} are not what access.grants says")
