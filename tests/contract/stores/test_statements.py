"""That nothing the simulation takes a statement to mean is unproved."""

from pathlib import Path

import pytest

from tests.contract.stores.store import EXECUTED
from tests.simulation.postgres.client import Statements
from tests.simulation.postgres.statements import STATEMENTS


def _unproved(known: Statements, executed: set[str]) -> list[str]:
    forms = [form.pattern for form in known.by_form if not any(map(form.fullmatch, executed))]
    return [text for text in known.by_text if text not in executed] + forms


@pytest.mark.servers
@pytest.mark.parametrize("where", ["memory", "postgresql"])
@pytest.mark.parametrize("service", list(STATEMENTS))
def test_every_statement_is_proved(request: pytest.FixtureRequest, service: str, where: str) -> None:
    """Runs last, when the suites have run their statements; says nothing when only some of them did."""
    suites = {path.name for path in Path(__file__).parent.glob("test_*.py")}
    if suites - {item.path.name for item in request.session.items} or request.config.option.keyword:
        pytest.skip("not all suites were run")
    assert _unproved(STATEMENTS[service], EXECUTED[where]) == []
