"""Channels and buyers: the lives that orders can have, drawn from the world's own random numbers.

A life is a few messages: its services may crash, its messages come twice and late; it never gives up on any.
"""

import asyncio
from collections.abc import Awaitable, Callable

from tests.simulation.books import Books, Saying
from tests.simulation.voice import Buying, Voice
from tests.simulation.world_api import Channel, World

Story = Callable[["Life"], Awaitable[None]]

_AGAIN_ONE_IN, _CONTRADICT_ONE_IN = 6, 25
_CURRENCIES = ("EUR", "EUR", "EUR", "USD", "JPY")


async def lifecycle(world: World, books: Books, number: int) -> None:
    """One order from its beginning, or from before it, to whatever end it has."""
    life = Life(world, books, number)
    stories = BY_HTTP if world.http and world.random.random() < 0.2 else BY_KAFKA
    names, weights = stories
    await world.random.choices(names, weights)[0](life)
    await life.repeat()


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
        """Some of what was said is said again; now and then with another amount."""
        for sent in tuple(self.voice.sent):
            if not self.random.randrange(_AGAIN_ONE_IN):
                await self.voice.again(sent, other_id=self.random.random() < 0.5)
            entry = sent.entry
            if isinstance(entry, Saying) and not self.random.randrange(_CONTRADICT_ONE_IN):
                await self._contradict(entry)

    async def _contradict(self, said: Saying) -> None:
        channel_id, kind, reference, detail = said.fact
        if said.amount is None or said.currency is None:
            return
        await self.voice.tell(
            self._channel(channel_id),
            kind,
            reference,
            said.amount + self.random.randint(1, 99),
            said.currency,
            order_id=said.order_id,
            external_reference=said.external_reference,
            detail=detail,
        )


async def paid(life: Life) -> None:
    """In one piece."""
    order = await life.created()
    await life.tell(order, "captured", order.total, life.reference(), captured_at=life.world.now().isoformat())


async def paid_in_parts(life: Life) -> None:
    """By several payments, of several channels perhaps, and perhaps too much."""
    order, left = await life.created(), 0
    for _ in range(life.random.randint(2, 3)):
        left = life.random.randint(1, order.total)
        by = life.random.choice([each for each in life.world.channels if each.merchant_id == order.channel.merchant_id])
        await life.tell(order, "captured", left, life.reference(), by=by.channel_id)


async def authorized(life: Life) -> None:
    """Held, then captured at once or in parts, and the rest let go or lost; told in any order."""
    order, payment = await life.created(), life.reference()
    first = life.part(order.total)
    steps: list[Callable[[], Awaitable[None]]] = [lambda: life.tell(order, "authorized", order.total, payment)]
    match life.random.randrange(5):
        case 0:
            steps.append(lambda: life.tell(order, "captured", order.total, payment))
        case 1:
            steps.append(lambda: life.tell(order, "captured", first, payment, "cap-1"))
            steps.append(lambda: life.tell(order, "captured", order.total - first + 1, payment, "cap-2"))
        case 2:
            steps.append(lambda: life.tell(order, "captured", first, payment))
            steps.append(lambda: life.tell(order, "voided", None, payment))
        case 3:
            steps.append(lambda: life.tell(order, "voided", first, payment))
        case _:
            steps.append(lambda: life.tell(order, "failed", None, payment, code="insufficient_funds"))
    await life.in_some_order(*steps)


async def refunded(life: Life) -> None:
    """Paid and given back, in parts or whole, or more than was paid; told in any order."""
    order, payment = await life.created(), life.reference()
    back = life.random.choice((order.total, life.part(order.total), order.total + 50))
    steps: list[Callable[[], Awaitable[None]]] = [
        lambda: life.tell(order, "captured", order.total, payment),
        lambda: life.tell(order, "refunded", back, payment, "re-1", reason="returned"),
    ]
    if life.random.random() < 0.3:
        steps.append(lambda: life.tell(order, "refunded", 10, payment, "re-2"))
    await life.in_some_order(*steps)


async def early(life: Life) -> None:
    """Money comes before its order; sometimes the order never does, or two come by one name."""
    order = life.order(named=life.random.random() < 0.7)
    await life.tell(order, life.random.choice(("captured", "captured", "authorized", "failed")), 50, life.reference())
    if life.random.random() < 0.3:
        await asyncio.sleep(life.random.choice((0.01, 0.5)))
    match life.random.randrange(6):
        case 0:
            return
        case 1:
            await life.voice.create(order)
            if order.external_reference is not None:
                twin = life.order()
                twin.external_reference = order.external_reference
                await life.voice.create(twin)
        case _:
            await life.voice.create(order)


async def misdirected(life: Life) -> None:
    """To an order of somebody else's, to none at all, or in another currency."""
    order = await life.created()
    stranger = next(each for each in life.world.channels if each.merchant_id != order.channel.merchant_id)
    kind = life.random.choice(("authorized", "captured", "refunded", "voided"))
    detail = "re-1" if kind == "refunded" else None
    match life.random.randrange(3):
        case 0:
            await life.tell(order, kind, 70, life.reference(), detail, by=stranger.channel_id)
        case 1:
            await life.tell(order, kind, 70, life.reference(), detail, currency="CHF")
        case _:
            await life.tell(life.order(), kind, 70, life.reference(), detail)


async def garbage(life: Life) -> None:
    """Nothing that anybody can read; what comes after it is read."""
    order = await life.created()
    tag = life.voice.new_id("x").encode()
    good = b'{"order_id":"ord_S","payment_reference":"%b","amount_money":{"amount":%b,"currency":"%b"}}'
    kinds: tuple[tuple[bytes, str, dict[str, str]], ...] = (
        (b"{not json " + tag, "INVALID_BODY", {}),
        (b"", "EMPTY_BODY", {}),
        (good % (tag, b"1", b"EUR"), "UNKNOWN_TYPE", {"ce_type": "channel.payment.dreamt.v1"}),
        (good % (tag, b"1", b"EUR"), "UNKNOWN_VERSION", {"ce_type": "channel.payment.captured.v9"}),
        (good % (tag, b"1", b"EUR"), "SOURCE_MISMATCH", {"ce_source": "/channels/chn_someone_else"}),
        (good % (tag, b"-1", b"EUR"), "INVALID_AMOUNT", {}),
        (good % (tag, b"1", b"euro"), "INVALID_CURRENCY", {}),
    )
    value, reason, headers = life.random.choice(kinds)
    await life.voice.garbage(order.channel, value, reason, headers)
    await life.tell(order, "captured", order.total, life.reference())


BY_KAFKA: tuple[list[Story], list[int]] = (
    [paid, paid_in_parts, authorized, refunded, early, misdirected, garbage],
    [6, 3, 4, 3, 3, 2, 1],
)
BY_HTTP = BY_KAFKA
