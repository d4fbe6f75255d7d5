"""Committed rows, found by their keys."""

from bisect import bisect_left, insort
from collections.abc import Callable, Hashable, Iterable, Sequence
from operator import itemgetter
from typing import Any

Values = dict[str, Any]
"""One row, never changed in place."""
Key = Hashable


class Index:
    """Primary keys of rows by what `of` gives for each; where that is None, the row is not in it."""

    def __init__(self, of: Callable[[Values], Hashable]) -> None:
        self.of = of
        self._keys: dict[Hashable, dict[Key, None]] = {}

    def keys(self, value: Hashable) -> Iterable[Key]:
        return self._keys.get(value, ())

    def values(self) -> set[Hashable]:
        """All that rows have."""
        return set(self._keys)

    def change(self, key: Key, before: Values | None, after: Values | None) -> None:
        """The row is another, or is new or gone."""
        old = None if before is None else self.of(before)
        new = None if after is None else self.of(after)
        if old == new:
            return
        if old is not None:
            keys = self._keys[old]
            del keys[key]
            if not keys:
                del self._keys[old]
        if new is not None:
            self._keys.setdefault(new, {})[key] = None


class Ordered(Index):
    """Sorted by these columns too, which no two rows share."""

    def __init__(self, of: Callable[[Values], Hashable], columns: str) -> None:
        super().__init__(of)
        self.place: Callable[[Values], Any] = itemgetter(*columns.split())
        self._lines: dict[Hashable, list[tuple[Any, Key]]] = {}

    def keys(self, value: Hashable) -> Iterable[Key]:
        return (key for _, key in self._lines.get(value, ()))

    def values(self) -> set[Hashable]:
        return set(self._lines)

    def change(self, key: Key, before: Values | None, after: Values | None) -> None:
        if before is not None and (old := self.of(before)) is not None:
            line = self._lines[old]
            del line[bisect_left(line, (self.place(before), key))]
            if not line:
                del self._lines[old]
        if after is not None and (new := self.of(after)) is not None:
            insort(self._lines.setdefault(new, []), (self.place(after), key))


class Table:
    """Committed rows by primary key, found by further keys too.

    `indexes` give a row's key, None where it has none; no two rows have the same key in a `unique` one.
    """

    def __init__(
        self,
        name: str,
        columns: str,
        key: str,
        *,
        indexes: dict[str, Callable[[Values], Hashable] | Index] | None = None,
        unique: Sequence[str] = (),
        defaults: dict[str, Callable[[], Any]] | None = None,
    ) -> None:
        self.name = name
        self.columns = tuple(columns.split())
        self.key_columns = tuple(key.split())
        self.key: Callable[[Values], Key] = itemgetter(*self.key_columns)
        self.indexes = {name: of if isinstance(of, Index) else Index(of) for name, of in (indexes or {}).items()}
        self.unique = unique
        self.defaults = defaults or {}
        self.rows: dict[Key, Values] = {}
        self._empty: Values = dict.fromkeys(self.columns)

    def row(self, given: Values) -> Values:
        """A whole row, with what the table itself adds."""
        row = self._empty | given
        assert len(row) == len(self.columns), f"{self.name} has no such column"
        for name, default in self.defaults.items():
            row[name] = default()
        return row

    def found(self, index: str, value: Hashable) -> list[Key]:
        """Keys of committed rows."""
        return list(self.indexes[index].keys(value))

    def apply(self, key: Key, row: Values | None) -> None:
        """A committed write; None removes."""
        if self.indexes:
            before = self.rows.get(key)
            for index in self.indexes.values():
                index.change(key, before, row)
        if row is None:
            self.rows.pop(key, None)
        else:
            self.rows[key] = row
