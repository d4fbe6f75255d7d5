"""The reference: aiokafka and asyncpg doing the order service's durable writes, with no rules at all.

    python -m bench.bare_pipe --batch 500 --publish batches

A batch of commands is one transaction: inbox rows, state rows, history rows, two outbox rows for each command, which
are published and removed before the commit. Then its offsets are committed, once. What is written has the sizes that
the order service's rows and messages have; its content means nothing. The tables are in the schema `bench`.
"""

import argparse
import asyncio
import signal
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import asyncpg
import orjson
import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from shared.kafka import client_options
from shared.outbox import shard_of
from shared.relay import partition_of
from shared.settings import Settings

COMMANDS, EVENTS, REPLIES = "bench.commands", "bench.events", "bench.replies"
GROUP = "bench.bare"
_STATE_BYTES, _HISTORY_BYTES, _EVENT_BYTES, _REPLY_BYTES = 1_200, 500, 2_000, 300

Message = tuple[str, bytes, bytes, list[tuple[str, bytes]]]
"""Topic, key, value, headers."""
Publish = Callable[[AIOKafkaProducer, int, Sequence[Message]], Awaitable[None]]


def _json_of(size: int) -> str:
    """A JSON object of that size with a few fields, of numbers and text as an order has them."""
    fields = {f"field_{number}": number * 1234567 for number in range(size // 40)}
    rest = size - len(orjson.dumps(fields)) - len(',"text":""')
    return orjson.dumps({**fields, "text": "x" * max(0, rest)}).decode()


STATE, HISTORY = _json_of(_STATE_BYTES), _json_of(_HISTORY_BYTES)
EVENT, REPLY = _json_of(_EVENT_BYTES).encode(), _json_of(_REPLY_BYTES).encode()

_INBOX = """
INSERT INTO bench.inbox (aggregate_id, command_id, outcome, recorded_at)
SELECT a, b, c::jsonb, $4 FROM unnest($1::text[], $2::text[], $3::text[]) AS new(a, b, c)
"""
_UPSERT = """
INSERT INTO bench.orders (order_id, version, merchant_id, environment, number, status, payment_status, refund_status,
                          source, currency, total_minor, state, created_at, updated_at)
SELECT a, b, 'mer_bench', 'test', '1', 'open', 'unpaid', 'none', 'checkout', 'EUR', 18390, c::jsonb, $4, $4
FROM unnest($1::text[], $2::integer[], $3::text[]) AS new(a, b, c)
ON CONFLICT (order_id) DO UPDATE
SET version = bench.orders.version + excluded.version, state = excluded.state, updated_at = excluded.updated_at
RETURNING order_id, version
"""
_INSERT_HISTORY = """
INSERT INTO bench.order_events (order_id, version, type, payload, recorded_at)
SELECT a, b, 'bench.happened.v1', c::jsonb, $4
FROM unnest($1::text[], $2::integer[], $3::text[]) AS new(a, b, c)
"""
_OUTBOX = """
INSERT INTO bench.outbox (shard, id, aggregatetype, aggregateid, type, headers, payload)
SELECT * FROM unnest($1::smallint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bytea[])
RETURNING seq
"""


async def publish_by_send(producer: AIOKafkaProducer, partitions: int, messages: Sequence[Message]) -> None:
    """One `send` for each message; the client gathers them."""
    sent = [await producer.send(topic, value, key, headers=headers) for topic, key, value, headers in messages]
    await asyncio.gather(*sent)


async def publish_in_batches(producer: AIOKafkaProducer, partitions: int, messages: Sequence[Message]) -> None:
    """One record batch for each partition, or as many as the size of a batch asks for."""
    batches: dict[tuple[str, int], Any] = {}
    sent = []
    for topic, key, value, headers in messages:
        place = (topic, partition_of(key, partitions))
        batch = batches.get(place) or batches.setdefault(place, producer.create_batch())
        if batch.append(key=key, value=value, timestamp=None, headers=headers) is None:
            sent.append(await producer.send_batch(batch, topic, partition=place[1]))
            batch = batches[place] = producer.create_batch()
            batch.append(key=key, value=value, timestamp=None, headers=headers)
    sent += [await producer.send_batch(batch, topic, partition=number) for (topic, number), batch in batches.items()]
    await asyncio.gather(*sent)


PUBLISHERS: dict[str, Publish] = {"send": publish_by_send, "batches": publish_in_batches}


class BarePipe:
    """One worker of the reference."""

    def __init__(self, connection: Any, producer: AIOKafkaProducer, publish: Publish, partitions: int) -> None:
        self._connection, self._producer, self._publish, self._partitions = connection, producer, publish, partitions

    async def handle(self, records: Sequence[Any]) -> None:
        """All durable effects of the records, published and committed."""
        now = datetime.now(UTC)
        commands = [(record.key.decode(), dict(record.headers)["ce_id"].decode()) for record in records]
        keys, ids = [key for key, _ in commands], [command_id for _, command_id in commands]
        async with self._connection.transaction():
            await self._connection.execute(_INBOX, keys, ids, ['{"version": 1}'] * len(keys), now)
            versions = await self._save(keys, now)
            await self._connection.execute(_INSERT_HISTORY, keys, versions, [HISTORY] * len(keys), now)
            await self._send(keys, ids, versions)

    async def _save(self, keys: Sequence[str], now: datetime) -> list[int]:
        """Upsert each order once; the version that each command led to, in the order of the commands."""
        counts: dict[str, int] = {}
        for key in keys:
            counts[key] = counts.get(key, 0) + 1
        distinct = sorted(counts)
        rows = await self._connection.fetch(
            _UPSERT, distinct, [counts[key] for key in distinct], [STATE] * len(distinct), now
        )
        version = {row["order_id"]: row["version"] - counts[row["order_id"]] for row in rows}
        versions = []
        for key in keys:
            version[key] += 1
            versions.append(version[key])
        return versions

    async def _send(self, keys: Sequence[str], ids: Sequence[str], versions: Sequence[int]) -> None:
        rows: list[tuple[int, str, str, str, str, str, bytes]] = []
        messages: list[Message] = []
        for key, command_id, version in zip(keys, ids, versions, strict=True):
            for topic, message_id, value in ((EVENTS, f"{key}.{version}", EVENT), (REPLIES, f"{command_id}.o", REPLY)):
                headers = _headers(message_id, key, command_id, version)
                encoded = orjson.dumps(headers).decode()
                rows.append((shard_of(key), message_id, topic, key, "bench.happened.v1", encoded, value))
                messages.append((topic, key.encode(), value, [(name, text.encode()) for name, text in headers.items()]))
        saved = await self._connection.fetch(_OUTBOX, *map(list, zip(*rows, strict=True)))
        await self._publish(self._producer, self._partitions, messages)
        await self._connection.execute(
            "DELETE FROM bench.outbox WHERE seq = ANY($1::bigint[])", [row[0] for row in saved]
        )


def _headers(message_id: str, key: str, command_id: str, version: int) -> dict[str, str]:
    return {
        "ce_specversion": "1.0",
        "ce_id": message_id,
        "ce_type": "bench.happened.v1",
        "ce_source": "/services/bench",
        "content-type": "application/json",
        "ce_subject": key,
        "ce_correlationid": key,
        "ce_causationid": command_id,
        "ce_merchantid": "mer_bench",
        "ce_environment": "test",
        "ce_orderversion": str(version),
    }


async def run(settings: Settings, batch_size: int, publish: Publish) -> None:
    """Consume until cancelled."""
    options = client_options(settings.kafka)
    connection = await asyncpg.connect(settings.database_url.get_secret_value())
    consumer = AIOKafkaConsumer(
        COMMANDS, group_id=GROUP, enable_auto_commit=False, auto_offset_reset="earliest", **options
    )
    sizes = {"max_batch_size": 900 * 1024, "max_request_size": 8 * 1024 * 1024}
    producer = AIOKafkaProducer(**options, acks="all", enable_idempotence=True, **sizes)
    async with consumer, producer:
        pipe = BarePipe(connection, producer, publish, settings.command_partitions)
        while True:
            taken = await consumer.getmany(timeout_ms=200, max_records=batch_size)
            if taken:
                await pipe.handle([record for records in taken.values() for record in records])
                await consumer.commit({place: records[-1].offset + 1 for place, records in taken.items()})


def main() -> None:
    """One worker until it is asked to stop."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch", type=int, default=500)
    parser.add_argument("--publish", choices=PUBLISHERS, default="batches")
    options = parser.parse_args()

    async def until_stopped() -> None:
        task = asyncio.create_task(run(Settings(), options.batch, PUBLISHERS[options.publish]))
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        with suppress(asyncio.CancelledError):
            await task

    uvloop.run(until_stopped())


if __name__ == "__main__":
    main()
