"""Whether a published message type may change like that: what was valid stays valid, and means the same.

Fields may be added with defaults, limits widened, alternatives added. Everything else is a new type beside the old one.
"""

from collections.abc import Callable, Iterator
from typing import Any

Json = dict[str, Any]

_LOWER_BOUNDS = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_UPPER_BOUNDS = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_EXACT = ("const", "pattern", "format", "multipleOf", "uniqueItems")
_NO_DEFAULT = object()


def incompatibilities(old: Json, new: Json) -> list[str]:
    """What a reader or a writer of the old schema would stumble over, each with the path of the field."""
    return list(dict.fromkeys(_Comparison(old, new).differences(old, new, "")))


class _Comparison:
    def __init__(self, old_root: Json, new_root: Json) -> None:
        self._old_root, self._new_root = old_root, new_root
        self._under_way: set[tuple[str, str]] = set()

    def differences(self, old: Json, new: Json, path: str) -> Iterator[str]:
        """Recursive types end where the same two definitions are already being compared."""
        pair = (str(old.get("$ref")), str(new.get("$ref")))
        if "$ref" in old and "$ref" in new:
            if pair in self._under_way:
                return
            self._under_way.add(pair)
        default = old.get("default", _NO_DEFAULT)
        if default is not _NO_DEFAULT and new.get("default", _NO_DEFAULT) != default:
            yield f"{path or '/'}: default changed"
        yield from self._without_defaults(_resolved(old, self._old_root), _resolved(new, self._new_root), path)
        self._under_way.discard(pair)

    def _without_defaults(self, old: Json, new: Json, path: str) -> Iterator[str]:
        if "anyOf" in old or "anyOf" in new:
            yield from self._alternatives(_alternatives(old), _alternatives(new), path)
            return
        yield from _types(old, new, path)
        yield from _limits(old, new, path)
        yield from self._fields(old, new, path)
        for keyword in ("items", "additionalProperties", "propertyNames"):
            yield from self._nested(old.get(keyword), new.get(keyword), f"{path}/{keyword}")

    def _alternatives(self, old: list[Json], new: list[Json], path: str) -> Iterator[str]:
        """Every old alternative is covered by a new one; where there is one candidate, its own differences are told."""
        for one in old:
            candidates = [
                other for other in new if self._kind(one, self._old_root) == self._kind(other, self._new_root)
            ]
            found = [list(self.differences(one, other, path)) for other in candidates]
            if not found:
                yield f"{path or '/'}: {self._kind(one, self._old_root)} is no longer accepted"
            elif all(found):
                yield from min(found, key=len)

    def _kind(self, schema: Json, root: Json) -> str:
        resolved = _resolved(schema, root)
        return str(resolved.get("type", resolved.get("title", "value")))

    def _fields(self, old: Json, new: Json, path: str) -> Iterator[str]:
        before, after = old.get("properties", {}), new.get("properties", {})
        needed_before, needed_after = set(old.get("required", ())), set(new.get("required", ()))
        for name, schema in before.items():
            if name not in after:
                yield f"{path}/{name}: removed"
                continue
            if name in needed_before - needed_after:
                yield f"{path}/{name}: was always there, and may be missing now"
            if name in needed_after - needed_before:
                yield f"{path}/{name}: required now"
            yield from self.differences(schema, after[name], f"{path}/{name}")
        yield from (f"{path}/{name}: new, and required" for name in sorted(needed_after - before.keys()))

    def _nested(self, old: Any, new: Any, path: str) -> Iterator[str]:
        if isinstance(new, dict):
            yield from self.differences(old if isinstance(old, dict) else {}, new, path)
        elif new is False and old is not False:
            yield f"{path}: no longer accepted"


def _resolved(schema: Json, root: Json) -> Json:
    reference = schema.get("$ref")
    if reference is None:
        return schema
    definition: Json = root["$defs"][reference.removeprefix("#/$defs/")]
    return {**definition, **{key: value for key, value in schema.items() if key != "$ref"}}


def _alternatives(schema: Json) -> list[Json]:
    found: list[Json] = schema.get("anyOf", [schema])
    return found


def _types(old: Json, new: Json, path: str) -> Iterator[str]:
    before, after = old.get("type"), new.get("type")
    if after is not None and before != after and (before, after) != ("integer", "number"):
        yield f"{path or '/'}: {before or 'anything'} became {after}"
    if "enum" in new:
        gone = [value for value in old.get("enum", ()) if value not in new["enum"]]
        if gone or "enum" not in old:
            yield f"{path or '/'}: {', '.join(map(str, gone)) or 'other values'} no longer accepted"


def _limits(old: Json, new: Json, path: str) -> Iterator[str]:
    tightened: Callable[[Any, Any], bool]
    for keywords, tightened in ((_LOWER_BOUNDS, lambda a, b: b > a), (_UPPER_BOUNDS, lambda a, b: b < a)):
        for keyword in keywords:
            if keyword in new and (keyword not in old or tightened(old[keyword], new[keyword])):
                yield f"{path or '/'}: {keyword} is {new[keyword]}, was {old.get(keyword, 'open')}"
    for keyword in _EXACT:
        if keyword in new and new[keyword] != old.get(keyword):
            yield f"{path or '/'}: {keyword} is {new[keyword]!r}, was {old.get(keyword, 'open')!r}"
