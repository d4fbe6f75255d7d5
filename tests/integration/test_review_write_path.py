"""Schedules of two workers on one order, on the real tables."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from time import thread_time
from typing import Any

import orjson
import pytest

from services.orders.aggregate import Numbers, OrderAggregates
from services.orders.core.state import Order
from services.orders.history import order_as_of
from services.orders.numbers import OrderNumbers
from services.orders.store.history import HistoryRow, new_versions
from services.orders.store.search import read_order
from shared import inbox, processor
from shared.contracts import order_commands as c
from shared.contracts.model import Actor
from shared.contracts.order_events import LineItemUpdated
from shared.contracts.order_parts import LineItem, Tax
from shared.ids import new_id
from shared.immutable import replace
from shared.postgres import Connection, Pool, transaction
from shared.processor import CommandProcessor, Done, Incoming
from shared.writes import write
from tests.stack import Stack, Tenant, eventually

pytestmark = pytest.mark.servers

CREATE = c.CreateOrder(
    currency="EUR", line_items=(LineItem(line_item_id="li_1", name="Thing", unit_price_minor=12_000),)
)
NINE = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
Processor = CommandProcessor[Order, c.OrderCommand, Numbers]


@pytest.fixture
async def pool(stack: Stack) -> AsyncIterator[Pool]:
    pool = Pool(stack.settings.database_url.get_secret_value(), "orders", 6)
    await pool.open()
    yield pool
    await pool.close()


def worker(pool: Pool, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> Processor:
    return CommandProcessor(pool, OrderAggregates(OrderNumbers(pool)), clock, lambda: None, "orders")


def told(order_id: str, command: c.OrderCommand, command_id: str | None = None) -> Incoming[c.OrderCommand]:
    return Incoming(
        command_id or new_id("cmd"), order_id, command, "mer_review", "test", Actor(type="service", id="t"), "/tests"
    )


def capture(number: int, amount: int) -> c.RecordCapture:
    return c.RecordCapture(
        payment_id=f"pay_{number}", payment_reference=f"psp-{number}", amount_minor=amount, currency="EUR"
    )


def versions(results: Sequence[Any]) -> list[int]:
    assert all(isinstance(result, Done) for result in results)
    return [result.outcome.version for result in results]


async def test_an_order_that_another_worker_creates_at_once_is_found(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also by a command that runs alone: as the last resort of a batch, a failure would make it a dead letter."""
    incoming, write, written, go = told(new_id("ord"), CREATE), processor.write, asyncio.Event(), asyncio.Event()

    async def held(connection: Connection, *writes: Any) -> None:
        """The first one waits between its last statement and its commit."""
        await write(connection, *writes)
        if not written.is_set():
            written.set()
            await go.wait()

    monkeypatch.setattr(processor, "write", held)
    ahead = asyncio.create_task(worker(pool).run([incoming]))
    await written.wait()
    behind = asyncio.create_task(worker(pool).run([incoming]))
    await eventually(lambda: _waits(pool))
    go.set()
    assert versions(await ahead) == versions(await behind) == [1]


