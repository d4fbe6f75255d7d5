"""What other order systems have lost or doubled money by: two things at once, of which one may count."""

import asyncio

from tests.simulation.life import Life
from tests.simulation.stories.buyers import Buyer


async def double_click(life: Life) -> None:
    """One intent is confirmed twice at once."""
    buyer = Buyer(life, await life.placed())
    intent_id = await buyer.intent(method=buyer.card())
    if intent_id is None:
        return

    async def click() -> None:
        await buyer.a_moment()
        await buyer.wish(intent_id, "confirm")

    await asyncio.gather(click(), click())


async def two_tills(life: Life) -> None:
    """Both want the whole balance, with sources of their own; who comes too late may try again."""
    order = await life.placed()
    tills = [Buyer(life, order), Buyer(life, order)]

    async def take(till: Buyer) -> None:
        data = await till.pay(till.cash(order.total) if life.chance(4) else till.card())
        if data.get("status") != "succeeded" and life.chance(2):
            await till.a_moment()
            await till.pay(till.card("sandbox_approve"))

    await asyncio.gather(*map(take, tills))


async def checkout_completed_twice(life: Life) -> None:
    """The same call twice at once, and once more as if it were another."""
    buyer = Buyer(life, await life.placed())
    card = buyer.card()
    await asyncio.gather(buyer.pay(card, times=2), buyer.pay(card))


async def told_by_two(life: Life) -> None:
    """The buyer returns from the page of a challenge while the acquirer's answer is fetched by others too."""
    buyer = Buyer(life, await life.placed())
    data = await buyer.pay(buyer.card("sandbox_challenge"), times=2)
    for intent in data.get("payment_intents", ()):
        if intent.get("next_action"):
            looks = [buyer.look(intent["payment_intent_id"]) for _ in range(3)]
            await asyncio.gather(buyer.answer(intent["next_action"]["url"]), *looks)
            await asyncio.gather(*[buyer.look(intent["payment_intent_id"]) for _ in range(2)])


async def beside_a_channel(life: Life) -> None:
    """A channel collects as well, and asks nobody; what is too much is seen."""
    order = await life.placed()
    buyer = Buyer(life, order, alone=False)
    await asyncio.gather(
        buyer.pay(buyer.card()),
        life.tell(order, "captured", life.random.choice((order.total, life.part(order.total))), life.reference()),
    )


async def refund_beside_capture(life: Life) -> None:
    """A part that is captured is given back while the rest is captured."""
    order = await life.placed()
    buyer = Buyer(life, order, alone=False)
    intent_id = await buyer.intent(method=buyer.card("sandbox_approve"), capture_method="manual", confirm=True)
    if intent_id is None or order.total < 2:
        return
    part = life.part(order.total)
    _, data = await buyer.wish(intent_id, "capture", amount_money=buyer.money(part))
    if data.get("payment_id") is None:
        return
    refund_id, sent = life.voice.new_id("ref_"), life.reference()

    async def give_back() -> None:
        await life.ask(order, "reserve_refund", refund_id=refund_id, amount_minor=part, effect="reduce_total")
        await life.ask(
            order,
            "record_refund",
            refund_id=refund_id,
            refund_reference=sent,
            payment_id=data["payment_id"],
            amount_minor=part,
            currency=order.currency,
        )

    await asyncio.gather(give_back(), buyer.wish(intent_id, "capture"))


async def cancel_beside_capture(life: Life) -> None:
    """What is held is captured and let go at once; perhaps captured twice."""
    buyer = Buyer(life, await life.placed())
    intent_id = await buyer.intent(method=buyer.card(), capture_method="manual", confirm=True)
    if intent_id is None:
        return
    part = {"amount_money": buyer.money(life.part(buyer.order.total))} if life.chance(2) else {}

    async def soon(what: str, **body: object) -> None:
        await buyer.a_moment()
        await buyer.wish(intent_id, what, **body)

    again = [soon("capture")] if life.chance(3) else []
    await asyncio.gather(soon("capture", **part), soon("cancel"), buyer.watch(intent_id), *again)


async def order_changes_beside(life: Life) -> None:
    """It is canceled, closed, or becomes dearer, while it is paid."""
    order = await life.placed()
    buyer = Buyer(life, order, alone=False)

    async def change() -> None:
        await buyer.a_moment()
        match life.random.randrange(3):
            case 0:
                await life.ask(order, "cancel_order", reason="the buyer has left")
            case 1:
                await life.ask(order, "close_order")
            case _:
                await life.ask(order, "set_tip", tip_minor=life.random.randint(1, 90))

    follows = {"completion_behavior": "partial_payment"} if life.chance(2) else {}
    await asyncio.gather(buyer.pay(buyer.card(), **follows), change())
