"""Orders as far as the payment service knows them, from their events."""

from collections.abc import Iterable, Sequence
from dataclasses import astuple

from services.payments.core.state import KnownOrder, KnownOrders, Reference
from shared.postgres import Connection

_NAMES = "order_id, merchant_id, environment, external_reference, currency, status, outstanding_minor, version"


async def save_orders(connection: Connection, orders: Sequence[KnownOrder]) -> None:
    """The newest version of each counts, however often and in whatever order they are saved; one statement.

    At most one version of an order in `orders`.
    """
    rows = sorted(map(astuple, orders))
    await connection.execute(
        f"""
        INSERT INTO known_orders ({_NAMES})
        SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[],
                             $8::integer[])
        ON CONFLICT (order_id) DO UPDATE SET external_reference = excluded.external_reference,
            status = excluded.status, outstanding_minor = excluded.outstanding_minor, version = excluded.version
        WHERE known_orders.version < excluded.version
        """,
        *map(list, zip(*rows, strict=True)),
    )


async def read_orders(connection: Connection, order_ids: Sequence[str]) -> dict[str, KnownOrder]:
    """Those that are known."""
    rows = await connection.fetch(f"SELECT {_NAMES} FROM known_orders WHERE order_id = ANY($1::text[])", order_ids)
    return {row["order_id"]: KnownOrder(**row) for row in rows}


async def find_orders(connection: Connection, order_ids: Iterable[str], references: Iterable[Reference]) -> KnownOrders:
    """The known orders with these ids, and at most two with each reference, those that have not ended first."""
    wanted = sorted(set(references))
    rows = await connection.fetch(
        f"""
        SELECT found.* FROM unnest($1::text[], $2::text[], $3::text[]) AS asked (merchant, env, reference)
        CROSS JOIN LATERAL (
            SELECT {_NAMES} FROM known_orders
            WHERE merchant_id = asked.merchant AND environment = asked.env AND external_reference = asked.reference
            ORDER BY status IN ('closed', 'canceled') LIMIT 2
        ) AS found
        """,
        *([reference[part] for reference in wanted] for part in range(3)),
    )
    by_reference: dict[Reference, list[KnownOrder]] = {}
    for row in rows:
        order = KnownOrder(**row)
        by_reference.setdefault((row["merchant_id"], row["environment"], row["external_reference"]), []).append(order)
    return KnownOrders(await read_orders(connection, sorted(set(order_ids))), by_reference)
