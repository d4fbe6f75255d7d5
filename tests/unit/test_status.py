"""One value of the status alone, for commands that are copied and pasted."""

import pytest

from deploy.local.problem import RuntimeProblem
from deploy.status import value_at

_STATUS = {"api_key": "tl_test_x", "staff": {"email": "a@b.example"}, "services": [{"name": "apps"}]}


def test_a_value_is_found_by_its_path() -> None:
    assert value_at(_STATUS, "api_key") == "tl_test_x"
    assert value_at(_STATUS, "staff.email") == "a@b.example"


@pytest.mark.parametrize(
    "path", ["", "nothing", "staff", "staff.phone", "api_key.first", "services", "services.0.name"]
)
def test_what_is_no_value_is_said_to_be_none(path: str) -> None:
    with pytest.raises(RuntimeProblem, match="throughline status --json"):
        value_at(_STATUS, path)
