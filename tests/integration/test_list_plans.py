"""A page of a large merchant among many small ones is read from an index, and no more of it than is shown."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from services.apps.core.event_types import Reader
from services.apps.store import events
from services.orders import customers
from services.orders.store.search import OrderFilter, list_orders
from services.payments.store import intents, unmatched
from shared.postgres import Connection, Pool, connect
from tests.integration.test_payment_intents import intent_for, order_of
from tests.integration.test_payments_unmatched import captured
from tests.stack import Stack, Tenant, eventually

pytestmark = pytest.mark.servers

MANY = 20_000
PAGE = 20
OFTEN = 8
"""PostgreSQL plans a statement for its arguments five times before it thinks of one plan for all."""

Read = Callable[[Pool, str], Awaitable[Sequence[Any]]]


class OfOne(Pool):
    """One connection, whoever asks."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[Connection]:
        yield self._connection


@dataclass(frozen=True)
class Listed:
    """A table and its list."""

    service: str
    table: str
    key: str
    read: Read
    changed: dict[str, str] = field(default_factory=dict)
    """Further columns that must differ from row to row."""


async def orders_listed(pool: Pool, merchant_id: str) -> Sequence[Any]:
    return await list_orders(pool, OrderFilter(merchant_id, "test"), None, PAGE)


async def orders_found(pool: Pool, merchant_id: str) -> Sequence[Any]:
    return await list_orders(pool, OrderFilter(merchant_id, "test", text="jacket"), None, PAGE)


async def customers_listed(pool: Pool, merchant_id: str) -> Sequence[Any]:
    tenant = customers.Tenant(merchant_id, "test")
    return await customers.page(pool, tenant, email=None, external_reference=None, text=None, after=None, limit=PAGE)


async def intents_listed(pool: Pool, merchant_id: str) -> Sequence[Any]:
    return await intents.page(pool, intents.IntentFilter(merchant_id, "test"), None, PAGE)


async def money_listed(pool: Pool, merchant_id: str) -> Sequence[Any]:
    return await unmatched.list_items(pool, unmatched.ItemFilter(merchant_id, "test"), None, PAGE)


async def events_listed(pool: Pool, merchant_id: str) -> Sequence[Any]:
    # Of whichever event came first there are many.
    wanted = events.EventFilter((merchant_id, "test"), Reader({"orders.read", "payments.read"}))
    return (await events.page(pool, wanted, None, PAGE))[0]


LISTS = (
    Listed("orders", "orders", "order_id", orders_listed, {"number": "n::text"}),
    Listed("orders", "orders", "order_id", orders_found, {"number": "n::text"}),
    Listed("orders", "customers", "customer_id", customers_listed),
    Listed("payments", "payment_intents", "payment_intent_id", intents_listed),
    Listed("payments", "unmatched_money", "unmatched_money_id", money_listed),
    Listed(
        "apps", "events", "event_id", events_listed, {"position": "position + row_number() OVER (ORDER BY {age} DESC)"}
    ),
)


@pytest.fixture
async def shop(stack: Stack) -> AsyncIterator[Tenant]:
    """A merchant who has one of everything."""
    made = await stack.tenant()
    order_id = await order_of(made)
    await intent_for(made, order_id, confirm=False)
    assert (await made.http.post("/v1/customers", json={"name": "Ada"})).status_code == 201
    await captured(made, external_reference="nowhere")
    await eventually(lambda: listed(made, "/v1/events"))
    yield made
    await made.http.aclose()


async def listed(shop: Tenant, path: str) -> Any:
    return (await shop.http.get(path)).json()["data"]


@pytest.mark.parametrize("quiet", [False, True], ids=["lively", "quiet"])
@pytest.mark.parametrize("what", LISTS, ids=lambda what: what.read.__name__)
async def test_a_page_reads_no_more_than_it_shows(stack: Stack, shop: Tenant, what: Listed, quiet: bool) -> None:
    """Of a merchant who is quiet, all that others have is newer."""
    async with filled(stack, what, shop.merchant_id, quiet=quiet) as connection:
        pool = OfOne(connection)
        for _ in range(OFTEN):
            async with few_rows_read(connection, what.table):
                assert len(await what.read(pool, shop.merchant_id)) == PAGE


