"""Webhook endpoints, what is to be sent to them, and how senders share it."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest

from services.apps.core.event_types import Reader
from services.apps.core.webhooks import Attempt, Fate, Health
from services.apps.store import deliveries, endpoints, sending
from services.apps.store.deliveries import NewDelivery
from services.apps.store.endpoints import Listener
from services.apps.store.sending import Claimed, Outcome, Room
from shared.immutable import replace
from shared.postgres import transaction
from shared.writes import write
from tests.contract.stores.app_samples import NOW, SECOND, endpoint, grant, installed, listening, opened
from tests.contract.stores.store import Store, waits

CLAIM = timedelta(seconds=10)
WIDE = Room(100, 100, {})


async def enqueued(store: Store, *names: str, to: str = "whe_1", order: str = "ord_1", at: datetime = NOW) -> None:
    new = [NewDelivery(f"del_{name}", to, f"evt_{name}", "order.paid", order) for name in names]
    async with transaction(store.pool) as connection:
        await write(connection, deliveries.rows_of(new, at))


async def claimed(store: Store, room: Room = WIDE, at: datetime = NOW) -> list[Claimed]:
    async with transaction(store.pool) as connection:
        return await sending.claim(connection, room, at, CLAIM)


def names(found: list[Claimed]) -> list[str]:
    return sorted(one.delivery_id.removeprefix("del_") for one in found)


def outcome(one: Claimed, status: Any = "delivered", due: datetime = NOW, error: Any = None) -> Outcome:
    return Outcome(one, Attempt(NOW, 12, 200 if error is None else 500, error, None, "text"), Fate(status, due))


async def settled(store: Store, *outcomes: Outcome) -> None:
    async with transaction(store.pool) as connection:
        await sending.settle(connection, outcomes)


async def delivery(store: Store, name: str) -> dict[str, Any]:
    return next(row for row in await store.rows("webhook_deliveries") if row["delivery_id"] == f"del_{name}")


async def test_who_listens(apps: Store) -> None:
    await opened(apps, "mer_2", status="suspended")
    await installed(apps, grant("app_1", scopes=("orders.write",)), grant("app_2", status="revoked"))
    await listening(
        apps,
        endpoint("whe_b", grant_id="grt_app_1_mer_1"),
        endpoint("whe_a", event_types=("order.paid",)),
        endpoint("whe_c", grant_id="grt_app_2_mer_1"),
        endpoint("whe_d", merchant_id="mer_2"),
        endpoint("whe_e", environment="live"),
        endpoint("whe_f", status="disabled"),
        endpoint("whe_g", grant_id="grt_nobodys"),
    )
    asked = [("mer_1", "test"), ("mer_1", "test"), ("mer_2", "test")]
    async with transaction(apps.pool) as connection:
        found = await endpoints.listening(connection, asked)
    assert found == [
        Listener("whe_a", "mer_1", "test", Reader(frozenset({"orders.read"})), ("order.paid",)),
        Listener("whe_b", "mer_1", "test", Reader(frozenset({"orders.write"}), "grt_app_1_mer_1"), ("*",)),
    ]


async def test_an_owner_has_no_more_endpoints_than_it_may(apps: Store) -> None:
    await listening(apps, endpoint("whe_1"), endpoint("whe_2", grant_id="grt_1"))
    async with transaction(apps.pool) as connection:
        assert not await endpoints.insert(connection, endpoint("whe_3"), most=1)
        assert await endpoints.insert(connection, endpoint("whe_3"), most=2)


async def test_an_endpoint_is_disabled_once(apps: Store) -> None:
    await listening(apps, endpoint())
    async with transaction(apps.pool) as connection:
        found = await endpoints.disable(connection, "whe_1", "gone", NOW + SECOND)
        assert await endpoints.disable(connection, "whe_1", "failing", NOW) is None
    changed = {"status": "disabled", "disabled_reason": "gone", "version": 2, "updated_at": NOW + SECOND}
    assert found == endpoint(**changed)


async def test_endpoints_of_those_who_are_gone(apps: Store) -> None:
    await opened(apps, "mer_2", status="closed")
    await opened(apps, "mer_3", status="suspended")
    await installed(apps, grant("app_1"), grant("app_2", status="revoked"))
    await listening(
        apps,
        *(endpoint(f"whe_{name}", grant_id=f"grt_{name}_mer_1") for name in ("app_3", "app_2", "app_1")),
        *(endpoint(f"whe_{number}", merchant_id=f"mer_{number}") for number in (1, 2, 3)),
        endpoint("whe_over", merchant_id="mer_2", status="disabled"),
    )
    async with transaction(apps.pool) as connection:
        assert await endpoints.revoked(connection, 10) == ["whe_2", "whe_app_2", "whe_app_3"]
        assert await endpoints.revoked(connection, 2) == ["whe_2", "whe_app_2"]


async def test_of_an_order_only_the_oldest_is_claimed(apps: Store) -> None:
    await listening(apps, endpoint())
    await enqueued(apps, "1", "2")
    await enqueued(apps, "3", order="ord_2")
    first = await claimed(apps)
    assert names(first) == ["1", "3"]
    assert await claimed(apps) == [], "they are claimed"
    await settled(apps, *(outcome(one) for one in first))
    [second] = await claimed(apps)
    assert (second.delivery_id, second.event_id, second.tries, second.test_body) == ("del_2", "evt_2", 0, None)
    assert second.claimed_until == NOW + CLAIM
    target = second.target
    assert (target.url, target.scopes, target.sealed_secret, target.sealed_previous_secret, target.health) == (
        "https://whe_1.example/hook",
        frozenset({"orders.read"}),
        b"sealed",
        None,
        Health(),
    )


async def test_a_claim_ends_and_can_be_given_back(apps: Store) -> None:
    await listening(apps, endpoint())
    await enqueued(apps, "1")
    [mine] = await claimed(apps)
    assert await claimed(apps, at=NOW + CLAIM - SECOND) == []
    [theirs] = await claimed(apps, at=NOW + CLAIM)
    async with transaction(apps.pool) as connection:
        await sending.release(connection, [mine])
    assert await claimed(apps, at=NOW + CLAIM) == [], "a claim that is over gives nothing back"
    async with transaction(apps.pool) as connection:
        await sending.release(connection, [theirs])
    assert names(await claimed(apps, at=NOW + CLAIM)) == ["1"]


async def test_a_claim_is_renewed_by_whoever_has_it(apps: Store) -> None:
    await listening(apps, endpoint())
    await enqueued(apps, "1")
    await enqueued(apps, "2", order="ord_2")
    mine = await claimed(apps)
    async with transaction(apps.pool) as connection:
        assert await sending.renew(connection, [], NOW) == {}
        longer = await sending.renew(connection, mine[:1], NOW + 2 * CLAIM)
        assert longer == {mine[0].delivery_id: replace(mine[0], claimed_until=NOW + 2 * CLAIM)}
    [taken] = await claimed(apps, at=NOW + CLAIM)
    assert taken.delivery_id == mine[1].delivery_id
    async with transaction(apps.pool) as connection:
        assert await sending.renew(connection, mine, NOW + 3 * CLAIM) == {}, "neither is claimed so any more"


async def test_what_two_claim_at_once_is_claimed_once(apps: Store) -> None:
    await listening(apps, endpoint())
    await enqueued(apps, "1")
    async with transaction(apps.pool) as connection:
        assert names(await sending.claim(connection, WIDE, NOW, CLAIM)) == ["1"]
        assert await claimed(apps) == []


async def test_what_keeps_an_endpoint_from_getting_anything(apps: Store) -> None:
    await opened(apps, "mer_2", status="suspended")
    await installed(apps, grant("app_1", scopes=("orders.write",)), grant("app_2", status="revoked"))
    await listening(
        apps,
        endpoint("whe_1", grant_id="grt_app_1_mer_1"),
        endpoint("whe_2", grant_id="grt_app_2_mer_1"),
        endpoint("whe_3", merchant_id="mer_2"),
        endpoint("whe_4", status="disabled"),
        endpoint("whe_5"),
        endpoint("whe_6"),
        endpoint("whe_7", sealed_previous_secret=b"old", previous_secret_ends_at=NOW + SECOND),
        endpoint("whe_8", sealed_previous_secret=b"old", previous_secret_ends_at=NOW),
    )
    for number in range(1, 9):
        await enqueued(apps, str(number), to=f"whe_{number}")
    await enqueued(apps, "late", to="whe_6", order="ord_late", at=NOW + SECOND)
    async with transaction(apps.pool) as connection:
        await sending.lock_health(connection, ["whe_5"])
        await sending.save_health(connection, {"whe_5": Health(5, NOW, NOW + SECOND)})
    found = await claimed(apps)
    assert names(found) == ["1", "6", "7", "8"]
    targets = {one.target.endpoint_id: one.target for one in found}
    assert targets["whe_1"].scopes == frozenset({"orders.write"})
    assert (targets["whe_7"].sealed_previous_secret, targets["whe_8"].sealed_previous_secret) == (b"old", None)
    assert names(await claimed(apps, at=NOW + SECOND)) == ["5", "late"]


async def test_room_is_shared(apps: Store) -> None:
    await listening(apps, *(endpoint(f"whe_{number}") for number in (1, 2, 3)))
    for number in (1, 2, 3):
        for order in range(6):
            await enqueued(apps, f"{number}{order}", to=f"whe_{number}", order=f"ord_{order}")
    async with transaction(apps.pool) as connection:
        await sending.save_health(connection, {"whe_3": Health(1, NOW, None)})
    assert await claimed(apps, Room(0, 2, {})) == []
    assert names(await claimed(apps, Room(100, 2, {"whe_1": 0}))) == ["20", "21", "30"]
    assert len(await claimed(apps, Room(4, 4, {"whe_3": 0}))) == 4
    assert len(await claimed(apps, Room(1, 4, {}))) == 1


async def test_what_came_of_it_is_saved_and_logged(apps: Store) -> None:
    await listening(apps, endpoint())
    await enqueued(apps, "1", "2")
    [first] = await claimed(apps)
    later = NOW + 5 * SECOND
    failed = outcome(first, "pending", later, "refused")
    await settled(apps, failed)
    row = await delivery(apps, "1")
    expected = {"status": "pending", "tries": 1, "attempts": 1, "due_at": later, "claimed_until": None}
    expected |= {"last_status_code": 500, "last_error": "refused", "settled_at": None}
    assert {name: row[name] for name in expected} == expected
    assert (await delivery(apps, "2"))["due_at"] == later, "what comes after it waits with it"
    await settled(apps, outcome(first, "pending", NOW, "refused"))
    assert (await delivery(apps, "1"))["attempts"] == 1, "its claim is over"
    await settled(apps, outcome(first))
    row = await delivery(apps, "1")
    assert (row["status"], row["attempts"], row["settled_at"]) == ("delivered", 2, NOW)
    logged = sorted((row["attempt"], row["status_code"], row["error"]) for row in await apps.rows("webhook_attempts"))
    assert logged == [(1, 500, "refused"), (2, 200, None)]


async def test_of_two_outcomes_only_that_it_was_received_counts(apps: Store) -> None:
    await listening(apps, endpoint())
    await enqueued(apps, "1")
    [one] = await claimed(apps)
    await settled(apps, outcome(one), outcome(one, "pending", NOW + SECOND, "refused"))
    assert (await delivery(apps, "1"))["status"] == "delivered"
    assert [row["attempt"] for row in await apps.rows("webhook_attempts")] == [1]


async def test_nobody_else_says_how_an_endpoint_is_doing(apps: Store) -> None:
    await listening(apps, endpoint("whe_1"), endpoint("whe_2", status="disabled"))

    async def lock() -> dict[str, Health]:
        async with transaction(apps.pool) as connection:
            return await sending.lock_health(connection, ["whe_1"])

    async with transaction(apps.pool) as connection:
        assert await sending.lock_health(connection, ["whe_2", "whe_1", "whe_1"]) == {"whe_1": Health()}
        second = asyncio.create_task(lock())
        assert await waits(second)
        health = {name: Health(3, NOW, NOW + SECOND) for name in ("whe_1", "whe_2")}
        await sending.save_health(connection, health)
    assert await second == {"whe_1": Health(3, NOW, NOW + SECOND)}
    assert {row["failures"] for row in await apps.rows("webhook_endpoints")} == {0, 3}


async def test_what_waits_in_vain_is_canceled(apps: Store) -> None:
    await listening(apps, endpoint("whe_1"), endpoint("whe_2"))
    await enqueued(apps, "1", "2")
    await enqueued(apps, "3", to="whe_2")
    await enqueued(apps, "4", to="whe_deleted")
    await claimed(apps)
    async with transaction(apps.pool) as connection:
        await endpoints.disable(connection, "whe_1", "gone", NOW)
        assert await deliveries.cancel(connection, NOW, 1) == 1
        assert await deliveries.cancel(connection, NOW, 9) == 1
        assert await deliveries.cancel(connection, NOW + CLAIM, 9) == 1
    found = {row["delivery_id"]: (row["status"], row["settled_at"]) for row in await apps.rows("webhook_deliveries")}
    assert found["del_3"] == ("pending", None)
    assert found["del_1"] == ("canceled", NOW + CLAIM)
    assert found["del_2"] == found["del_4"] == ("canceled", NOW)


@pytest.mark.parametrize("limit", [1, 10])
async def test_what_is_old_is_forgotten(apps: Store, limit: int) -> None:
    await listening(apps, endpoint())
    await enqueued(apps, "1", "2", "3")
    for _ in range(2):
        [one] = await claimed(apps)
        await settled(apps, outcome(one))
    await enqueued(apps, "4", at=NOW + SECOND)
    forgotten = 0
    async with transaction(apps.pool) as connection:
        while done := await deliveries.forget(connection, NOW + SECOND, limit):
            forgotten += done
    assert forgotten == 4
    assert {row["delivery_id"] for row in await apps.rows("webhook_deliveries")} == {"del_3", "del_4"}
    assert await apps.rows("webhook_attempts") == []
