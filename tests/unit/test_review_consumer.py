"""What a consumer does with a batch that the database does not take, without a broker."""

from collections.abc import Sequence
from dataclasses import dataclass

from shared.faults import Poison, Transient
from shared.kafka import BatchConsumer, DeadLetters, Record, broker
from shared.settings import KafkaSettings


@dataclass(frozen=True)
class Message:
    """A record of one partition."""

    offset: int
    topic: str = "t"
    partition: int = 0
    key: bytes | None = None
    value: bytes | None = b"{}"
    headers: Sequence[tuple[str, bytes]] = ()


class Database:
    """Takes at most `most` messages in the time that it gives a transaction."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.asked: list[int] = []
        self.done: list[int] = []

    async def __call__(self, records: Sequence[Record]) -> Sequence[Poison | None]:
        self.asked.append(len(records))
        if len(records) > self.most:
            raise Transient("took too long")
        self.done += [record.offset for record in records]
        return [None] * len(records)


def consumer_of(handler: Database) -> BatchConsumer:
    settings = KafkaSettings()
    letters = DeadLetters(settings)
    consumer = BatchConsumer(
        broker(settings), name="test", group_id="test", handler=handler, dead_letters=letters, topics=["t"]
    )
    consumer._subscriber.running = True
    return consumer


async def test_a_batch_that_takes_too_long_as_a_whole_passes_in_parts_and_in_order() -> None:
    database = Database(most=2)
    await consumer_of(database)._receive([Message(offset) for offset in range(7)])
    assert database.done == list(range(7))
    assert database.asked == [7, 3, 1, 1, 1, 1, 1, 1, 1]


async def test_nothing_is_taken_after_a_batch_was_given_up_to_stop() -> None:
    """The next batch may succeed, and its acknowledgement would cover the one that was given up."""
    database = Database(most=0)
    consumer = consumer_of(database)
    consumer._stopping.set()
    await consumer._receive([Message(0), Message(1)])
    assert database.done == []
    assert not consumer._subscriber.running
