"""An acquirer that is down, silent or flapping, a database that goes away, a lease that runs out: whatever is told in
the end is what happened, and nothing is told before it is known."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

import pytest

from services.payments import runner
from services.payments.connectors.guarded import Circuit
from services.payments.core.intents import wishes
from services.payments.core.intents.moves import Moves
from services.payments.core.intents.replies import replied
from services.payments.core.intents.state import Intent
from services.payments.store import attempts, intents
from services.payments.store.attempts import Claim
from shared.contracts.order_commands import RecordCapture
from shared.contracts.orders import CommandAccepted
from shared.postgres import transaction
from shared.writes import write
from tests.carried import Pools, Shop, agree, card, confirming, moved, own_pools
from tests.contract.connectors.scene import Sleeping
from tests.far_acquirer import Connected
from tests.servers import Servers
from tests.stack import eventually

pytestmark = pytest.mark.servers

PARTS = 25


@pytest.fixture(scope="module")
async def pools(servers: Servers) -> AsyncIterator[Pools]:
    async with own_pools(servers) as opened:
        yield opened


async def ask_for_parts(shop: Shop, count: int) -> None:
    """So many intents, each of a small part of the order."""
    for _ in range(count):
        made = shop.intent(amount_minor=100, means=card())
        assert await shop.wish(confirming(made), [made]) is None


def with_circuit(shop: Shop, time_limit_s: float = 10.0) -> None:
    """The acquirer is left alone after twenty failures in a row, for five seconds of the shop's clock."""
    circuit = Circuit(now=lambda: shop.clock().timestamp())
    shop.connected = Connected(shop.acquirer, circuit, time_limit_s)


async def test_an_acquirer_that_is_down_collects_nothing_and_is_left_alone(pools: Pools) -> None:
    async with Shop(pools) as shop:
        with_circuit(shop)
        await shop.restart()
        shop.acquirer.trouble = lambda number: "down"
        await ask_for_parts(shop, PARTS)
        assert {intent.status for intent in await shop.settle()} == {"requires_payment_method"}
        asked = len(shop.acquirer.questions)
        await ask_for_parts(shop, 3)
        after = await shop.settle()
        # One tries, now and then, whether it is back.
        assert 20 <= asked <= PARTS
        assert len(shop.acquirer.questions) <= asked + 1
        assert {intent.last_decline.code for intent in after if intent.last_decline} == {"processor_unavailable"}
        shop.acquirer.trouble = lambda number: None
        shop.clock.turn(6)
        for count in (1, 2):
            await ask_for_parts(shop, count)
            await shop.settle()
        assert [intent.status for intent in await shop.intents()].count("succeeded") == 3
        assert await moved(shop) == {("sale", 100): 3}
        await agree(shop)


async def test_an_acquirer_that_is_silent_leaves_everything_unknown_until_it_speaks(pools: Pools) -> None:
    async with Shop(pools) as shop:
        with_circuit(shop, time_limit_s=0.2)
        await shop.restart()
        shop.acquirer.trouble = lambda number: "silent"
        await ask_for_parts(shop, PARTS)
        asked = await shop.settle(lambda group: all(intent.status == "unknown" for intent in group))
        assert len(asked) == PARTS
        order = await shop.order()
        assert sum(lease.amount for lease in order.leases if lease.live(shop.clock())) == PARTS * 100
        shop.acquirer.trouble = lambda number: None
        shop.clock.turn(60)
        assert {intent.status for intent in await shop.settle()} == {"succeeded"}
        assert await moved(shop) == {("sale", 100): PARTS}
        await agree(shop)


async def test_an_acquirer_that_flaps(pools: Pools) -> None:
    troubles = (None, "silent", "down", "silent", "silent", None, "down")
    async with Shop(pools) as shop:
        with_circuit(shop, time_limit_s=0.2)
        await shop.restart()
        shop.acquirer.trouble = lambda number: troubles[number % len(troubles)]
        await ask_for_parts(shop, PARTS)
        after = await shop.settle()
        assert {intent.status for intent in after} == {"succeeded", "requires_payment_method"}
        paid = sum(intent.status == "succeeded" for intent in after)
        assert await moved(shop) == {("sale", 100): paid}
        await agree(shop)


