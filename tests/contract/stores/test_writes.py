"""What is written in one statement is what is written in several."""

from typing import Any

import asyncpg
import pytest

from services.orders.store.history import new_versions
from services.orders.store.orders import changed_orders, new_orders
from shared import inbox, outbox
from shared.envelope import Envelope
from shared.immutable import replace
from shared.outbox import OutboxMessage
from shared.postgres import Connection, transaction
from shared.writes import FEW, Mismatch, NewRows, Write, write
from tests.contract.stores.samples import NOW, history, order
from tests.contract.stores.store import Store


class Counted:
    """A connection, and how many statements it was given."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.statements = 0

    def __getattr__(self, name: str) -> Any:
        self.statements += name in ("execute", "copy_records_to_table")
        return getattr(self._connection, name)


def _message(number: int) -> OutboxMessage:
    return OutboxMessage("t", Envelope(f"evt_{number:03}", "t.v1", "/tests", b"{}", key=f"ord_{number % 3}"))


def _all(count: int) -> list[Write | NewRows | None]:
    """About so many orders, one of which was there before."""
    names = [f"ord_{number:03}" for number in range(1, count)]
    return [
        changed_orders([(replace(order("ord_000", number="0"), version=2), 1)]),
        new_orders([order(name, number=name) for name in names]),
        None,
        new_versions([version for name in names for version in history(name, 1)]),
        inbox.rows_of([((name, "a"), '{"version": 1}') for name in names], NOW),
        outbox.rows_of(map(_message, range(count))),
        outbox.rows_of([]),
    ]


@pytest.mark.parametrize(("count", "statements"), [(FEW // 5, 1), (FEW, 5)])
async def test_little_is_one_statement(orders: Store, count: int, statements: int) -> None:
    async with transaction(orders.pool) as connection:
        await write(connection, new_orders([order("ord_000", number="0")]))
        counted: Any = Counted(connection)
        await write(counted, *_all(count))
    assert counted.statements == statements
    assert {row["order_id"]: row["version"] for row in await orders.rows("orders")} == {
        f"ord_{number:03}": 1 if number else 2 for number in range(count)
    }
    assert len(await orders.rows("order_events")) == len(await orders.rows("inbox")) == count - 1
    queued = sorted(await orders.rows("outbox"), key=lambda row: int(row["seq"]))
    assert [row["id"] for row in queued] == [f"evt_{number:03}" for number in range(count)]


async def test_nothing_is_no_statement(orders: Store) -> None:
    async with transaction(orders.pool) as connection:
        counted: Any = Counted(connection)
        await write(counted)
        await write(counted, None, inbox.rows_of([], NOW), changed_orders([]))
    assert not counted.statements


@pytest.mark.parametrize("more", [0, 2, FEW])
async def test_what_is_not_as_it_was_read_is_noticed(orders: Store, more: int) -> None:
    async with transaction(orders.pool) as connection:
        await write(connection, new_orders([order("ord_000")]))
    with pytest.raises(Mismatch):
        await _changed(orders, changed_orders([(order("ord_000"), 7)]), outbox.rows_of(map(_message, range(more))))
    assert not await orders.rows("outbox")


async def test_what_is_there_is_not_written_again(orders: Store) -> None:
    def kept(name: str) -> NewRows:
        return inbox.rows_of([((name, "a"), "{}")], NOW)

    await _changed(orders, kept("ord_1"))
    with pytest.raises(asyncpg.UniqueViolationError):
        await _changed(orders, outbox.rows_of([_message(1)]), kept("ord_1"))
    assert not await orders.rows("outbox")


async def _changed(store: Store, *writes: Write | NewRows | None) -> None:
    async with transaction(store.pool) as connection:
        found: Connection = connection
        await write(found, *writes)
