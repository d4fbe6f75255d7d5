"""What a shop does to its orders: edits, ends, refunds, requests by HTTP."""

from tests.simulation.life import Life
from tests.simulation.stories.holders import Holder
from tests.simulation.voice import Buying
from tests.simulation.world_api import Json


async def edited(life: Life) -> None:
    """Lines come and go, tips and notes, while money comes in; never below what was collected."""
    order = await life.created()
    line: Json = {"line_item_id": life.voice.new_id("li_"), "name": "More", "quantity": "2", "unit_price_minor": 150}
    for _ in range(life.random.randint(1, 3)):
        match life.random.randrange(6):
            case 0:
                await life.ask(order, "set_tip", tip_minor=life.random.choice((0, 10, 250)))
            case 1:
                await life.ask(order, "add_note", note_id=life.voice.new_id("note_"), text=life.voice.new_id("text "))
            case 2:
                await life.ask(order, "add_line_item", line_item=line)
            case 3:
                await life.ask(order, "remove_line_item", line_item_id=line["line_item_id"])
            case 4:
                await life.ask(order, "update_order", operator_id=life.voice.new_id("op-"))
            case _:
                await life.tell(order, "captured", order.total, life.reference())


async def made_cheaper(life: Life) -> None:
    """A line goes away that was paid for already, or is being paid for."""
    order = await life.created()
    line: Json = {"line_item_id": life.voice.new_id("li_"), "name": "More", "unit_price_minor": 500}
    await life.ask(order, "add_line_item", line_item=line)
    holder = Holder(life, order, order.total + life.random.choice((0, 500)))
    if await holder.granted(await holder.ask()) and life.chance(2):
        await holder.collect()
    await life.ask(order, "remove_line_item", line_item_id=line["line_item_id"])


async def ended_under_leases(life: Life) -> None:
    """Canceled or closed while somebody means to collect; whoever was granted collects all the same."""
    order = await life.created()
    holder = Holder(life, order, order.total)
    asked = await holder.ask()
    await life.ask(order, life.random.choice(("cancel_order", "close_order")), reason="the buyer has left")
    if await holder.granted(asked) and life.chance(2):
        await holder.collect()
    await Holder(life, order, 1).ask()


async def given_back(life: Life) -> None:
    """Two refunds want the same money at once; what was reserved is sent, let go, or comes back."""
    order = await life.created()
    payment: Json = {"payment_id": life.voice.new_id("pay_"), "currency": order.currency}
    reference = life.reference()
    captured = await life.ask(order, "record_capture", payment_reference=reference, amount_minor=order.total, **payment)
    effect = life.random.choice(("reduce_total", "reopen_balance"))
    amounts = (life.random.choice((order.total, life.part(order.total))), order.total)
    refunds = [life.voice.new_id("ref_") for _ in amounts]
    for refund_id, amount in zip(refunds, amounts, strict=True):
        await life.ask(order, "reserve_refund", refund_id=refund_id, amount_minor=amount, effect=effect)
    match life.random.randrange(5):
        case 0:
            await life.ask(order, "release_refund", refund_id=refunds[0])
            if life.chance(2):
                await _sent_after_all(life, order, payment, refunds[0], amounts[0])
            await life.ask(order, "reserve_refund", refund_id=refunds[1], amount_minor=amounts[1], effect=effect)
        case 1:
            await life.answered(order, captured)
        case _:
            sent: Json = {"refund_id": refunds[0], "refund_reference": life.reference()}
            await life.ask(order, "record_refund", amount_minor=amounts[0], **sent, **payment)
            if life.chance(3):
                await life.ask(order, "reverse_refund", **sent)
            if life.chance(4):
                await life.ask(order, "cancel_order")


async def _sent_after_all(life: Life, order: Buying, payment: Json, refund_id: str, amount: int) -> None:
    """Part of it goes back although it was let go; the rest is set aside again."""
    part = max(1, amount // 3)
    sent: Json = {"refund_id": refund_id, "refund_reference": life.reference()}
    await life.ask(order, "record_refund", amount_minor=part, **sent, **payment)
    await life.ask(order, "reserve_refund", refund_id=refund_id, amount_minor=max(1, amount - part))
    if life.chance(3):
        await life.ask(order, "reverse_refund", **sent)


async def muddled(life: Life) -> None:
    """Commands that contradict each other or the order: another order of the same id, another amount, a stranger's."""
    order = await life.created()
    payment: Json = {"payment_id": life.voice.new_id("pay_"), "payment_reference": life.reference()}
    await life.ask(order, "record_capture", amount_minor=60, currency=order.currency, **payment)
    match life.random.randrange(5):
        case 0:
            await life.ask(order, "record_capture", amount_minor=61, currency=order.currency, **payment)
        case 1:
            await life.ask(order, "record_capture", amount_minor=60, currency="CHF", **payment)
        case 2:
            await life.ask(order, "create_order", currency="EUR")
        case 3:
            await life.ask(life.order(), "set_tip", tip_minor=5)
        case _:
            stranger = next(each for each in life.world.channels if each.merchant_id != order.channel.merchant_id)
            await life.voice.command(order, "set_tip", {"tip_minor": 5}, stranger)


async def by_http(life: Life) -> None:
    """Asked for and changed by HTTP, sometimes asked again with the same key, while channels tell of money."""
    order: Buying = life.order(named=True)
    if not await life.voice.create_by_http(order, times=life.random.choice((1, 1, 2))):
        return
    path = f"/v1/orders/{order.order_id}"
    await life.tell(order, "captured", life.part(order.total), life.reference())
    for _ in range(life.random.randint(0, 2)):
        times = life.random.choice((1, 1, 2))
        match life.random.randrange(3):
            case 0:
                tip = {"tip_money": {"amount": life.random.randint(1, 90), "currency": order.currency}}
                await life.voice.write(order, f"{path}/tip", tip, times=times)
            case 1:
                await life.voice.write(order, f"{path}/notes", {"text": life.voice.new_id("text ")}, times=times)
            case _:
                await life.voice.write(order, f"{path}/close", {}, times=times)
