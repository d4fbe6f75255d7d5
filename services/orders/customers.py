"""Customers: who an order is for. Plain rows of one tenant; deleting one hides it and forgets what names a person."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from services.orders.words import lexemes, query_of, tenant_mark
from shared.conditions import value, where
from shared.postgres import Connection, Pool

Json = dict[str, Any]

_PLAIN = (
    "customer_id, version, name, email, phone, external_reference, metadata::text AS metadata, created_at, updated_at"
)
_MINE = "merchant_id = $1 AND environment = $2 AND deleted_at IS NULL"


@dataclass(frozen=True, slots=True)
class Tenant:
    """Whose customers."""

    merchant_id: str
    environment: str

    def words(self, customer: Json) -> list[str]:
        texts = (customer[name] for name in ("external_reference", "phone", "email", "name"))
        return lexemes(texts, tenant_mark(self.merchant_id, self.environment))


async def insert(connection: Connection, tenant: Tenant, customer_id: str, fields: Json, now: datetime) -> Json:
    """A new customer at version 1."""
    row = await connection.fetchrow(
        f"""
        INSERT INTO customers (merchant_id, environment, customer_id, version, name, email, phone, external_reference,
                               metadata, words, created_at, updated_at)
        VALUES ($1, $2, $3, 1, $4, $5, $6, $7, $8::text::jsonb, array_to_tsvector($9::text[]), $10, $10)
        RETURNING {_PLAIN}
        """,
        tenant.merchant_id,
        tenant.environment,
        customer_id,
        *_values(fields),
        tenant.words(fields),
        now,
    )
    return _view(row)


async def lock(connection: Connection, tenant: Tenant, customer_id: str) -> Json | None:
    """The customer, its row locked; `None` when the tenant has no such one."""
    row = await connection.fetchrow(
        f"SELECT {_PLAIN} FROM customers WHERE {_MINE} AND customer_id = $3 FOR UPDATE",
        tenant.merchant_id,
        tenant.environment,
        customer_id,
    )
    return None if row is None else _view(row)


async def update(connection: Connection, tenant: Tenant, customer: Json, now: datetime) -> Json:
    """The locked customer with other fields, one version later."""
    row = await connection.fetchrow(
        f"""
        UPDATE customers SET version = version + 1, name = $4, email = $5, phone = $6, external_reference = $7,
            metadata = $8::text::jsonb, words = array_to_tsvector($9::text[]), updated_at = $10
        WHERE {_MINE} AND customer_id = $3 RETURNING {_PLAIN}
        """,
        tenant.merchant_id,
        tenant.environment,
        customer["customer_id"],
        *_values(customer),
        tenant.words(customer),
        now,
    )
    return _view(row)


async def forget(connection: Connection, tenant: Tenant, customer_id: str, now: datetime) -> bool:
    """Hide the customer and drop what names a person; orders keep the bare id. False when there is no such one."""
    done = await connection.execute(
        f"""
        UPDATE customers SET deleted_at = $4, updated_at = $4, version = version + 1, name = NULL, email = NULL,
            phone = NULL, external_reference = NULL, metadata = '{{}}', words = ''::tsvector
        WHERE {_MINE} AND customer_id = $3
        """,
        tenant.merchant_id,
        tenant.environment,
        customer_id,
        now,
    )
    return bool(done == "UPDATE 1")


async def read(pool: Pool, tenant: Tenant, customer_id: str) -> Json | None:
    """The customer, or `None` when the tenant has no such one."""
    found = await customers_by_id(pool, [customer_id], tenant.merchant_id, tenant.environment)
    return found.get(customer_id)


async def customers_by_id(pool: Pool, ids: Iterable[str], merchant_id: str, environment: str) -> dict[str, Json]:
    """Those of the customers that exist and belong to the tenant."""
    rows = await pool.fetch(
        f"SELECT {_PLAIN} FROM customers WHERE {_MINE} AND customer_id = ANY($3::text[])",
        merchant_id,
        environment,
        list(ids),
    )
    return {row["customer_id"]: _view(row) for row in rows}


async def page(
    pool: Pool,
    tenant: Tenant,
    *,
    email: str | None,
    external_reference: str | None,
    text: str | None,
    after: tuple[datetime, str] | None,
    limit: int,
) -> list[Json]:
    """At most `limit` customers, newest first, that match all that is given and come after the position."""
    query = None if text is None else query_of(text, tenant_mark(tenant.merchant_id, tenant.environment))
    if text is not None and query is None:
        return []
    conditions, arguments = where(
        [
            ("merchant_id = {} AND environment = {} AND deleted_at IS NULL", (tenant.merchant_id, tenant.environment)),
            ("lower(email) = lower({})", value(email)),
            ("external_reference = {}", value(external_reference)),
            ("words @@ {}::text::tsquery", value(query)),
            ("(created_at, customer_id) < ({}, {})", after),
        ]
    )
    rows = await pool.fetch_planned(
        f"SELECT {_PLAIN} FROM customers WHERE {conditions} "
        f"ORDER BY created_at DESC, customer_id DESC LIMIT {int(limit)}",
        *arguments,
    )
    return [_view(row) for row in rows]


def _values(fields: Json) -> tuple[Any, ...]:
    metadata = orjson.dumps(fields["metadata"]).decode()
    return fields["name"], fields["email"], fields["phone"], fields["external_reference"], metadata


def _view(row: Any) -> Json:
    return {
        **{name: row[name] for name in ("customer_id", "version", "name", "email", "phone", "external_reference")},
        "metadata": orjson.loads(row["metadata"]),
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
    }
