"""Whatever is sealed in the database, wherever it is."""

from collections.abc import Sequence

from shared.immutable import immutable
from shared.postgres import Connection, Pool


@immutable
class Place:
    """A column of sealed secrets, and the primary key of their rows."""

    table: str
    key: str
    column: str


PLACES = (
    Place("private_signing_keys", "kid", "sealed_jwk"),
    Place("webhook_endpoints", "endpoint_id", "sealed_secret"),
    Place("webhook_endpoints", "endpoint_id", "sealed_previous_secret"),
)


async def some(pool: Pool, place: Place, after: str, limit: int) -> list[tuple[str, bytes]]:
    """At most `limit` secrets with the keys of their rows, which come after that key."""
    rows = await pool.fetch(
        f"SELECT {place.key} AS key, {place.column} AS sealed FROM {place.table} "
        f"WHERE {place.key} > $1 AND {place.column} IS NOT NULL ORDER BY {place.key} LIMIT $2",
        after,
        limit,
    )
    return [(row["key"], row["sealed"]) for row in rows]


async def put(connection: Connection, place: Place, again: Sequence[tuple[str, bytes, bytes]]) -> None:
    """By key, the secret as it was and as it is sealed now; one that has changed meanwhile stays as it is."""
    keys, before, after = ([each[column] for each in again] for column in range(3))
    # In the order in which everybody locks them.
    await connection.execute(
        f"SELECT FROM {place.table} WHERE {place.key} = ANY($1::text[]) ORDER BY {place.key} FOR UPDATE", keys
    )
    await connection.execute(
        f"UPDATE {place.table} AS place SET {place.column} = again.after "
        "FROM unnest($1::text[], $2::bytea[], $3::bytea[]) AS again (key, before, after) "
        f"WHERE place.{place.key} = again.key AND place.{place.column} = again.before",
        keys,
        before,
        after,
    )