async def test_an_order_that_appears_after_the_locks_is_seen(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not there cannot be locked: what follows its creation must not be refused as not found."""
    create, recall = told(new_id("ord"), CREATE), inbox.recall
    others = [create]

    async def after_another_worker(connection: Connection, keys: Any) -> Any:
        while others:
            await worker(pool).run([others.pop()])
        return await recall(connection, keys)

    monkeypatch.setattr(inbox, "recall", after_another_worker)
    results = await worker(pool).run([create, told(create.key, capture(1, 12_000))])
    assert versions(results) == [1, 2]


async def test_a_refusal_that_another_worker_records_at_once_is_found(pool: Pool) -> None:
    """There is no row to lock for an order that does not exist."""
    incoming = told(new_id("ord"), c.OpenOrder())
    runs = await asyncio.gather(*(worker(pool).run([incoming]) for _ in range(6)))
    assert [versions(run) for run in runs] == [[0]] * 6


async def test_a_version_is_recorded_at_a_time_after_the_one_before(pool: Pool) -> None:
    order_id = new_id("ord")
    times = [NINE]
    await worker(pool, clock=lambda: times[-1]).run([told(order_id, CREATE)])
    async with transaction(pool) as other:
        await other.execute("SELECT FROM orders WHERE order_id = $1 FOR UPDATE", order_id)
        waiting = asyncio.create_task(worker(pool, clock=lambda: times[-1]).run([told(order_id, capture(1, 5))]))
        await eventually(lambda: _waits(pool))
        times.append(NINE + timedelta(seconds=7))
    await waiting
    order = await read_order(pool, order_id, "mer_review", "test")
    assert order is not None
    assert order.updated_at == NINE + timedelta(seconds=7)


async def _waits(pool: Pool) -> bool:
    return bool(await pool.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))


@pytest.mark.parametrize("seconds", [(0, 5, 3), (10, 3, 3)], ids=["second ahead", "first ahead"])
async def test_the_past_has_no_gap_where_clocks_differ(pool: Pool, seconds: tuple[int, int, int]) -> None:
    order_id = new_id("ord")
    commands: list[c.OrderCommand] = [CREATE, capture(1, 1000), capture(2, 2000)]
    times = [NINE + timedelta(seconds=offset) for offset in seconds]
    for command in commands:
        await worker(pool, clock=lambda: times.pop(0)).run([told(order_id, command)])
    order = await read_order(pool, order_id, "mer_review", "test")
    assert order is not None
    found = await order_as_of(pool, order, version=None, at=NINE + timedelta(seconds=4))
    assert found is not None
    past, _ = found
    assert (past.version, past.captured) == (3, 3000)
    assert await order_as_of(pool, order, version=None, at=NINE - timedelta(seconds=1)) is None


async def test_others_are_served_while_a_long_history_is_read(pool: Pool) -> None:
    taxes = (Tax(name="VAT", percentage="19", inclusive=True),)
    lines = [
        LineItem(line_item_id=f"li_{number}", name="Thing", unit_price_minor=1_000, taxes=taxes)
        for number in range(300)
    ]
    order_id, edits = new_id("ord"), 500
    await worker(pool).run([told(order_id, c.CreateOrder(currency="EUR", line_items=tuple(lines)))])
    order = await read_order(pool, order_id, "mer_review", "test")
    assert order is not None
    async with transaction(pool) as connection:
        await write(connection, new_versions([_edited(order, lines, edit) for edit in range(edits)]))
    pauses = []
    reading = asyncio.create_task(order_as_of(pool, replace(order, version=edits + 1), version=edits + 1, at=None))
    while not reading.done():
        since = thread_time()
        await asyncio.sleep(0)
        pauses.append(thread_time() - since)
    found = await reading
    assert found is not None
    last = {edit % len(lines): 2_000 + edit for edit in range(edits)}
    assert (found[0].version, found[0].pricing.total) == (edits + 1, sum(last.values()))
    assert max(pauses) < 0.3, "seconds of work at once"


def _edited(order: Order, lines: Sequence[LineItem], edit: int) -> HistoryRow:
    line = lines[edit % len(lines)].model_copy(update={"unit_price_minor": 2_000 + edit})
    event = {"type": LineItemUpdated.wire_type, "data": {"line_item": line.model_dump(mode="json")}}
    payload = orjson.dumps({"events": [event]})
    return HistoryRow(order.order_id, edit + 2, LineItemUpdated.wire_type, payload, order.created_at)


async def test_what_a_failover_lost_is_not_remembered(pool: Pool) -> None:
    """The last commit is gone, and another worker has written the same version with something else."""
    order_id, mine, other = new_id("ord"), worker(pool), worker(pool)
    await mine.run([told(order_id, CREATE)])
    saved = await pool.fetchrow("SELECT state::text, updated_at FROM orders WHERE order_id = $1", order_id)
    assert saved is not None
    await mine.run([told(order_id, capture(1, 1000))])
    async with transaction(pool) as connection:
        await connection.execute("DELETE FROM order_events WHERE order_id = $1 AND version = 2", order_id)
        await connection.execute(
            "UPDATE orders SET version = 1, state = $2, updated_at = $3 WHERE order_id = $1", order_id, *saved.values()
        )
    await other.run([told(order_id, capture(2, 2000))])
    await mine.run([told(order_id, capture(3, 3000))])
    order = await read_order(pool, order_id, "mer_review", "test")
    assert order is not None
    assert [leg.payment_id for leg in order.payments] == ["pay_2", "pay_3"]


@pytest.mark.parametrize("order_id", ["ord_" + "".join(new_id("x") for _ in range(200)), "anything", "ord_"])
async def test_a_path_that_is_no_order_id_is_not_found_and_leaves_nothing(
    stack: Stack, tenant: Tenant, pool: Pool, order_id: str
) -> None:
    """Refused orders have an inbox row as well; one that does not fit its index would spoil the batch of others."""
    for path, body in (("", {"external_reference": "x"}), ("/cancel", {})):
        method = "POST" if path else "PATCH"
        answer = await tenant.http.request(method, f"/v1/orders/{order_id}{path}", json=body)
        assert (answer.status_code, answer.json()["code"]) == (404, "NOT_FOUND")
    assert await pool.fetchval("SELECT count(*) FROM inbox WHERE aggregate_id = $1", order_id) == 0
