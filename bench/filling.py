"""A database with as many orders as wanted, each like one that the services made: rows in all their tables.

A few hundred orders of different kinds are made by the real services (`TEMPLATES`). Their rows are copied inside the
server, each time with ids, numbers, references, times and merchants of its own. Everything follows from an order's
number `n`: its merchant (the first has a tenth of all orders, the others less and less), its customer, its age.
"""

import asyncio
import shutil
import time
from collections.abc import Iterator, Sequence

import asyncpg

from bench import workload
from bench.fleet import running
from bench.machine import Machine
from bench.race import ORDERS
from services.orders.words import tenant_mark
from shared.kafka import producer

MOST_WITH_HISTORY = 2_000_000
"""Larger fills keep one version of each order, and one command, where real ones have three: the disk is not larger."""

MERCHANTS = 2_000
BIG, TYPICAL = "mer_00000", "mer_00500"
TEMPLATES = 300
BYTES_PER_ORDER = 6_000
"""On disk with all tables and indexes, generously; more disk than that must be free."""

_SETTLE_S = 60.0

# Two years of orders, the newest from yesterday: jobs that look at what changed lately find nothing of it.
_ORDER = f"""
SELECT n, 'ord_01' || lpad(n::text, 24, '0') AS order_id,
       timestamptz '2026-11-01' - ($2::bigint - n) * (interval '730 days' / $2::bigint) AS at,
       CASE WHEN u < 0.1 THEN 0 ELSE 1 + floor({MERCHANTS - 1} * power((u - 0.1) / 0.9, 2))::integer END AS merchant,
       1 + n % {TEMPLATES} AS kind, abs(hashint8(n + 1)) % 20000 AS customer
FROM (
    SELECT n, (hashint8(n)::bigint + 2147483648) / 4294967296.0::float8 AS u FROM generate_series($1::bigint, $2) AS n
) AS each
"""

# What differs from order to order stands in a template's texts as a mark.
_TEXT = """
replace(replace(replace(replace(replace(replace({}, '@order@', o.order_id), '@merchant@', m.merchant_id),
    '@number@', o.n::text), '@customer@', 'cus_' || o.customer), '@reference@', 'web-' || o.n),
    '@at@', to_char(o.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))
"""


def _text(column: str) -> str:
    return _TEXT.format(column)


_FROM = f"FROM ({_ORDER}) AS o JOIN bench.merchants AS m ON m.number = o.merchant"
_ONE_EACH = f"{_FROM} JOIN bench.kinds AS t ON t.kind = o.kind"

