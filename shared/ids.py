"""Identifiers: a type prefix, an underscore and a ULID, so that they say what they name and sort by time."""

from typing import Protocol

from ulid import ULID


class IdMaker(Protocol):
    """Makes a new identifier with the given prefix; rules get ids as arguments and never make them."""

    def __call__(self, prefix: str) -> str: ...


def new_id(prefix: str) -> str:
    """A fresh identifier, unique everywhere: `new_id("ord")` is like `ord_01K…`."""
    return f"{prefix}_{ULID()}"
