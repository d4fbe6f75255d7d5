"""What payments take from Kafka: channel events, orders, and the orders' replies. Effects are durable on return."""

from collections.abc import Callable, Sequence
from datetime import datetime

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
from shared.immutable import immutable
from shared.kafka import Record
from shared.kafka.reading import invalid_body, read_each
from shared.postgres import Pool, transaction
from shared.telemetry import span
from shared.topics import LARGEST_EVENT_BYTES

Committed = Callable[[], None]
"""Called after each commit that may have left messages in the outbox, to wake the relay."""

Heard = Callable[[Sequence[KnownOrder], datetime], None]
"""Called with orders as they are known, and until when all was taken in."""

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
    """`orders.events`: keeps what is known of orders and of money on them, and sends again what waited for one.

    Each of the three is saved by itself, and a repeat of a message does what was not done.
    """

    def __init__(self, pool: Pool, clock: Clock, committed: Committed, heard: Heard = lambda *_: None) -> None:
        self._pool, self._clock, self._committed, self._heard = pool, clock, committed, heard

    async def __call__(self, records: Sequence[Record]) -> list[Poison | None]:
        versions, results = read_each(records, _version_in)
        if versions:
            found = [fact for version in versions for fact in version.facts]
            if found:
                async with self._pool.acquire() as connection:
                    await facts.save(connection, found, self._clock())
            seen = await self._projected([version.seen for version in versions])
            if await orders.save_orders(self._pool, seen):
                await self._send_what_waited(seen)
            self._heard(seen, max(version.recorded_at for version in versions))
        return results

    async def _projected(self, versions: Sequence[Seen]) -> list[KnownOrder]:
        """The orders after all of these versions; an older version than what is known changes nothing."""
        parts = {version.order_id for version in versions if not version.whole}
        after = await orders.read_orders(self._pool, sorted(parts)) if parts else {}
        for version in versions:
            after[version.order_id] = order_after(after.get(version.order_id), version)
        return list(after.values())

    async def _send_what_waited(self, seen: Sequence[KnownOrder]) -> None:
        async with transaction(self._pool) as connection:
            sent = await matching.orders_appeared(connection, seen, self._clock())
        if sent:
            self._committed()


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
            for_intents = [reply for reply in wanted if reply.command_id.startswith("pi_")]
            if for_intents:
                await self._intents.replied(for_intents)
            if len(for_intents) < len(wanted):
                await self._settle([reply for reply in wanted if not reply.command_id.startswith("pi_")])
        told = dict(zip(map(_position, ours), results, strict=True))
        return [told.get(_position(record)) for record in records]

    async def _settle(self, replies: Sequence[_Reply]) -> None:
        async with transaction(self._pool) as connection:
            settled = await answers.settle_all(connection, replies, self._clock())
            settled += await resolving.settle_all(connection, replies, self._clock())
        if settled:
            self._committed()
            # What orders have set aside goes back by processors.
            self._intents.called()


def arrival_in(record: Record, channel_id: str, channels_known: dict[str, Channel]) -> Arrival:
    """The event in a record of a channel's topic; raises `Poison` with the reason when there is none."""
    envelope = decode(record.headers, record.key, record.value)
    check_source(envelope, channel_id)
    return arrival_of(envelope, channel_id, channels_known)


@immutable
class _Version:
    """What matters of one."""

    seen: Seen
    facts: list[Fact]
    recorded_at: datetime


def _version_in(record: Record) -> _Version:
    envelope = decode(record.headers, record.key, record.value, LARGEST_EVENT_BYTES)
    tenant = tenant_of(envelope)
    with invalid_body():
        told = Told.model_validate_json(envelope.data)
        return _Version(seen_in(told, *tenant), facts_in(told, *tenant), told.recorded_at)


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
