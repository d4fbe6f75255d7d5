"""What a transaction writes, in one statement where it is little.

A statement is a way to the server and back, which costs more than a few rows do; many rows are cheaper to copy.
`bench/writes.py` compares the two.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from shared.immutable import immutable
from shared.postgres import Connection

FEW = 100
"""Rows that are written in one statement; more are written table by table."""

_ARGUMENT = re.compile(r"\$(\d+)")

Columns = tuple[tuple[str, str], ...]
"""Names and types."""


class Mismatch(Exception):
    """A statement has not changed what it was to change. The rest has happened: the transaction is not to be committed
    where that matters."""


@immutable
class Write:
    """A statement that changes rows and gives none; its arguments are numbered from 1 on, without a gap."""

    statement: str
    arguments: tuple[Any, ...]
    size: int
    """How many rows it is about."""
    exact: bool = False
    """Whether it changes neither more nor fewer; of those that are written together, one may be."""


@immutable
class NewRows:
    """Rows that are not there yet; one that is there is a unique violation."""

    table: str
    columns: Columns
    rows: Sequence[Sequence[Any]]


async def write(connection: Connection, *writes: Write | NewRows | None) -> None:
    """All of them; what is `None`, or has no rows, is left out.

    None sees what another one does, and no row is changed by two. Raises `Mismatch` for the one that is exact.
    """
    wanted = [each for each in writes if each is not None and _size(each)]
    if len(wanted) > 1 and sum(map(_size, wanted)) <= FEW:
        wanted = [_together(list(map(_statement, wanted)))]
    for each in wanted:
        if isinstance(each, NewRows) and len(each.rows) > FEW:
            names = [name for name, _ in each.columns]
            await connection.copy_records_to_table(each.table, records=each.rows, columns=names)
        else:
            await _execute(connection, _statement(each))


def columns_of(rows: Sequence[Sequence[Any]]) -> tuple[list[Any], ...]:
    """The arguments of a statement that takes rows, at least one, by `unnest`."""
    return tuple(map(list, zip(*rows, strict=True)))


def unnested(columns: Columns) -> str:
    """`unnest(…)` of such arguments."""
    return f"unnest({', '.join(f'${number}::{kind}[]' for number, (_, kind) in enumerate(columns, start=1))})"


def names_of(columns: Columns) -> str:
    """As a statement lists them."""
    return ", ".join(name for name, _ in columns)


async def _execute(connection: Connection, each: Write) -> None:
    done = await connection.execute(each.statement, *each.arguments)
    if each.exact and done.rpartition(" ")[2] != str(each.size):
        raise Mismatch(f"{each.size} rows were to be changed: {done}")


def _size(each: Write | NewRows) -> int:
    return len(each.rows) if isinstance(each, NewRows) else each.size


def _statement(each: Write | NewRows) -> Write:
    if isinstance(each, Write):
        return each
    return Write(_insert(each.table, each.columns), columns_of(each.rows), len(each.rows))


def _together(writes: Sequence[Write]) -> Write:
    """The status of a statement is that of its last part."""
    ordered = sorted(writes, key=lambda each: each.exact)
    arguments = tuple(argument for each in ordered for argument in each.arguments)
    text = _joined(tuple((each.statement, len(each.arguments)) for each in ordered))
    return Write(text, arguments, ordered[-1].size, ordered[-1].exact)


@lru_cache(maxsize=1_000)
def _insert(table: str, columns: Columns) -> str:
    names = names_of(columns)
    return f"INSERT INTO {table} ({names}) SELECT * FROM {unnested(columns)} AS new ({names})"


@lru_cache(maxsize=1_000)
def _joined(parts: tuple[tuple[str, int], ...]) -> str:
    texts, taken = [], 0
    for statement, arguments in parts:
        texts.append(_numbered_after(taken, statement))
        taken += arguments
    before = ", ".join(f"write_{number} AS ({text})" for number, text in enumerate(texts[:-1], start=1))
    return f"WITH {before} {texts[-1]}"


def _numbered_after(taken: int, statement: str) -> str:
    return _ARGUMENT.sub(lambda found: f"${int(found[1]) + taken}", statement)
