"""Inbox, outbox and relay: what every service has."""

import asyncio
from typing import Any

import asyncpg
import pytest
from aiokafka.errors import UnknownTopicOrPartitionError

from shared import inbox
from shared.envelope import Envelope
from shared.immutable import replace
from shared.outbox import SHARDS, OutboxMessage, put, remove, shard_of, topics_together
from shared.outbox_floor import running
from shared.postgres import transaction
from shared.relay import _MEMBERS_LOCK, Wake, _keeping_alive, _number, announce, notification_of
from shared.writes import write
from tests.contract.stores.samples import NOW
from tests.contract.stores.store import Store, rolled_back, waits


def message(number: int, key: str = "ord_1", data: bytes = b"{}") -> OutboxMessage:
    return OutboxMessage("t", Envelope(f"evt_{number}", "t.v1", "/tests", data, key=key))


async def told(store: Store, *messages: OutboxMessage) -> None:
    async with transaction(store.pool) as connection:
        await put(connection, messages)


def reading(store: Store, shards: set[int] | None = None) -> Any:
    """A relay that has shards without having asked for them."""
    relay = store.relay()
    relay._shards = set(range(SHARDS)) if shards is None else shards
    return relay


async def numbers(store: Store, connection: Any, floor: int = 0, shards: set[int] | None = None) -> list[int]:
    return [row.seq for row in await reading(store, shards)._read(connection, floor)]


async def test_outcomes_are_recalled_by_aggregate_and_command(orders: Store) -> None:
    async with transaction(orders.pool) as connection:
        await write(connection, inbox.rows_of([], NOW))
        kept = [(("ord_1", "a"), '{"version": 1}'), (("ord_2", "a"), '{"version": 2}')]
        await write(connection, inbox.rows_of(kept, NOW))
        found = await inbox.recall(connection, [("ord_1", "a"), ("ord_1", "b"), ("ord_2", "a"), ("ord_3", "a")])
    assert found == {("ord_1", "a"): '{"version": 1}', ("ord_2", "a"): '{"version": 2}'}
    async with transaction(orders.pool) as connection:
        assert await inbox.recall(connection, []) == {}


async def test_a_command_is_recorded_once(orders: Store) -> None:
    async def record(outcome: str) -> None:
        async with transaction(orders.pool) as connection:
            await write(connection, inbox.rows_of([(("ord_1", "a"), outcome)], NOW))

    async with transaction(orders.pool) as first:
        await write(first, inbox.rows_of([(("ord_1", "a"), "{}")], NOW))
        second = asyncio.create_task(record('{"version": 9}'))
        assert await waits(second)
    with pytest.raises(asyncpg.UniqueViolationError):
        await second
    async with transaction(orders.pool) as connection:
        assert await inbox.recall(connection, [("ord_1", "a")]) == {("ord_1", "a"): "{}"}


async def test_rows_are_numbered_in_the_order_in_which_they_are_put_and_read_in_it(either: Store) -> None:
    messages = [message(1), message(2, "ord_2"), message(3)]
    await told(either, *messages)
    connection = await either.connect()
    try:
        rows = await reading(either)._read(connection, 0)
        [second] = await reading(either, {shard_of("ord_2")})._read(connection, 0)
        assert await numbers(either, connection, floor=2) == [3]
        assert (
            await numbers(either, connection, shards=set(range(SHARDS)) - {shard_of("ord_1"), shard_of("ord_2")}) == []
        )
    finally:
        connection.terminate()
    assert [(row.seq, row.topics, row.key, row.payload) for row in rows] == [
        (1, ["t"], b"ord_1", b"{}"),
        (2, ["t"], b"ord_2", b"{}"),
        (3, ["t"], b"ord_1", b"{}"),
    ]
    assert second == rows[1]
    assert ("ce_id", b"evt_2") in second.headers


async def test_a_row_of_a_longer_transaction_appears_below_those_that_were_read(either: Store) -> None:
    connection = await either.connect()
    try:
        async with transaction(either.pool) as slow:
            await put(slow, [message(1)])
            await told(either, message(2))
            assert await numbers(either, connection) == [2]
        assert await numbers(either, connection) == [1, 2]
        async with rolled_back(either) as failing:
            await put(failing, [message(3)])
        await told(either, message(4))
        assert await numbers(either, connection) == [1, 2, 4], "a number that was taken back is not given again"
    finally:
        connection.terminate()


