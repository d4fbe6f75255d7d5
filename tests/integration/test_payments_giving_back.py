"""Overdue money that a processor can give back goes back by itself: once, whoever else asks and whatever gets lost.
What the processor refuses, what the order needs by now, and cash wait for a person."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest

from services.payments import resolving
from services.payments.core.asking import Means
from services.payments.core.resolving import Denied, GiveBack, Wish
from services.payments.core.state import Item, KnownOrder
from services.payments.jobs import MarkOverdueJob
from services.payments.resolving import Place
from services.payments.store import orders, unmatched
from services.payments.store.unmatched import ItemFilter
from shared.contracts.model import Actor
from shared.contracts.order_commands import RecordCapture, RecordRefund
from shared.contracts.payments import UnmatchedMoney
from shared.contracts.sandbox import SandboxRequest
from shared.ids import new_id
from shared.postgres import Pool, transaction
from shared.settings import Settings
from tests.carried import Pools, Shop, card, confirming, moved, own_pools
from tests.killable import Killed
from tests.servers import Servers

pytestmark = pytest.mark.servers

DAYS = 30
TURNED_S = (DAYS + 1) * 24 * 60 * 60


@pytest.fixture(scope="module")
async def pools(servers: Servers) -> AsyncIterator[Pools]:
    async with own_pools(servers) as opened:
        yield opened


async def surplus(shop: Shop, means: Means) -> UnmatchedMoney:
    """An intent collects what a channel has collected before, between its lease and the call; 31 days ago."""
    await shop.restart(after_s=0, calls=False)
    made = shop.intent(means=means)
    assert await shop.wish(confirming(made), [made]) is None
    await shop.settle(lambda group: group[0].step == "calling")
    await shop.command(RecordCapture(payment_id="pay_1", payment_reference="psp-1", amount_minor=5000, currency="EUR"))
    await shop.restart(after_s=0)
    [paid] = await shop.settle()
    assert paid.status == "succeeded"
    item = await only(shop)
    assert (item.kind, item.status) == ("surplus", "open")
    shop.clock.turn(TURNED_S)
    return item


async def only(shop: Shop) -> UnmatchedMoney:
    """The merchant's only item."""
    [item] = await items(shop)
    return item


async def items(shop: Shop) -> list[UnmatchedMoney]:
    """The merchant's, the newest first."""
    return await unmatched.list_items(shop.pools.of["payments"], ItemFilter(shop.merchant_id, "test"), None, 20)


def job(shop: Shop, pool: Pool | None = None, policy: Any = "return") -> MarkOverdueJob:
    settings = Settings(unmatched_money_days=DAYS, unmatched_money_policy=policy)
    return MarkOverdueJob(pool or shop.pools.of["payments"], shop.clock, settings)


async def given_back(shop: Shop) -> None:
    """Until nothing is asked any more."""
    told = True
    while told:
        await shop.settle(lambda group: all(intent.settled and not intent.refunding for intent in group))
        told = await shop.carry()


async def refunds(shop: Shop) -> list[Any]:
    return [attempt for attempt in await shop.attempts() if '"refund"' in attempt["asked"]]


async def went_back_once(shop: Shop) -> None:
    item = await only(shop)
    assert (item.status, item.refusal) == ("returned", None)
    assert item.resolved_by == Actor(type="system", id="jobs.mark_overdue_money")
    assert (await moved(shop))["refund", 5000] == 1
    order = await shop.order()
    assert (order.refunded, order.captured, order.payment_status) == (5000, 10_000, "paid")


async def test_what_is_overdue_goes_back_once_however_many_ask(pools: Pools) -> None:
    async with Shop(pools) as shop:
        item = await surplus(shop, card())
        await asyncio.gather(*(job(shop)() for _ in range(4)))
        await given_back(shop)
        for _ in range(2):
            await job(shop)()
            await given_back(shop)
        await went_back_once(shop)
        assert len(await refunds(shop)) == 1
        assert (await only(shop)).version == item.version + 4


@pytest.mark.parametrize("token", ["sandbox_lost_reply_on_refund", "sandbox_duplicate_reply"])
async def test_a_lost_answer_is_looked_up(pools: Pools, token: str) -> None:
    async with Shop(pools) as shop:
        await surplus(shop, card(token))
        await job(shop)()
        await given_back(shop)
        await went_back_once(shop)


