"""What there is after the run: dead letters, rows, replies, and what the services logged."""

import asyncio
import json
import zlib
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

import asyncpg
from confluent_kafka import Consumer, TopicPartition

from shared.topics import DEAD_LETTERS_SUFFIX, ORDERS_REPLIES
from tests.hostile.messages import MARKER
from tests.hostile.model import Command, Public, Reference
from tests.hostile.sending import Position
from tests.hostile.system import System

Json = dict[str, Any]
Content = tuple[Reference, str | None, str | None, int | None, str | None]
"""A reference, and what two events with it must agree on: order id, external reference, amount, currency."""

_AT_ONCE_S = 0.5
_SILENT = 40
_NO_GRANT = "no grant in this record"

_OUTCOMES = "SELECT aggregate_id, command_id, outcome::text AS outcome FROM orders.inbox"
_EVENTS = """
SELECT channel_event_id, channel_id, type, body::text AS body, status, order_id FROM payments.channel_events
"""
_CONFLICTS = """
SELECT channel_id, event_type, event::text AS body FROM payments.unmatched_money WHERE kind = 'conflict'
"""
_HIDDEN_MONEY = """
SELECT channel_event_id, status FROM payments.channel_events AS e
WHERE status IN ('waiting', 'held', 'refused')
    AND type NOT IN ('channel.payment.failed.v1', 'channel.payment.voided.v1')
    AND NOT EXISTS (SELECT FROM payments.unmatched_money AS item WHERE item.channel_event_id = e.channel_event_id)
"""
_PUBLIC = "SELECT subject_id, type FROM apps.events WHERE subject_id IS NOT NULL"
_VERSIONS = "SELECT order_id, version FROM payments.known_orders"
_GRANTS = "SELECT credential_hash, status, topic_offset FROM {service}.grants"


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter: why, and what its value was, unless it was cut."""

    reason: str
    checksum: int | None


@dataclass
class Logged:
    """What one service wrote."""

    events: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    leaks: list[str] = field(default_factory=list)
    no_grants: set[tuple[int, int]] = field(default_factory=set)
    """Partition and offset of what the grants' tail skipped."""


@dataclass
class Evidence:
    """Everything by what it is looked up with."""

    letters: dict[Position, list[Letter]]
    replies: dict[Command, set[str]]
    """What was answered to each command, as the outcome's code, or empty."""
    outcomes: dict[Command, str]
    events: dict[Reference, Json]
    conflicts: set[Content]
    hidden_money: list[str]
    versions: dict[str, int]
    public: set[Public]
    """What the public is told of other things than orders."""
    grants: dict[str, dict[str, tuple[str, int]]]
    """By service and credential: status and offset."""
    logged: dict[str, Logged]


async def gather(system: System, hostile: Collection[Position]) -> Evidence:
    """Read everything; nothing may change any more. `hostile` are the positions of our own messages."""
    letters, replies = await asyncio.to_thread(_read_topics, system.servers.kafka_bootstrap_servers, hostile)
    connection = await asyncpg.connect(system.servers.database_url)
    try:
        outcomes = {
            Command(row["aggregate_id"], row["command_id"]): json.loads(row["outcome"]).get("code", "")
            for row in await connection.fetch(_OUTCOMES)
        }
        events = {}
        for row in await connection.fetch(_EVENTS):
            body = json.loads(row["body"])
            events[_reference(row["channel_id"], row["type"], body)] = {**row, "body": body}
        conflicts = set()
        for row in await connection.fetch(_CONFLICTS):
            body = json.loads(row["body"])
            conflicts.add(content_of(_reference(row["channel_id"], row["event_type"], body), body))
        hidden = [f"{row['channel_event_id']} is {row['status']}" for row in await connection.fetch(_HIDDEN_MONEY)]
        public = {Public(row["subject_id"], row["type"]) for row in await connection.fetch(_PUBLIC)}
        versions = {row["order_id"]: row["version"] for row in await connection.fetch(_VERSIONS)}
        grants = {
            service: {
                row["credential_hash"]: (row["status"], row["topic_offset"])
                for row in await connection.fetch(_GRANTS.format(service=service))
            }
            for service in system.processes
        }
    finally:
        await connection.close()
    logged = {service: read_log(system.log(service).open(errors="replace")) for service in system.processes}
    return Evidence(letters, replies, outcomes, events, conflicts, hidden, versions, public, grants, logged)


def content_of(reference: Reference, body: Json) -> Content:
    money = body.get("amount_money") or {}
    return (
        reference,
        body.get("order_id"),
        body.get("external_reference"),
        money.get("amount"),
        money.get("currency"),
    )


def read_log(lines: Any) -> Logged:
    found = Logged()
    for line in lines:
        if MARKER in line:
            found.leaks.append(line[:500])
        try:
            entry = json.loads(line)
        except ValueError:
            found.errors[f"not a line of JSON: {line[:100]}"] += 1
            continue
        name = str(entry.get("event"))
        if name == _NO_GRANT:
            found.no_grants.add((entry["partition"], entry["offset"]))
        if entry.get("level") in ("error", "critical"):
            found.errors[f"{name[:100]} {entry.get('failure', '')}".strip()] += 1
        found.events[name[:60]] += 1
    return found


def _reference(channel_id: str, wire_type: str, body: Json) -> Reference:
    return Reference(
        channel_id, wire_type, body["payment_reference"], body.get("capture_reference"), body.get("refund_reference")
    )


def _read_topics(
    bootstrap_servers: str, hostile: Collection[Position]
) -> tuple[dict[Position, list[Letter]], dict[Command, set[str]]]:
    letters: dict[Position, list[Letter]] = defaultdict(list)
    replies: dict[Command, set[str]] = defaultdict(set)
    for message in _messages(bootstrap_servers, lambda name: name.endswith(DEAD_LETTERS_SUFFIX)):
        headers = dict(message.headers() or ())
        position = (headers["tl_topic"].decode(), int(headers["tl_partition"]), int(headers["tl_offset"]))
        checksum = None if "tl_truncated" in headers else zlib.crc32(message.value() or b"")
        letters[position].append(Letter(headers["tl_reason"].decode(), checksum))
    # Of the services' own replies only; they are plain text, unlike what was sent beside them.
    for message in _messages(bootstrap_servers, lambda name: name == ORDERS_REPLIES, hostile):
        body = json.loads(message.value())
        replies[Command(body["order_id"], body["command_id"])].add(body.get("code", ""))
    return letters, replies


def _messages(bootstrap_servers: str, wanted: Any, without: Collection[Position] = ()) -> Iterator[Any]:
    """Every message of the wanted topics, from the beginning to where they end now."""
    settings = {"bootstrap.servers": bootstrap_servers, "group.id": "auditor", "enable.auto.commit": False}
    consumer = Consumer({**settings, "enable.partition.eof": True, "isolation.level": "read_uncommitted"})
    try:
        topics = {name: topic for name, topic in consumer.list_topics(timeout=20).topics.items() if wanted(name)}
        left = {(name, number) for name, topic in topics.items() for number in topic.partitions}
        consumer.assign([TopicPartition(name, number, 0) for name, number in left])
        silent = 0
        while left:
            taken = consumer.consume(5_000, _AT_ONCE_S)
            silent = 0 if taken else silent + 1
            if silent == _SILENT:
                raise RuntimeError(f"Kafka gave nothing more although these are not read to their ends: {left}")
            for message in taken:
                if message.error():
                    left.discard((message.topic(), message.partition()))
                elif (message.topic(), message.partition(), message.offset()) not in without:
                    yield message
    finally:
        consumer.close()
