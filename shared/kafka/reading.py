"""How a batch is read: each record by itself, so that one that means nothing affects only itself."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from pydantic import ValidationError

from shared.envelope import INVALID_BODY
from shared.faults import Poison
from shared.kafka.record import Record

T = TypeVar("T")


def read_each(records: Sequence[Record], read: Callable[[Record], T]) -> tuple[list[T], list[Poison | None]]:
    """What was read, and for each record why it could not be."""
    found: list[T] = []
    results: list[Poison | None] = []
    for record in records:
        try:
            found.append(read(record))
            results.append(None)
        except Poison as poison:
            results.append(poison.bare())
    return found, results


@contextmanager
def invalid_body() -> Iterator[None]:
    """What a model refuses in here is a `Poison`."""
    try:
        yield
    except ValidationError as error:
        raise Poison(INVALID_BODY, f"{error.title}: {error.error_count()} faults") from None
