"""Public events, their positions, and the topics that they go to."""

import asyncio
import dataclasses
from datetime import timedelta
from typing import Any

import pytest

from services.apps.core.plugin_topics import Publication, Replay
from services.apps.fan_out import _is_full, _message, begin_replay
from services.apps.store import events, partitions, plugin_replays, plugin_topics
from shared import outbox
from shared.faults import Transient
from shared.postgres import transaction
from tests.contract.stores.app_samples import NOW, SECOND, app_event, event, kept
from tests.contract.stores.store import Store, waits


async def test_what_is_kept_is_known_and_read_as_it_was(apps: Store) -> None:
    told = [event(1, customer=b'{"name":"A"}'), event(2, cause=None), app_event("grt_1")]
    await kept(apps, *told)
    async with transaction(apps.pool) as connection:
        assert await events.unknown(connection, [event(3), *told, event(3)]) == [event(3)]
        found = await events.several(connection, [each.event_id for each in (*told, event(3))])
        assert found == ({each.event_id: each for each in told}, [])
        assert await events.unknown(connection, []) == []


async def test_positions_grow_and_are_visible_in_their_order(apps: Store) -> None:
    async with transaction(apps.pool) as connection:
        assert await events.newest_position(connection) == 0
    await kept(apps, event(1), event(2))
    async with transaction(apps.pool) as connection:
        await events.append(connection, [event(3)])
        second = asyncio.create_task(kept(apps, event(4)))
        assert await waits(second)
    await second
    rows = sorted(await apps.rows("events"), key=lambda row: int(row["position"]))
    assert [row["order_version"] for row in rows] == [1, 2, 3, 4]
    assert len({row["position"] for row in rows}) == 4
    assert await events.newest_position(apps.pool) == rows[-1]["position"]


async def test_two_that_keep_the_same_event(apps: Store) -> None:
    await kept(apps, event(1))
    with pytest.raises(Transient):
        await kept(apps, event(2), event(1))
    assert len(await apps.rows("events")) == 1


async def test_events_between_positions(apps: Store) -> None:
    await kept(apps, *(event(number) for number in range(1, 6)), event(6, tenant=("mer_2", "test")))
    first = min(row["position"] for row in await apps.rows("events"))
    mine = [("mer_1", "test")]

    async def versions(after: int, up_to: int, limit: int = 10, late: int | None = None) -> list[int]:
        begins = None if late is None else NOW + late * SECOND
        found = await events.between(apps.pool, mine, after, up_to, limit=limit, created_from=begins)
        return [placed.event.order_version for placed in found]

    assert await versions(first, first + 9) == [2, 3, 4, 5]
    assert await versions(0, first + 2) == [1, 2, 3]
    assert await versions(0, first + 9, limit=2) == [1, 2]
    assert await versions(0, first + 9, late=4) == [4, 5]
    assert await events.between(apps.pool, [("mer_2", "live")], 0, first + 9, limit=9) == []


async def test_a_page_of_large_events_is_short(apps: Store) -> None:
    large = b'{"a":"%b"}' % (b"x" * 1_500_000)
    await kept(apps, *(event(number, customer=large) for number in range(1, 6)))
    found = await events.between(apps.pool, [("mer_1", "test")], 0, 1_000, limit=10)
    assert [placed.event.order_version for placed in found] == [1, 2, 3]
    ids = {number: event(number).event_id for number in range(1, 7)}
    async with transaction(apps.pool) as connection:
        wanted = [ids[number] for number in (6, 5, 3, 1, 2, 4)]
        some, unread = await events.several(connection, wanted)
        assert (list(some), unread) == (wanted[1:4], wanted[4:]), "in the order in which they are wanted"
        others, unread = await events.several(connection, unread)
        assert (list(others), unread) == (wanted[4:], [])


async def test_the_life_of_a_topic(apps: Store) -> None:
    async with transaction(apps.pool) as connection:
        await plugin_topics.begin(connection, ["app_2", "app_1"], 7, NOW)
        await plugin_topics.begin(connection, ["app_2"], 9, NOW + SECOND)
        assert await plugin_topics.statuses(connection, ["app_1", "app_9"]) == {"app_1": "pending"}
    await plugin_topics.tried(apps.pool, "app_1", NOW + SECOND)
    assert [topic.app_id for topic in await plugin_topics.unfinished(apps.pool, 9)] == ["app_2", "app_1"]
    assert [topic.app_id for topic in await plugin_topics.unfinished(apps.pool, 1)] == ["app_2"]

    async def lock() -> int | None:
        async with transaction(apps.pool) as other:
            return await plugin_topics.lock_pending(other, "app_2")

    async with transaction(apps.pool) as connection:
        assert await plugin_topics.lock_pending(connection, "app_2") == 7
        assert await lock() is None, "somebody else is at it"
        await plugin_topics.filled(connection, "app_2", 12, "ready", NOW)
    assert await lock() is None, "it is ready"
    assert await plugin_topics.ready_apps(apps.pool) == ["app_2"]
    assert [topic.app_id for topic in await plugin_topics.unfinished(apps.pool, 9)] == ["app_1"]


