"""Holders of leases: each collects only what it was granted, and only while its lease lasts by its own clock."""

import asyncio

from tests.simulation.life import Life
from tests.simulation.voice import Buying
from tests.simulation.world_api import Json

_TERM_S = 300
_SHORT_TERM_S = 1


class Holder:
    """One that means to collect part of an order."""

    def __init__(self, life: Life, order: Buying, amount: int) -> None:
        self.life, self.order, self.amount = life, order, amount
        self.lease_id = life.voice.new_id("ls_")
        self.who: Json = {"type": "device", "id": life.voice.new_id("dev_")}

    async def ask(self, term_s: int = _TERM_S, *, charging: bool = False) -> str:
        """For a lease; the command's id."""
        wanted: Json = {"lease_id": self.lease_id, "holder": self.who, "amount_minor": self.amount, "term_s": term_s}
        return await self.life.ask(self.order, "acquire_lease", **wanted | ({"charging": True} if charging else {}))

    async def granted(self, command_id: str) -> bool:
        answer = await self.life.answered(self.order, command_id)
        return "code" not in answer

    async def collect(self, amount: int | None = None) -> str:
        """Under the lease."""
        return await self._record("record_capture", self.amount if amount is None else amount)

    async def hold(self) -> str:
        """An authorization under the lease."""
        return await self._record("record_authorization", self.amount)

    async def _record(self, kind: str, amount: int, payment_id: str | None = None) -> str:
        voice = self.life.voice
        return await self.life.ask(
            self.order,
            kind,
            payment_id=payment_id or voice.new_id("pay_"),
            payment_reference=self.life.reference(),
            amount_minor=amount,
            currency=self.order.currency,
            lease_id=self.lease_id,
        )

    async def let_go(self) -> None:
        await self.life.ask(self.order, "release_lease", lease_id=self.lease_id, holder=self.who)


async def rivals(life: Life) -> None:
    """Several want more together than is owed; who is granted collects, who is not does nothing."""
    order = await life.created()
    shares = (order.total, life.part(order.total), order.total + 1)
    holders = [Holder(life, order, life.random.choice(shares)) for _ in range(life.random.randint(2, 3))]
    asked = [(holder, await holder.ask()) for holder in holders]
    for holder, command_id in asked:
        if not await holder.granted(command_id):
            continue
        if life.chance(4):
            await holder.let_go()
        elif life.chance(3):
            await holder.collect(life.part(holder.amount))
        else:
            await holder.collect()


async def confused(life: Life) -> None:
    """A holder asks once more, for more, or under another's name; or when everything is paid."""
    order = await life.created()
    holder, other = Holder(life, order, life.part(order.total)), Holder(life, order, 1)
    await holder.ask()
    if life.chance(2):
        other.lease_id = holder.lease_id
    else:
        holder.amount = life.random.choice((1, order.total))
    await holder.ask()
    match life.random.randrange(4):
        case 0:
            await other.ask()
        case 1:
            await other.let_go()
        case 2:
            await life.ask(order, "extend_lease", lease_id=other.lease_id, holder=other.who)
        case _:
            await life.tell(order, "captured", order.total, life.reference())
            await life.ask(order, "set_tip", tip_minor=0)
            await other.ask()


async def handed_over(life: Life) -> None:
    """From a page to a till in one step, while a third tries to slip in; refused while a charge is under way."""
    order = await life.created()
    page, till, third = (Holder(life, order, order.total) for _ in range(3))
    charging = life.chance(3)
    asked = await page.ask(charging=charging)
    given = await life.ask(
        order,
        "hand_over_lease",
        lease_id=page.lease_id,
        new_lease_id=till.lease_id,
        to=till.who,
        term_s=_TERM_S,
    )
    await third.ask()
    if await till.granted(given):
        await till.collect()
    elif await page.granted(asked):
        await page.collect()


async def slow(life: Life) -> None:
    """A lease that runs out: kept longer in time or too late; another is granted what it held."""
    order = await life.created()
    first, second = Holder(life, order, order.total), Holder(life, order, order.total)
    await life.answered(order, await first.ask(_SHORT_TERM_S))
    if life.chance(2):
        await asyncio.sleep(_SHORT_TERM_S + 0.2)
    await life.ask(order, "extend_lease", lease_id=first.lease_id, holder=first.who, term_s=_TERM_S)
    if await second.granted(await second.ask()):
        await second.collect()


async def authorizing(life: Life) -> None:
    """Held under a lease first, collected under it or let go later."""
    order = await life.created()
    holder = Holder(life, order, life.part(order.total))
    if not await holder.granted(await holder.ask()):
        return
    payment_id, reference = life.voice.new_id("pay_"), life.reference()
    about: Json = {"payment_id": payment_id, "payment_reference": reference, "currency": order.currency}
    under: Json = about | {"amount_minor": holder.amount, "lease_id": holder.lease_id}
    await life.ask(order, "record_authorization", **under)
    match life.random.randrange(3):
        case 0:
            await life.ask(order, "record_void", **about)
        case 1:
            await life.ask(order, "record_authorization_expiry", payment_id=payment_id)
        case _:
            await life.ask(order, "record_capture", **under)
