"""HTTP and channel clients that tell stories of orders, and never give up on anything they have begun."""

import asyncio
import json
from dataclasses import dataclass
from random import Random
from typing import Any

import httpx2

from shared.ids import new_id
from tests.chaos.channels import KINDS, Channel, body_of
from tests.chaos.journal import Journal, Json, Leg, Promised, Told, Write

_TIMEOUTS_S = (0.1, 1.0, 3.0, 5.0)
_SHORT_STORY, _LONG_STORY = 3, 12


@dataclass
class World:
    """What the clients of one merchant share."""

    merchant_id: str
    orders: httpx2.AsyncClient
    payments: httpx2.AsyncClient
    channels: list[Channel]
    journal: Journal


async def write(
    world: World, random: Random, kind: str, path: str, body: Json, *, order_id: str | None = None
) -> Write:
    """The answered write: sent again with the same key after every error, time-out and 503."""
    one = Write(new_id("idem"), kind, path, body, order_id=order_id)
    world.journal.writes.append(one)
    while one.status is None:
        await attempt(world, one, random.choice(_TIMEOUTS_S))
        if one.status is None:
            await asyncio.sleep(random.uniform(0.02, 0.3))
    return one


async def attempt(world: World, one: Write, timeout_s: float) -> None:
    """Send it once; `status` is set when the answer is final."""
    one.attempts += 1
    try:
        answer = await world.orders.post(
            one.path, json=one.body, headers={"Idempotency-Key": one.key}, timeout=timeout_s
        )
    except httpx2.HTTPError as error:
        world.journal.errors[f"http: {type(error).__name__}"] += 1
        return
    if answer.status_code in (200, 201):
        data = answer.json()["data"]
        one.status, one.order_id, one.version = answer.status_code, data["order_id"], data["version"]
        one.answers.add((data["order_id"], data["version"]))
        return
    code = answer.json().get("code", "?") if answer.content else "?"
    world.journal.errors[f"http: {answer.status_code} {code}"] += 1
    if answer.status_code != 503 and code != "IDEMPOTENCY_KEY_IN_PROGRESS":
        world.journal.oddities.append(f"{one.kind} {one.key}: {answer.status_code} {answer.text[:300]}")
        if answer.status_code < 500:
            one.status = answer.status_code


async def create(world: World, random: Random, reference: str | None = None) -> Promised | None:
    """A promised order, known in the journal."""
    price = random.randrange(1_000, 20_000)
    reference = reference or new_id("ref")
    line = {"name": "Thing", "quantity": 1, "unit_price_money": {"amount": price, "currency": "EUR"}}
    body = {"source": "checkout", "currency": "EUR", "external_reference": reference, "line_items": [line]}
    made = await write(world, random, "create", "/v1/orders", body)
    if made.order_id is None:
        return None
    order = Promised(made.order_id, reference, price)
    world.journal.orders[order.order_id] = order
    return order


async def abandon(world: World, random: Random, path: str, body: Json, order_id: str) -> None:
    """Send a note once, with little patience, and forget it."""
    one = Write(new_id("idem"), "note", path, body, order_id=order_id, abandoned=True)
    world.journal.writes.append(one)
    await attempt(world, one, random.choice((0.005, 0.02, 0.1)))


async def tell_by_http(world: World, random: Random, told: Told) -> None:
    """The event by HTTP, until it is answered."""
    event = {
        "specversion": "1.0",
        "id": told.event_id,
        "type": KINDS[told.kind],
        "source": f"/channels/{told.channel_id}",
        "data": body_of(told),
    }
    headers = {"content-type": "application/cloudevents+json", "Idempotency-Key": new_id("idem")}
    while not told.accepted:
        try:
            content, patience = json.dumps(event), random.choice(_TIMEOUTS_S)
            answer = await world.payments.post("/v1/channel-events", content=content, headers=headers, timeout=patience)
        except httpx2.HTTPError as error:
            world.journal.errors[f"http events: {type(error).__name__}"] += 1
        else:
            told.accepted = answer.status_code == 202
            if not told.accepted:
                world.journal.errors[f"http events: {answer.status_code}"] += 1
                if answer.status_code not in (409, 503):
                    world.journal.oddities.append(f"event {told.event_id}: {answer.status_code} {answer.text[:300]}")
        await asyncio.sleep(random.uniform(0.02, 0.3))


def told_of(channel: Channel, journal: Journal, kind: str, fate: str, amount: int, **more: Any) -> Told:
    """A new entry of the journal, not yet told."""
    reference = more.pop("reference", None) or new_id("psp")
    told = Told(new_id("evt"), channel.channel_id, kind, reference, amount, fate, **more)
    journal.told.append(told)
    return told


