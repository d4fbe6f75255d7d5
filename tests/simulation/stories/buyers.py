"""Buyers and tills that collect through payment intents, with whatever a card, a network or they themselves do."""

import asyncio

from tests.simulation.life import Life
from tests.simulation.voice import Buying
from tests.simulation.world_api import NEVER_HEARD, Json

_INTENTS = "/v1/payment-intents"
_CARDS = {
    "sandbox_approve": 8,
    "sandbox_decline_insufficient_funds": 2,
    "sandbox_decline_lost_card": 1,
    "sandbox_partial_approval": 2,
    "sandbox_lost_reply": 2,
    "sandbox_lost_request": 1,
    "sandbox_lost_reply_on_capture": 3,
    "sandbox_lost_reply_on_void": 1,
    "sandbox_duplicate_reply": 1,
    "sandbox_slow": 1,
    "sandbox_authorization_expires": 1,
    "sandbox_refund_fails_late": 2,
}
_A_MOMENT_S = (0.0, 0.001, 0.004, 0.01, 0.03, 0.1, 1.0)


class Buyer:
    """One that collects on an order, or means to."""

    def __init__(self, life: Life, order: Buying, *, alone: bool = True) -> None:
        """`alone`: nobody collects on the order in another way, and its total stays."""
        self.life, self.order, self.voice = life, order, life.voice
        if alone:
            self.voice.books.by_intents.add(order.order_id)

    def money(self, amount: int) -> Json:
        return {"amount": amount, "currency": self.order.currency}

    def card(self, token: str | None = None) -> Json:
        drawn = self.life.random.choices(list(_CARDS), list(_CARDS.values()))[0]
        return {"type": "card", "token": token or drawn}

    def cash(self, amount: int) -> Json:
        """With a little change."""
        return {"type": "cash", "tendered_money": self.money(amount + self.life.random.randrange(3))}

    async def post(self, path: str, times: int = 1, **body: object) -> tuple[int, Json]:
        """One request, asked so often at once; what it came to."""
        one = self.voice.collecting(self.order, path, body)
        return (await asyncio.gather(*[self.voice.collect(self.order, one) for _ in range(times)]))[0]

    async def pay(self, method: Json | None = None, times: int = 1, **body: object) -> Json:
        """What paying came to; nothing where it was refused."""
        body |= {"method": method} if method else {}
        _, data = await self.post(f"/v1/orders/{self.order.order_id}/pay", times, **body)
        return data

    async def intent(self, **body: object) -> str | None:
        """The id of a new intent, confirmed or not; none where it was refused."""
        _, data = await self.post(f"/v1/orders/{self.order.order_id}/payment-intents", **body)
        return data.get("payment_intent_id")

    async def wish(self, intent_id: str, what: str, **body: object) -> tuple[int, Json]:
        """`confirm`, `capture`, `cancel`."""
        return await self.post(f"{_INTENTS}/{intent_id}/{what}", **body)

    async def ask_once(self, intent_id: str, what: str) -> None:
        """Whoever asks does not wait for what comes of it."""
        one = self.voice.collecting(self.order, f"{_INTENTS}/{intent_id}/{what}", {})
        one.answers.append(await self.voice.ask_payments(self.order, "POST", one.path, one.body, one.key))

    async def look(self, intent_id: str) -> Json:
        """The intent, of which the acquirer may be asked now."""
        path, ask = f"{_INTENTS}/{intent_id}", self.voice.ask_payments
        if self.life.chance(2):
            _, answer = await ask(self.order, "POST", f"{path}/reconcile", {})
        else:
            _, answer = await ask(self.order, "GET", path)
        data: Json = answer.get("data", {})
        return data

    async def watch(self, intent_id: str) -> None:
        """Somebody else looks, again and again, while it is collected."""
        for _ in range(3):
            await self.a_moment()
            await self.look(intent_id)

    async def a_moment(self) -> None:
        await asyncio.sleep(self.life.random.choice(_A_MOMENT_S))

    async def answer(self, url: str) -> None:
        """On the page of a challenge, until it comes through."""
        approves = not self.life.chance(4)
        while True:
            try:
                await self.life.world.answer_challenge(url, approves=approves)
            except ConnectionError:
                await asyncio.sleep(0.3)
            else:
                return


async def paid(life: Life) -> None:
    """In one call; with another card where the first is declined."""
    buyer = Buyer(life, await life.placed())
    expected = {"expected_outstanding_money": buyer.money(buyer.order.total)} if life.chance(2) else {}
    data = await buyer.pay(buyer.card(), times=life.random.choice((1, 1, 2)), **expected)
    if data.get("status") == "declined":
        await buyer.pay(buyer.card("sandbox_approve"))


