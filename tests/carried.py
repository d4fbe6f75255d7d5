"""Collecting on orders without Kafka: real tables, the real order service, the real sandbox; messages are carried by
hand, and the clock is turned, so that a process of payments can be killed anywhere and others go on."""

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from typing import Any, Self

import orjson
from pydantic import SecretStr

from services.orders.aggregate import OrderAggregates
from services.orders.consumers import CommandConsumer
from services.orders.core.state import Order
from services.orders.numbers import OrderNumbers
from services.orders.store.state import decode_state
from services.payments.consumers import ReplyConsumer
from services.payments.core.asking import Means
from services.payments.core.intents import wishes
from services.payments.core.intents.moves import Command, Moves
from services.payments.core.intents.state import Intent, Refused
from services.payments.intent_messages import command_message
from services.payments.intents import Granted, Intents, Missing, Wanted, Wish
from services.payments.runner import AttemptRunner
from services.payments.store.intents import decode
from services.sandbox.acquirer import SandboxAcquirer, Sleep
from shared.clock import utc_now
from shared.contracts.order_commands import CreateOrder
from shared.contracts.order_parts import LineItem
from shared.contracts.sandbox import SandboxMovement, Whose
from shared.idempotency import IdempotencyKey, InProgress, StoredResponse
from shared.ids import new_id
from shared.migrations import migrate
from shared.postgres import Pool
from shared.processor import CommandProcessor
from shared.relay import Wake
from shared.topics import ORDERS_COMMANDS, ORDERS_REPLIES
from tests.contract.stores.store import migrated
from tests.far_acquirer import Connected, Elsewhere
from tests.intents import intent
from tests.killable import Killable, Killed, counting
from tests.servers import Servers

PATIENCE_S = 60
_TAKE = """
WITH taken AS (DELETE FROM outbox WHERE aggregatetype = $1 AND aggregateid = $2 RETURNING *)
SELECT seq, aggregateid, headers, payload FROM taken ORDER BY seq
"""


