"""The document that clients and generators read: complete, and its examples are true."""

from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from deploy.generate import documents
from shared.http.merging import merge_openapi

Json = dict[str, Any]


@pytest.fixture(scope="module")
def document() -> Json:
    return merge_openapi(*(one for path, one in documents().items() if path.startswith("openapi/")))


def operations(document: Json) -> Iterator[tuple[str, Json]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield f"{method.upper()} {path}", operation


def test_it_is_valid_and_names_each_operation_once(document: Json) -> None:
    validate(document)  # also refuses an operationId that is used twice
    names = {operation["operationId"] for _, operation in operations(document)}
    assert {"createOrder", "readOrder", "listOrders", "takeChannelEvents", "rotateChannelCredentials"} <= names


def test_every_operation_is_in_a_group_that_says_what_it_is(document: Json) -> None:
    groups = {tag["name"]: tag["description"] for tag in document["tags"]}
    assert next(iter(groups)) == "Orders"
    assert all(groups.values())
    for name, operation in operations(document):
        assert set(operation["tags"]) <= set(groups), name
        assert operation["summary"], name


def test_every_part_of_a_path_is_explained(document: Json) -> None:
    for name, operation in operations(document):
        for parameter in operation["parameters"]:
            assert parameter["in"] != "path" or parameter.get("description"), (name, parameter["name"])


def test_examples_are_what_their_schemas_say(document: Json) -> None:
    shown = {name: schema for name, schema in document["components"]["schemas"].items() if "examples" in schema}
    assert {"CreateOrderRequest", "OrderView", "CloudEvent", "CloudEventBatch", "ChannelView"} <= set(shown)
    for name, schema in shown.items():
        validator = Draft202012Validator({**schema, "components": document["components"]})
        for example in schema["examples"]:
            assert [error.message for error in validator.iter_errors(example)] == [], name


def test_channel_events_may_be_sent_in_three_ways(document: Json) -> None:
    content = document["paths"]["/v1/channel-events"]["post"]["requestBody"]["content"]
    assert {media_type: body["schema"]["$ref"].rpartition("/")[2] for media_type, body in content.items()} == {
        "application/cloudevents+json": "CloudEvent",
        "application/cloudevents-batch+json": "CloudEventBatch",
        "application/json": "ChannelPayment",
    }


def test_what_may_take_longer_says_so(document: Json) -> None:
    assert {"201", "202"} <= set(document["paths"]["/v1/channels"]["post"]["responses"])
    removal = document["paths"]["/v1/channels/{channel_id}"]["delete"]["responses"]
    assert "content" not in removal["204"]
    assert "content" in removal["202"]
