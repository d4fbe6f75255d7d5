"""What payments take from Kafka: channel events, orders, and the orders' replies. Effects are durable on return."""

from collections.abc import Callable, Sequence

from services.payments import answers, ingestion, matching, resolving
from services.payments.core.projection import Seen, order_after
from services.payments.core.reconciling import Fact
from services.payments.core.state import Arrival, Channel, KnownOrder
from services.payments.facts import facts_in
from services.payments.incoming import arrival_of, channel_of_topic, check_source
from services.payments.intents import Intents
from services.payments.messages import SOURCE
from services.payments.store import channels, facts, orders
from services.payments.told import Facts, Told, seen_in
from shared.clock import Clock
from shared.contracts.orders import CommandAccepted, CommandRefused
from shared.envelope import decode, tenant_of
from shared.faults import Poison
from shared.kafka import Record
from shared.kafka.reading import invalid_body, read_each
from shared.postgres import Connection, Pool, transaction
from shared.telemetry import span
from shared.topics import LARGEST_EVENT_BYTES

Committed = Callable[[], None]
"""Called after each commit that may have left messages in the outbox, to wake the relay."""

_SENDER = SOURCE.encode()
_Reply = CommandAccepted | CommandRefused
_REPLIES: dict[str, type[_Reply]] = {reply.wire_type: reply for reply in (CommandAccepted, CommandRefused)}


class ChannelConsumer:
    """`channels.<channel_id>.payments`: what channels tell becomes commands and unmatched items."""

    def __init__(self, pool: Pool, clock: Clock, committed: Committed) -> None:
        self._pool, self._clock, self._committed = pool, clock, committed

    async def __call__(self, records: Sequence[Record]) -> list[Poison | None]:
        topics = {record.topic: channel_of_topic(record.topic) for record in records}
        known = await channels.channels_by_id(self._pool, topics.values())
        arrivals, results = read_each(records, lambda record: arrival_in(record, topics[record.topic], known))
        if arrivals:
            with span("payments.take_in", traceparent=arrivals[0].traceparent, events=len(arrivals)):
                async with transaction(self._pool) as connection:
                    await ingestion.take_in(connection, arrivals, self._clock())
            self._committed()
        return results


class OrderConsumer:
    """`orders.events`: keeps what is known of orders and of money on them, and sends again what waited for one."""

    def __init__(self, pool: Pool, clock: Clock, committed: Committed) -> None:
        self._pool, self._clock, self._committed = pool, clock, committed

    async def __call__(self, records: Sequence[Record]) -> list[Poison | None]:
        versions, results = read_each(records, _version_in)
        if versions:
            now = self._clock()
            async with transaction(self._pool) as connection:
                seen = await _project(connection, [version for version, _ in versions])
                await facts.save(connection, [fact for _, told in versions for fact in told], now)
                sent = await matching.orders_appeared(connection, seen, now)
            if sent:
                self._committed()
        return results


class ReplyConsumer:
    """`orders.replies`: what the orders answered to the commands of this service."""

    def __init__(self, pool: Pool, clock: Clock, committed: Committed, intents: Intents) -> None:
        self._pool, self._clock, self._committed, self._intents = pool, clock, committed, intents

    async def __call__(self, records: Sequence[Record]) -> list[Poison | None]:
        # Most replies are for others, so they are told apart before anything is read.
        ours = [record for record in records if record.value is not None and _SENDER in record.value]
        replies, results = read_each(ours, _reply_in)
        wanted = [reply for reply in replies if reply.sender == SOURCE]
        if wanted:
            # Most are for intents, of which the others need not ask the database.
            others = [reply for reply in wanted if not reply.command_id.startswith("pi_")]
            settled = 0
            async with transaction(self._pool) as connection:
                if others:
                    settled = await answers.settle_all(connection, others, self._clock())
                    settled += await resolving.settle_all(connection, others, self._clock())
                moves = await self._intents.settle(connection, wanted)
            if settled:
                self._committed()
            self._intents.announce(moves)
        told = dict(zip(map(_position, ours), results, strict=True))
        return [told.get(_position(record)) for record in records]


def arrival_in(record: Record, channel_id: str, channels_known: dict[str, Channel]) -> Arrival:
    """The event in a record of a channel's topic; raises `Poison` with the reason when there is none."""
    envelope = decode(record.headers, record.key, record.value)
    check_source(envelope, channel_id)
    return arrival_of(envelope, channel_id, channels_known)


def _version_in(record: Record) -> tuple[Seen, list[Fact]]:
    envelope = decode(record.headers, record.key, record.value, LARGEST_EVENT_BYTES)
    tenant = tenant_of(envelope)
    with invalid_body():
        told = Told.model_validate_json(envelope.data)
        return seen_in(told, *tenant), facts_in(told, *tenant)


def _reply_in(record: Record) -> _Reply:
    envelope = decode(record.headers, record.key, record.value)
    reply = _REPLIES.get(envelope.type)
    if reply is None:
        raise Poison("UNKNOWN_TYPE", f"no reply has the type {envelope.type[:100]}")
    with invalid_body():
        found = reply.model_validate_json(envelope.data)
        Facts.model_validate(found.facts)
    return found


def _position(record: Record) -> tuple[int, int]:
    return record.partition, record.offset


async def _project(connection: Connection, versions: Sequence[Seen]) -> list[KnownOrder]:
    """The orders after all of these versions, as they are saved now."""
    before = await orders.read_orders(connection, sorted({version.order_id for version in versions}))
    after = dict(before)
    for version in versions:
        after[version.order_id] = order_after(after.get(version.order_id), version)
    seen = [order for order_id, order in after.items() if order != before.get(order_id)]
    if seen:
        await orders.save_orders(connection, seen)
    return seen
