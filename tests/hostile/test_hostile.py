"""A few thousand hostile messages and a thousand requests; `make hostile` sends a million and a hundred thousand."""

import json
from pathlib import Path

import pytest

from tests.hostile.run import run

MESSAGES, REQUESTS, SEED = 3_000, 1_000, 11

pytestmark = pytest.mark.servers


@pytest.mark.timeout(600)
async def test_hostile_input_stops_nothing_and_everything_is_accounted_for(tmp_path: Path) -> None:
    found = await run(tmp_path, MESSAGES, REQUESTS, SEED, lambda _, __: None)
    assert found["kafka"]["wrong"] == {}
    assert found["kafka"]["messages"] >= MESSAGES
    assert found["kafka"]["counts"]["orders with known money"] > MESSAGES / 200
    assert json.dumps(found["http"]["failures"], indent=1) == "[]"
    assert (found["http"]["server_errors"], found["http"]["unanswered"]) == (0, 0)
    assert found["http"]["requests"] >= REQUESTS
