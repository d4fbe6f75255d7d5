"""What is measured of an outbox."""

import pytest
from prometheus_client import REGISTRY

from shared.envelope import Envelope
from shared.outbox import OutboxMessage, put, remove
from shared.outbox_age import MeasureOutboxJob
from shared.postgres import transaction
from tests.contract.stores.store import Store

MESSAGE = OutboxMessage("t", Envelope("evt_1", "t.v1", "/tests", b"{}", key="ord_1"))


async def test_the_oldest_row_has_waited_since_it_was_the_newest_at_least(
    either: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_000.0
    monkeypatch.setattr("shared.outbox_age.monotonic", lambda: now)
    job = MeasureOutboxJob(either.pool, either.service)

    async def measured(after_s: float, *, put_rows: int = 0, removed: tuple[int, ...] = ()) -> tuple[float, float]:
        nonlocal now
        now += after_s
        async with transaction(either.pool) as connection:
            await put(connection, [MESSAGE] * put_rows)
            await remove(connection, removed, None)
        await job()
        names = ("throughline_outbox_waiting", "throughline_outbox_oldest_seconds")
        waiting, oldest = (REGISTRY.get_sample_value(name, {"service": either.service}) for name in names)
        assert waiting is not None
        assert oldest is not None
        return waiting, oldest

    assert await measured(0) == (0, 0)
    assert await measured(15, put_rows=2) == (2, 0)
    assert await measured(15, put_rows=1) == (3, 15)
    assert await measured(15, removed=(1,)) == (2, 30)
    assert await measured(15, removed=(2,)) == (1, 30), "3 came later"
    assert await measured(15, put_rows=1, removed=(3,)) == (1, 0)
    assert await measured(15, removed=(4,)) == (0, 0)
