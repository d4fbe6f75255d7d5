"""A connector under test, with the world that it needs, and what it can do beyond what every connector can."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from deploy.local.ports import Ports
from deploy.protocol import Protocol
from services.payments.connectors.manual import ManualConnector
from services.payments.connectors.port import Connector
from services.payments.connectors.sandbox import SandboxConnector
from services.payments.connectors.sandbox_http import HttpAcquirer
from services.payments.core.asking import Answer, Approved, Asked, Means
from services.sandbox.app import SandboxProcess
from shared.contracts.sandbox import Acquirer, SandboxMovement, Whose
from shared.ids import new_id
from shared.immutable import replace
from shared.outside import Outside
from shared.settings import Settings
from tests.stack import serving

APPROVE = "sandbox_approve"
PROCESSOR = frozenset({"tokens", "ledger", "limits", "closes", "loses", "challenges", "clock"})
"""`tokens` says how it goes; `ledger` can be read; `limits` refuses more than there is; `closes` what it is asked about
before it came; `loses` requests and replies; `challenges` the buyer; `clock` things end by themselves."""
CAN: dict[str, frozenset[str]] = {
    "manual": frozenset(),
    "sandbox_in_process": PROCESSOR,
    "sandbox_over_http": PROCESSOR,
}
"""The manual connector believes what it is told and keeps nothing, so there is nothing that it could refuse or lose."""


def every() -> Any:
    """For a test that all connectors pass."""
    return having()


def having(*abilities: str) -> Any:
    """For a test that only those pass which can do this; who they are is in `CAN`."""
    assert set(abilities) <= PROCESSOR
    return pytest.mark.parametrize(
        "scene", [kind for kind, can in CAN.items() if can.issuperset(abilities)], indirect=True
    )


class TurnedClock:
    """Goes on by a microsecond each time that somebody looks, and otherwise when it is turned."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 22, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.turn(microseconds=1)
        return self.now

    def turn(self, **by: float) -> None:
        self.now += timedelta(**by)


@dataclass
class Sleeping:
    """Whoever sleeps does so until all are woken."""

    asleep: asyncio.Queue[float] = field(default_factory=asyncio.Queue)
    woken: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, seconds: float) -> None:
        self.asleep.put_nowait(seconds)
        await self.woken.wait()

    async def until(self, number: int) -> None:
        """So many are asleep."""
        async with asyncio.timeout(60):
            for _ in range(number):
                await self.asleep.get()


@dataclass
class Scene:
    """One connector, and a merchant that nobody else uses."""

    kind: str
    connector: Connector
    clock: TurnedClock = field(default_factory=TurnedClock)
    sleeping: Sleeping = field(default_factory=Sleeping)
    process: SandboxProcess | None = None
    acquirer: Acquirer | None = None
    """As the connector asks it."""
    base_url: str = ""
    merchant_id: str = field(default_factory=lambda: new_id("mer"))

    def means(self, token: str = APPROVE) -> Means:
        return Means("cash") if self.kind == "manual" else Means("card", token=token)

    def asked(self, operation: str = "authorize", amount: int = 5_000, token: str = APPROVE, **more: Any) -> Asked:
        return Asked(
            **{
                "attempt_id": new_id("att"),
                "operation": operation,
                "amount_minor": amount,
                "currency": "EUR",
                "means": self.means(token),
                "merchant_id": self.merchant_id,
                "environment": "test",
                "order_id": "ord_1",
                "payment_intent_id": "pi_1",
                "return_url": "https://shop.example/back",
            }
            | more
        )

    async def held(self, amount: int = 5_000, token: str = APPROVE) -> Approved:
        """An authorization that nobody captured."""
        return approved(await self.connector.authorize(self.asked(amount=amount, token=token, capture=False)))

    async def sold(self, amount: int = 5_000, token: str = APPROVE) -> Approved:
        """Money that was collected in one step."""
        return approved(await self.connector.authorize(self.asked(amount=amount, token=token)))

    async def do(self, operation: str, payment: Approved, amount: int, **more: Any) -> Answer:
        """Capture, void or refund this much."""
        answer: Answer = await getattr(self.connector, operation)(self.on(operation, payment, amount, **more))
        return answer

    def on(self, operation: str, payment: Approved, amount: int, **more: Any) -> Asked:
        return self.asked(operation, amount, reference=payment.reference, **more)

    async def movements(self) -> list[SandboxMovement]:
        """The whole ledger of the merchant, by way of the connector's acquirer."""
        assert self.acquirer is not None
        found, token = list[SandboxMovement](), None
        while True:
            page = await self.acquirer.movements(Whose(merchant_id=self.merchant_id, environment="test"), token)
            found += page.movements
            token = page.next_page_token
            if token is None:
                return found

    async def moved(self) -> list[tuple[str, int]]:
        """Kind and amount of each movement, in order."""
        return [(movement.kind, movement.amount_minor) for movement in await self.movements()]

    async def answer_challenge(self, url: str, *, approves: bool = True) -> None:
        """The buyer presses a button."""
        assert self.process is not None
        assert await self.process.acquirer.answer_challenge(url.rpartition("/")[2], approves=approves) is not None


def approved(answer: object) -> Approved:
    assert isinstance(answer, Approved), answer
    return answer


def another_amount(asked: Asked) -> Asked:
    return replace(asked, amount_minor=asked.amount_minor + 1)


@asynccontextmanager
async def staged(kind: str, settings: Settings) -> AsyncIterator[Scene]:
    """The connector of this kind, ready."""
    if kind == "manual":
        yield Scene(kind, ManualConnector())
        return
    clock, sleeping = TurnedClock(), Sleeping()
    port = Ports.free().postgres
    settings = settings.model_copy(update={"public_base_url": f"http://127.0.0.1:{port}"})
    process = SandboxProcess(settings, Outside(clock=clock), sleeping)
    async with AsyncExitStack() as exits:
        if kind == "sandbox_in_process":
            await exits.enter_async_context(process.running())
            acquirer: Acquirer = process.acquirer
        else:
            base_url = await exits.enter_async_context(serving(process.app(), port, http=Protocol))
            http = HttpAcquirer(base_url, settings.sandbox.secret)
            exits.push_async_callback(http.close)
            acquirer = http
        connector = SandboxConnector(acquirer, time_limit_s=60)
        yield Scene(kind, connector, clock, sleeping, process, acquirer, settings.public_base_url)
