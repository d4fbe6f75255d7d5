"""Bugs planted one at a time into the services as they run in a simulation, to see that it finds them.

Each is a mistake that somebody could make in good faith; outside of tests nothing can reach them.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any
from unittest.mock import patch

from services.orders.aggregate import OrderAggregates
from services.orders.core import facts, leases, refunds
from services.orders.core import state as order_state
from services.orders.core.refusal import Refusal
from services.orders.store.orders import OrderCache
from services.payments import answers, consumers, matching
from services.payments.core import projection, settling
from services.payments.core.identities import derived_id
from services.payments.core.settling import Settled
from services.payments.core.state import Arrival
from services.payments.jobs import MatchWaitingJob
from services.payments.store import orders
from shared import inbox, processor, relay
from shared.faults import Transient
from shared.kafka.consumer import BatchConsumer
from shared.kafka.dead_letters import DeadLetters
from shared.kafka.lanes import Lane
from shared.kafka.record import Record
from shared.outbox_floor import Floor
from shared.processor import _Run
from shared.relay import Relay
from shared.writes import NewRows
from tests.simulation.postgres.engine import Transaction
from tests.simulation.postgres.table import Table

Bug = Callable[[], AbstractContextManager[object]]
BUGS: dict[str, Bug] = {}
"""By name, which says what is wrong."""


def plant_into(bugs: dict[str, Bug]) -> Callable[[Callable[[], Iterator[None]]], Bug]:
    """Decorates a planting, which is registered under its function's name."""

    def bug(plant: Callable[[], Iterator[None]]) -> Bug:
        bugs[plant.__name__] = contextmanager(plant)
        return bugs[plant.__name__]

    return bug


bug = plant_into(BUGS)


async def _nothing(*_: Any, **__: Any) -> Any:
    return None


@bug
def acknowledged_before_it_is_durable() -> Iterator[None]:
    take = BatchConsumer._take

    async def hasty(self: BatchConsumer, records: Sequence[Any]) -> None:
        await self._acknowledge(records)
        await take(self, records)

    with patch.object(BatchConsumer, "_take", hasty):
        yield


@bug
def an_outage_ends_the_batch() -> Iterator[None]:
    handled = BatchConsumer._handled

    async def careless(self: BatchConsumer, records: Sequence[Any]) -> Any:
        handler = self._handler

        async def once(batch: Sequence[Any]) -> Any:
            try:
                return await handler(batch)
            except Transient:
                return [None] * len(batch)

        self._handler = once
        try:
            return await handled(self, records)
        finally:
            self._handler = handler

    with patch.object(BatchConsumer, "_handled", careless):
        yield


