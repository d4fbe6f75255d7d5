"""Merchants and their two environments."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

import orjson

from services.apps.core.merchants import Merchant, MerchantStatus
from shared.conditions import value, where
from shared.postgres import Connection, Pool

_NAMES = (
    "merchant_id, version, name, status, country, default_currency, time_zone, metadata::text AS metadata, created_at, "
    "updated_at"
)
_ENVIRONMENTS = ", ".join(
    f"(SELECT environment_id FROM environments WHERE merchant_id = merchants.merchant_id AND environment = '{name}') "
    f"AS {name}_environment_id"
    for name in ("test", "live")
)
_SELECT = f"SELECT {_NAMES}, {_ENVIRONMENTS} FROM merchants"


async def insert(connection: Connection, merchant: Merchant) -> None:
    """The new merchant with both environments."""
    await connection.execute(
        """
        INSERT INTO merchants (merchant_id, version, name, status, country, default_currency, time_zone, metadata,
                               created_at, updated_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8::text::jsonb, $9, $10)
        """,
        *_values(merchant),
        merchant.created_at,
        merchant.updated_at,
    )
    await connection.executemany(
        "INSERT INTO environments (environment_id, merchant_id, environment) VALUES ($1, $2, $3)",
        [
            (merchant.test_environment_id, merchant.merchant_id, "test"),
            (merchant.live_environment_id, merchant.merchant_id, "live"),
        ],
    )


async def update(connection: Connection, merchant: Merchant) -> None:
    """The locked merchant as it is now."""
    await connection.execute(
        """
        UPDATE merchants SET version = $2, name = $3, status = $4, country = $5, default_currency = $6, time_zone = $7,
            metadata = $8::text::jsonb, updated_at = $9
        WHERE merchant_id = $1
        """,
        *_values(merchant),
        merchant.updated_at,
    )


async def lock(connection: Connection, merchant_id: str) -> Merchant | None:
    """The merchant, its row locked; `None` when there is none."""
    row = await connection.fetchrow(f"{_SELECT} WHERE merchant_id = $1 FOR UPDATE", merchant_id)
    return None if row is None else _merchant(row)


async def hold_status(connection: Connection, merchant_id: str) -> MerchantStatus | None:
    """The merchant's status, which stays so until the transaction ends; `None` when there is no such merchant."""
    query = "SELECT status FROM merchants WHERE merchant_id = $1 FOR SHARE"
    status: MerchantStatus | None = await connection.fetchval(query, merchant_id)
    return status


async def hold_inactive(connection: Connection, merchant_ids: Collection[str]) -> frozenset[str]:
    """Those of the merchants that are not active; each stays as it is until the transaction ends."""
    rows = await connection.fetch(
        "SELECT merchant_id, status FROM merchants WHERE merchant_id = ANY($1::text[]) ORDER BY merchant_id FOR SHARE",
        list(merchant_ids),
    )
    return frozenset(row["merchant_id"] for row in rows if row["status"] != "active")


async def read(pool: Pool, merchant_id: str) -> Merchant | None:
    """The merchant; `None` when there is none."""
    row = await pool.fetchrow(f"{_SELECT} WHERE merchant_id = $1", merchant_id)
    return None if row is None else _merchant(row)


async def page(
    pool: Pool, status: MerchantStatus | None, after: tuple[datetime, str] | None, limit: int
) -> list[Merchant]:
    """At most `limit` merchants, newest first, that come after the position."""
    conditions, arguments = where([("status = {}", value(status)), ("(created_at, merchant_id) < ({}, {})", after)])
    rows = await pool.fetch(
        f"{_SELECT} WHERE {conditions} ORDER BY created_at DESC, merchant_id DESC LIMIT {int(limit)}", *arguments
    )
    return [_merchant(row) for row in rows]


def _values(merchant: Merchant) -> tuple[Any, ...]:
    return (
        merchant.merchant_id,
        merchant.version,
        merchant.name,
        merchant.status,
        merchant.country,
        merchant.default_currency,
        merchant.time_zone,
        orjson.dumps(merchant.metadata).decode(),
    )


def _merchant(row: Any) -> Merchant:
    return Merchant(**{**row, "metadata": orjson.loads(row["metadata"])})
