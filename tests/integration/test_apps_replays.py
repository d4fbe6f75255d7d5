"""Events that are published again on an app's topic, on demand."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.contracts.access import Grant
from shared.ids import new_id
from tests.apps import Installed, install, let_in
from tests.integration.test_apps_events import events, events_when, new_order, pay
from tests.integration.test_apps_plugin_topics import TOPIC, Read, ids, on_topic, tell, topic_when_ready
from tests.stack import Stack, Tenant, eventually

pytestmark = pytest.mark.servers


async def replay(app: Installed, **body: Any) -> dict[str, Any]:
    answer = await app.http.post(f"{TOPIC}/replay", json=body)
    assert answer.status_code == 202, answer.text
    replay_id = answer.json()["data"]["replay_id"]

    async def finished() -> Any:
        found = (await app.http.get(f"{TOPIC}/replays/{replay_id}")).json()["data"]
        return found if found["status"] == "finished" else None

    found: dict[str, Any] = await eventually(finished)
    return found


async def test_events_are_published_again_on_demand(stack: Stack, tenant: Tenant) -> None:
    app_id, other = new_id("app"), await stack.tenant()
    app = await install(stack, app_id, tenant.merchant_id)
    await install(stack, app_id, other.merchant_id)
    await topic_when_ready(app.http)
    for _ in range(2):
        order_id = await new_order(tenant)
        await pay(stack, tenant, order_id)
    await new_order(other)
    mine = [each["event_id"] for each in reversed(await events_when(tenant, 6))]
    first = await on_topic(stack, app_id, 7)
    assert all("tl_replay" not in each["headers"] for each in first)

    done = await replay(app, **{"from": "2026-01-01T00:00:00Z"}, merchant_id=tenant.merchant_id)
    assert (done["published"], done["progress"]) == (6, 1.0)
    again = _replayed(await on_topic(stack, app_id, 13), done)
    assert sorted(ids(again)) == sorted(mine)
    _assert_in_order(again)

    everything = await replay(app, **{"from": "2026-01-01T00:00:00Z"})
    assert everything["published"] == 7
    times = [each["created_at"] for each in await events(tenant)]
    middle = sorted(times)[3]
    since = sum(each >= middle for each in times)
    assert 3 <= since < 6
    assert (await replay(app, **{"from": middle}, merchant_id=tenant.merchant_id))["published"] == since
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    for wrong in ({"from": tomorrow}, {"from": middle, "merchant_id": new_id("mer")}, {}, {"from": "x"}):
        assert (await app.http.post(f"{TOPIC}/replay", json=wrong)).status_code == 400
    stranger = await install(stack, new_id("app"), tenant.merchant_id)
    assert (await stranger.http.get(f"{TOPIC}/replays/{done['replay_id']}")).status_code == 404
    for each in (app, other, stranger):
        await each.http.aclose()


async def test_an_app_that_begins_with_a_replay_holds_nobody_up(stack: Stack, tenant: Tenant) -> None:
    """It has no topic yet, and of what it wants nothing happens anew: the service's messages wait for no topic."""
    for _ in range(3):
        await new_order(tenant)
    await events_when(tenant, 3)
    app_id = new_id("app")
    app = await install(stack, app_id, tenant.merchant_id)
    done = await replay(app, **{"from": "2026-01-01T00:00:00Z"})
    assert done["published"] == 3
    assert len(_replayed(await on_topic(stack, app_id, 3), done)) == 3
    # What comes later is told, once.
    order_id = await new_order(tenant)
    told = [each["key"] for each in await on_topic(stack, app_id, 4) if "tl_replay" not in each["headers"]]
    assert told == [order_id]
    await app.http.aclose()


def _replayed(read: Sequence[Read], replay: dict[str, Any]) -> list[Read]:
    return [each for each in read if each["headers"].get("tl_replay") == replay["replay_id"]]


def _assert_in_order(read: Sequence[Read]) -> None:
    versions: dict[str, list[int]] = defaultdict(list)
    for each in read:
        versions[each["key"]].append(each["body"]["order_version"])
    assert all(each == sorted(each) for each in versions.values())


async def test_an_app_with_a_thousand_merchants(stack: Stack) -> None:
    app_id = new_id("app")
    merchants = [new_id("mer") for _ in range(1_000)]
    grants = [
        Grant(
            grant_id=(grant_id := new_id("grt")),
            credential_hash=grant_id,
            kind="installation",
            merchant_id=merchant_id,
            environment="test",
            scopes=("orders.read",),
        )
        for merchant_id in merchants[1:]
    ]
    app = await install(stack, app_id, merchants[0])
    await let_in(stack, [(app_id, grant) for grant in grants])
    await topic_when_ready(app.http)
    tenants, orders = [(merchant_id, "test") for merchant_id in merchants], [new_id("ord") for _ in merchants]
    for version in (1, 2):
        await tell(stack, tenants, orders, version)
    read = await on_topic(stack, app_id, 2_000, within_s=60)
    assert len(set(ids(read))) == 2_000
    assert {each["headers"]["ce_merchantid"] for each in read} == set(merchants)
    _assert_in_order(read)

    # Again from the kept events: in several steps, each remembered.
    done = await replay(app, **{"from": "2026-01-01T00:00:00Z"})
    assert (done["published"], done["progress"]) == (2_000, 1.0)
    again = _replayed(await on_topic(stack, app_id, 4_000, within_s=60), done)
    assert sorted(ids(again)) == sorted(ids(read))
    _assert_in_order(again)
    await app.http.aclose()
