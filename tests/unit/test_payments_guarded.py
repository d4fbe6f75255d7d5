"""A connector that is guarded: so many calls at once, and none to a processor that does not answer."""

import asyncio
from dataclasses import dataclass, field

import pytest

from services.payments.connectors.guarded import Circuit, GuardedConnector
from services.payments.connectors.registry import Connectors
from services.payments.core.asking import Answer, Approved, Asked, Declined, Found, Means, NotSent, Unknown
from shared.contracts.order_parts import MethodType
from shared.settings import SandboxSettings

WELL = Approved("ref", 100)
OPERATIONS = ("authorize", "capture", "void", "refund")


def asked() -> Asked:
    return Asked("att_1", "authorize", 100, "EUR", Means("card"), "mer_1", "test", "ord_1", "pi_1")


@dataclass
class Processor:
    """Answers as it is told to, or keeps everybody waiting."""

    answer: Answer = WELL
    waits: asyncio.Event | None = None
    calls: int = 0
    name: str = "processor"
    arrived: asyncio.Queue[None] = field(default_factory=asyncio.Queue)

    def objection(self, means: Means) -> str | None:
        return None if means.type == "card" else "no"

    async def authorize(self, _: Asked) -> Answer:
        self.calls += 1
        self.arrived.put_nowait(None)
        if self.waits is not None:
            await self.waits.wait()
        return self.answer

    capture = void = refund = authorize

    async def look_up(self, asked: Asked) -> Found:
        return await self.authorize(asked)


@dataclass
class Hands:
    """A clock."""

    at: float = 0.0

    def __call__(self) -> float:
        return self.at


def guarded(processor: Processor, clock: Hands, concurrency: int = 10) -> GuardedConnector:
    return GuardedConnector(processor, concurrency, patience_s=0.0, circuit=Circuit(3, 5.0, clock))


async def fail(connector: GuardedConnector, times: int) -> None:
    for _ in range(times):
        await connector.authorize(asked())


@pytest.mark.parametrize("failure", [Unknown("no answer"), NotSent("no connection")])
async def test_after_some_failures_in_a_row_nothing_is_sent(failure: Answer) -> None:
    processor, clock = Processor(failure), Hands()
    connector = guarded(processor, clock)
    await fail(connector, 3)
    for operation in OPERATIONS:
        assert isinstance(await getattr(connector, operation)(asked()), NotSent)
    assert isinstance(await connector.look_up(asked()), Unknown)
    assert processor.calls == 3


async def test_what_is_answered_between_counts_from_the_beginning() -> None:
    processor, clock = Processor(Unknown("no answer")), Hands()
    connector = guarded(processor, clock)
    await fail(connector, 2)
    processor.answer = Declined("lost_card", "no")
    await fail(connector, 1)
    processor.answer = Unknown("no answer")
    await fail(connector, 2)
    assert processor.calls == 5
    processor.answer = WELL
    assert await connector.authorize(asked()) == WELL


async def test_after_a_while_one_call_tries_and_its_success_lets_all_through() -> None:
    processor, clock = Processor(Unknown("no answer")), Hands()
    connector = guarded(processor, clock)
    await fail(connector, 3)
    clock.at = 5.0
    processor.waits, processor.answer, processor.arrived = asyncio.Event(), WELL, asyncio.Queue()
    first = asyncio.create_task(connector.authorize(asked()))
    await processor.arrived.get()
    assert isinstance(await connector.authorize(asked()), NotSent)
    processor.waits.set()
    assert await first == WELL
    assert await connector.authorize(asked()) == WELL
    assert processor.calls == 5


async def test_a_failed_try_leaves_it_alone_for_as_long_again() -> None:
    processor, clock = Processor(Unknown("no answer")), Hands()
    connector = guarded(processor, clock)
    await fail(connector, 3)
    clock.at = 5.0
    await fail(connector, 1)
    clock.at = 9.9
    assert isinstance(await connector.authorize(asked()), NotSent)
    assert processor.calls == 4


async def test_no_more_than_so_many_at_once() -> None:
    processor = Processor(waits=asyncio.Event())
    connector = guarded(processor, Hands(), concurrency=2)
    tasks = [asyncio.create_task(connector.authorize(asked())) for _ in range(2)]
    for _ in tasks:
        await processor.arrived.get()
    assert isinstance(await connector.authorize(asked()), NotSent)
    assert isinstance(await connector.look_up(asked()), Unknown)
    assert processor.calls == 2
    assert processor.waits is not None
    processor.waits.set()
    assert await asyncio.gather(*tasks) == [WELL, WELL]
    assert await connector.authorize(asked()) == WELL


async def test_whoever_gives_up_leaves_its_place() -> None:
    processor = Processor(waits=asyncio.Event())
    connector = guarded(processor, Hands(), concurrency=1)
    task = asyncio.create_task(connector.authorize(asked()))
    await processor.arrived.get()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    processor.waits = None
    assert await connector.authorize(asked()) == WELL


def test_it_objects_as_the_one_inside() -> None:
    connector = guarded(Processor(), Hands())
    assert (connector.name, connector.objection(Means("card")), connector.objection(Means("cash"))) == (
        "processor",
        None,
        "no",
    )


@pytest.mark.parametrize(
    ("method", "environment", "name"),
    [
        ("card", "test", "sandbox"),
        ("wallet", "test", "sandbox"),
        ("card", "live", None),
        ("wallet", "live", None),
        ("cash", "test", "manual"),
        ("cash", "live", "manual"),
        ("external", "live", "manual"),
        ("bank_transfer", "live", "manual"),
    ],
)
async def test_who_takes_what(method: MethodType, environment: str, name: str | None) -> None:
    connectors = Connectors(SandboxSettings(url="http://sandbox.invalid"))
    taking = connectors.taking(method, environment)
    assert (taking.name if taking else None) == name
    await connectors.close()


async def test_without_a_sandbox_nobody_takes_cards() -> None:
    connectors = Connectors(SandboxSettings(url=None))
    assert connectors.taking("card", "test") is None
    assert connectors.named("sandbox") is None
    assert connectors.named("manual") is connectors.taking("cash", "test")
    await connectors.close()