_FILLS = {
    "orders.orders": f"""
        SELECT o.order_id, t.version, m.merchant_id, 'test', o.n::text, t.status, t.payment_status, t.refund_status,
            t.source, t.currency, t.total_minor, CASE WHEN t.with_customer THEN 'cus_' || o.customer END,
            CASE WHEN t.with_reference THEN 'web-' || o.n END, t.location_id, t.device_id, NULL,
            {_text("t.state")}::jsonb, o.at, o.at
        {_ONE_EACH}
    """,
    "orders.order_events": f"""
        SELECT o.order_id, t.version, t.type, {_text("t.payload")}::jsonb, o.at
        {_FROM} JOIN bench.versions AS t ON t.kind = o.kind
    """,
    "orders.inbox": f"""
        SELECT o.order_id, 'cmd_01' || lpad((o.n * 10 + t.version)::text, 24, '0'), '{{"version": 1}}'::jsonb, o.at
        {_FROM} JOIN bench.versions AS t ON t.kind = o.kind
    """,
    "orders.order_search": f"""
        SELECT o.order_id, array_to_tsvector(ARRAY(
            SELECT m.mark || to_char(o.at AT TIME ZONE 'UTC', 'YYMM') || ':' || word
            FROM unnest(t.words || o.n::text || CASE WHEN t.with_reference THEN 'web' END) AS word
            WHERE word IS NOT NULL
        ))
        {_ONE_EACH}
    """,
    "payments.known_orders": f"""
        SELECT o.order_id, m.merchant_id, 'test', CASE WHEN t.with_reference THEN 'web-' || o.n END, t.currency,
            t.status, CASE WHEN t.payment_status = 'paid' THEN 0 ELSE t.total_minor END, t.version, 0,
            CASE WHEN t.with_customer THEN 'cus_' || o.customer END, o.at, CASE WHEN t.with_reference THEN o.n::text END
        {_ONE_EACH}
    """,
    "payments.channel_payments": f"""
        SELECT 'pay_01' || lpad(o.n::text, 24, '0'), 'chn_' || m.number, 'psp-' || o.n, o.order_id, t.currency
        {_ONE_EACH} WHERE t.payment_status = 'paid'
    """,
    "payments.channel_events": f"""
        SELECT 'che_01' || lpad(o.n::text, 24, '0'), 'chn_' || m.number, m.merchant_id, 'test', 'evt_' || o.n,
            'channel.payment.captured.v1', jsonb_build_object('order_id', o.order_id, 'payment_reference',
            'psp-' || o.n, 'amount_money', jsonb_build_object('amount', t.total_minor, 'currency', t.currency)),
            'pay_01' || lpad(o.n::text, 24, '0'), o.order_id, NULL, 'applied', o.order_id, t.currency, t.version, NULL,
            1, 'che_01' || lpad(o.n::text, 24, '0'), NULL, NULL, o.at, o.at
        {_ONE_EACH} WHERE t.payment_status = 'paid'
    """,
}
_BESIDE = (
    ("orders.orders",),
    ("orders.order_events", "orders.inbox", "orders.order_search", *(t for t in _FILLS if t.startswith("payments."))),
)
"""What is filled at the same time."""


async def make_templates(here: Machine) -> None:
    """The service makes orders of all kinds; what differs from order to order becomes marks."""
    async with running(here, "orders", "worker"), producer(here.settings.kafka) as sender:
        commands = workload.kinds(TEMPLATES)
        count = await workload.publish(sender, ORDERS.commands, here.settings.command_partitions, commands)
        async with asyncio.timeout(_SETTLE_S):
            while await here.value("SELECT count(*) FROM orders.inbox") < count:
                await asyncio.sleep(0.2)
    marked = """
        replace(replace(replace(regexp_replace(regexp_replace(regexp_replace({},
            '("created_at": ?")[^"]*', '\\1@at@', 'g'), '("updated_at": ?")[^"]*', '\\1@at@', 'g'),
            '("number": ?")[^"]*', '\\1@number@', 'g'), o.order_id, '@order@'),
            'cus_template', '@customer@'), 'web-template', '@reference@')
    """
    await here.execute(
        "CREATE SCHEMA bench",
        "CREATE TABLE bench.merchants (number integer PRIMARY KEY, merchant_id text, mark text)",
        f"""
        CREATE TABLE bench.kinds AS SELECT row_number() OVER (ORDER BY order_id)::integer AS kind, o.*,
            customer_id IS NOT NULL AS with_customer, external_reference IS NOT NULL AS with_reference,
            ARRAY(SELECT split_part(word, ':', 2) FROM unnest(tsvector_to_array(s.words)) AS word
                  WHERE word NOT LIKE '%:' || o.number) AS words
        FROM orders.orders AS o JOIN orders.order_search AS s USING (order_id) LIMIT {TEMPLATES}
        """,
        f"""
        CREATE TABLE bench.versions AS SELECT k.kind, e.version, e.type, {marked.format("e.payload::text")} AS payload
        FROM bench.kinds AS o JOIN orders.order_events AS e USING (order_id) JOIN bench.kinds AS k USING (order_id)
        """,
        "ALTER TABLE bench.kinds ALTER COLUMN state TYPE text, ADD PRIMARY KEY (kind)",
        f"""
        UPDATE bench.kinds AS o SET state = replace({marked.format("o.state")}, '{workload.MERCHANT}', '@merchant@')
        """,
        f"UPDATE bench.versions SET payload = replace(payload, '{workload.MERCHANT}', '@merchant@')",
        "CREATE TABLE bench.newest AS SELECT DISTINCT ON (kind) * FROM bench.versions ORDER BY kind, version DESC",
        "CREATE UNIQUE INDEX ON bench.versions (kind, version)",
        "CREATE UNIQUE INDEX ON bench.newest (kind)",
    )
    connection = await asyncpg.connect(here.settings.database_url.get_secret_value())
    await connection.copy_records_to_table("merchants", schema_name="bench", records=list(_merchants()))
    await connection.close()