async def test_what_the_processor_refuses_is_asked_once_and_waits_for_a_person(pools: Pools) -> None:
    async with Shop(pools) as shop:
        item = await surplus(shop, card())
        await by_hand(shop, item)
        for _ in range(4):
            await job(shop)()
            await given_back(shop)
            shop.clock.turn(TURNED_S)
        assert [attempt["outcome"] for attempt in await refunds(shop)] == ["Declined"]
        after = await only(shop)
        assert (after.status, after.refusal, after.resolved_by) == ("return_due", "exceeds_captured", None)
        assert after.overdue_at is not None
        # A person may still ask for it again.
        asked = await decide(shop, after)
        assert isinstance(asked, Item)
        await given_back(shop)
        assert len(await refunds(shop)) == 2


async def by_hand(shop: Shop, item: UnmatchedMoney) -> None:
    """Somebody has given it back at the acquirer, and told nobody."""
    answer = await shop.acquirer.ask(
        SandboxRequest(
            merchant_id=shop.merchant_id,
            environment="test",
            attempt_id=new_id("att"),
            operation="refund",
            amount_minor=5000,
            currency="EUR",
            token="sandbox_approve",
            reference=item.payment_reference,
            order_id=shop.order_id,
            payment_intent_id="pi_by_hand",
        )
    )
    assert answer.status == "approved"


async def decide(shop: Shop, item: UnmatchedMoney) -> Item | Denied | None:
    place, person = Place(item.unmatched_money_id, shop.merchant_id, "test"), Actor(type="key", id="key_1")
    async with transaction(shop.pools.of["payments"]) as connection:
        return await resolving.resolve(connection, place, Wish(person), GiveBack(), shop.clock())


async def test_of_a_person_and_the_job_one_asks(pools: Pools) -> None:
    for number in range(6):
        async with Shop(pools) as shop:
            item = await surplus(shop, card())
            both = [job(shop)(), decide(shop, item)]
            await asyncio.gather(*(both if number % 2 else reversed(both)))
            await given_back(shop)
            assert len(await refunds(shop)) == 1
            assert (await only(shop)).status == "returned"
            assert (await moved(shop))["refund", 5000] == 1


async def test_what_the_order_no_longer_has_is_not_given_back(pools: Pools) -> None:
    async with Shop(pools) as shop:
        await surplus(shop, card())
        known = KnownOrder(shop.order_id, shop.merchant_id, "test", None, "EUR", "open", 0, 99, credit_minor=4999)
        async with transaction(pools.of["payments"]) as connection:
            await orders.save_orders(connection, [known])
        for _ in range(3):
            await job(shop)()
        after = await only(shop)
        assert (after.status, after.refusal, after.resolved_by) == ("return_due", "SURPLUS_GONE", None)
        assert await refunds(shop) == []


async def test_what_the_order_does_not_set_aside_is_not_given_back(pools: Pools) -> None:
    """The order knows better than the copy of it: another refund took the surplus."""
    async with Shop(pools) as shop:
        item = await surplus(shop, card())
        taken = RecordRefund(
            refund_id="ref_cash",
            refund_reference="cash-1",
            payment_id=item.payment_id,
            amount_minor=1,
            currency="EUR",
            effect="reopen_balance",
        )
        await shop.command(taken)
        for _ in range(3):
            await job(shop)()
            await given_back(shop)
        after = await only(shop)
        assert (after.status, after.refusal, after.resolved_by) == ("return_due", "SURPLUS_GONE", None)
        assert await refunds(shop) == []


async def test_an_answer_of_the_order_that_is_read_again_gives_nothing_back_again(pools: Pools) -> None:
    async with Shop(pools) as shop:
        await surplus(shop, card())
        await shop.restart(after_s=0, calls=False)
        await job(shop)()
        while not await refunds(shop):
            await shop.carry()
        await shop.worker.replies(shop.replies)
        await shop.restart(after_s=0)
        await given_back(shop)
        await went_back_once(shop)
        assert len(await refunds(shop)) == 1


async def test_cash_is_given_back_by_people_and_under_the_policy_hold_nothing_is(pools: Pools) -> None:
    for means, policy, status in ((Means("cash"), "return", "return_due"), (card(), "hold", "open")):
        async with Shop(pools) as shop:
            await surplus(shop, means)
            await job(shop, policy=policy)()
            await given_back(shop)
            after = await only(shop)
            assert (after.status, after.refusal, after.overdue_at) == (status, None, shop.clock())
            assert await refunds(shop) == []


