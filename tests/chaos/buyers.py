"""Buyers who pay their orders with cards of the sandbox, and ask again with the same key until they are answered."""

import asyncio
import time
from random import Random

import httpx2

from shared.ids import new_id
from tests.chaos.journal import Answered, Collecting, Json, Leg, Promised
from tests.chaos.load import World, create

_TIMEOUTS_S = (0.1, 1.0, 3.0, 5.0)
_PAUSE_S = (0.2, 1.2)
_TRIES = 4
_APPROVES = "sandbox_approve"
_CARDS = {
    _APPROVES: 6,
    "sandbox_decline_insufficient_funds": 2,
    "sandbox_lost_reply": 2,
    "sandbox_lost_request": 1,
    "sandbox_duplicate_reply": 1,
}
_CARDS_THAT_HOLD = _CARDS | {"sandbox_lost_reply_on_capture": 3, "sandbox_lost_reply_on_void": 2}
_INTENTS = "/v1/payment-intents"
_OUTDONE = ("ORDER_BALANCE_LEASED", "ORDER_ALREADY_PAID", "OUTSTANDING_CHANGED")
"""What the slower one of two is told who pay the same order."""
_FIRST = ("pay", "rival", "hold")
"""Asked so soon that the payments may not have heard of the order yet."""


class Buyer:
    """One client: an order at a time, which is paid in one way or another. Nobody else changes its orders."""

    def __init__(self, world: World, random: Random) -> None:
        self._world, self._random, self._journal = world, random, world.journal
        self._mine: list[Collecting] = []

    async def run(self, stopped: asyncio.Event) -> None:
        """Orders until stopped; what was begun is finished."""
        while not stopped.is_set():
            order = await create(self._world, self._random)
            if order is not None:
                story = self._random.choices([self._pays, self._holds, self._pays_twice], [5, 5, 2])[0]
                await story(order)
            await asyncio.sleep(self._random.uniform(*_PAUSE_S))
            if self._mine and self._random.random() < 0.3:
                await self._attempt(self._random.choice(self._mine[-10:]), 3.0)

    async def _pays(self, order: Promised) -> None:
        """In one call, and with another card where the first one is declined."""
        token = self._drawn(_CARDS)
        for _ in range(_TRIES):
            if self._took(order, await self._pay(order, "pay", token)):
                return
            token = _APPROVES

    async def _pays_twice(self, order: Promised) -> None:
        """At once, as on two devices: one of the two is to collect at most."""
        tokens = (_APPROVES, self._drawn(_CARDS))
        for one in await asyncio.gather(*(self._pay(order, "rival", token) for token in tokens)):
            self._took(order, one)

    async def _holds(self, order: Promised) -> None:
        """Held first; then captured at once or in parts, let go in whole or in part, or left as it is."""
        method = {"type": "card", "token": self._drawn(_CARDS_THAT_HOLD)}
        body = {"method": method, "capture_method": "manual", "confirm": True}
        leg, intent = self._taken(
            order, await self._ask(order, "hold", f"/v1/orders/{order.order_id}/payment-intents", body)
        )
        if leg is None:
            return
        leg.authorized = order.price
        part = self._random.randint(1, order.price - 1)
        match self._random.randrange(5):
            case 0:
                await self._capture(order, leg, intent, order.price)
            case 1:
                await self._capture(order, leg, intent, part)
                await self._capture(order, leg, intent, order.price - part)
            case 2:
                await self._capture(order, leg, intent, part)
                await self._cancel(order, leg, intent)
            case 3:
                await self._cancel(order, leg, intent)

    async def _pay(self, order: Promised, kind: str, token: str) -> Collecting:
        body = {"source": "checkout", "method": {"type": "card", "token": token}}
        return await self._ask(order, kind, f"/v1/orders/{order.order_id}/pay", body)

    def _took(self, order: Promised, paid: Collecting) -> bool:
        """Whether the payment was collected, which is then on the order in the journal."""
        leg, _ = self._taken(order, paid)
        if leg is not None:
            leg.captured = order.price
        return leg is not None

    def _taken(self, order: Promised, one: Collecting) -> tuple[Leg | None, Json]:
        """The payment that the answer tells of, and its intent; none where it was declined or refused."""
        intents = one.final.intents if one.final else ()
        if not intents:
            return None, {}
        [intent] = intents
        if intent["last_decline"] is not None:
            order.declined += 1
            return None, intent
        return order.legs.setdefault(intent["payment_reference"], Leg()), intent

    async def _capture(self, order: Promised, leg: Leg, intent: Json, amount: int) -> None:
        """A part; or the rest, without saying how much that is."""
        rest = amount == leg.held
        body = {} if rest else {"amount_money": {"amount": amount, "currency": "EUR"}}
        await self._ask(order, "capture", f"{_INTENTS}/{intent['payment_intent_id']}/capture", body)
        leg.captured += amount

    async def _cancel(self, order: Promised, leg: Leg, intent: Json) -> None:
        await self._ask(order, "cancel", f"{_INTENTS}/{intent['payment_intent_id']}/cancel", {})
        leg.voided += leg.held

    async def _ask(self, order: Promised, kind: str, path: str, body: Json) -> Collecting:
        """The answered request: sent again with the same key after errors and 503, and while it is under way."""
        one = Collecting(new_id("idem"), kind, path, body, order.order_id)
        self._journal.collecting.append(one)
        began = time.monotonic()
        while one.final is None:
            await self._attempt(one, self._random.choice(_TIMEOUTS_S))
            if one.final is None:
                await asyncio.sleep(self._random.uniform(0.05, 0.5))
        one.took_s = time.monotonic() - began
        self._mine.append(one)
        return one

    async def _attempt(self, one: Collecting, timeout_s: float) -> None:
        """Send it once."""
        one.attempts += 1
        headers = {"Idempotency-Key": one.key}
        try:
            answer = await self._world.payments.post(one.path, json=one.body, headers=headers, timeout=timeout_s)
        except httpx2.HTTPError as error:
            self._journal.errors[f"payments: {type(error).__name__}"] += 1
            return
        content = answer.json() if answer.content else {}
        if answer.status_code in (200, 201, 202):
            data = content["data"]
            one.answers.append(Answered(answer.status_code, tuple(data.get("payment_intents", [data]))))
            return
        code = content.get("code", "?")
        if one.kind == "rival" and code in _OUTDONE:
            one.answers.append(Answered(answer.status_code, code=code))
            return
        self._journal.errors[f"payments: {answer.status_code} {code}"] += 1
        later = code == "IDEMPOTENCY_KEY_IN_PROGRESS" or (code == "NOT_FOUND" and one.kind in _FIRST)
        if answer.status_code != 503 and not later:
            self._journal.oddities.append(f"{one.kind} {one.key}: {answer.status_code} {answer.text[:300]}")
            if answer.status_code < 500:
                one.answers.append(Answered(answer.status_code, code=code))

    def _drawn(self, cards: dict[str, int]) -> str:
        return self._random.choices(list(cards), list(cards.values()))[0]
