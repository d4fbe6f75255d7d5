"""How one lifecycle speaks: whatever it says is written in the books first, and repeated until it is acknowledged."""

import asyncio
from dataclasses import dataclass

import orjson

from tests.simulation.books import Books, Collecting, Command, Garbage, Saying, Wanted, Write
from tests.simulation.world_api import COMMANDS, ENVIRONMENT, Channel, Json, World

SOURCE = "/services/tests"
_PATIENCE_S = (0.05, 0.3, 1.0)
_BUSY, _UNDER_WAY, _NOT_KNOWN = 503, 202, 404
_NOT_KNOWN_TIMES = 60
"""As often somebody asks about an order that the payments do not know yet."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A message as it went out, to be sent again as it is."""

    topic: str
    key: str
    headers: dict[str, str]
    value: bytes
    entry: Command | Saying | Garbage


@dataclass(slots=True)
class Buying:
    """An order as its buyers think of it."""

    order_id: str
    channel: Channel
    """Whose merchant it belongs to."""
    currency: str
    total: int
    external_reference: str | None = None


class Voice:
    """Of one lifecycle. Ids follow from its number and one draw, so that the same seed says the same."""

    def __init__(self, world: World, books: Books, number: int) -> None:
        self.world, self.books, self.random = world, books, world.random
        self._tag = f"{number:05d}{self.random.getrandbits(40):010x}"
        self._ids = 0
        self.sent: list[Sent] = []

    def new_id(self, prefix: str) -> str:
        self._ids += 1
        return f"{prefix}{self._tag}{self._ids:03d}"

    async def command(self, order: Buying, kind: str, body: Json, channel: Channel | None = None) -> str:
        """Publish the command as a trusted service does, for the order's merchant or that of `channel`; its id."""
        command_id, merchant_id = self.new_id("cmd_"), (channel or order.channel).merchant_id
        entry = Command(order.order_id, command_id, kind, body, merchant_id)
        self.books.commands[order.order_id, command_id] = entry
        headers = command_headers(command_id, kind, order.order_id, merchant_id)
        await self.send(Sent(COMMANDS, order.order_id, headers, orjson.dumps(body), entry))
        return command_id

    async def tell(
        self,
        channel: Channel,
        kind: str,
        reference: str,
        amount: int | None,
        currency: str,
        *,
        order_id: str | None = None,
        external_reference: str | None = None,
        detail: str | None = None,
        **more: str,
    ) -> None:
        """What the channel says about a payment; `detail` is the capture's or refund's own reference."""
        fact, said_in = (channel.channel_id, kind, reference, detail), None if amount is None else currency
        entry = self.books.said(Saying(fact, channel.merchant_id, order_id, external_reference, amount, said_in))
        body: Json = {"payment_reference": reference, **more}
        if order_id is not None:
            body["order_id"] = order_id
        if external_reference is not None:
            body["external_reference"] = external_reference
        if amount is not None:
            body["amount_money"] = {"amount": amount, "currency": currency}
        if detail is not None:
            body["refund_reference" if kind == "refunded" else "capture_reference"] = detail
        headers = channel_headers(channel, self.new_id("evt_"), f"channel.payment.{kind}.v1")
        key = order_id or external_reference or reference
        sent = Sent(channel.topic, key, headers, orjson.dumps(body), entry)
        self.books.records[sent.topic, key.encode(), sent.value, headers["ce_type"]] = entry
        await self.send(sent)

    async def garbage(self, topic: str, key: str, value: bytes, headers: dict[str, str], reason: str) -> None:
        """Something that nobody can process, and what its dead letter has to say."""
        entry = Garbage(reason)
        self.books.records[topic, key.encode(), value, headers.get("ce_type", "")] = entry
        await self.send(Sent(topic, key, headers, value, entry))

    async def send(self, sent: Sent) -> None:
        """Until it is acknowledged; what was not may lie there several times."""
        self.sent.append(sent)
        while True:
            try:
                await self.world.publish(sent.topic, sent.key, sent.headers, sent.value)
            except ConnectionError:
                await asyncio.sleep(self.random.choice(_PATIENCE_S))
            else:
                sent.entry.acknowledged = True
                return

    async def again(self, sent: Sent, *, other_id: bool = False) -> None:
        """The same once more; a channel may give it another event id and tell of more that says nothing about money."""
        if other_id and isinstance(sent.entry, Saying):
            headers = sent.headers | {"ce_id": self.new_id("evt_"), "ce_time": self.world.now().isoformat()}
            value = sent.value[:-1] + b',"source":"pos"}'
            self.books.records[sent.topic, sent.key.encode(), value, headers["ce_type"]] = sent.entry
            sent = Sent(sent.topic, sent.key, headers, value, sent.entry)
        await self.send(sent)

    async def outcome(self, order: Buying, command_id: str) -> Json:
        """What the order answered."""
        reply = await self.world.reply(command_id)
        self.books.heard[order.order_id, command_id] = reply
        return reply

    async def create(self, order: Buying, *, draft: bool = False) -> str:
        """Ask for the order by Kafka; the command's id."""
        self.want(order)
        line = {"line_item_id": self.new_id("li_"), "name": "Thing", "unit_price_minor": order.total}
        body: Json = {"currency": order.currency, "source": "checkout", "line_items": [line]}
        if order.external_reference is not None:
            body["context"] = {"external_reference": order.external_reference}
        if draft:
            body["draft"] = True
        return await self.command(order, "create_order", body)

    async def create_by_http(self, order: Buying, *, times: int) -> bool:
        """Ask for the order by HTTP, which gives it its id; whether it was made."""
        money = {"amount": order.total, "currency": order.currency}
        body: Json = {
            "currency": order.currency,
            "source": "checkout",
            "external_reference": order.external_reference,
            "line_items": [{"name": "Thing", "quantity": 1, "unit_price_money": money}],
        }
        status, order_id = await self.write(order, "/v1/orders", body, times=times)
        if order_id is not None:
            order.order_id = order_id
            self.want(order, promised=True)
        return status == 201

    def want(self, order: Buying, *, promised: bool = False) -> None:
        """It is asked for, or there already."""
        merchant_id, reference = order.channel.merchant_id, order.external_reference
        wanted = Wanted(order.order_id, merchant_id, order.currency, order.total, reference, promised)
        self.books.wanted[order.order_id] = wanted

    async def write(self, order: Buying, path: str, body: Json, *, times: int = 1) -> tuple[int, str | None]:
        """A request until it has been answered `times` times; the last status and the order's id."""
        one = Write(self.new_id("idem_"), path, body)
        self.books.writes.append(one)
        merchant_id = order.channel.merchant_id
        while True:
            try:
                status, answer = await self.world.request(
                    "orders", "POST", path, body, one.key, merchant_id=merchant_id
                )
            except ConnectionError:
                status, answer = _BUSY, {}
            if status != _BUSY and answer.get("code") != "IDEMPOTENCY_KEY_IN_PROGRESS":
                data = answer.get("data", {})
                one.answers.append((status, data.get("order_id"), data.get("version")))
                if len(one.answers) >= times:
                    return status, data.get("order_id")
            else:
                await asyncio.sleep(self.random.choice(_PATIENCE_S))

    def collecting(self, order: Buying, path: str, body: Json) -> Collecting:
        """A request to the payments, to be asked once or several times."""
        one = Collecting(order.order_id, self.new_id("idem_"), path, body)
        self.books.collecting.append(one)
        return one

    async def collect(self, order: Buying, one: Collecting) -> tuple[int, Json]:
        """The request until nothing is under way any more; the last status and what was answered."""
        unknown = 0
        while True:
            status, answer = await self.ask_payments(order, "POST", one.path, one.body, one.key)
            one.answers.append((status, answer))
            unknown += status == _NOT_KNOWN
            again = status == _NOT_KNOWN and unknown < _NOT_KNOWN_TIMES
            if status != _UNDER_WAY and not again:
                return status, answer.get("data", {})
            await asyncio.sleep(self.random.choice(_PATIENCE_S))

    async def ask_payments(
        self, order: Buying, method: str, path: str, body: Json | None = None, key: str | None = None
    ) -> tuple[int, Json]:
        """One request until it is answered."""
        while True:
            try:
                merchant_id = order.channel.merchant_id
                status, answer = await self.world.request("payments", method, path, body, key, merchant_id=merchant_id)
            except ConnectionError:
                status, answer = _BUSY, {}
            if status != _BUSY and answer.get("code") != "IDEMPOTENCY_KEY_IN_PROGRESS":
                return status, answer
            await asyncio.sleep(self.random.choice(_PATIENCE_S))


def command_headers(command_id: str, kind: str, order_id: str, merchant_id: str) -> dict[str, str]:
    """As a trusted service sends commands."""
    return {
        "ce_specversion": "1.0",
        "ce_id": command_id,
        "ce_type": f"orders.{kind}.v1",
        "ce_source": SOURCE,
        "ce_subject": order_id,
        "ce_merchantid": merchant_id,
        "ce_environment": ENVIRONMENT,
        "content-type": "application/json",
    }


def channel_headers(channel: Channel, event_id: str, wire_type: str) -> dict[str, str]:
    """As a channel sends its events."""
    return {
        "ce_specversion": "1.0",
        "ce_id": event_id,
        "ce_type": wire_type,
        "ce_source": f"/channels/{channel.channel_id}",
        "content-type": "application/json",
    }
