"""How long it takes until fresh writes and fresh channel events take effect."""

import asyncio
import time
from random import Random

import httpx

from tests.chaos.journal import Leg
from tests.chaos.load import World, create, told_of

_AT_ONCE = 6
_LONGEST_S = 120.0


async def effect_s(world: World, seed: int) -> float | None:
    """Seconds until several fresh orders, which are likely in different partitions, were made and paid.

    None when they were not within two minutes.
    """
    began = time.monotonic()
    probes = [asyncio.create_task(_pay_one(world, Random(seed + number))) for number in range(_AT_ONCE)]
    _, late = await asyncio.wait(probes, timeout=_LONGEST_S)
    for task in late:
        task.cancel()
    for task in probes:
        if task not in late:
            await task
    return None if late else time.monotonic() - began


async def _pay_one(world: World, random: Random) -> None:
    order = await create(world, random)
    if order is None:
        raise RuntimeError("a fresh order was refused")
    channel = random.choice(world.channels)
    told = told_of(channel, world.journal, "captured", "applied", order.price, order_id=order.order_id)
    order.legs[told.reference] = Leg(captured=order.price)
    await channel.tell(told)
    while not await _is_captured(world, order.order_id, order.price):  # noqa: ASYNC110 - another process does it
        await asyncio.sleep(0.1)


async def _is_captured(world: World, order_id: str, amount: int) -> bool:
    try:
        answer = await world.orders.get(f"/v1/orders/{order_id}", timeout=2)
    except httpx.HTTPError:
        return False
    if answer.status_code != 200:
        return False
    captured: int = answer.json()["data"]["settlement"]["captured_money"]["amount"]
    return captured == amount
