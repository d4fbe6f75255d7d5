"""Data that nobody can change."""

import dataclasses
from collections.abc import Mapping
from dataclasses import field
from typing import Any, Generic, TypeVar

import pytest

from shared.immutable import immutable, replace

T = TypeVar("T")


@immutable
class Seal(Generic[T]):
    """What is sealed, and with what words."""

    content: T
    words: Mapping[str, str] = field(default_factory=dict)
    count: int = 1

    @property
    def twice(self) -> int:
        return self.count * 2


class Named(Seal[str]):
    """One of a kind."""


def test_nothing_of_it_can_be_changed_or_added() -> None:
    seal: Any = Seal("letter")
    for name in ("content", "count", "other"):
        with pytest.raises(AttributeError):
            setattr(seal, name, 2)
    assert seal == Seal("letter", {}, 1)


def test_a_replaced_one_is_another_of_its_kind() -> None:
    seal = Named("letter", count=3)
    after = replace(seal, content="box")
    assert (seal.content, after, after.twice) == ("letter", Named("box", count=3), 6)
    assert after != Seal("box", count=3)
    assert dataclasses.replace(seal, content="box") == after


def test_what_there_is_by_default_is_not_shared() -> None:
    first, second = Seal(1), Seal(1)
    assert first.words is not second.words


def test_fields_stand_in_the_order_in_which_they_are_written() -> None:
    assert dataclasses.astuple(Seal("letter", count=2)) == ("letter", {}, 2)
    assert Named.__doc__ == "One of a kind."
    assert Seal.__module__ == __name__