async def test_a_flush_has_a_limit_of_bytes_and_one_row_at_least(
    either: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.relay._BYTES_PER_FLUSH", 10)
    monkeypatch.setattr("shared.relay._ROWS_PER_FLUSH", 4)
    await told(
        either, *(message(number, data=data) for number, data in enumerate([b"x" * 6, b"x" * 4, b"x", b"x" * 50]))
    )
    connection = await either.connect()
    try:
        assert await numbers(either, connection) == [1, 2], "the third would begin at ten"
        assert await numbers(either, connection, floor=2) == [3, 4]
        assert await numbers(either, connection, floor=3) == [4]
        await told(either, *(message(number, data=b"") for number in range(5)))
        assert await numbers(either, connection, floor=4) == [5, 6, 7, 8]
    finally:
        connection.terminate()


async def test_a_message_for_several_topics_counts_for_each(either: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.relay._BYTES_PER_FLUSH", 10)
    both = replace(message(1, data=b"x" * 5), topic=topics_together(["t", "u"]))
    await told(either, both, message(2), both)
    kafka = Kafka()
    connection = await either.connect()
    try:
        relay = reading(either)
        rows = await relay._read(connection, 0)
        assert [(row.seq, row.topics) for row in rows] == [(1, ["t", "u"])]
        await relay._publish(connection, kafka, rows)
        assert await numbers(either, connection) == [2, 3]
    finally:
        connection.terminate()
    assert sorted(kafka.topics) == ["t", "u"]
    assert [record["value"] for record in kafka.sent] == [b"x" * 5] * 2


class Kafka:
    """A producer that acknowledges after a while."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.topics: list[str] = []
        self.missing: set[str] = set()

    @property
    def client(self) -> "Kafka":
        return self

    @property
    def cluster(self) -> "Kafka":
        return self

    def set_topics(self, topics: object) -> asyncio.Future[bool]:
        known = asyncio.get_running_loop().create_future()
        known.set_result(True)
        return known

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        return None if topic in self.missing else {0}

    def create_batch(self) -> "Kafka":
        return self

    def append(self, **record: Any) -> object:
        self.sent.append(record)
        return record

    async def send_batch(self, batch: object, topic: str, partition: int) -> asyncio.Future[None]:
        self.topics.append(topic)
        acknowledged = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(0.05, acknowledged.set_result, None)
        return acknowledged


async def test_what_was_published_is_removed_and_nothing_else(either: Store) -> None:
    await told(either, message(1), message(2))
    kafka = Kafka()
    connection = await either.connect()
    try:
        relay = reading(either)
        rows = await relay._read(connection, 0)
        await told(either, message(3))
        await relay._publish(connection, kafka, rows)
        assert await numbers(either, connection) == [3]
        await relay._publish(connection, kafka, rows)
    finally:
        connection.terminate()
    assert len(kafka.sent) == 4
    assert len(await either.rows("outbox")) == 1


async def test_a_session_is_kept_alive_while_kafka_takes_its_time(
    either: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.relay._KEEP_ALIVE_S", 0.02)
    connection = await either.connect()
    try:
        await _keeping_alive(connection, asyncio.gather(asyncio.sleep(0.2, None)), set[str])
        with pytest.raises(UnknownTopicOrPartitionError):
            await _keeping_alive(connection, asyncio.gather(asyncio.sleep(9, None)), lambda: {"t"})
    finally:
        connection.terminate()


async def test_what_is_for_a_missing_topic_waits_and_nothing_else_does(either: Store) -> None:
    """Row by row, and topic by topic of one row; in their order as soon as it is there."""
    both = replace(message(2), topic=topics_together(["t", "gone", "u"]))
    alone = replace(message(3), topic="gone")
    await told(either, message(1), both, alone, message(4))
    kafka, relay = Kafka(), reading(either)
    kafka.missing = {"gone"}
    connection = await either.connect()

    async def flushed() -> list[str]:
        kafka.topics = []
        await relay._publish(connection, kafka, await relay._read(connection, 0))
        return sorted(kafka.topics)

    async def waiting() -> list[tuple[int, str]]:
        return sorted((row["seq"], row["aggregatetype"]) for row in await either.rows("outbox"))

    try:
        assert await flushed() == ["t", "u"]
        assert await waiting() == [(2, "gone"), (3, "gone")]
        assert await relay._read(connection, 0) == [], "it is not asked for all the time"
        await told(either, replace(message(5), topic=topics_together(["gone", "t"])))
        kafka.missing = set()
        assert await flushed() == ["t"], "not before those that wait"
        assert await waiting() == [(2, "gone"), (3, "gone"), (5, "gone")]
        await asyncio.sleep(0.15)
        assert relay._topics.let_go()
        assert not relay._topics.let_go()
        assert await flushed() == ["gone"]
        assert await waiting() == []
    finally:
        connection.terminate()
    assert [dict(record["headers"])["ce_id"] for record in kafka.sent[-3:]] == [b"evt_2", b"evt_3", b"evt_5"]


async def test_a_row_goes_when_all_of_its_topics_have_it(either: Store) -> None:
    await told(either, replace(message(1), topic=topics_together(["t", "gone"])))
    async with transaction(either.pool) as connection:
        await remove(connection, [1], ["u"])
        await remove(connection, [1], ["t"])
    assert [row["aggregatetype"] for row in await either.rows("outbox")] == ["gone"]
    async with transaction(either.pool) as connection:
        await remove(connection, [1], ["t", "gone"])
    assert await either.rows("outbox") == []


async def test_relays_share_the_shards_and_take_over_those_of_one_that_went(either: Store) -> None:
    group = (_MEMBERS_LOCK, _number(either.service))
    relays = [either.relay(), either.relay()]
    sessions = [await either.connect(), await either.connect()]
    try:
        await sessions[0].execute("SELECT pg_advisory_lock_shared($1, $2)", *group)
        assert await relays[0]._share(sessions[0]), "gained"
        assert relays[0]._shards == set(range(SHARDS))
        assert not await relays[0]._share(sessions[0]), "has them"
        await sessions[1].execute("SELECT pg_advisory_lock_shared($1, $2)", *group)
        assert not await relays[1]._share(sessions[1]), "all are held"
        assert not await relays[0]._share(sessions[0])
        assert await relays[1]._share(sessions[1])
        assert (len(relays[0]._shards), len(relays[1]._shards)) == (SHARDS // 2, SHARDS // 2)
        assert relays[0]._shards | relays[1]._shards == set(range(SHARDS))
        sessions[0].terminate()
        async with asyncio.timeout(10):
            while len(relays[1]._shards) < SHARDS:
                await relays[1]._share(sessions[1])
                await asyncio.sleep(0.01)
    finally:
        for session in sessions:
            session.terminate()


async def test_a_lock_of_a_session_outlives_its_transactions(either: Store) -> None:
    first, second = await either.connect(), await either.connect()
    try:
        async with first.transaction():
            assert await first.fetchval("SELECT pg_try_advisory_lock($1, $2)", 1, 2)
        assert not await second.fetchval("SELECT pg_try_advisory_lock($1, $2)", 1, 2)
        assert not await second.fetchval("SELECT pg_advisory_unlock($1, $2)", 1, 2), "somebody else's"
        assert await second.fetchval("SELECT pg_try_advisory_lock($1, $2)", 1, 3)
        assert await first.fetchval("SELECT pg_advisory_unlock($1, $2)", 1, 2)
        assert await second.fetchval("SELECT pg_try_advisory_lock($1, $2)", 1, 2)
    finally:
        first.terminate()
        second.terminate()


async def test_the_oldest_transaction_is_one_that_has_written_and_has_not_ended(either: Store) -> None:
    connection = await either.connect()
    try:
        newest, oldest = await running(connection)
        assert oldest <= newest
        async with transaction(either.pool) as first:
            await numbers(either, first)
            one, _ = await running(connection)
            two, oldest = await running(connection)
            assert (one < two, oldest > one) == (True, True), "who only reads holds up nobody"
            await put(first, [message(1)])
            three, _ = await running(connection)
            four, oldest = await running(connection)
            assert two < oldest < three < four
        five, oldest = await running(connection)
        assert four < oldest <= five
    finally:
        connection.terminate()


async def test_announcements_reach_who_listens(either: Store) -> None:
    """Only those who listen to this service, and only from now on; they hear who it was."""
    heard: list[str] = []
    listener, stranger = await either.connect(), await either.connect()
    wake = Wake()
    wake()
    task = asyncio.create_task(announce(either.relay()._settings, either.service, wake, either.relay()._outside))
    try:
        await asyncio.sleep(0.2)
        await listener.add_listener(notification_of(either.service), lambda *told: heard.append(told[-1]))
        await stranger.add_listener(notification_of("others"), lambda *_: heard.append("stranger"))
        wake()
        await asyncio.sleep(0.3)
    finally:
        task.cancel()
        listener.terminate()
        stranger.terminate()
    assert heard == [wake.sender]


async def test_a_service_is_reachable(either: Store) -> None:
    assert await either.pool.unreachable() is None