def _merchants() -> Iterator[tuple[int, str, str]]:
    for number in range(MERCHANTS):
        merchant_id = f"mer_{number:05}"
        yield number, merchant_id, tenant_mark(merchant_id, "test")


def require_disk(here: Machine, orders: int) -> None:
    """Fail now rather than in an hour."""
    free, needed = shutil.disk_usage(here.directory).free, orders * BYTES_PER_ORDER
    if free < needed:
        raise SystemExit(
            f"{orders:,} orders need {needed / 1e9:.0f} GB of disk; {here.directory} has {free / 1e9:.0f}."
        )


async def fill(here: Machine, orders: int, whole: bool) -> dict[str, float]:
    """Exactly that many orders are there, with fresh statistics; gives what each table takes with indexes, in bytes.

    Their history is whole, or has only the newest version of each.

    Each table is emptied, filled and indexed in one transaction, which at `wal_level=minimal` writes no WAL.
    """
    began = time.monotonic()
    await asyncio.gather(*(_fill_all(here, tables, orders, whole) for tables in _BESIDE))
    await here.execute(
        "TRUNCATE orders.order_numbers, orders.outbox, payments.outbox",
        "INSERT INTO orders.order_numbers SELECT merchant_id, 'test', 100000000 FROM bench.merchants",
        *(f"VACUUM (ANALYZE, PARALLEL 0) {table}" for table in _FILLS),
        "CHECKPOINT",
    )
    sizes: dict[str, float] = {table: await here.value(f"SELECT pg_total_relation_size('{table}')") for table in _FILLS}
    total = sum(sizes.values())
    print(f"{orders:,} orders: {total / 1e9:.1f} GB in {time.monotonic() - began:.0f} s", flush=True)
    return sizes


async def _fill_all(here: Machine, tables: Sequence[str], orders: int, whole: bool) -> None:
    connection = await asyncpg.connect(here.settings.database_url.get_secret_value())
    try:
        for table in tables:
            began = time.monotonic()
            async with connection.transaction():
                await _fill(connection, table, orders, whole)
            if orders > 100_000:
                print(f"  {table}: {time.monotonic() - began:.0f} s", flush=True)
    finally:
        await connection.close()


async def _fill(connection: "asyncpg.Connection[asyncpg.Record]", table: str, orders: int, whole: bool) -> None:
    indexes = await connection.fetch(
        """
        SELECT c.conname, pg_get_constraintdef(c.oid) AS key, i.indexrelid::regclass::text AS name,
               pg_get_indexdef(i.indexrelid) AS definition
        FROM pg_index AS i LEFT JOIN pg_constraint AS c ON c.conindid = i.indexrelid
        WHERE i.indrelid = $1::text::regclass
        """,
        table,
    )
    await connection.execute(f"TRUNCATE {table}")
    for index in indexes:
        key = index["conname"]
        await connection.execute(f"ALTER TABLE {table} DROP CONSTRAINT {key}" if key else f"DROP INDEX {index['name']}")
    # Rows lie in the order of their numbers, and so of their times, as where they come one by one.
    await connection.execute("SET LOCAL enable_hashjoin = off")
    await connection.execute("SET LOCAL enable_mergejoin = off")
    columns = await connection.fetch(
        "SELECT attname FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 0 ORDER BY attnum", table
    )
    insert = f"INSERT INTO {table} ({', '.join(row[0] for row in columns)}) {_FILLS[table]}"
    insert = insert.replace("$1", "1").replace("$2", str(orders))
    await connection.execute(insert if whole else insert.replace("bench.versions", "bench.newest"))
    for index in indexes:
        key = index["conname"]
        await connection.execute(
            f"ALTER TABLE {table} ADD CONSTRAINT {key} {index['key']}" if key else index["definition"]
        )