@pytest.mark.timeout(600)
async def test_killed_at_each_await_of_the_job_it_goes_back_once(pools: Pools) -> None:
    deaths, died = 0, True
    while died:
        async with Shop(pools) as shop:
            await surplus(shop, card())
            await shop.restart(after_s=0, calls=False)
            process = shop.worker.process
            process.die_after(deaths + 1)
            with suppress(Killed):
                await process.do(job(shop, shop.worker.pool)())
            died = process.dead
            await shop.restart(after_s=0)
            await job(shop)()
            await given_back(shop)
            await went_back_once(shop)
            assert len(await refunds(shop)) == 1
            deaths += died
    # To mark what is overdue, to find what is due, to lock it, to ask for it, and to save that.
    assert deaths > 10


LATE = card("sandbox_refund_fails_late")


async def found_out(shop: Shop) -> None:
    """Until nothing is watched any more, and everybody has heard of it."""
    told = True
    while told:
        await shop.settle(lambda group: all(not intent.refunding and not intent.watching for intent in group))
        told = await shop.carry()


async def is_ours_again(shop: Shop) -> None:
    ledger, order = await moved(shop), await shop.order()
    assert (ledger["refund", 5000], ledger["refund_reversal", 5000]) == (1, 1)
    assert (order.refunded, order.captured, order.credit) == (0, 10_000, 5000)
    assert [(each["status"], each["outcome"]) for each in await refunds(shop)] == [("ended", "Declined")]


async def came_back_once(shop: Shop) -> None:
    """Nobody has asked again, and nothing has been told twice."""
    await is_ours_again(shop)
    again, ended = await items(shop)
    assert (ended.status, ended.replaced_by) == ("returned", again.unmatched_money_id)
    assert (again.kind, again.status, again.refusal) == ("surplus", "open", "refund_failed")
    assert (again.amount_money, again.split_from) == (ended.amount_money, ended.unmatched_money_id)


async def test_a_refund_that_the_bank_sends_back_is_open_again_and_its_order_knows(pools: Pools) -> None:
    async with Shop(pools) as shop:
        await surplus(shop, LATE)
        await job(shop)()
        await given_back(shop)
        assert (await only(shop)).status == "returned"
        assert (await shop.order()).refunded == 5000
        await found_out(shop)
        await came_back_once(shop)
        # It is old enough for the policy one day; what came back once waits for a person even then.
        shop.clock.turn(TURNED_S)
        for _ in range(2):
            await job(shop)()
            await given_back(shop)
        again, _ = await items(shop)
        assert (again.status, again.refusal) == ("return_due", "refund_failed")
        await is_ours_again(shop)
        # Whoever tries it once more makes another refund, which comes back too.
        assert isinstance(await decide(shop, again), Item)
        await given_back(shop)
        await found_out(shop)
        assert (await moved(shop))["refund_reversal", 5000] == 2
        assert (await shop.order()).refunded == 0
        assert [each.status for each in await items(shop)] == ["open", "returned", "returned"]


async def test_what_comes_back_before_its_order_knew_that_it_had_gone(pools: Pools) -> None:
    async with Shop(pools) as shop:
        item = await surplus(shop, LATE)
        await job(shop)()
        async with asyncio.timeout(30):
            while not await refunds(shop):
                await shop.carry()
            while not [each for each in await refunds(shop) if each["outcome"] == "Declined"]:
                shop.clock.turn(1)
                await asyncio.sleep(0.05)
        after = await only(shop)
        assert (after.status, after.refusal) == ("open", "refund_failed")
        await found_out(shop)
        await is_ours_again(shop)
        assert [(each.unmatched_money_id, each.status) for each in await items(shop)] == [
            (item.unmatched_money_id, "open")
        ]


async def test_what_has_gone_back_for_good_is_watched_and_changes_nothing(pools: Pools) -> None:
    async with Shop(pools) as shop:
        await surplus(shop, card())
        await job(shop)()
        await given_back(shop)
        for _ in range(40):
            shop.clock.turn(2 * 24 * 60 * 60)
            shop.worker.due.set()
            await asyncio.sleep(0.05)
        await found_out(shop)
        await went_back_once(shop)
        [refund] = await refunds(shop)
        assert (refund["status"], refund["outcome"]) == ("ended", "Approved")


@pytest.mark.timeout(600)
async def test_killed_at_each_await_of_finding_out_it_comes_back_once(pools: Pools) -> None:
    deaths, died = 0, True
    while died:
        async with Shop(pools) as shop:
            await surplus(shop, LATE)
            await job(shop)()
            await given_back(shop)
            process = shop.worker.process
            process.die_after(deaths + 1)
            await found_out(shop)
            died = process.dead
            await came_back_once(shop)
            deaths += died
    # To claim what is due, to look it up, to lock the intent and the item, and to save what follows.
    assert deaths > 10