async def test_many_share_what_one_holds(apps: Store) -> None:
    async def share() -> None:
        async with transaction(apps.pool) as connection:
            await plugin_topics.share_fan_out(connection)

    async def hold() -> None:
        async with transaction(apps.pool) as connection:
            await plugin_topics.hold_fan_out(connection)
            await plugin_topics.hold_fan_out(connection)

    async with transaction(apps.pool) as connection:
        await plugin_topics.share_fan_out(connection)
        await plugin_topics.share_fan_out(connection)
        await share()
        holds = asyncio.create_task(hold())
        assert await waits(holds)
        late = asyncio.create_task(share())
        assert await waits(late), "who asked earlier comes first"
    await asyncio.gather(holds, late)


async def test_what_waits_for_a_topic_is_dropped(apps: Store) -> None:
    mine, other = ("mer_1", "test"), ("mer_1", "live")
    told = [
        (both, event(number, tenant=tenant))
        for number, (both, tenant) in enumerate(
            [(("app_1",), mine), (("app_1",), other), (("app_2", "app_1"), mine), (("app_2",), mine)], start=1
        )
    ]
    ids = [each.event_id for _, each in told]
    async with transaction(apps.pool) as connection:
        replayed = (("tl_replay", "rpl_1"),)
        messages = [_message(Publication(both, each, b"{}"), replayed) for both, each in told]
        await outbox.put(connection, messages)
        assert not await _is_full(connection)

    async def left() -> list[tuple[str, str]]:
        rows = sorted(await apps.rows("outbox"), key=lambda row: int(row["seq"]))
        return [(row["id"], row["aggregatetype"]) for row in rows]

    async with transaction(apps.pool) as connection:
        dropped = await plugin_topics.drop_waiting(connection, "app_1", [mine, ("mer_2", "live")])
    assert dropped == [(ids[0], "rpl_1"), (ids[2], "rpl_1")]
    topics = ("plugins.app_1.orders", "plugins.app_2.orders", "plugins.app_2.orders")
    assert await left() == list(zip(ids[1:], topics, strict=True))
    async with transaction(apps.pool) as connection:
        dropped_of_all = await outbox.drop(connection, "plugins.app_1.orders")
    assert [message_id for message_id, _ in dropped_of_all] == [ids[1]]
    assert await left() == [(name, "plugins.app_2.orders") for name in ids[2:]]


async def test_no_week_is_over(apps: Store) -> None:
    await kept(apps, event(1))
    assert await partitions.drop_before(apps.pool, NOW - timedelta(days=90)) == []
    assert len(await apps.rows("events")) == 1


def replay(number: int, app_id: str = "app_1", **fields: Any) -> Replay:
    """Of nine positions, begun in this order."""
    at = NOW + number * SECOND
    made = Replay(f"rpl_{number}", app_id, "test", None, NOW, 1, 1, 10, 0, "running", at, at)
    return dataclasses.replace(made, **fields)


async def begun(apps: Store, *replays: Replay) -> list[bool]:
    async with transaction(apps.pool) as connection:
        return [await plugin_replays.insert(connection, each) for each in replays]


async def test_of_an_app_one_replay_runs_at_a_time(apps: Store) -> None:
    assert await plugin_replays.running(apps.pool, 10) == []
    assert await begun(apps, replay(2), replay(1, "app_2"), replay(3), replay(4, "app_2")) == [True, True, False, False]
    assert await plugin_replays.running(apps.pool, 10) == ["rpl_1", "rpl_2"]
    assert await plugin_replays.running(apps.pool, 1) == ["rpl_1"]
    async with transaction(apps.pool) as connection:
        await plugin_replays.advance(connection, "rpl_1", done_to=10, published=4, status="finished", now=NOW)
    assert await plugin_replays.running(apps.pool, 10) == ["rpl_2"]
    assert await begun(apps, replay(5, "app_2")) == [True]


async def test_whoever_is_at_a_replay_has_it_to_himself(apps: Store) -> None:
    await begun(apps, replay(1))
    async with transaction(apps.pool) as first, transaction(apps.pool) as second:
        assert await plugin_replays.lock(first, "rpl_1") == replay(1)
        assert await plugin_replays.lock(second, "rpl_1") is None
        later = NOW + 9 * SECOND
        await plugin_replays.advance(first, "rpl_1", done_to=5, published=3, status="running", now=later)
        await plugin_replays.advance(first, "rpl_1", done_to=7, published=2, status="running", now=later)
    async with transaction(apps.pool) as connection:
        assert await plugin_replays.lock(connection, "rpl_9") is None
        found = await plugin_replays.lock(connection, "rpl_1")
    assert found == replay(1, done_to=7, published=5, updated_at=later)


async def test_a_replay_begins_with_the_week_of_its_moment(apps: Store) -> None:
    assert await events.position_before(apps.pool, NOW) == 0
    await kept(apps, *(event(number) for number in range(1, 4)))
    times = {row["position"]: row["created_at"] for row in await apps.rows("events")}
    first, *others = sorted(times)
    assert await events.position_before(apps.pool, times[first]) == first - 1
    assert await events.position_before(apps.pool, times[others[0]]) == others[0] - 1
    assert await events.position_before(apps.pool, times[others[-1]] + SECOND) == others[-1]
    async with transaction(apps.pool) as connection:
        begun = await begin_replay(connection, "app_1", "test", NOW, created_from=NOW)
        assert await begin_replay(connection, "app_1", "test", NOW, created_from=NOW) is None
        assert await plugin_topics.statuses(connection, {"app_1"}) == {"app_1": "pending"}
    assert begun is not None
    assert (begun.begins_after, begun.done_to, begun.ends_at) == (first - 1, first - 1, others[-1])