class TurnedClock:
    """Stands still until it is turned."""

    def __init__(self) -> None:
        self.now = utc_now()

    def __call__(self) -> Any:
        return self.now

    def turn(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@dataclass(frozen=True)
class Carried:
    """A message, as consumers take it."""

    topic: str
    offset: int
    key: bytes
    value: bytes
    headers: Sequence[tuple[str, bytes]]
    partition: int = 0


_KINDS = ("sale", "hold", "capture", "void")


class Worker:
    """One process of payments; it asks processors where it `calls`."""

    def __init__(self, process: Killable, pool: Pool, shop: "Shop", calls: bool) -> None:
        self.process, self.pool = process, pool
        self.due = asyncio.Event()
        self.intents = Intents(pool, shop.clock, lambda: None, self.due.set)
        self.runner = AttemptRunner(self.intents, shop.connected, self.due)  # type: ignore[arg-type]  # one is enough
        self.replies = ReplyConsumer(pool, shop.clock, lambda: None, self.intents)
        if calls:
            process.spawn(self.runner.run())


@asynccontextmanager
async def own_pools(servers: Servers) -> AsyncIterator["Pools"]:
    """A database of its own, in which no other process looks for something to do; processes can be killed."""
    with counting():
        async with migrated(servers.database_url) as url:
            await migrate(url, "sandbox")
            async with Pools(url) as opened:
                yield opened


class Pools:
    """What everybody but the processes that are killed shares, in a database of its own."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.of = {service: Pool(url, service, 5) for service in ("orders", "payments", "sandbox")}

    async def __aenter__(self) -> Self:
        for pool in self.of.values():
            await pool.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        for pool in self.of.values():
            await pool.close()


@dataclass
class Shop:
    """A merchant with one order, everybody whom collecting on it takes, and the messages between them."""

    pools: Pools
    clock: TurnedClock = field(default_factory=TurnedClock)
    merchant_id: str = field(default_factory=lambda: new_id("mer"))
    order_id: str = field(default_factory=lambda: new_id("ord"))
    sleep: Sleep = asyncio.sleep
    """How the acquirer takes its time."""

    async def __aenter__(self) -> Self:
        orders, sandboxed = self.pools.of["orders"], self.pools.of["sandbox"]
        aggregates = OrderAggregates(OrderNumbers(orders))
        processor = CommandProcessor[Any, Any, Any](orders, aggregates, self.clock, Wake(), "orders")
        self._commands = CommandConsumer(processor.run)
        sandbox = SandboxAcquirer(sandboxed, self.clock, SecretStr("secret"), "http://127.0.0.1", self.sleep)
        self.acquirer = Elsewhere(sandbox)
        self.connected = Connected(self.acquirer)
        self.replies: list[Carried] = []
        """All that payments was ever told."""
        self._read = 0
        self.worker = await self.start()
        line = LineItem(line_item_id="li_1", name="Rain jacket", unit_price_minor=5000)
        await self.command(CreateOrder(currency="EUR", line_items=(line,)))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.worker.process.gone(self._payments)
        await self.acquirer_rests()

    @property
    def _payments(self) -> Pool:
        return self.pools.of["payments"]

    async def start(self, *, calls: bool = True) -> Worker:
        """A process of payments, in the place of the one before it."""
        process = Killable(f"payments-{uuid.uuid4().hex[:8]}")
        pool = Pool(self.pools.url, "payments", 5, process.drivers)
        await pool.open()
        self.worker = Worker(process, pool, self, calls)
        return self.worker

    async def restart(self, *, after_s: float = 61, calls: bool = True) -> None:
        """The process is killed, and another one goes on: unless said, when the claims of the first have run out."""
        await self.worker.process.gone(self._payments)
        await self.acquirer_rests()
        self.clock.turn(after_s)
        await self.start(calls=calls)

    async def acquirer_rests(self) -> None:
        """Whatever reached the acquirer is done."""
        while self.acquirer.asked:
            await asyncio.wait(set(self.acquirer.asked))

    async def command(self, command: Any) -> None:
        """Somebody else's command for the order."""
        envelope = command_message(Command(new_id("cmd"), self.intent(), command)).envelope
        headers = [(name, value.encode()) for name, value in envelope.headers().items()]
        await self._commands([Carried(ORDERS_COMMANDS, 0, self.order_id.encode(), envelope.data, headers)])

    def intent(self, **fields: Any) -> Intent:
        """A new intent on the order."""
        name = new_id("pi")
        now = self.clock()
        known: dict[str, Any] = {"payment_intent_id": name, "group_id": name, "created_at": now, "updated_at": now}
        known |= {"merchant_id": self.merchant_id, "order_id": self.order_id}
        return intent(**(known | fields))

    async def wish(self, wish: Wish, made: Sequence[Intent] = (), of: str | None = None) -> Refused | None:
        """What a client wants, sent again with the same key until it has an answer, whoever dies meanwhile."""
        name = new_id("idem")
        key = IdempotencyKey(f"{self.merchant_id}:test", name, sha256(name.encode()).digest())
        wanted = Wanted(self.merchant_id, "test", wish, _told, of, tuple(made), key)
        async with asyncio.timeout(PATIENCE_S):
            while True:
                with suppress(Killed):
                    [result] = await self.worker.process.do(self.worker.intents.run([wanted]))
                    if not isinstance(result, InProgress):
                        break
                await self.restart()
        assert not isinstance(result, Missing)
        assert isinstance(result, Granted | StoredResponse | Refused), result
        return result if isinstance(result, Refused) else None

    async def settle(self, until: Callable[[Sequence[Intent]], bool] | None = None) -> list[Intent]:
        """Messages are carried and time goes by until nothing is under way; a process that died is followed by another.

        Gives the order's intents.
        """
        until = until or (lambda group: all(each.settled for each in group))
        async with asyncio.timeout(PATIENCE_S):
            while True:
                if self.worker.process.dead:
                    await self.restart()
                carried = await self.carry()
                found = await self.intents()
                if not carried and until(found):
                    return found
                if not carried and not self.acquirer.asked:
                    self.clock.turn(1)
                    self.worker.due.set()
                    await asyncio.sleep(0.01)

    async def carry(self) -> bool:
        """Commands to the orders, their replies to payments; whether there were any."""
        commands = await self._take("payments", ORDERS_COMMANDS)
        if commands:
            assert await self._commands(commands) == [None] * len(commands)
        self.replies += await self._take("orders", ORDERS_REPLIES)
        replies = self.replies[self._read :]
        if replies:
            with suppress(Killed):
                await self.worker.process.do(self.worker.replies(replies))
                self._read += len(replies)
        return bool(commands or replies)

    async def intents(self) -> list[Intent]:
        """All of the order, as they are saved."""
        query = "SELECT state::text FROM payment_intents WHERE order_id = $1"
        return [decode(row["state"]) for row in await self._payments.fetch(query, self.order_id)]

    async def attempts(self) -> list[Any]:
        """All of the order, the oldest first."""
        query = "SELECT * FROM payment_attempts WHERE order_id = $1 ORDER BY created_at, attempt_id"
        return list(await self._payments.fetch(query, self.order_id))

    async def order(self) -> Order:
        """As the order service keeps it."""
        query = "SELECT state::text FROM orders WHERE order_id = $1"
        return decode_state(await self.pools.of["orders"].fetchval(query, self.order_id))

    async def movements(self) -> list[SandboxMovement]:
        """The merchant's ledger."""
        whose, found, token = Whose(merchant_id=self.merchant_id, environment="test"), list[SandboxMovement](), None
        while True:
            page = await self.acquirer.movements(whose, token)
            found += page.movements
            token = page.next_page_token
            if token is None:
                return found

    async def _take(self, service: str, topic: str) -> list[Carried]:
        pool = self.pools.of[service]
        rows = await pool.fetch(_TAKE, topic, self.order_id)
        return [
            Carried(topic, seq, key.encode(), payload, [(n, v.encode()) for n, v in orjson.loads(headers).items()])
            for seq, key, headers, payload in rows
        ]


def _told(group: Sequence[Intent]) -> tuple[int, bytes]:
    return 202, orjson.dumps([each.payment_intent_id for each in group])


def confirming(*made: Intent, connector: str = "sandbox", expected: int | None = None) -> Wish:
    """The wish to collect with these."""

    def wish(moves: Moves) -> Refused | None:
        for each in made:
            name = "manual" if each.means is not None and each.means.type == "cash" else connector
            refused = wishes.confirm(moves, moves[each.payment_intent_id], each.means, name, expected)
            if refused is not None:
                return refused
        return None

    return wish


def card(token: str = "sandbox_approve") -> Means:
    return Means("card", token=token)


async def agree(shop: Shop) -> None:
    """The acquirer's ledger, the order and the intents say the same, and nobody holds anything any more."""
    order, intents = await shop.order(), await shop.intents()
    ledger = await moved(shop)
    by_kind = {kind: sum(amount * times for (each, amount), times in ledger.items() if each == kind) for kind in _KINDS}
    by_card = {each.payment_id for each in intents if each.means and each.means.type == "card"}
    legs = [payment for payment in order.payments if payment.payment_id in by_card]
    assert sum(payment.captured for payment in legs) == by_kind["sale"] + by_kind["capture"]
    held = by_kind["hold"] - by_kind["capture"] - by_kind["void"]
    assert sum(payment.open_authorization for payment in legs) == held
    assert sum(intent.captured_minor for intent in intents) == order.captured
    assert [lease for lease in order.leases if lease.live(shop.clock())] == []
    assert all(attempt["status"] == "ended" for attempt in await shop.attempts())


async def moved(shop: Shop) -> Counter[tuple[str, int]]:
    """Kinds and amounts of the movements, and how often."""
    return Counter((movement.kind, movement.amount_minor) for movement in await shop.movements())