async def paid_some_time(life: Life) -> None:
    """At any moment of the next minute and a half; whoever pays is asked to wait, but never in vain."""
    buyer = Buyer(life, await life.created())
    await asyncio.sleep(life.random.uniform(0.0, 90.0))
    path = f"/v1/orders/{buyer.order.order_id}/pay"
    while True:
        token = life.random.choice(("sandbox_approve", "sandbox_slow", "sandbox_lost_reply"))
        status, data = await buyer.post(path, method=buyer.card(token))
        if status == 200 and data["status"] == "succeeded":
            return
        # Its order is not known yet, or the question to the acquirer got lost and never arrived.
        codes = [intent["last_decline"]["code"] for intent in data.get("payment_intents", ())]
        assert status == 404 or codes == ["not_processed"], (status, data)


async def split(life: Life) -> None:
    """By two or three sources at once, of which some may fail."""
    buyer, left, legs = Buyer(life, await life.placed()), 0, []
    left = buyer.order.total
    for _ in range(life.random.randint(1, 2)):
        amount = life.part(left) if left > 1 else 0
        if amount:
            legs.append(amount)
            left -= amount
    methods = [buyer.cash(amount) if life.chance(3) else buyer.card() for amount in [*legs, left]]
    body = {"keep_successful_legs": True} if life.chance(3) else {}
    behaviour = life.random.choice(("complete_order", "partial_payment"))
    legs_asked = [
        {"method": method, "amount_money": buyer.money(amount)}
        for method, amount in zip(methods, [*legs, left], strict=True)
    ]
    await buyer.pay(legs=legs_asked, completion_behavior=behaviour, **body)


async def held(life: Life) -> None:
    """Held first; captured at once or in parts, and the rest let go; or forgotten."""
    buyer = Buyer(life, await life.placed())
    intent_id = await buyer.intent(method=buyer.card(), capture_method="manual", confirm=True)
    if intent_id is None:
        return
    await buyer.a_moment()
    part = buyer.money(life.part(buyer.order.total))
    match life.random.randrange(5):
        case 0:
            await asyncio.gather(buyer.wish(intent_id, "capture"), buyer.watch(intent_id))
        case 1:
            await buyer.wish(intent_id, "capture", amount_money=part)
            await buyer.wish(intent_id, "capture", amount_money=part)
            await buyer.wish(intent_id, "cancel")
        case 2:
            await buyer.wish(intent_id, "cancel")
        case 3:
            await buyer.wish(intent_id, "capture", amount_money=part)
        case _:
            await buyer.look(intent_id)


async def unheard(life: Life) -> None:
    """Held; and the acquirer never hears that it is to be captured, or let go. That is tried for ever."""
    buyer = Buyer(life, await life.created())
    token, operation = life.random.choice(list(NEVER_HEARD.items()))
    intent_id = await buyer.intent(method=buyer.card(token), capture_method="manual", confirm=True)
    if intent_id is not None:
        await buyer.ask_once(intent_id, "cancel" if operation == "void" else operation)


async def thought_better(life: Life) -> None:
    """Canceled at any moment while it is collected; sometimes paid by another card then."""
    buyer = Buyer(life, await life.placed())
    intent_id = await buyer.intent(method=buyer.card())
    if intent_id is None:
        return
    confirming = asyncio.create_task(buyer.wish(intent_id, "confirm"))
    await buyer.a_moment()
    status, _ = await buyer.wish(intent_id, "cancel")
    await confirming
    await buyer.look(intent_id)
    if status == 200 and life.chance(2):
        await buyer.pay(buyer.card("sandbox_approve"))


async def challenged(life: Life) -> None:
    """On the acquirer's page before it is paid."""
    buyer = Buyer(life, await life.placed())
    token = "sandbox_challenge_fail" if life.chance(5) else "sandbox_challenge"
    data = await buyer.pay(buyer.card(token))
    for intent in data.get("payment_intents", ()):
        action = intent.get("next_action")
        if action is None:
            continue
        if life.chance(5):
            await buyer.wish(intent["payment_intent_id"], "cancel")
        await buyer.answer(action["url"])
        if life.chance(2):
            await buyer.look(intent["payment_intent_id"])


async def standalone(life: Life) -> None:
    """An amount and no order: the payments have one made."""
    order = life.order()
    order.external_reference = None
    buyer = Buyer(life, order, alone=False)
    one = life.voice.collecting(order, _INTENTS, {"amount_money": buyer.money(order.total), "method": buyer.card()})
    one.order = ""
    one.body["confirm"] = not life.chance(3)
    _, data = await life.voice.collect(order, one)
    if "order_id" in data:
        order.order_id = data["order_id"]
        life.voice.want(order, promised=True)
        life.voice.books.by_intents.add(order.order_id)
