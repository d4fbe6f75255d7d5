"""Data that messages and commands make many of: nobody changes it, and it is made fast."""

from dataclasses import dataclass, field, fields
from functools import cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeVar, dataclass_transform

__all__ = ["immutable", "replace"]

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def immutable(cls: type[T]) -> type[T]:
    """A dataclass with slots that the type checker keeps from being changed, not Python.

    `dataclass(frozen=True)` sets every field through `object.__setattr__`, which took a sixth of the write path's time.
    """
    return dataclass(slots=True, unsafe_hash=True)(cls)


if TYPE_CHECKING:
    from dataclasses import replace
else:

    def replace(old: T, /, **changes: Any) -> T:
        """`dataclasses.replace` in a third of the time, for a class with two fields or more."""
        read, places = _layout(type(old))
        values = list(read(old))
        for name, new in changes.items():
            values[places[name]] = new
        return type(old)(*values)


@cache
def _layout(cls: type) -> tuple[Any, dict[str, int]]:
    """What reads all fields, and where each of them is among the arguments of the class."""
    names = [each.name for each in fields(cls)]
    return attrgetter(*names), {name: place for place, name in enumerate(names)}
