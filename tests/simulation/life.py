"""What the stories of orders are made of."""

import asyncio
from collections.abc import Awaitable, Callable

from tests.simulation.books import Books, Saying
from tests.simulation.voice import Buying, Voice
from tests.simulation.world_api import Channel, Json, World

Story = Callable[["Life"], Awaitable[None]]

_AGAIN_ONE_IN, _CONTRADICT_ONE_IN = 6, 25
_AT_ONCE_ONE_IN = 4
_LATER_ONE_IN, _LATER_S = 20, (0.5, 5.0)
_CURRENCIES = ("EUR", "EUR", "EUR", "USD", "JPY")


class Life:
    """What the stories are made of."""

    def __init__(self, world: World, books: Books, number: int) -> None:
        self.world, self.random = world, world.random
        self.voice = Voice(world, books, number)
        self.channel = self.random.choice(world.channels)

    def order(self, *, named: bool = False) -> Buying:
        """One that nobody knows of yet."""
        reference = self.voice.new_id("web-") if named or self.random.random() < 0.2 else None
        currency, total = self.random.choice(_CURRENCIES), self.random.randint(100, 20_000)
        return Buying(self.voice.new_id("ord_").replace("ord_", "ord_S"), self.channel, currency, total, reference)

    async def created(self, *, named: bool = False) -> Buying:
        """A new order, asked for."""
        order = self.order(named=named)
        await self.voice.create(order)
        return order

    async def placed(self) -> Buying:
        """A new order, mostly one that is there: who asks payments for one that is not makes them look in vain."""
        order = self.order()
        command_id = await self.voice.create(order)
        if not self.chance(_AT_ONCE_ONE_IN):
            await self.answered(order, command_id)
        return order

    async def tell(
        self, order: Buying, kind: str, amount: int | None, reference: str, detail: str | None = None, **more: str
    ) -> None:
        """Of the order, by its id or its other name."""
        by_reference = order.external_reference is not None and self.random.random() < 0.5
        names = (None, order.external_reference) if by_reference else (order.order_id, None)
        channel = more.pop("by", None)
        await self.voice.tell(
            self._channel(channel) if channel else order.channel,
            kind,
            reference,
            amount,
            more.pop("currency", order.currency),
            order_id=names[0],
            external_reference=names[1],
            detail=detail,
            **more,
        )

    async def ask(self, order: Buying, kind: str, **body: object) -> str:
        """A command about the order; its id."""
        return await self.voice.command(order, kind, body)

    async def change(self, order: Buying, kind: str, **body: object) -> None:
        """A command whose answer nobody waits for."""
        await self.ask(order, kind, **body)

    async def answered(self, order: Buying, command_id: str) -> Json:
        """The outcome; whoever acts on an answer waits for it."""
        return await self.voice.outcome(order, command_id)

    def chance(self, one_in: int) -> bool:
        return not self.random.randrange(one_in)

    def _channel(self, channel_id: str) -> Channel:
        return next(channel for channel in self.world.channels if channel.channel_id == channel_id)

    def reference(self) -> str:
        return self.voice.new_id("psp-")

    def part(self, amount: int) -> int:
        return self.random.randint(1, max(1, amount - 1))

    async def in_some_order(self, *steps: Callable[[], Awaitable[None]]) -> None:
        """Mostly as it happened, sometimes not."""
        told = list(steps)
        if self.random.random() < 0.4:
            self.random.shuffle(told)
        for step in told:
            await step()

    async def repeat(self) -> None:
        """Some of what was said is said again, now or later; now and then with another amount or of another order."""
        if self.chance(_LATER_ONE_IN):
            await asyncio.sleep(self.random.choice(_LATER_S))
        for sent in tuple(self.voice.sent):
            if self.chance(_AGAIN_ONE_IN):
                await self.voice.again(sent, other_id=self.chance(2))
            entry = sent.entry
            if isinstance(entry, Saying) and self.chance(_CONTRADICT_ONE_IN):
                await self._contradict(entry)

    async def _contradict(self, said: Saying) -> None:
        channel_id, kind, reference, detail = said.fact
        if said.amount is None or said.currency is None:
            return
        other_order = self.chance(3)
        more, suffix = (0, "x") if other_order else (self.random.randint(1, 99), "")
        await self.voice.tell(
            self._channel(channel_id),
            kind,
            reference,
            said.amount + more,
            said.currency,
            order_id=said.order_id and said.order_id + suffix,
            external_reference=said.external_reference and said.external_reference + suffix,
            detail=detail,
        )
