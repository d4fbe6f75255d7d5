"""Several services' OpenAPI documents as one, and one document for viewers that know only OpenAPI 3.0."""

from copy import deepcopy
from typing import Any

Json = dict[str, Any]
_PREFIX = "#/components/schemas/"


def merge_openapi(*documents: Json, title: str = "Throughline API") -> Json:
    """One document with every path; schemas that share a name but not a meaning are told apart by a number."""
    merged: Json = {
        "openapi": "3.1.0",
        "info": {"title": title, "version": ""},
        "tags": [],
        "paths": {},
        "components": {},
    }
    for document in documents:
        merged["info"] = document.get("info", {}) | {"title": title}
        _add(merged, _renamed(document, merged["components"].get("schemas", {})))
    merged["paths"] = dict(sorted(merged["paths"].items()))
    return merged


def as_openapi_30(document: Json) -> Json:
    """The same API in OpenAPI 3.0's words; what those cannot say (a fixed tuple's items) becomes less exact."""
    converted: Json = _older(document)
    converted["openapi"] = "3.0.3"
    return converted


def _add(merged: Json, document: Json) -> None:
    for path, item in document.get("paths", {}).items():
        merged["paths"].setdefault(path, {}).update(item)
    for kind, members in document.get("components", {}).items():
        merged["components"].setdefault(kind, {}).update(members)
    merged["tags"] += [tag for tag in document.get("tags", ()) if tag not in merged["tags"]]
    if "security" in document:
        merged["security"] = document["security"]


def _renamed(document: Json, taken: Json) -> Json:
    schemas = document.get("components", {}).get("schemas", {})
    names = {name: _free(name, taken) for name, schema in schemas.items() if taken.get(name, schema) != schema}
    if not names:
        return document
    renamed: Json = _with_references(deepcopy(document), names)
    own = renamed["components"]["schemas"]
    renamed["components"]["schemas"] = {names.get(name, name): schema for name, schema in own.items()}
    return renamed


def _free(name: str, taken: Json) -> str:
    number = 2
    while f"{name}{number}" in taken:
        number += 1
    return f"{name}{number}"


def _with_references(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _with_references(inner, names) for key, inner in value.items()}
    if isinstance(value, list):
        return [_with_references(inner, names) for inner in value]
    if isinstance(value, str) and value.startswith(_PREFIX):
        name = value.removeprefix(_PREFIX)
        return _PREFIX + names.get(name, name)
    return value


def _older(value: Any) -> Any:
    if isinstance(value, list):
        return [_older(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    if set(value) >= {"properties"} and isinstance(value["properties"], dict):
        value = value | {"properties": {name: _older(inner) for name, inner in value["properties"].items()}}
        rest = {key: _older(inner) for key, inner in value.items() if key != "properties"}
        return _older_schema(rest | {"properties": value["properties"]})
    return _older_schema({key: _older(inner) for key, inner in value.items()})


def _older_schema(schema: Json) -> Json:
    """One schema's keywords; its parts are converted already. A name of a property is no keyword, so names are kept."""
    schema = _nullable(schema)
    if "const" in schema:
        schema["enum"] = [schema.pop("const")]
    for limit, flag in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if isinstance(schema.get(flag), int | float) and not isinstance(schema.get(flag), bool):
            schema |= {limit: schema[flag], flag: True}
    if isinstance(schema.get("examples"), list):
        schema["example"] = schema.pop("examples")[0]
    schema.pop("prefixItems", None)
    schema.pop("propertyNames", None)
    return schema


def _nullable(schema: Json) -> Json:
    for union in ("anyOf", "oneOf"):
        members = schema.get(union)
        if isinstance(members, list) and {"type": "null"} in members:
            others = [member for member in members if member != {"type": "null"}]
            rest = {key: inner for key, inner in schema.items() if key != union} | {"nullable": True}
            return rest | ({"allOf": others} if len(others) == 1 else {union: others})
    return schema
