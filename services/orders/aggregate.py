"""What the write path needs to know about orders: how they are loaded, decided on, kept and told of."""

from collections import Counter, deque
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import orjson

from services.orders.core.decide import Decision, DecisionContext, decide_and_apply, outcome_facts
from services.orders.core.refusal import Refusal
from services.orders.core.state import Order
from services.orders.core.view import order_view
from services.orders.lines import LinesJson
from services.orders.numbers import OrderNumbers, Tenant
from services.orders.store import history, orders, search
from shared.contracts.order_commands import CreateOrder, OrderCommand, ReasonedCommand, TenderedCommand
from shared.contracts.orders import CommandAccepted, CommandRefused
from shared.envelope import Envelope
from shared.outbox import OutboxMessage
from shared.postgres import Connection
from shared.processor import Change, Incoming, Outcome, Record, Verdict
from shared.topics import ORDERS_EVENTS, ORDERS_REPLIES
from shared.writes import NewRows, Write

SOURCE = "/services/orders"

LARGEST_VALUE_BYTES = 800 * 1024
"""A message above this goes without the order's snapshot: it must fit into a record batch together with its headers."""

MOST_BLOCKERS = 50
"""An order may have thousands of leases; a reply that names all of them would exceed what its topic takes."""

Numbers = dict[Tenant, deque[str]]
Changes = Sequence[tuple[Change[Order, OrderCommand], Record]]


class OrderAggregates:
    """The order service's side of the command processor."""

    def __init__(self, numbers: OrderNumbers) -> None:
        self._numbers = numbers
        self._cache = orders.OrderCache()
        self._lines = LinesJson()

    async def prepare(self, batch: Sequence[Incoming[OrderCommand]]) -> Numbers:
        """A free number for every order that may come into being."""
        tenants = ((each.merchant_id, each.environment) for each in batch if isinstance(each.command, CreateOrder))
        wanted = Counter(tenants)
        return await self._numbers.take(wanted) if wanted else {}

    async def lock(self, connection: Connection, keys: Sequence[str]) -> dict[str, Order]:
        return await orders.lock_orders(connection, keys, self._cache)

    def decide(
        self, state: Order | None, incoming: Incoming[OrderCommand], now: datetime, prepared: Numbers
    ) -> Verdict[Order]:
        numbers = prepared.get((incoming.merchant_id, incoming.environment))
        creates = isinstance(incoming.command, CreateOrder)
        context = DecisionContext(
            order_id=incoming.key,
            merchant_id=incoming.merchant_id,
            environment=incoming.environment,
            now=now,
            number=numbers.popleft() if creates and numbers else None,
            expected_version=incoming.expected_version,
        )
        decided = decide_and_apply(state, incoming.command, context)
        match decided:
            case Refusal():
                return Verdict(_refused(incoming, state, decided), state)
            case Decision():
                facts: dict[str, Any] = dict(outcome_facts(state, decided.order))
                outcome = Outcome(incoming.command_id, incoming.key, decided.order.version, facts=facts)
                return Verdict(outcome, decided.order, decided.events)

    def record(self, change: Change[Order, OrderCommand]) -> Record:
        """History and message say alike what happened; the message adds the order after it."""
        order, incoming = change.after, change.incoming
        told = orjson.dumps(_told(change), option=orjson.OPT_UTC_Z)
        view = order_view(order, change.at, self._lines.of(order))
        value = _extended(told, b"order", orjson.dumps(view, option=orjson.OPT_UTC_Z))
        if len(value) > LARGEST_VALUE_BYTES:
            value = _extended(told, b"order", b"null")
        envelope = Envelope(
            id=f"{order.order_id}.{order.version}",
            type=change.events[0].wire_type,
            source=SOURCE,
            data=value,
            key=order.order_id,
            subject=order.order_id,
            time=change.at,
            traceparent=incoming.traceparent,
            correlation_id=incoming.correlation_id or incoming.command_id,
            causation_id=incoming.command_id,
            merchant_id=order.merchant_id,
            environment=order.environment,
            actor=f"{incoming.actor.type}:{incoming.actor.id}",
            order_version=order.version,
        )
        kept = _extended(told, b"command_id", orjson.dumps(incoming.command_id))
        return Record(kept, [OutboxMessage(ORDERS_EVENTS, envelope)])

    def writes(self, changes: Changes) -> Sequence[Write | NewRows | None]:
        """Newest state per order, all versions' history, and the words of those whose texts changed."""
        first = {change.after.order_id: change.before for change, _ in reversed(changes)}
        last = _newest(changes)
        renamed = [last[key] for key, before in first.items() if before is None or _renamed(before, last[key])]
        return [
            orders.new_orders([last[key] for key, before in first.items() if before is None]),
            orders.changed_orders([(last[key], before.version) for key, before in first.items() if before is not None]),
            history.new_versions([_history_row(change, record) for change, record in changes]),
            search.new_words(renamed),
        ]

    def committed(self, changes: Changes) -> None:
        self._cache.put(_newest(changes).values())

    def reply(self, incoming: Incoming[OrderCommand], outcome: Outcome) -> OutboxMessage:
        accepted = outcome.code is None
        body: dict[str, Any] = {
            "command_id": outcome.command_id,
            "order_id": outcome.key,
            "order_version": outcome.version,
            "sender": incoming.source,
            "facts": outcome.facts,
        }
        if not accepted:
            body |= {"code": outcome.code, "detail": outcome.detail, "blockers": outcome.blockers}
        envelope = Envelope(
            id=f"{outcome.command_id}.outcome",
            type=CommandAccepted.wire_type if accepted else CommandRefused.wire_type,
            source=SOURCE,
            data=orjson.dumps(body),
            key=outcome.key,
            subject=outcome.key,
            traceparent=incoming.traceparent,
            correlation_id=incoming.correlation_id or incoming.command_id,
            causation_id=incoming.command_id,
            merchant_id=incoming.merchant_id,
            environment=incoming.environment,
            order_version=outcome.version,
        )
        return OutboxMessage(ORDERS_REPLIES, envelope)


