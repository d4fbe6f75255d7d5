"""The simulation finds nothing in the services as they are, everything that is planted, and the same thing twice."""

import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from tests.simulation.app_bugs import APP_BUGS
from tests.simulation.bugs import BUGS, Bug
from tests.simulation.faults import AWAY, Fault
from tests.simulation.intent_bugs import INTENT_BUGS
from tests.simulation.life import Story
from tests.simulation.models import RACES
from tests.simulation.plan import Plan, abandoned, plan_of, unanswered
from tests.simulation.return_bugs import RETURN_BUGS
from tests.simulation.run import Outcome, run
from tests.simulation.shrink import shrink
from tests.simulation.stories.buyers import paid_some_time
from tests.simulation.stories.races import beside_a_channel

ROOT = Path(__file__).parents[2]
LIFECYCLES = 200
APP_LIFECYCLES = 60
"""Of runs with the apps service, which sends several messages for each of the others'."""
INTENT_LIFECYCLES = 100
"""Of runs with an acquirer, which payments are asked for by requests."""
RACED_LIFECYCLES = 30
AWAY_LIFECYCLES = 60
RUNS, APP_RUNS, INTENT_RUNS, RETURN_RUNS, AWAY_RUNS = 15, 8, 8, 6, 3
MOST_SEEDS = 20
"""A planted bug must show within so many runs."""
MOST_INTENT_SEEDS = 50
"""A cancel that meets a completed payment is rare: the first run with one is that of seed 23. So is a look-up that
cannot be sent, of what somebody asked who died: the first run that shows it is that of seed 46."""

_found: dict[str, tuple[int, str]] = {}


def _words(outcome: Outcome) -> list[str]:
    return [str(finding) for finding in outcome.findings]


@pytest.mark.parametrize("seed", range(1, RUNS + 1))
def test_nothing_is_found(seed: int) -> None:
    assert _words(run(plan_of(seed, LIFECYCLES, intents=False))) == []


@pytest.mark.parametrize("seed", range(101, 101 + APP_RUNS))
def test_nothing_is_found_beside_the_apps_service(seed: int) -> None:
    assert _words(run(plan_of(seed, APP_LIFECYCLES, apps=True, intents=False))) == []


@pytest.mark.parametrize("seed", range(201, 201 + INTENT_RUNS))
def test_nothing_is_found_beside_an_acquirer(seed: int) -> None:
    assert _words(run(plan_of(seed, INTENT_LIFECYCLES, apps=False, intents=True))) == []


@pytest.mark.parametrize("story", RACES, ids=lambda story: story.__name__)
@pytest.mark.parametrize("seed", [301, 302])
def test_what_others_lost_or_doubled_money_by_holds(story: Story, seed: int) -> None:
    plan = plan_of(seed, RACED_LIFECYCLES, apps=False, intents=True)
    assert _words(run(replace(plan, story=story))) == []


@pytest.mark.parametrize("kind", AWAY)
@pytest.mark.parametrize("seed", range(501, 501 + AWAY_RUNS))
def test_whoever_pays_while_something_is_away_for_a_minute_waits_and_has_paid(kind: str, seed: int) -> None:
    outcome = run(_away(kind, seed))
    assert _words(outcome) == []
    assert outcome.answers[202] >= AWAY_LIFECYCLES // 4
    assert outcome.answers.keys() <= {200, 202, 404, 503}


def _away(kind: str, seed: int) -> Plan:
    """Each buyer pays at some moment, most of them while nothing can be collected."""
    plan, lasts_s = plan_of(seed, AWAY_LIFECYCLES, apps=False, intents=True), 61.0 + seed % 60
    return replace(plan, story=paid_some_time, faults=(Fault(5.0, kind, 0, lasts_s, 0.0),))


@pytest.mark.parametrize("seed", range(601, 601 + AWAY_RUNS))
def test_what_somebody_asked_before_it_died_is_looked_up_until_it_is_known(seed: int) -> None:
    assert _words(run(_unanswered(seed))) == []


def _unanswered(seed: int) -> Plan:
    plan = plan_of(seed, INTENT_LIFECYCLES, apps=False, intents=True)
    return replace(plan, faults=unanswered(seed, plan.within_s, plan.services))


@pytest.mark.parametrize("seed", range(701, 701 + AWAY_RUNS))
def test_what_was_begun_before_a_lease_ended_is_known_in_the_end(seed: int) -> None:
    assert _words(run(_abandoned(seed))) == []


