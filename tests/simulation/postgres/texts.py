"""Statements as texts: the one by which each is known, and those that were joined to one."""

import re
from collections.abc import Iterator


def normal(statement: str) -> str:
    """The text by which a statement is known."""
    return " ".join(statement.split())


def joined_in(text: str) -> list[tuple[str, slice]]:
    """The statements that `shared.writes` has joined to one, if it has, and which of the arguments each takes."""
    if not text.startswith("WITH write_1 AS ("):
        return []
    parts = []
    for statement in _split(text.removeprefix("WITH ")):
        numbers = [int(number) for number in re.findall(r"\$(\d+)", statement)]
        taken = slice(min(numbers) - 1, max(numbers))
        parts.append((normal(_numbered_from_one(statement, taken.start)), taken))
    return parts


def _numbered_from_one(statement: str, before: int) -> str:
    return re.sub(r"\$(\d+)", lambda at: f"${int(at[1]) - before}", statement)


def _split(rest: str) -> Iterator[str]:
    while head := re.match(r"write_\d+ AS \(", rest):
        end, depth = head.end(), 1
        while depth:
            depth += {"(": 1, ")": -1}.get(rest[end], 0)
            end += 1
        yield rest[head.end() : end - 1]
        rest = rest[end:].lstrip(", ")
    yield rest
