"""Which orders are waited for, and which are said not to be there."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from ulid import ULID

from services.payments import finding
from services.payments.core.state import KnownOrder
from services.payments.finding import OrderFinder
from services.payments.store import orders
from services.payments.store.orders import Place
from shared.faults import Transient

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)


@dataclass
class Consumer:
    """A consumer that takes in orders."""

    hindrance: str | None = None
    lag: int = 0
    found_by_look: str | None = None
    looks: int = 0

    def ready(self) -> str | None:
        return self.hindrance

    async def look(self) -> bool:
        self.looks += 1
        self.hindrance = self.hindrance or self.found_by_look
        return self.hindrance is None


@dataclass
class Scene:
    """A finder, and what the database has."""

    consumer: Consumer = field(default_factory=Consumer)
    known: dict[str, KnownOrder] = field(default_factory=dict)
    reads: list[int] = field(default_factory=list)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    finder: OrderFinder = field(init=False)

    def __post_init__(self) -> None:
        self.finder = OrderFinder(None, lambda: NOW)  # type: ignore[arg-type]  # the database is left out
        self.finder.consumer = self.consumer  # type: ignore[assignment]

    async def read_at(self, _pool: Any, places: Sequence[Place]) -> list[KnownOrder | None]:
        self.reads.append(len(places))
        self.asked.set()
        found = (self.known.get(place.order_id) for place in places)
        return [
            each if each is not None and place.names(each) else None for each, place in zip(found, places, strict=True)
        ]

    async def waits(self) -> None:
        """Whoever asked has his answer, and begins to wait."""
        await self.asked.wait()
        for _ in range(10):
            await asyncio.sleep(0)


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    made = Scene()
    monkeypatch.setattr(orders, "read_at", made.read_at)
    monkeypatch.setattr(finding, "_WITHIN_S", 0.05)
    monkeypatch.setattr(finding, "_MOMENT_S", 0.02)
    made.__post_init__()
    return made


def place(age_s: float = 0.0, merchant_id: str = "mer_1") -> Place:
    return Place(merchant_id, "test", f"ord_{ULID.from_datetime(NOW - timedelta(seconds=age_s))}")


def order(at: Place, **fields: Any) -> KnownOrder:
    known = {"order_id": at.order_id, "merchant_id": at.merchant_id, "environment": "test", "version": 1}
    return KnownOrder(
        **(known | {"external_reference": None, "currency": "EUR", "status": "open", "outstanding_minor": 5} | fields)
    )


async def test_all_that_ask_at_once_share_a_statement(scene: Scene) -> None:
    places = [place() for _ in range(20)]
    scene.known = {each.order_id: order(each) for each in places}
    assert await asyncio.gather(*map(scene.finder.find, places)) == [order(each) for each in places]
    assert scene.reads == [20]


async def test_whoever_waits_is_told_by_whoever_takes_the_order_in(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finding, "_WITHIN_S", 60.0)
    monkeypatch.setattr(finding, "_LOOK_EVERY_S", 3_600.0)
    young, strangers = place(), place(merchant_id="mer_2")
    found = asyncio.create_task(scene.finder.find(young))
    await scene.waits()
    scene.finder.heard([order(young, merchant_id="mer_2"), order(strangers)], NOW)
    assert not found.done()
    scene.finder.heard([order(young)], NOW)
    assert await found == order(young)
    assert scene.reads == [1]


async def test_what_another_process_takes_in_is_found_too(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finding, "_WITHIN_S", 60.0)
    monkeypatch.setattr(finding, "_LOOK_EVERY_S", 0.001)
    young = place()
    found = asyncio.create_task(scene.finder.find(young))
    await scene.waits()
    scene.known[young.order_id] = order(young)
    assert await found == order(young)


async def test_an_old_order_that_is_not_known_is_not_there(scene: Scene) -> None:
    assert await scene.finder.find(place(age_s=11)) is None
    assert (scene.reads, scene.consumer.looks) == ([1], 0), "nobody waited for it"


async def test_a_young_one_is_not_there_once_it_was_waited_for_and_kafka_asked(scene: Scene) -> None:
    assert await scene.finder.find(place(age_s=9)) is None
    assert scene.consumer.looks == 1


async def test_a_strangers_order_looks_like_none(scene: Scene) -> None:
    theirs = place(age_s=11, merchant_id="mer_2")
    scene.known[theirs.order_id] = order(theirs)
    assert await scene.finder.find(Place("mer_1", "test", theirs.order_id)) is None


@pytest.mark.parametrize(
    ("consumer", "age_s"),
    [
        (Consumer(hindrance="Kafka does not answer"), 3_600),
        (Consumer(hindrance="Kafka does not answer"), 0),
        (Consumer(found_by_look="Kafka does not answer"), 0),
        (Consumer(lag=3), 3_600),
    ],
)
async def test_who_may_not_have_heard_of_it_does_not_say_that_it_is_not_there(
    scene: Scene, consumer: Consumer, age_s: float
) -> None:
    scene.finder.consumer = consumer  # type: ignore[assignment]
    with pytest.raises(Transient):
        await scene.finder.find(place(age_s))


async def test_what_comes_first_after_a_quiet_time_waits_for_a_moment(scene: Scene) -> None:
    """Else whoever asks just then would be told to try later, of an order that is not there."""
    scene.finder.heard([], NOW - timedelta(minutes=1))
    scene.consumer.lag = 1
    old, unknown = place(age_s=60), place(age_s=60)
    found = asyncio.gather(scene.finder.find(old), scene.finder.find(unknown))
    await scene.waits()
    scene.consumer.lag = 0
    scene.known[old.order_id] = order(old)
    assert await found == [order(old), None]


async def test_who_is_behind_by_moments_is_not_behind(scene: Scene) -> None:
    scene.consumer.lag = 3
    scene.finder.heard([], NOW - timedelta(seconds=4))
    assert await scene.finder.find(place(age_s=11)) is None
    scene.finder.heard([], NOW - timedelta(seconds=6))
    with pytest.raises(Transient):
        await scene.finder.find(place(age_s=11))


async def test_where_nobody_takes_in_orders_one_that_was_just_made_may_be_there(scene: Scene) -> None:
    scene.finder.consumer = None
    with pytest.raises(Transient):
        await scene.finder.find(place(age_s=9))
    assert await scene.finder.find(place(age_s=11)) is None
    assert await scene.finder.find(Place("mer_1", "test", "ord_1")) is None


async def test_an_id_that_tells_no_time_is_waited_for(scene: Scene) -> None:
    assert await scene.finder.find(Place("mer_1", "test", "ord_1")) is None
    assert len(scene.reads) > 1
