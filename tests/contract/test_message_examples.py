"""Stored examples of every message type: whatever was ever sent can still be read, and nothing of it gets lost."""

import json
from pathlib import Path

import pytest

from deploy.schemas import message_types

EXAMPLES = Path(__file__).parent / "examples"
STORED = [
    (path.stem, number)
    for path in sorted(EXAMPLES.glob("*.json"))
    for number in range(len(json.loads(path.read_text())))
]


def test_every_type_has_an_example() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.json")} == set(message_types())


@pytest.mark.parametrize(("wire_type", "number"), STORED)
def test_a_stored_example_is_read_whole(wire_type: str, number: int) -> None:
    example = json.loads((EXAMPLES / f"{wire_type}.json").read_text())[number]
    message = message_types()[wire_type].model_validate_json(json.dumps(example))
    assert message.model_dump(mode="json", exclude_unset=True) == example