class Teller:
    """One client: an order at a time, one step after another."""

    def __init__(self, world: World, random: Random) -> None:
        self._world, self._random, self._journal = world, random, world.journal
        self._telling: set[asyncio.Task[None]] = set()

    async def run(self, stopped: asyncio.Event) -> None:
        """Stories until stopped; what was begun is finished."""
        while not stopped.is_set():
            channel = self._random.choice(self._world.channels)
            order = await self._begin(channel)
            if order is None:
                continue
            for _ in range(self._random.randint(_SHORT_STORY, _LONG_STORY)):
                await self._step(order, channel)
                await asyncio.sleep(self._random.uniform(0, 0.4))
                if stopped.is_set():
                    break
        await asyncio.gather(*self._telling)

    async def _begin(self, channel: Channel) -> Promised | None:
        """A new order; sometimes its money is told of before it is there, by the merchant's name of it."""
        if self._random.random() > 0.1:
            return await create(self._world, self._random)
        reference, amount = new_id("ref"), self._random.randint(1, 5_000)
        about = {"external_reference": reference, "reference": new_id("psp")}
        told = told_of(channel, self._journal, "captured", "applied", amount, **about)
        self._spawn(channel, told)
        await asyncio.sleep(self._random.uniform(0, 0.5))
        order = await create(self._world, self._random, reference)
        if order is not None:
            told.order_id = order.order_id
            order.legs[told.reference] = Leg(captured=amount)
        return order

    async def _step(self, order: Promised, channel: Channel) -> None:
        steps = [self._tip, self._note, self._capture, self._authorize, self._refund, self._again, self._conflict]
        weights = [4, 4, 6, 3, 3, 3, 1]
        others = [self._unknown, self._garbage, self._ask_again, self._abandon]
        step = self._random.choices([*steps, *others], [*weights, 1, 1, 2, 1])[0]
        await step(order, channel)

    async def _tip(self, order: Promised, _: Channel) -> None:
        tip = order.tip + self._random.randint(1, 50)
        body = {"tip_money": {"amount": tip, "currency": "EUR"}}
        done = await write(
            self._world, self._random, "tip", f"/v1/orders/{order.order_id}/tip", body, order_id=order.order_id
        )
        if done.status in (200, 201):
            order.tip = tip

    async def _note(self, order: Promised, _: Channel) -> None:
        text = new_id("text")
        path = f"/v1/orders/{order.order_id}/notes"
        done = await write(self._world, self._random, "note", path, {"text": text}, order_id=order.order_id)
        if done.status in (200, 201):
            order.notes.append(text)

    async def _ask_again(self, order: Promised, _: Channel) -> None:
        """The same request once more, long answered: it must be answered in the same way."""
        mine = [
            one
            for one in self._journal.writes[-500:]
            if one.order_id == order.order_id and one.answers and not one.abandoned
        ]
        if mine:
            await attempt(self._world, self._random.choice(mine), 3.0)

    async def _abandon(self, order: Promised, _: Channel) -> None:
        path = f"/v1/orders/{order.order_id}/notes"
        await abandon(self._world, self._random, path, {"text": new_id("text")}, order.order_id)

    async def _capture(self, order: Promised, channel: Channel) -> None:
        amount = self._random.randint(1, 5_000)
        open_legs = [name for name, leg in order.legs.items() if leg.authorized and not leg.captured]
        if open_legs:
            reference = open_legs[0]
            amount = order.legs[reference].authorized
        else:
            reference = new_id("psp")
        order.legs.setdefault(reference, Leg()).captured = amount
        self._tell(channel, "captured", order, amount, reference)

    async def _authorize(self, order: Promised, channel: Channel) -> None:
        amount, reference = self._random.randint(1, 5_000), new_id("psp")
        order.legs[reference] = Leg(authorized=amount)
        self._tell(channel, "authorized", order, amount, reference)

    async def _refund(self, order: Promised, channel: Channel) -> None:
        able = [(name, leg) for name, leg in order.legs.items() if leg.captured > leg.refunded]
        if able:
            reference, leg = self._random.choice(able)
            amount = self._random.randint(1, leg.captured - leg.refunded)
            leg.refunded += amount
            self._tell(channel, "refunded", order, amount, reference, refund_reference=new_id("re"))

    async def _again(self, order: Promised, channel: Channel) -> None:
        """The same once more, as it was or under another id."""
        mine = [one for one in self._journal.told[-1000:] if one.order_id == order.order_id and one.fate == "applied"]
        if mine:
            told = self._random.choice(mine)
            self._spawn(channel, told, self._random.choice([None, new_id("evt")]))

    async def _conflict(self, order: Promised, channel: Channel) -> None:
        """Another amount for a reference that was told of before, on a way that does not overtake: the first stands."""
        mine = [
            one
            for one in self._journal.told[-1000:]
            if one.order_id == order.order_id
            and one.fate == "applied"
            and one.accepted
            and one.kind == "captured"
            and one.external_reference is None
        ]
        if mine:
            first = self._random.choice(mine)
            self._tell(channel, "captured", order, first.amount + 10_000, first.reference, fate="conflict")

    async def _unknown(self, _: Promised, channel: Channel) -> None:
        told = told_of(channel, self._journal, "captured", "unknown_order", self._random.randint(1, 5_000))
        self._spawn(channel, told)

    async def _garbage(self, _: Promised, channel: Channel) -> None:
        told = told_of(channel, self._journal, "garbage", "dead", self._random.randint(1, 5_000))
        self._spawn(channel, told)

    def _tell(
        self,
        channel: Channel,
        kind: str,
        order: Promised,
        amount: int,
        reference: str,
        *,
        fate: str = "applied",
        refund_reference: str | None = None,
    ) -> None:
        about = {"reference": reference, "order_id": order.order_id, "refund_reference": refund_reference}
        self._spawn(channel, told_of(channel, self._journal, kind, fate, amount, **about))

    def _spawn(self, channel: Channel, told: Told, event_id: str | None = None) -> None:
        if not told.accepted and told.fate in ("applied", "unknown_order") and self._random.random() < 0.15:
            told.by_http = True
            task = asyncio.create_task(tell_by_http(self._world, self._random, told))
        else:
            task = asyncio.create_task(channel.tell(told, event_id))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)
