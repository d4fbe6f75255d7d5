"""A published message type never changes so that those who use it would stumble; and `contracts/` is up to date."""

import copy
import json
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
from pydantic import Field

from deploy import generate
from deploy.asyncapi import asyncapi_document
from deploy.compatibility import incompatibilities
from deploy.schemas import message_schema, message_types
from shared.contracts.model import Message, Part
from shared.contracts.topics_messages import MESSAGES_BY_TOPIC

PUBLISHED = sorted((generate.ROOT / "schemas").glob("*.json"))


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_a_published_type_is_still_compatible(path: Path) -> None:
    types = message_types()
    assert path.stem in types, "a published type is gone"
    assert incompatibilities(json.loads(path.read_text()), message_schema(types[path.stem])) == []


def test_everything_generated_is_up_to_date() -> None:
    texts = {name: generate._text(document) for name, document in generate.documents().items()}
    assert generate.out_of_date(generate.ROOT, texts) == []


class Item(Part):
    name: str = Field(max_length=10)
    children: tuple["Item", ...] = ()


class Sample(Message):
    wire_type: ClassVar[str] = "tests.sample.v1"

    sample_id: str = Field(pattern="^[a-z]+$")
    kind: Literal["a", "b"]
    fixed: Literal["x"] = "x"
    amount_minor: int = Field(ge=0, le=100)
    note: str | None = None
    item: Item
    tags: dict[str, str] = {}


def changed(path: str, value: Any) -> dict[str, Any]:
    """The schema of `Sample` with one place changed; `None` removes it."""
    schema = copy.deepcopy(message_schema(Sample))
    *parents, last = path.split("/")
    place = schema
    for parent in parents:
        place = place[parent]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return schema


INCOMPATIBLE = [
    ("properties/note", None, "/note: removed"),
    ("$defs/Item/properties/name", None, "/item/name: removed"),
    ("required", ["sample_id", "kind", "amount_minor", "item", "note"], "/note: required now"),
    ("required", ["sample_id", "kind", "amount_minor", "item", "more"], "/more: new, and required"),
    ("required", ["sample_id", "kind", "amount_minor"], "/item: was always there, and may be missing now"),
    ("properties/amount_minor/type", "string", "/amount_minor: integer became string"),
    ("properties/amount_minor/maximum", 99, "/amount_minor: maximum is 99, was 100"),
    ("properties/amount_minor/minimum", 1, "/amount_minor: minimum is 1, was 0"),
    ("properties/kind/enum", ["a"], "/kind: b no longer accepted"),
    ("properties/kind", {"const": "a", "type": "string"}, "/kind: const is 'a', was 'open'"),
    ("properties/fixed/const", "y", "/fixed: const is 'y', was 'x'"),
    ("properties/fixed/default", "y", "/fixed: default changed"),
    ("properties/sample_id/pattern", "^[a-c]+$", "/sample_id: pattern is '^[a-c]+$', was '^[a-z]+$'"),
    ("properties/note", {"type": "string", "default": None}, "/note: null is no longer accepted"),
    ("properties/note/anyOf", [{"type": "null"}], "/note: string is no longer accepted"),
    ("properties/tags/additionalProperties", {"type": "integer"}, "/tags/additionalProperties: string became integer"),
    ("$defs/Item/properties/name/maxLength", 9, "/item/name: maxLength is 9, was 10"),
    ("$defs/Item/properties/children/maxItems", 3, "/item/children: maxItems is 3, was open"),
]
COMPATIBLE = [
    ("properties/more", {"type": "string", "default": ""}),
    ("properties/amount_minor/maximum", 101),
    ("properties/amount_minor/minimum", None),
    ("properties/amount_minor/type", "number"),
    ("properties/kind/enum", ["a", "b", "c"]),
    ("properties/note/anyOf", [{"type": "string"}, {"type": "null"}, {"type": "integer"}]),
    ("properties/sample_id/pattern", None),
    ("properties/sample_id/description", "A text."),
    ("$defs/Item/properties/name/maxLength", 11),
    ("title", "Renamed"),
]


@pytest.mark.parametrize(("path", "value", "problem"), INCOMPATIBLE)
def test_an_incompatible_change_is_found(path: str, value: Any, problem: str) -> None:
    assert problem in incompatibilities(message_schema(Sample), changed(path, value))


@pytest.mark.parametrize(("path", "value"), COMPATIBLE)
def test_a_compatible_change_is_fine(path: str, value: Any) -> None:
    assert incompatibilities(message_schema(Sample), changed(path, value)) == []


def test_an_incompatible_change_is_not_written(tmp_path: Path) -> None:
    published = {"schemas/tests.sample.v1.json": message_schema(Sample)}
    generate.write(tmp_path, {name: generate._text(document) for name, document in published.items()})
    now = {"schemas/tests.sample.v1.json": changed("properties/note", None)}
    assert generate.breaking_changes(tmp_path, published) == []
    assert generate.breaking_changes(tmp_path, now) == ["tests.sample.v1: /note: removed"]
    assert generate.breaking_changes(tmp_path, {}) == ["tests.sample.v1: the type is gone"]


def test_the_report_names_files_and_lines(tmp_path: Path) -> None:
    generate.write(tmp_path, {"a.json": '{"x": 1}\n', "old.json": "{}\n"})
    report = generate.out_of_date(tmp_path, {"a.json": '{"x": 2}\n', "new/b.json": "{}\n"})
    assert report == [
        "old.json: should not be there",
        "a.json: out of date",
        "    @@ -1 +1 @@",
        '    -{"x": 1}',
        '    +{"x": 2}',
        "new/b.json: missing",
    ]
    generate.write(tmp_path, {"new/b.json": "{}\n"})
    assert [path.name for path in tmp_path.rglob("*.json")] == ["b.json"]


def test_asyncapi_refers_only_to_what_exists() -> None:
    document = asyncapi_document("1")
    payloads = {message["payload"].get("$ref") for message in document["components"]["messages"].values()} - {None}
    assert payloads == {f"schemas/{model.wire_type}.json" for models in MESSAGES_BY_TOPIC.values() for model in models}
    for channel in document["channels"].values():
        for reference in channel["messages"].values():
            assert reference["$ref"].removeprefix("#/components/messages/") in document["components"]["messages"]