def _refused(incoming: Incoming[OrderCommand], state: Order | None, refusal: Refusal) -> Outcome:
    # Whoever asks about another tenant's order learns nothing, not even its version.
    asks = (incoming.merchant_id, incoming.environment)
    version = state.version if state is not None and (state.merchant_id, state.environment) == asks else 0
    return Outcome(
        incoming.command_id,
        incoming.key,
        version,
        refusal.code,
        refusal.detail,
        refusal.facts,
        [blocker.model_dump(mode="json", exclude_none=True) for blocker in refusal.blockers[:MOST_BLOCKERS]],
        refusal.param,
    )


def _newest(changes: Changes) -> dict[str, Order]:
    return {change.after.order_id: change.after for change, _ in changes}


def _renamed(before: Order, after: Order) -> bool:
    """Whether the order is to be found by other words now."""
    if before.lines is after.lines and before.context is after.context:
        return False
    return search.search_texts(before) != search.search_texts(after)


def _extended(json: bytes, name: bytes, value: bytes) -> bytes:
    """A JSON object with one more member."""
    return b'%b,"%b":%b}' % (json[:-1], name, value)


def _told(change: Change[Order, OrderCommand]) -> dict[str, Any]:
    """What history and message say alike: what happened, who did it, and what it did to the balance."""
    order, incoming = change.after, change.incoming
    command = incoming.command
    channel_id = command.tender.channel_id if isinstance(command, TenderedCommand) else None
    reason = command.reason if isinstance(command, ReasonedCommand) else None
    return {
        "order_id": order.order_id,
        "version": order.version,
        "previous_version": change.before.version if change.before else 0,
        "recorded_at": change.at,
        "events": [
            {"type": event.wire_type, "data": orjson.Fragment(event.model_dump_json(exclude_defaults=True))}
            for event in change.events
        ],
        "actor": {"type": incoming.actor.type, "id": incoming.actor.id},
        "channel": channel_id or incoming.channel,
        "reason": incoming.reason or reason,
        "balance_before": {"amount": change.before.balance if change.before else 0, "currency": order.currency},
        "balance_after": {"amount": order.balance, "currency": order.currency},
    }


def _history_row(change: Change[Order, OrderCommand], record: Record) -> history.HistoryRow:
    order = change.after
    return history.HistoryRow(order.order_id, order.version, change.events[0].wire_type, record.history, change.at)
