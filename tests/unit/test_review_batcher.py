"""Requests that arrive at the worst moment are still taken."""

import asyncio
from collections.abc import Sequence

from shared.batcher import Batcher


async def test_an_item_that_comes_as_a_flush_ends_does_not_wait_for_the_next_one() -> None:
    database = asyncio.get_running_loop().create_future()
    ran: list[str] = []

    async def run(items: Sequence[str]) -> Sequence[str]:
        if "first" in items:
            await database
        ran.extend(items)
        return items

    batcher = Batcher[str, str](run, concurrent=1)

    async def late() -> str:
        # Woken by the same event as the flush and right after it: its task is done, and not yet known to be.
        await database
        return await batcher.submit("second")

    first = asyncio.create_task(batcher.submit("first"))
    await asyncio.sleep(0.01)
    second = asyncio.create_task(late())
    await asyncio.sleep(0.01)
    database.set_result(None)
    async with asyncio.timeout(1):
        assert [await first, await second] == ["first", "second"]
    assert ran == ["first", "second"]