async def test_whoever_follows_all_events_reads_what_is_new(stack: Stack, shop: Tenant) -> None:
    what, everybody = LISTS[-1], [(shop.merchant_id, "test"), *((f"mer_few{number}", "test") for number in range(5000))]
    async with filled(stack, what, shop.merchant_id) as connection:
        for _ in range(OFTEN):
            async with few_rows_read(connection, what.table):
                newest = await events.newest_position(connection)
                found = await events.between(connection, everybody, newest - PAGE, newest, limit=MANY)
                assert [placed.position for placed in found] == list(range(newest - PAGE + 1, newest + 1))
            async with few_rows_read(connection, what.table):
                assert await events.position_before(connection, datetime(2020, 1, 1, tzinfo=UTC)) < newest - 2 * MANY


@asynccontextmanager
async def filled(
    stack: Stack, what: Listed, merchant_id: str, *, quiet: bool = False
) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """A connection that sees many rows; nobody else does, and nothing remains."""
    connection = await connect(
        stack.settings.database_url.get_secret_value(), what.service, transaction_timeout="0", jit="off"
    )
    try:
        transaction = connection.transaction()
        await transaction.start()
        await fill(connection, what, merchant_id, quiet=quiet)
        yield connection
        await transaction.rollback()
    finally:
        await connection.close()


@asynccontextmanager
async def few_rows_read(connection: "asyncpg.Connection[asyncpg.Record]", table: str) -> AsyncIterator[None]:
    """What is done meanwhile reads little more of the table than a page."""
    before = await rows_read(connection, table)
    yield
    read = await rows_read(connection, table) - before
    assert read <= 3 * PAGE, f"{read} rows of {table} for a page of {PAGE}"


async def fill(
    connection: "asyncpg.Connection[asyncpg.Record]", what: Listed, merchant_id: str, *, quiet: bool
) -> None:
    """The merchant's row so often, and as often among five thousand others; gone with the transaction."""
    columns = await connection.fetch(
        "SELECT attname FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped "
        "AND attidentity = '' ORDER BY attnum",
        what.table,
    )
    names = [row["attname"] for row in columns]
    age = f"(CASE whose WHEN 'many' THEN n + {MANY} ELSE n END)" if quiet else "n"
    changed = {
        what.key: f"split_part({what.key}, '_', 1) || '_' || whose || n",
        "merchant_id": "CASE whose WHEN 'many' THEN merchant_id ELSE 'mer_few' || n % 5000 END",
        "created_at": f"created_at - {age} * interval '1 millisecond'",
        **{name: value.format(age=age) for name, value in what.changed.items()},
    }
    await connection.execute(
        f"""
        INSERT INTO {what.table} ({", ".join(names)}) SELECT {", ".join(changed.get(name, name) for name in names)}
        FROM (SELECT * FROM {what.table} WHERE merchant_id = $1 LIMIT 1) AS one,
            generate_series(1, {MANY}) AS n, unnest(ARRAY['many', 'few']) AS whose
        ORDER BY {age} DESC
        """,
        merchant_id,
    )
    await connection.execute(f"ANALYZE {what.table}")
    if what.read is orders_found:
        await connection.execute(
            """
            INSERT INTO order_search SELECT order_id, (
                SELECT words FROM orders JOIN order_search USING (order_id) WHERE merchant_id = $1
            ) FROM orders WHERE merchant_id = $1 AND order_id LIKE 'ord_many%'
            """,
            merchant_id,
        )
        await connection.execute("ANALYZE order_search")


async def rows_read(connection: "asyncpg.Connection[asyncpg.Record]", table: str) -> int:
    """In this transaction, of the table and its partitions."""
    return int(
        await connection.fetchval(
            "SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0)) FROM pg_stat_xact_user_tables "
            "WHERE relid IN (SELECT relid FROM pg_partition_tree($1::text::regclass)) OR relid = $1::text::regclass",
            table,
        )
    )
