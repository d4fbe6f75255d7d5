"""Data that messages and commands make many of: nobody can change it, and it is made fast."""

from typing import TYPE_CHECKING, TypeVar, cast, dataclass_transform

from msgspec import Struct, StructMeta, field

__all__ = ["astuple", "field", "immutable", "replace"]

T = TypeVar("T")

_OF_EVERY_CLASS = ("__dict__", "__weakref__")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def immutable(cls: type[T]) -> type[T]:
    """A frozen dataclass, made and compared in C (`msgspec.Struct`), as is a class that inherits from one.

    Python's own `dataclass(frozen=True)` sets every field through `object.__setattr__`, which took a sixth of the write
    path's time.
    """
    if issubclass(cls, Struct):
        return cls
    body = {name: value for name, value in vars(cls).items() if name not in _OF_EVERY_CLASS}
    bases = (Struct, *(base for base in cls.__bases__ if base is not object))
    return cast(type[T], StructMeta(cls.__name__, bases, body, frozen=True))


if TYPE_CHECKING:
    from dataclasses import astuple, replace
else:
    from msgspec.structs import astuple, replace
