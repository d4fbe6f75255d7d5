"""The tables in memory are those of the migrations."""

from collections import Counter

import pytest

from shared.clock import utc_now
from tests.contract.stores.store import on_postgresql
from tests.simulation.postgres.schema import databases

_COLUMNS = """
SELECT table_name, array_agg(column_name::text ORDER BY ordinal_position) FROM information_schema.columns
WHERE table_schema = $1 AND table_name = ANY($2::text[]) GROUP BY table_name
"""
_TABLES = """
SELECT relname FROM pg_class WHERE relnamespace = $1::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
    AND relname <> 'alembic_version'
"""
_ONLY_PAGES_AND_OAUTH = {
    "partner_apps",
    "app_secrets",
    "oauth_codes",
    "staff_users",
    "staff_memberships",
    "staff_invitations",
    "staff_sessions",
    "sign_in_failures",
    "staff_identities",
    "oidc_flows",
}
"""Of the apps service; nothing that is simulated uses them."""
_UNIQUE = """
SELECT t.relname, i.indisprimary, array_agg(a.attname::text ORDER BY place)
FROM pg_index AS i JOIN pg_class AS t ON t.oid = i.indrelid,
    unnest(i.indkey) WITH ORDINALITY AS k (attnum, place) JOIN pg_attribute AS a USING (attnum)
WHERE a.attrelid = i.indrelid AND i.indisunique AND t.relnamespace = $1::regnamespace AND t.relname = ANY($2::text[])
GROUP BY i.indexrelid, t.relname, i.indisprimary
"""


@pytest.mark.servers
@pytest.mark.parametrize("service", ["orders", "payments", "apps", "sandbox"])
async def test_tables_have_the_columns_and_keys_of_the_migrations(service: str, migrated_url: str) -> None:
    tables = databases(utc_now)[service].tables
    async with on_postgresql(service, migrated_url) as real:
        there = {name for (name,) in await real.pool.fetch(_TABLES, service)}
        columns = {name: tuple(found) for name, found in await real.pool.fetch(_COLUMNS, service, list(tables))}
        keys = [tuple(row) for row in await real.pool.fetch(_UNIQUE, service, list(tables))]
    assert there - tables.keys() == (_ONLY_PAGES_AND_OAUTH if service == "apps" else set())
    assert columns == {name: table.columns for name, table in tables.items()}
    assert {name: tuple(found) for name, primary, found in keys if primary} == {
        name: table.key_columns for name, table in tables.items()
    }
    unique = Counter(name for name, primary, _ in keys if not primary)
    assert unique == Counter(name for name, table in tables.items() for _ in table.unique)
