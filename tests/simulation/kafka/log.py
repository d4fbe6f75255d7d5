"""Records, and the logs that they lie in."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from aiokafka import TopicPartition

from tests.simulation.world_api import Told as Record

Header = tuple[str, bytes]
Draft = tuple[bytes | None, bytes | None, Sequence[Header]]
"""Key, value and headers of a record that is on its way."""


@dataclass(eq=False)
class Partition:
    """One log, and who waits for more of it."""

    place: TopicPartition
    records: list[Record] = field(default_factory=list)
    waiting: list[asyncio.Event] = field(default_factory=list)
    told: Callable[[Record], None] | None = None
    """Called with every record, at once."""

    def append(self, drafts: Iterable[Draft]) -> int:
        """Appends all at one instant; gives the first offset."""
        first = len(self.records)
        (topic, number), at_s = self.place, asyncio.get_running_loop().time()
        for offset, (key, value, headers) in enumerate(drafts, first):
            record = Record(topic, number, offset, key, value, tuple(headers), at_s)
            self.records.append(record)
            if self.told is not None:
                self.told(record)
        for event in self.waiting:
            event.set()
        return first
