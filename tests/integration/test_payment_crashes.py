"""A process of payments is killed at each of its awaits, and another one goes on: what the acquirer moved is what the
order was told, once."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import pytest

from services.payments.core.asking import Means
from services.payments.core.intents import wishes
from services.payments.core.intents.state import Intent
from tests.carried import Pools, Shop, agree, card, confirming, moved, own_pools
from tests.servers import Servers

pytestmark = pytest.mark.servers

Story = Callable[[Shop], Awaitable[None]]


@pytest.fixture(scope="module")
async def pools(servers: Servers) -> AsyncIterator[Pools]:
    async with own_pools(servers) as opened:
        yield opened


async def pay(shop: Shop, *made: Intent) -> list[Intent]:
    assert await shop.wish(confirming(*made), made) is None
    return await shop.settle()


async def one_call(shop: Shop) -> None:
    [paid] = await pay(shop, shop.intent(means=card()))
    assert (paid.status, paid.captured_minor) == ("succeeded", 5000)
    assert await moved(shop) == {("sale", 5000): 1}


async def reply_lost(shop: Shop) -> None:
    [paid] = await pay(shop, shop.intent(means=card("sandbox_lost_reply")))
    assert paid.status == "succeeded"
    assert await moved(shop) == {("sale", 5000): 1}


async def look_up_not_sent(shop: Shop) -> None:
    """Whoever goes on cannot reach the acquirer at first: that says nothing of what the first one has sent."""
    shop.acquirer.unreachable_look_ups = 1
    [paid] = await pay(shop, shop.intent(means=card()))
    if paid.status == "succeeded":
        assert await moved(shop) == {("sale", 5000): 1}
    else:
        assert paid.last_decline is not None
        assert paid.last_decline.code == "not_processed"
        assert not await moved(shop)


async def captured_in_part_and_let_go(shop: Shop) -> None:
    made = shop.intent(means=card(), capture_method="manual")
    name = made.payment_intent_id
    await pay(shop, made)
    assert await shop.wish(lambda moves: wishes.capture(moves, moves[name], 2000), of=name) is None
    await shop.settle()
    assert await shop.wish(lambda moves: wishes.cancel(moves, moves[name]), of=name) is None
    [paid] = await shop.settle()
    assert (paid.captured_minor, paid.voided_minor, paid.authorized_minor) == (2000, 3000, 0)
    assert await moved(shop) == {("hold", 5000): 1, ("capture", 2000): 1, ("void", 3000): 1}


async def two_legs_of_which_one_fails(shop: Shop) -> None:
    legs = _group(shop, (3000, card()), (2000, card("sandbox_decline_lost_card")))
    statuses = {leg.status for leg in await pay(shop, *legs)}
    assert statuses == {"canceled", "failed"}
    assert await moved(shop) == {("hold", 3000): 1, ("void", 3000): 1}


STORIES = (one_call, reply_lost, look_up_not_sent, captured_in_part_and_let_go, two_legs_of_which_one_fails)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("story", STORIES)
async def test_killed_at_each_await(pools: Pools, story: Story) -> None:
    deaths = 0
    while await _killed(pools, story, deaths + 1):
        deaths += 1
    # As many as it takes to ask for a lease, to send what is asked, and to save both.
    assert deaths > 20


async def _killed(pools: Pools, story: Story, at: int) -> bool:
    """Whether the process lived long enough to die there."""
    async with Shop(pools) as shop:
        first = shop.worker.process
        first.die_after(at)
        await story(shop)
        await agree(shop)
        return first.dead


def _group(shop: Shop, *parts: tuple[int, Means]) -> Sequence[Intent]:
    """Intents that pay together."""
    names = [shop.intent().payment_intent_id for _ in parts]
    return [
        shop.intent(
            payment_intent_id=name,
            group_id=names[0],
            amount_minor=amount,
            means=means,
            ordinal=number,
            legs=len(parts),
            one_shot=True,
        )
        for number, (name, (amount, means)) in enumerate(zip(names, parts, strict=True))
    ]
