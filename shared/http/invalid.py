"""What is wrong with a request, in the client's terms: the path of each field in what was sent, and a stable code."""

import re
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails, from_json

from shared.http.problems import Problem

MOST_ERRORS = 20
"""More than anybody reads; a body of a megabyte can hold a hundred thousand."""
_LONGEST_PARAM = 200
_SUBJECT = re.compile(r"^(Input|String|Number|Value|List|Tuple|Dictionary|Object) should")

_TOO_LARGE = ("less_than", "less_than_equal", "int_parsing_size")
_RANGE_WORDS = ("too_long", "too_short", "less_than", "greater_than", "int_parsing_size")


def problem_for_invalid(error: ValidationError, raw: bytes) -> Problem:
    """The problem for what a model refused in `raw`.

    Unknown fields come first: a misspelt field shows both as unknown and as missing, and the first says why.
    """
    found = error.errors(include_url=False, include_context=False)
    if found[0]["type"] == "json_invalid":
        return Problem("MALFORMED_JSON", f"The body is not JSON: {_text(found[0])}.")
    document = from_json(raw)
    errors = _without_repeats([_described(item, document) for item in found])
    errors.sort(key=lambda item: _ORDER.get(item["code"], len(_ORDER)))
    first = errors[0]
    code = first["code"] if first["code"] in _ORDER else "VALIDATION_FAILED"
    return Problem(code, _sentence(first), param=first["param"] or None, errors=errors[:MOST_ERRORS])


_ORDER = {"UNKNOWN_FIELD": 0, "AMOUNT_TOO_LARGE": 1}


def _described(item: ErrorDetails, document: object) -> dict[str, str]:
    path = _path(item["loc"], item["type"], document)
    param = ".".join(map(str, path))[:_LONGEST_PARAM]
    return {"param": param, "code": _code(item, path), "detail": _text(item)}


def _code(item: ErrorDetails, path: Sequence[int | str]) -> str:
    kind = item["type"]
    if kind == "extra_forbidden":
        return "UNKNOWN_FIELD"
    if kind == "missing":
        return "REQUIRED"
    if kind in _TOO_LARGE and path and str(path[-1]).endswith(("amount", "amount_minor")):
        return "AMOUNT_TOO_LARGE"
    if any(word in kind for word in _RANGE_WORDS):
        return "OUT_OF_RANGE"
    return "WRONG_TYPE" if kind.endswith("_type") else "INVALID_VALUE"


def _path(loc: Sequence[int | str], kind: str, document: object) -> list[int | str]:
    """The steps of `loc` that exist in the document; the others are names of a union's members."""
    path: list[int | str] = []
    here: Any = document
    for position, step in enumerate(loc):
        last = position == len(loc) - 1
        if _has(here, step):
            here = here[step]
            path.append(step)
        elif last and kind == "missing":
            path.append(step)
    return path


def _has(container: object, step: int | str) -> bool:
    if isinstance(container, dict):
        return step in container
    return isinstance(container, list) and isinstance(step, int) and step < len(container)


def _text(item: ErrorDetails) -> str:
    text = item["msg"]
    for prefix in ("Value error, ", "Assertion failed, ", "Invalid JSON: "):
        text = text.removeprefix(prefix)
    if item["type"] == "extra_forbidden":
        return "This field is not known here"
    return _SUBJECT.sub("Must", text)


def _sentence(described: dict[str, str]) -> str:
    where = f"{described['param']}: " if described["param"] else ""
    return f"{where}{described['detail']}."


def _without_repeats(errors: list[dict[str, str]]) -> list[dict[str, str]]:
    """One line for a field: each member of a union that does not fit has an opinion of its own."""
    first: dict[tuple[str, bool], dict[str, str]] = {}
    for item in errors:
        first.setdefault((item["param"], item["code"] == "UNKNOWN_FIELD"), item)
    return list(first.values())
