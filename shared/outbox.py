"""Messages leave with the change that causes them: written in its transaction, published afterwards by a relay.

The columns are those that Debezium's outbox event router reads (`id, aggregatetype, aggregateid, type, payload`), so
that at large scale it can take the relay's place; `aggregatetype` is the topic, `aggregateid` the message key.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from shared.envelope import Envelope
from shared.postgres import Connection

SHARDS = 16
"""Shares of the outbox that relays of several replicas can divide among them; every key is in one of them."""

OUTBOX_TABLE = """
CREATE TABLE outbox (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    shard smallint NOT NULL,
    id text NOT NULL,
    aggregatetype text NOT NULL,
    aggregateid text NOT NULL,
    type text NOT NULL,
    headers text NOT NULL,
    payload bytea NOT NULL
) WITH (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_insert_threshold = -1,
    autovacuum_vacuum_cost_delay = 0
);
ALTER TABLE outbox ALTER COLUMN payload SET STORAGE EXTERNAL
"""


@dataclass(frozen=True, slots=True)
class OutboxMessage:
    """One message on its way to `topic`; the envelope's key decides about order."""

    topic: str
    envelope: Envelope


def shard_of(key: str) -> int:
    """The share of the outbox that a key belongs to."""
    return zlib.crc32(key.encode()) % SHARDS


async def put(connection: Connection, messages: Sequence[OutboxMessage]) -> None:
    """Write the messages in the order in which they are to be published, per key; one statement."""
    if not messages:
        return
    keys = [message.envelope.key or message.envelope.id for message in messages]
    await connection.execute(
        """
        INSERT INTO outbox (shard, id, aggregatetype, aggregateid, type, headers, payload)
        SELECT * FROM unnest($1::smallint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bytea[])
        """,
        [shard_of(key) for key in keys],
        [message.envelope.id for message in messages],
        [message.topic for message in messages],
        keys,
        [message.envelope.type for message in messages],
        [orjson.dumps(message.envelope.headers()).decode() for message in messages],
        [message.envelope.data for message in messages],
    )
