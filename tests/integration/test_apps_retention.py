"""What was kept before the tables were divided and widened is kept; what is old goes by the part, and nothing else."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from importlib import import_module

import asyncpg
import pytest

from services.apps.audit import By, note
from services.apps.core.event_types import Reader
from services.apps.core.events import Origin, PublicEvent, Subject
from services.apps.jobs import KeepAuditLogJob
from services.apps.store import audit_log, partitions
from services.apps.store import events as store
from services.apps.store.audit_log import AuditFilter
from services.apps.store.events import EventFilter
from shared.contracts.model import Actor
from shared.faults import Transient
from shared.ids import new_id
from shared.postgres import Pool, transaction
from tests.schemas import schema_with
from tests.servers import Servers

pytestmark = pytest.mark.servers

_VERSIONS = "services.apps.migrations.versions"
access, kept, subjects = (
    import_module(f"{_VERSIONS}.{name}") for name in ("0001_access", "0003_events", "0005_subjects")
)
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
KEPT = timedelta(days=3_653)
PARTS = "SELECT relname FROM pg_inherits JOIN pg_class ON oid = inhrelid WHERE inhparent = 'audit_log'::regclass"


@pytest.fixture
async def pool(servers: Servers) -> AsyncIterator[Pool]:
    """An audit log with an entry of before, divided since."""
    async with schema_with(servers.database_url, access.AUDIT_LOG.strip().rstrip(";")) as made:
        for statement in access.APPEND_ONLY:
            await made.execute(statement)
        await act(made, NOW - timedelta(days=400), "before")
        await made.execute(subjects.AUDIT_LOG.format(year=2026, next_year=2027, last_year=2028))
        yield made


async def act(pool: Pool, at: datetime, action: str) -> None:
    async with transaction(pool) as connection:
        await note(connection, By(Actor(type="key", id="key_1"), at).did(action, "thing", merchant_id="mer_1"))


async def actions(pool: Pool) -> list[str]:
    found = await audit_log.page(pool, AuditFilter(None, None), None, 100)
    return [entry.action for _, entry in found]


async def parts(pool: Pool) -> list[str]:
    return sorted(row["relname"] for row in await pool.fetch(PARTS))


async def test_what_was_noted_before_is_there_and_nobody_can_change_it(pool: Pool) -> None:
    await act(pool, NOW, "now")
    await act(pool, datetime(2027, 6, 1, tzinfo=UTC), "next year")
    await KeepAuditLogJob(pool, lambda: datetime(2027, 2, 1, tzinfo=UTC), KEPT)()
    await act(pool, datetime(2028, 1, 1, tzinfo=UTC), "later")
    assert await actions(pool) == ["later", "next year", "now", "before"]
    assert await parts(pool) == [f"audit_log_y{year}" for year in (2026, 2027, 2028)]
    for table in ("audit_log", *await parts(pool)):
        for change in (f"UPDATE {table} SET action = 'x'", f"DELETE FROM {table}", f"TRUNCATE {table}"):
            with pytest.raises(asyncpg.RestrictViolationError, match="append-only"):
                await pool.execute(change)
    assert len(await actions(pool)) == 4


async def test_years_go_when_no_entry_of_theirs_need_be_kept_and_that_is_noted(pool: Pool) -> None:
    await act(pool, datetime(2026, 12, 31, 23, tzinfo=UTC), "last of its year")
    await act(pool, datetime(2027, 1, 1, tzinfo=UTC), "first of the next")

    async def at(moment: datetime) -> list[str]:
        await KeepAuditLogJob(pool, lambda: moment, KEPT)()
        return await actions(pool)

    # The newest entry of 2026 is ten years old on the last day of 2036.
    assert await at(datetime(2036, 12, 30, tzinfo=UTC)) == ["first of the next", "last of its year", "before"]
    assert await at(datetime(2037, 1, 2, tzinfo=UTC)) == ["audit_log.dropped", "first of the next"]
    assert await parts(pool) == [f"audit_log_y{year}" for year in (2027, 2036, 2037, 2038)]
    [[_, entry], _] = await audit_log.page(pool, AuditFilter(None, None), None, 100)
    assert (entry.actor.id, entry.target_id) == ("retention", "audit_log_y2026")
    assert await at(datetime(2037, 1, 3, tzinfo=UTC)) == ["audit_log.dropped", "first of the next"]


async def test_a_part_that_somebody_reads_goes_later(pool: Pool) -> None:
    late = KeepAuditLogJob(pool, lambda: datetime(2040, 1, 1, tzinfo=UTC), KEPT)
    async with transaction(pool) as reading:
        await reading.fetch("SELECT FROM audit_log")
        with pytest.raises(Transient):
            await late()
    assert "before" in await actions(pool)
    await late()
    assert "before" not in await actions(pool)


async def test_events_of_before_are_kept_and_others_beside_them(servers: Servers) -> None:
    """In weeks that were there before the columns, and in weeks that come after."""

    def told(number: int, at: datetime, subject: Subject | None) -> PublicEvent:
        return PublicEvent(
            event_id=new_id("evt"),
            type="webhook_endpoint.disabled" if subject else "order.paid",
            created_at=at,
            merchant_id="mer_1",
            environment="test",
            order_id=None if subject else "ord_1",
            order_version=None if subject else number,
            actor=Origin("key", "key_1"),
            cause=None,
            change=b"{}",
            order=b"null",
            subject=subject,
            grant_id="grt_1" if subject else None,
        )

    async with schema_with(servers.database_url, kept.EVENTS) as pool:
        await partitions.ensure(pool, [partitions.week_of(NOW)])
        await pool.execute(
            "INSERT INTO events (event_id, created_at, type, merchant_id, environment, order_id, order_version, "
            "actor_type, actor_id, change, order_after) "
            "VALUES ('evt_old', $1, 'order.paid', 'mer_1', 'test', 'ord_1', 1, 'key', 'key_1', '{}', 'null')",
            NOW,
        )
        await pool.execute(subjects.EVENTS)
        await partitions.ensure(pool, [partitions.week_of(NOW + timedelta(days=7))])
        endpoint = Subject("webhook_endpoint", "whe_1", b'{"webhook_endpoint_id":"whe_1"}')
        new = [
            told(number, NOW + timedelta(days=7 * week), subject)
            for number, (week, subject) in enumerate([(0, None), (0, endpoint), (1, None), (1, endpoint)], 2)
        ]
        async with transaction(pool) as connection:
            await store.append(connection, new)
        everything = Reader({"orders.read", "webhooks.read"})
        page, _ = await store.page(pool, EventFilter(("mer_1", "test"), everything), None, 9)
        found = [placed.event for placed in page]
        assert found[:4] == new[::-1]
        assert (found[4].event_id, found[4].subject, found[4].about.id) == ("evt_old", None, "ord_1")
        for reader, count in ((Reader({"orders.read"}), 3), (Reader({"orders.read"}, "grt_1"), 5)):
            wanted = EventFilter(("mer_1", "test"), reader)
            assert len((await store.page(pool, wanted, None, 9))[0]) == count
            assert len(await store.following(pool, wanted, 0, 9)) == count
            assert [wanted.admits(event) for event in found].count(True) == count
        for types in (["webhook_endpoint.disabled"], ["webhook_endpoint.disabled", "order.created"]):
            wanted = EventFilter(("mer_1", "test"), Reader({"orders.read", "webhooks.read"}, "grt_2"), types)
            assert await store.page(pool, wanted, None, 9) == ([], False)
