"""The WHERE of a list: only the conditions that were asked for, with numbered arguments."""

from collections.abc import Sequence
from typing import Any

Given = tuple[str, tuple[Any, ...] | None]
"""A condition with one `{}` for each of its values; without values it is left out."""


def where(given: Sequence[Given]) -> tuple[str, list[Any]]:
    """The conditions joined by AND (`true` without any), and the arguments that their numbers refer to."""
    conditions: list[str] = []
    arguments: list[Any] = []
    for condition, values in given:
        if values is not None:
            numbers = (f"${len(arguments) + index}" for index in range(1, len(values) + 1))
            conditions.append(condition.format(*numbers))
            arguments.extend(values)
    return " AND ".join(conditions) or "true", arguments


def value(given: Any) -> tuple[Any] | None:
    """The values of a condition on something that may not have been asked for."""
    return None if given is None else (given,)
