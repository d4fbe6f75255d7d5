"""The tables in memory are those of the migrations."""

import pytest

from shared.clock import utc_now
from tests.contract.stores.store import on_postgresql
from tests.simulation.postgres.schema import databases

_COLUMNS = """
SELECT table_name, array_agg(column_name::text ORDER BY ordinal_position) FROM information_schema.columns
WHERE table_schema = $1 AND table_name <> 'alembic_version' GROUP BY table_name
"""
_UNIQUE = """
SELECT t.relname, i.indisprimary, array_agg(a.attname::text ORDER BY place)
FROM pg_index AS i JOIN pg_class AS t ON t.oid = i.indrelid,
    unnest(i.indkey) WITH ORDINALITY AS k (attnum, place) JOIN pg_attribute AS a USING (attnum)
WHERE a.attrelid = i.indrelid AND i.indisunique AND t.relnamespace = $1::regnamespace AND t.relname <> 'alembic_version'
GROUP BY i.indexrelid, t.relname, i.indisprimary
"""


@pytest.mark.servers
@pytest.mark.parametrize("service", ["orders", "payments"])
async def test_tables_have_the_columns_and_keys_of_the_migrations(service: str, migrated_url: str) -> None:
    async with on_postgresql(service, migrated_url) as real:
        columns = {name: tuple(found) for name, found in await real.pool.fetch(_COLUMNS, service)}
        keys = [tuple(row) for row in await real.pool.fetch(_UNIQUE, service)]
    tables = databases(utc_now)[service].tables
    assert columns == {name: table.columns for name, table in tables.items()}
    assert {name: tuple(found) for name, primary, found in keys if primary} == {
        name: table.key_columns for name, table in tables.items()
    }
    unique = [name for name, primary, _ in keys if not primary]
    assert unique == [name for name, table in tables.items() for _ in table.unique]
