"""What channels tell: in order and not, twice, of nothing that anybody knows, or nothing that anybody can read."""

import asyncio
from collections.abc import Awaitable, Callable

from tests.simulation.life import Life
from tests.simulation.voice import channel_headers, command_headers
from tests.simulation.world_api import COMMANDS

Headers = dict[str, str]


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
    """Nothing that anybody can read, from a channel or from a service; what comes after it is read."""
    order, voice = await life.created(), life.voice
    tag = voice.new_id("x").encode()
    good = b'{"order_id":"ord_S","payment_reference":"%b","amount_money":{"amount":%b,"currency":"%b"}}'
    kinds: tuple[tuple[bytes, str, Headers], ...] = (
        (b"{not json " + tag, "INVALID_BODY", {}),
        (b"", "EMPTY_BODY", {}),
        (good % (tag, b"1", b"EUR"), "UNKNOWN_TYPE", {"ce_type": "channel.payment.dreamt.v1"}),
        (good % (tag, b"1", b"EUR"), "UNKNOWN_VERSION", {"ce_type": "channel.payment.captured.v9"}),
        (good % (tag, b"1", b"EUR"), "SOURCE_MISMATCH", {"ce_source": "/channels/chn_someone_else"}),
        (good % (tag, b"-1", b"EUR"), "INVALID_AMOUNT", {}),
        (good % (tag, b"1", b"euro"), "INVALID_CURRENCY", {}),
    )
    of_commands: tuple[tuple[bytes, str, Headers], ...] = (
        (b'{"tip_minor":"%b"}' % tag, "INVALID_BODY", {}),
        (b'{"tip_minor":1,"":"%b"}' % tag, "UNKNOWN_TYPE", {"ce_type": "orders.dream.v1"}),
        (b'{"tip_minor":1,"":"%b"}' % tag, "KEY_MISMATCH", {"ce_subject": "ord_Another"}),
    )
    if life.chance(3):
        value, reason, changed = life.random.choice(of_commands)
        usual = command_headers(voice.new_id("cmd_"), "set_tip", order.order_id, order.channel.merchant_id)
        await voice.garbage(COMMANDS, order.order_id, value, usual | changed, reason)
    else:
        value, reason, changed = life.random.choice(kinds)
        usual = channel_headers(order.channel, voice.new_id("evt_"), "channel.payment.captured.v1")
        await voice.garbage(order.channel.topic, voice.new_id("key"), value, usual | changed, reason)
    await life.tell(order, "captured", order.total, life.reference())


async def after_the_end(life: Life) -> None:
    """Money for an order that was canceled or closed; money is never refused."""
    order = await life.created()
    end = life.random.choice(("cancel_order", "close_order"))
    await life.in_some_order(
        lambda: life.change(order, end),
        lambda: life.tell(order, "captured", life.part(order.total), life.reference()),
        lambda: life.tell(order, life.random.choice(("authorized", "failed")), 30, life.reference()),
    )
