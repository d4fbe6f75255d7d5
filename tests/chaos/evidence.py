"""What there is after the run: every topic from its beginning, the tables, and what HTTP answers."""

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import httpx2
from confluent_kafka import Consumer, TopicPartition

Json = dict[str, Any]
Row = dict[str, Any]

SERVICES = ("orders", "payments", "apps")
_TABLES = {
    "orders": "SELECT order_id, merchant_id, version, external_reference, total_minor, state FROM orders.orders",
    "history": "SELECT order_id, version, type, payload FROM orders.order_events ORDER BY order_id, version",
    "inbox": "SELECT aggregate_id, command_id, outcome FROM orders.inbox",
    "orders_outbox": "SELECT seq, id, aggregatetype FROM orders.outbox",
    "payments_outbox": "SELECT seq, id, aggregatetype FROM payments.outbox",
    "apps_outbox": "SELECT seq, id, aggregatetype FROM apps.outbox",
    "pending_webhooks": "SELECT delivery_id, event_id, endpoint_id, tries FROM apps.webhook_deliveries "
    "WHERE status = 'pending'",
    "channel_events": "SELECT channel_event_id, event_id, status, order_id, named_order_id, attempt, command_id "
    "FROM payments.channel_events",
    "unmatched": "SELECT unmatched_money_id, channel_event_id, kind, status, amount_minor, payment_reference, order_id "
    "FROM payments.unmatched_money",
    "intents": "SELECT payment_intent_id, order_id, status, settled, "
    "coalesce((state ->> 'commands')::int, 0) AS commands FROM payments.payment_intents",
    "attempts": "SELECT attempt_id, payment_intent_id, status FROM payments.payment_attempts",
    "acquired": "SELECT payment_id, order_id, payment_intent_id FROM sandbox.payments",
    "ledger": "SELECT movement_id, payment_id, account, kind, amount_minor FROM sandbox.entries "
    "ORDER BY made_at, movement_id",
    "known_orders": "SELECT order_id, version FROM payments.known_orders",
    **{f"{name}_grants": f"SELECT credential_hash, grant_id, status FROM {name}.grants" for name in SERVICES},
    **{f"{name}_signing_keys": f"SELECT kid, status FROM {name}.signing_keys" for name in SERVICES},
}
_JSON = {"state", "payload", "outcome"}
_SILENT_S = 10.0
_PAST_VERSIONS = 200
_TRIES = 5


@dataclass(frozen=True)
class Message:
    """One record of a topic."""

    topic: str
    partition: int
    offset: int
    key: str
    value: bytes
    headers: dict[str, str]
    at_s: float = 0.0
    """When its producer made it, in seconds since 1970."""

    @property
    def body(self) -> Json:
        found: Json = json.loads(self.value)
        return found


@dataclass
class Evidence:
    """Tables by name, messages by topic (per partition in order), orders as HTTP shows them."""

    tables: dict[str, list[Row]] = field(default_factory=dict)
    topics: dict[str, list[Message]] = field(default_factory=dict)
    shown: dict[str, Json] = field(default_factory=dict)
    shown_unmatched: list[Json] = field(default_factory=list)
    shown_intents: list[Json] = field(default_factory=list)
    past: dict[tuple[str, int], Json] = field(default_factory=dict)
    """Some orders at some version of theirs."""
    events: dict[str, list[Json]] = field(default_factory=dict)
    """The public events that each merchant is shown, oldest first."""


@dataclass(frozen=True)
class Clients:
    """Of one merchant."""

    orders: httpx2.AsyncClient
    payments: httpx2.AsyncClient
    apps: httpx2.AsyncClient


async def gather(database_url: str, bootstrap_servers: str, clients: Mapping[str, Clients]) -> Evidence:
    """Read everything, also what HTTP shows each merchant; nothing may be running any more that changes it."""
    found = Evidence()
    connection = await asyncpg.connect(database_url)
    try:
        for name, query in _TABLES.items():
            found.tables[name] = [_row(row) for row in await connection.fetch(query)]
    finally:
        await connection.close()
    found.topics = await asyncio.to_thread(_read_topics, bootstrap_servers)
    for row in found.tables["orders"]:
        http = clients[row["merchant_id"]].orders
        answer = await _get(http, f"/v1/orders/{row['order_id']}")
        found.shown[row["order_id"]] = answer.json().get("data", {}) if answer.status_code == 200 else {}
        if len(found.past) < _PAST_VERSIONS:
            version = 1 + len(found.past) % row["version"]
            answer = await _get(http, f"/v1/orders/{row['order_id']}", version=version)
            found.past[row["order_id"], version] = answer.json().get("data", {})
    for merchant_id, of_one in clients.items():
        found.shown_unmatched += await _listed(of_one.payments, "/v1/unmatched-money")
        found.shown_intents += await _listed(of_one.payments, "/v1/payment-intents")
        found.events[merchant_id] = (await _listed(of_one.apps, "/v1/events"))[::-1]
    return found


async def _get(http: httpx2.AsyncClient, path: str, **params: str | int) -> httpx2.Response:
    """The answer; asked again where the server has just closed the idle connection that was to be used."""
    for _ in range(_TRIES - 1):
        with suppress(httpx2.TransportError):
            return await http.get(path, params=params, timeout=20)
    return await http.get(path, params=params, timeout=20)


def _row(record: Any) -> Row:
    return {name: json.loads(value) if name in _JSON else value for name, value in record.items()}


async def _listed(http: httpx2.AsyncClient, path: str) -> list[Json]:
    """All pages."""
    found: list[Json] = []
    token: str | None = None
    while True:
        params: dict[str, str | int] = {"page_size": 100} | ({"page_token": token} if token else {})
        answer = (await _get(http, path, **params)).raise_for_status().json()
        found += answer["data"]
        token = answer.get("next_page_token")
        if not token:
            return found


def _read_topics(bootstrap_servers: str) -> dict[str, list[Message]]:
    consumer = Consumer(
        {"bootstrap.servers": bootstrap_servers, "group.id": "auditor", "enable.auto.commit": False, "log_level": 0}
    )
    try:
        known = consumer.list_topics(timeout=20).topics
        names = [name for name in known if not name.startswith("__")]
        found: dict[str, list[Message]] = {name: [] for name in names}
        left: dict[tuple[str, int], int] = {}
        for name in names:
            for number in known[name].partitions:
                low, high = consumer.get_watermark_offsets(TopicPartition(name, number), timeout=20)
                if high > low:
                    left[name, number] = high
        consumer.assign([TopicPartition(name, number, 0) for name, number in left])
        while left:
            message = consumer.poll(_SILENT_S)
            if message is None:
                raise RuntimeError(f"Kafka gave nothing more although these are not read to their ends: {left}")
            if message.error():
                continue
            one = _message(message)
            place = (one.topic, one.partition)
            found[one.topic].append(one)
            if place in left and one.offset + 1 >= left[place]:
                del left[place]
        return found
    finally:
        consumer.close()


def _message(message: Any) -> Message:
    return Message(
        topic=message.topic(),
        partition=message.partition(),
        offset=message.offset(),
        key=(message.key() or b"").decode(errors="replace"),
        value=message.value() or b"",
        headers={name: (value or b"").decode(errors="replace") for name, value in message.headers() or []},
        at_s=message.timestamp()[1] / 1000,
    )
