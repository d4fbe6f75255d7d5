"""How long it takes until fresh writes and fresh channel events take effect, and until the plugin is told of them."""

import asyncio
import time
from dataclasses import dataclass
from random import Random

import httpx2

from tests.chaos.journal import Leg
from tests.chaos.load import World, create, told_of

_AT_ONCE = 6
_LONGEST_S = 120.0


@dataclass(frozen=True)
class Effect:
    """Seconds until several fresh orders, which are likely in different partitions, had their effect.

    None where they had not within two minutes.
    """

    works_s: float | None
    """They were made and paid."""
    told_s: float | None
    """The plugin was told of all of them in every way."""


async def effect(world: World, seed: int) -> Effect:
    """What happens to fresh orders from now on."""
    began = time.monotonic()
    probes = [asyncio.create_task(_pay_one(world, Random(seed + number))) for number in range(_AT_ONCE)]
    _, late = await asyncio.wait(probes, timeout=_LONGEST_S)
    for task in late:
        task.cancel()
    paid = {await task for task in probes if task not in late}
    if late:
        return Effect(None, None)
    works_s = time.monotonic() - began
    while not all(paid <= orders for orders in world.journal.captured.values()):
        if time.monotonic() - began > _LONGEST_S:
            return Effect(works_s, None)
        await asyncio.sleep(0.05)
    return Effect(works_s, time.monotonic() - began)


async def _pay_one(world: World, random: Random) -> str:
    order = await create(world, random)
    if order is None:
        raise RuntimeError("a fresh order was refused")
    world.journal.probes.add(order.order_id)
    channel = random.choice(world.channels)
    told = told_of(channel, world.journal, "captured", "applied", order.price, order_id=order.order_id)
    order.legs[told.reference] = Leg(captured=order.price)
    await channel.tell(told)
    while not await _is_captured(world, order.order_id, order.price):  # noqa: ASYNC110 - another process does it
        await asyncio.sleep(0.1)
    return order.order_id


async def _is_captured(world: World, order_id: str, amount: int) -> bool:
    try:
        answer = await world.orders.get(f"/v1/orders/{order_id}", timeout=2)
    except httpx2.HTTPError:
        return False
    if answer.status_code != 200:
        return False
    captured: int = answer.json()["data"]["settlement"]["captured_money"]["amount"]
    return captured == amount
