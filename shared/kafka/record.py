"""A record as it lies in Kafka."""

from collections.abc import Sequence
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