@bug
def lanes_share_partitions() -> Iterator[None]:
    def dealt(records: Sequence[Record], most: int, lanes: int) -> list[Lane]:
        wanted = min(lanes, -(-len(records) // most))
        return [list(range(first, len(records), wanted)) for first in range(wanted)]

    with patch("shared.kafka.consumer.lanes_of", dealt):
        yield


@bug
def inbox_is_skipped() -> Iterator[None]:
    async def forgets(*_: Any) -> dict[Any, str]:
        return {}

    with patch.object(inbox, "recall", forgets), patch.object(inbox, "rows_of", lambda *_: None):
        yield


@bug
def outcome_is_not_recorded() -> Iterator[None]:
    with patch.object(inbox, "rows_of", lambda *_: None):
        yield


@bug
def reply_is_lost_on_redelivery() -> Iterator[None]:
    handle = _Run.handle

    def silent(self: Any, incoming: Any, prepared: Any) -> Any:
        known = (incoming.key, incoming.command_id) in self.recalled
        before = len(self.outgoing)
        done = handle(self, incoming, prepared)
        if known:
            del self.outgoing[before:]
        return done

    with patch.object(_Run, "handle", silent):
        yield


@bug
def rows_are_not_locked_and_versions_not_unique() -> Iterator[None]:
    """One of the two alone shows nowhere: the key of the history makes the second writer run again."""
    lock, insert = Transaction.lock, Transaction.insert

    async def open_to_all(self: Transaction, table: Table, key: Any, **options: Any) -> bool:
        return True if table.name == "orders" else await lock(self, table, key, **options)

    async def whatever_is_there(self: Transaction, table: Table, given: Any) -> None:
        if table.name == "order_events":
            self.writes.setdefault(table, {})[table.key(given)] = table.row(given)
        else:
            await insert(self, table, given)

    with patch.object(Transaction, "lock", open_to_all), patch.object(Transaction, "insert", whatever_is_there):
        yield


@bug
def balance_is_read_outside_the_lock() -> Iterator[None]:
    def whatever_is_there(self: OrderCache, order_id: str, version: int, updated_at: datetime) -> Any:
        return self._orders.get(order_id)

    with patch.object(OrderCache, "get", whatever_is_there):
        yield


@bug
def relay_removes_before_it_publishes() -> Iterator[None]:
    publish = Relay._publish

    async def hasty(self: Relay, connection: Any, producer: Any, rows: Sequence[Any]) -> None:
        await connection.execute("DELETE FROM outbox WHERE seq = ANY($1::bigint[])", [row.seq for row in rows])
        await publish(self, connection, producer, rows)

    with patch.object(Relay, "_publish", hasty):
        yield


@bug
def relay_reorders_a_key() -> Iterator[None]:
    send = relay._send

    async def backwards(producer: Any, topic: str, partition: int, rows: Sequence[Any]) -> Any:
        return await send(producer, topic, partition, list(reversed(rows)))

    with patch.object(relay, "_send", backwards):
        yield


@bug
def relay_floor_follows_the_newest_row() -> Iterator[None]:
    def reached(self: Floor, newest: int) -> None:
        self.newest = self.value = max(self.newest, newest)

    with patch.object(Floor, "reached", reached):
        yield


@bug
def messages_are_written_beside_the_transaction() -> Iterator[None]:
    write = processor.write

    async def beside(connection: Any, *writes: Any) -> None:
        messages = [each for each in writes if isinstance(each, NewRows) and each.table == "outbox"]
        other = connection.another()
        try:
            await write(other, *messages)
        finally:
            other.terminate()
        await write(connection, *(each for each in writes if each not in messages))

    with patch.object(processor, "write", beside):
        yield


@bug
def lease_expiry_is_ignored() -> Iterator[None]:
    with patch.object(order_state.Lease, "live", lambda self, now: True):
        yield


@bug
def leases_are_granted_without_a_look() -> Iterator[None]:
    with patch.object(leases, "_not_available", lambda order, command, now: None):
        yield


@bug
def refund_reservation_is_not_checked() -> Iterator[None]:
    with (
        patch.object(refunds, "_too_much", lambda order, free: None),
        patch.object(refunds, "allocate", lambda order, command: (_whole(command),)),
    ):
        yield


def _whole(command: Any) -> Any:
    from shared.contracts.order_parts import Allocation

    payment = command.payments[0].payment_id if command.payments else "pay_any"
    return Allocation(payment_id=payment, amount_minor=command.amount_minor)


@bug
def capture_is_refused_on_a_canceled_order() -> Iterator[None]:
    from services.orders.core import decide

    record = facts.record_capture

    def strict(order: Any, command: Any) -> Any:
        return Refusal("ORDER_NOT_OPEN", "no") if order.status == "canceled" else record(order, command)

    target = decide if hasattr(decide, "record_capture") else facts
    with patch.object(target, "record_capture", strict):
        yield


@bug
def events_are_told_apart_by_their_ids() -> Iterator[None]:
    by_id = property(lambda self: derived_id("cev", self.channel.channel_id, self.event.wire_type, self.event_id))
    with patch.object(Arrival, "channel_event_id", by_id):
        yield


@bug
def surplus_is_not_shown() -> Iterator[None]:
    with patch.object(settling, "beyond_what_is_owed", lambda kept, reply, now: None):
        yield


@bug
def unknown_orders_money_is_dropped() -> Iterator[None]:
    settle = settling.settle

    def drops(kept: Any, reply: Any, now: datetime) -> Settled:
        settled = settle(kept, reply, now)
        return Settled(settled.kept) if settled.kept.status == "waiting" else settled

    with patch.object(answers, "settle", drops):
        yield


@bug
def nobody_matches_what_waits() -> Iterator[None]:
    async def none(*_: Any) -> int:
        return 0

    with patch.object(matching, "orders_appeared", none), patch.object(MatchWaitingJob, "__call__", _nothing):
        yield


@bug
def dead_letters_are_dropped() -> Iterator[None]:
    with patch.object(DeadLetters, "publish", _nothing):
        yield


@bug
def older_versions_replace_newer_ones() -> Iterator[None]:
    async def trusting(self: Any, versions: Sequence[Any]) -> list[Any]:
        known = await orders.read_orders(self._pool, [version.order_id for version in versions])
        for version in versions:
            before, after = known.get(version.order_id), projection.order_after(None, version)
            # Past the statement's own guard, which would keep the newer version.
            newest = after.version if before is None else max(after.version, before.version + 1)
            known[version.order_id] = replace(after, version=newest)
        return list(known.values())

    with patch.object(consumers.OrderConsumer, "_projected", trusting):
        yield


@bug
def another_tenants_orders_are_open() -> Iterator[None]:
    decide = OrderAggregates.decide

    def anybody(self: OrderAggregates, state: Any, incoming: Any, now: datetime, prepared: Any) -> Any:
        if state is not None:
            incoming = type(incoming)(
                **{name: getattr(incoming, name) for name in incoming.__slots__}
                | {"merchant_id": state.merchant_id, "environment": state.environment}
            )
        return decide(self, state, incoming, now, prepared)

    with patch.object(OrderAggregates, "decide", anybody):
        yield
