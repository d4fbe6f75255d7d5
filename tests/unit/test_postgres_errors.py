"""What becomes of the database's errors."""

import asyncio

import asyncpg
import pytest

from shared.faults import Transient
from shared.postgres import transient_errors


async def broken() -> None:
    """Waits in a transaction whose connection has gone by the time that it is left."""
    async with transient_errors():
        try:
            await asyncio.Event().wait()
        finally:
            raise asyncpg.InterfaceError("the underlying connection is closed")


async def test_a_canceled_task_ends_although_its_connection_broke() -> None:
    async def patient() -> None:
        while True:
            try:
                await broken()
            except Transient:
                continue

    task = asyncio.create_task(patient())
    await asyncio.sleep(0)
    task.cancel()
    done, _ = await asyncio.wait([task], timeout=5)
    if not done:
        # It would go on for ever.
        task.cancel()
    assert task in done
    assert task.cancelled()


async def test_a_broken_connection_is_worth_another_try() -> None:
    with pytest.raises(Transient):
        async with transient_errors():
            raise asyncpg.InterfaceError("the underlying connection is closed")


async def test_a_time_limit_that_ran_out_is_worth_another_try() -> None:
    with pytest.raises(Transient):
        async with transient_errors(), asyncio.timeout(0):
            await asyncio.Event().wait()