def _abandoned(seed: int) -> Plan:
    """Beside a channel that collects as well."""
    plan = plan_of(seed, RACED_LIFECYCLES, apps=False, intents=True)
    return replace(plan, story=beside_a_channel if seed % 2 else None, faults=abandoned(seed, plan.within_s))


@pytest.mark.parametrize("seed", range(401, 401 + RETURN_RUNS))
def test_what_is_overdue_goes_back_once(seed: int) -> None:
    assert _words(run(_returns(seed))) == []


def _returns(seed: int) -> Plan:
    """A channel collects beside the intents of a run, so that some is too much, and goes back at once."""
    plan = plan_of(seed, RACED_LIFECYCLES, apps=False, intents=True)
    return replace(plan, story=beside_a_channel, overdue=True)


@pytest.mark.parametrize(("apps", "intents"), [(False, False), (True, False), (False, True)])
def test_a_seed_repeats_itself_whatever_the_hashes_are(apps: bool, intents: bool) -> None:
    services = f"apps={apps}, intents={intents}"
    imports = "from tests.simulation.plan import plan_of; from tests.simulation.run import run"
    script = f"{imports}; print(run(plan_of(5, 60, {services})).trace)"
    here = run(plan_of(5, 60, apps=apps, intents=intents)).trace
    for hash_seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": hash_seed}
        found = subprocess.run(
            [sys.executable, "-c", script],
            env=environment,
            cwd=Path(__file__).parents[2],
            capture_output=True,
            check=True,
        )
        assert found.stdout.decode().split() == [here]


def test_seeds_differ() -> None:
    assert len({run(plan_of(seed, 20)).trace for seed in range(5)}) == 5


@pytest.mark.parametrize("name", BUGS)
def test_a_planted_bug_is_found(name: str) -> None:
    _find(name, BUGS[name], _plans(LIFECYCLES))


@pytest.mark.parametrize("name", APP_BUGS)
def test_a_bug_planted_into_the_apps_service_is_found(name: str) -> None:
    _find(name, APP_BUGS[name], _plans(APP_LIFECYCLES, apps=True))


@pytest.mark.parametrize("name", INTENT_BUGS)
def test_a_bug_planted_into_intents_is_found(name: str) -> None:
    shown_by = {
        "a_look_up_that_is_not_sent_is_an_answer": _unanswered,
        "a_processor_is_asked_on_a_lease_that_has_ended": _abandoned,
    }
    anything = _plans(INTENT_LIFECYCLES, intents=True, seeds=MOST_INTENT_SEEDS)
    plans = map(shown_by[name], range(1, MOST_INTENT_SEEDS + 1)) if name in shown_by else anything
    _find(name, INTENT_BUGS[name], plans)


@pytest.mark.parametrize("name", RETURN_BUGS)
def test_a_bug_planted_into_what_goes_back_is_found(name: str) -> None:
    _find(name, RETURN_BUGS[name], map(_returns, range(1, MOST_SEEDS + 1)))


def _plans(lifecycles: int, *, apps: bool = False, intents: bool = False, seeds: int = MOST_SEEDS) -> Iterator[Plan]:
    return (plan_of(seed, lifecycles, apps=apps, intents=intents) for seed in range(1, seeds + 1))


def _find(name: str, bug: Bug, plans: Iterable[Plan]) -> None:
    for number, plan in enumerate(plans, start=1):
        with bug():
            outcome = run(plan)
        if outcome.findings:
            _found[name] = (number, _words(outcome)[0])
            return
    pytest.fail("not found")


def test_how_soon_bugs_are_found(capsys: pytest.CaptureFixture[str]) -> None:
    """Printed, and never later than it may be."""
    table = Table("planted", "run", "first finding", title="Planted bugs, and the first run that shows them")
    for name, (seed, words) in _found.items():
        table.add_row(name, str(seed), words[:100])
    with capsys.disabled():
        Console(width=180).print("\n", table)
    assert all(seed <= (MOST_INTENT_SEEDS if name in INTENT_BUGS else MOST_SEEDS) for name, (seed, _) in _found.items())


def test_a_failure_shrinks_to_a_few_lifecycles() -> None:
    with BUGS["surplus_is_not_shown"]():
        outcome = next(each for each in (run(plan_of(seed, 60)) for seed in range(1, 20)) if each.findings)
        smallest = shrink(outcome)
    assert 1 <= len(smallest.plan.lifecycles) <= 3
    assert smallest.findings[0].invariant == outcome.findings[0].invariant
    assert smallest.story
