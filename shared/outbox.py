"""Messages leave with the change that causes them: written in its transaction, published afterwards by a relay.

The columns are those that Debezium's outbox event router reads (`id, aggregatetype, aggregateid, type, payload`), so
that at large scale it can take the relay's place; `aggregatetype` is the topic, `aggregateid` the message key. A
message for several topics is one row, with spaces between their names; of those Debezium knows nothing.
"""

import zlib
from collections.abc import Iterable, Sequence

import orjson

from shared.envelope import Envelope
from shared.immutable import immutable
from shared.postgres import Connection
from shared.writes import NewRows, write

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


@immutable
class OutboxMessage:
    """One message on its way to `topic`; the envelope's key decides about order."""

    topic: str
    """Or several, as `topics_together` names them."""
    envelope: Envelope
    further_headers: tuple[tuple[str, str], ...] = ()


def topics_together(topics: Iterable[str]) -> str:
    """The name under which one message goes to each of these topics."""
    return " ".join(topics)


def topics_in(together: str) -> list[str]:
    """The topics that one message goes to."""
    return together.split(" ")


async def remove(connection: Connection, numbers: Sequence[int], published: Iterable[str] | None) -> None:
    """These rows have been published: to all of their topics, or only to those, and the rest waits."""
    if published is None:
        await connection.execute("DELETE FROM outbox WHERE seq = ANY($1::bigint[])", numbers)
    else:
        await connection.execute(_REMOVE, numbers, list(published))


async def drop(
    connection: Connection, topic: str, tenants: Sequence[tuple[str, str]] | None = None
) -> list[tuple[str, dict[str, str]]]:
    """What waits goes to this topic no more; with `tenants` (merchant and environment), only what is theirs.

    Gives the ids and headers of what was dropped, in the order in which it would have been published. What the relay
    has read already still goes there.
    """
    merchants = None if tenants is None else [merchant_id for merchant_id, _ in tenants]
    environments = None if tenants is None else [environment for _, environment in tenants]
    rows = await connection.fetch(_DROP, topic, merchants, environments)
    return [(row["id"], orjson.loads(row["headers"])) for row in rows]


def shard_of(key: str) -> int:
    """The share of the outbox that a key belongs to."""
    return zlib.crc32(key.encode()) % SHARDS


def rows_of(messages: Iterable[OutboxMessage]) -> NewRows:
    """What keeps the messages, in the order in which they are to be published, per key."""
    return NewRows("outbox", _COLUMNS, [_row(message) for message in messages])


async def put(connection: Connection, messages: Sequence[OutboxMessage]) -> None:
    """Write only these."""
    await write(connection, rows_of(messages))


_REMOVE = """
WITH gone AS (
    DELETE FROM outbox WHERE seq = ANY($1::bigint[]) AND string_to_array(aggregatetype, ' ') <@ $2::text[]
)
UPDATE outbox SET aggregatetype = array_to_string(ARRAY(
    SELECT topic FROM unnest(string_to_array(aggregatetype, ' ')) WITH ORDINALITY AS own (topic, place)
    WHERE topic <> ALL($2) ORDER BY place
), ' ')
WHERE seq = ANY($1) AND NOT string_to_array(aggregatetype, ' ') <@ $2 AND string_to_array(aggregatetype, ' ') && $2
"""
_THEIRS = """
$2::text[] IS NULL OR (headers::jsonb ->> 'ce_merchantid', headers::jsonb ->> 'ce_environment') IN (
    SELECT * FROM unnest($2, $3::text[])
)
"""
_DROP = f"""
WITH alone AS (
    DELETE FROM outbox WHERE aggregatetype = $1 AND ({_THEIRS}) RETURNING seq, id, headers
), among AS (
    UPDATE outbox SET aggregatetype = array_to_string(array_remove(string_to_array(aggregatetype, ' '), $1), ' ')
    WHERE aggregatetype <> $1 AND $1 = ANY(string_to_array(aggregatetype, ' ')) AND ({_THEIRS})
    RETURNING seq, id, headers
)
SELECT id, headers FROM (TABLE alone UNION ALL TABLE among) AS dropped ORDER BY seq
"""

_COLUMNS = (
    ("shard", "smallint"),
    ("id", "text"),
    ("aggregatetype", "text"),
    ("aggregateid", "text"),
    ("type", "text"),
    ("headers", "text"),
    ("payload", "bytea"),
)


def _row(message: OutboxMessage) -> tuple[int, str, str, str, str, str, bytes]:
    envelope = message.envelope
    key = envelope.key or envelope.id
    headers = envelope.headers()
    headers.update(message.further_headers)
    return shard_of(key), envelope.id, message.topic, key, envelope.type, orjson.dumps(headers).decode(), envelope.data