async def test_an_answer_that_cannot_be_saved_is_looked_up(pools: Pools, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "_SAVE_FOR_S", 0.1)
    async with Shop(pools) as shop:
        shop.acquirer.answered = shop.worker.process.cut_off
        made = shop.intent(means=card())
        assert await shop.wish(confirming(made), [made]) is None
        await shop.settle(lambda _: bool(shop.acquirer.questions))
        await eventually(_nothing_is_asked)
        assert (await shop.intents())[0].status == "processing"
        shop.acquirer.answered = lambda: None
        await shop.worker.pool.open()
        shop.clock.turn(61)
        [paid] = await shop.settle()
        [attempt] = await shop.attempts()
        assert (paid.status, attempt["claims"], attempt["looks"]) == ("succeeded", 2, 1)
        assert shop.acquirer.questions == [attempt["attempt_id"]] * 2
        assert await moved(shop) == {("sale", 5000): 1}
        await agree(shop)


async def test_an_answer_is_saved_as_soon_as_the_database_is_back(pools: Pools) -> None:
    async with Shop(pools) as shop:
        shop.acquirer.answered = shop.worker.process.cut_off
        made = shop.intent(means=card())
        assert await shop.wish(confirming(made), [made]) is None
        await shop.settle(lambda _: bool(shop.acquirer.questions) and not shop.acquirer.asked)
        shop.acquirer.answered = lambda: None
        await shop.worker.pool.open()
        await eventually(_nothing_is_asked)
        [paid] = await shop.settle()
        [attempt] = await shop.attempts()
        assert (paid.status, attempt["claims"], attempt["looks"]) == ("succeeded", 1, 0)
        assert len(shop.acquirer.questions) == 1
        await agree(shop)


async def leased_by_a_process_that_stopped(shop: Shop) -> None:
    """The order has granted the lease and the attempt is saved, but nobody has called."""
    await shop.restart(after_s=0, calls=False)
    made = shop.intent(means=card())
    assert await shop.wish(confirming(made), [made]) is None
    await shop.settle(lambda group: group[0].step == "calling")
    await shop.restart(after_s=400)


async def test_a_lease_that_ran_out_before_the_call_is_taken_anew(pools: Pools) -> None:
    async with Shop(pools) as shop:
        await leased_by_a_process_that_stopped(shop)
        [paid] = await shop.settle()
        assert (paid.status, paid.leases) == ("succeeded", 2)
        assert await moved(shop) == {("sale", 5000): 1}
        assert len(shop.acquirer.questions) == 1
        await agree(shop)


async def test_a_lease_that_ran_out_and_was_used_by_somebody_else_collects_nothing(pools: Pools) -> None:
    async with Shop(pools) as shop:
        await shop.restart(after_s=0, calls=False)
        made = shop.intent(means=card())
        assert await shop.wish(confirming(made), [made]) is None
        await shop.settle(lambda group: group[0].step == "calling")
        shop.clock.turn(400)
        await shop.command(
            RecordCapture(payment_id="pay_1", payment_reference="psp-1", amount_minor=5000, currency="EUR")
        )
        await shop.restart()
        [intent] = await shop.settle()
        assert intent.last_refusal is not None
        assert (intent.status, intent.last_refusal.code) == ("requires_confirmation", "ORDER_ALREADY_PAID")
        assert shop.acquirer.questions == []
        assert (await shop.order()).captured == 5000


async def test_a_thousand_slow_calls_hold_nobody_up(pools: Pools) -> None:
    sleeping = Sleeping()
    async with Shop(pools, sleep=sleeping) as shop:
        await _called(shop, [shop.intent(amount_minor=1, means=card("sandbox_slow")) for _ in range(1_000)])
        shop.worker.due.set()
        await sleeping.until(1_000)
        made = shop.intent(means=card())
        assert await shop.wish(confirming(made), [made]) is None
        paid = await shop.settle(lambda group: _named(group, made).status == "succeeded")
        assert {intent.status for intent in paid} == {"succeeded", "processing"}
        sleeping.woken.set()
        await eventually(_nothing_is_asked, within_s=60)
        assert await moved(shop) == {("sale", 1): 1_000, ("sale", 5000): 1}


