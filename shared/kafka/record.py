"""A record as it lies in Kafka."""

from collections.abc import Sequence
from operator import attrgetter
from typing import Protocol


class Record(Protocol):
    """What a handler gets, and a dead letter keeps: the client library's record, nothing decoded."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes]]: ...


place_of = attrgetter("topic", "partition")
"""Where a record lies, equal to a `TopicPartition`."""