async def test_whoever_saves_an_attempt_makes_it_without_another_claim(
    pools: Pools, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Shop(pools) as shop:
        monkeypatch.setattr(attempts, "claim", _nobody)
        made = shop.intent(means=card(), capture_method="manual")
        assert await shop.wish(confirming(made), [made]) is None
        await shop.settle()
        name = made.payment_intent_id
        assert await shop.wish(lambda moves: wishes.capture(moves, moves[name], 5000), of=name) is None
        [paid] = await shop.settle()
        assert paid.status == "succeeded"
        assert [attempt["claims"] for attempt in await shop.attempts()] == [1, 1]
        await agree(shop)


async def test_what_takes_long_stays_with_whoever_asked(pools: Pools, monkeypatch: pytest.MonkeyPatch) -> None:
    """Claims are short, so that nobody waits long for what somebody left who died."""
    monkeypatch.setattr(runner, "_RENEW_EVERY_S", 0.02)
    sleeping = Sleeping()
    async with Shop(pools, sleep=sleeping) as shop:
        await shop.restart()
        made = shop.intent(means=card("sandbox_slow"))
        assert await shop.wish(confirming(made), [made]) is None
        await shop.settle(lambda group: group[0].step == "calling")
        await sleeping.until(1)
        for _ in range(5):
            shop.clock.turn(10)
            shop.worker.due.set()
            await eventually(lambda: _is_claimed_until(shop, attempts.CLAIMED_FOR))
        sleeping.woken.set()
        [paid] = await shop.settle()
        assert paid.status == "succeeded"
        [attempt] = await shop.attempts()
        assert (attempt["claims"], attempt["looks"]) == (1, 0)
        await agree(shop)


async def _is_claimed_until(shop: Shop, lasts: timedelta) -> bool:
    [attempt] = await shop.attempts()
    return bool(attempt["claimed_until"] == shop.clock() + lasts)


async def test_whoever_has_no_place_leaves_an_attempt_to_others(pools: Pools, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "MOST_AT_ONCE", 2)
    sleeping = Sleeping()
    async with Shop(pools, sleep=sleeping) as shop:
        await shop.restart()
        for _ in range(5):
            made = shop.intent(amount_minor=100, means=card("sandbox_slow"))
            assert await shop.wish(confirming(made), [made]) is None
        await shop.settle(lambda group: all(each.step == "calling" for each in group))
        await sleeping.until(2)
        claims = [attempt["claims"] for attempt in await shop.attempts()]
        assert (sorted(claims), len(shop.acquirer.asked)) == ([0, 0, 0, 1, 1], 2)
        sleeping.woken.set()
        after = await shop.settle()
        assert [each.status for each in after] == ["succeeded"] * 5
        assert [attempt["claims"] for attempt in await shop.attempts()] == [1] * 5
        await agree(shop)


async def _nobody(*_: object) -> list[Claim]:
    return []


@pytest.mark.parametrize(
    ("capture_method", "status", "movements"),
    [("automatic", "succeeded", {("sale", 5000): 1}), ("manual", "canceled", {("hold", 5000): 1, ("void", 5000): 1})],
)
async def test_a_payment_that_is_completed_beats_a_cancel_meanwhile(
    pools: Pools, capture_method: str, status: str, movements: dict[tuple[str, int], int]
) -> None:
    sleeping = Sleeping()
    async with Shop(pools, sleep=sleeping) as shop:
        made = shop.intent(means=card("sandbox_slow"), capture_method=capture_method)
        name = made.payment_intent_id
        assert await shop.wish(confirming(made), [made]) is None
        await shop.settle(lambda _: bool(shop.acquirer.questions))
        await sleeping.until(1)
        assert await shop.wish(lambda moves: wishes.cancel(moves, moves[name]), of=name) is None
        assert (await shop.intents())[0].status == "processing"
        sleeping.woken.set()
        assert [intent.status for intent in await shop.settle()] == [status]
        assert await moved(shop) == movements
        await agree(shop)


async def _called(shop: Shop, made: Sequence[Intent]) -> None:
    """Each has its lease, and its attempt is due; the order is left out."""
    made_by = []
    for intent in made:
        moves = Moves((), shop.clock())
        moves.make(intent)
        assert confirming(intent)(moves) is None
        [asked] = moves.commands
        replied(
            moves,
            intent.payment_intent_id,
            CommandAccepted(command_id=asked.command_id, order_id=shop.order_id, order_version=1),
        )
        made_by.append(moves)
    async with transaction(shop.worker.pool) as connection:
        for moves in made_by:
            await write(connection, intents.saved(moves.changed), attempts.saved([], moves.attempts))


def _named(group: Sequence[Intent], made: Intent) -> Intent:
    return next(each for each in group if each.payment_intent_id == made.payment_intent_id)


async def _nothing_is_asked() -> bool:
    """No attempt is under way in any process."""
    return not any(task.get_name().startswith("attempt ") for task in asyncio.all_tasks())
