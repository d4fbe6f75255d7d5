"""The alert rules: they name metrics that there are, and runbooks that somebody can follow."""

import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY

from services.payments.jobs import _DAYS

ROOT = Path(__file__).parents[2]
RUNBOOKS = ROOT / "docs" / "runbooks"
RULES = [
    rule
    for group in yaml.safe_load((ROOT / "deploy" / "prometheus" / "rules.yml").read_text())["groups"]
    for rule in group["rules"]
]
SELECTOR = re.compile(r"(throughline_\w+)(?:\{([^}]*)\})?")


@pytest.fixture(scope="module", autouse=True)
def _every_metric() -> None:
    for service in ("orders", "payments", "apps", "sandbox"):
        import_module(f"services.{service}.app")


def metric(name: str) -> Any:
    """The metric with a sample of this name, or None."""
    return REGISTRY._names_to_collectors.get(name)


def selected(text: str) -> list[tuple[str, list[str]]]:
    """The metrics that a text names, with the labels that it asks for."""
    return [(name, re.findall(r"(\w+)=~?\"", labels)) for name, labels in SELECTOR.findall(text)]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_a_rule_asks_for_what_is_measured(rule: Any) -> None:
    found = selected(rule["expr"])
    assert found
    for name, labels in found:
        assert metric(name) is not None, f"nothing measures {name}"
        assert set(labels) <= set(metric(name)._labelnames)
    grouped = re.findall(r"\bby \(([^)]*)\)", rule["expr"])
    assert all(set(re.split(r",\s*", labels)) <= set(metric(found[0][0])._labelnames) for labels in grouped)
    assert re.search(r"[<>=]=? \d+$", rule["expr"]), "a rule compares with a number"
    assert rule["expr"].count("(") == rule["expr"].count(")")
    assert re.fullmatch(r"\d+m", rule["for"])
    assert rule["labels"]["severity"] in ("page", "ticket")


def test_the_days_of_unmatched_money_are_measured() -> None:
    asked = [days for rule in RULES for days in re.findall(r'days="(\d+)"', rule["expr"])]
    assert asked
    assert {int(days) for days in asked} <= set(_DAYS.values())


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_a_rule_has_a_runbook_of_its_name(rule: Any) -> None:
    page = ROOT / rule["annotations"]["runbook"]
    assert page.parent == RUNBOOKS
    assert page.read_text().splitlines()[0] == f"# {rule['alert']}"


def test_every_runbook_belongs_to_a_rule() -> None:
    pages = {path.relative_to(ROOT).as_posix() for path in RUNBOOKS.glob("*.md")}
    assert pages == {rule["annotations"]["runbook"] for rule in RULES}


@pytest.mark.parametrize("page", sorted(RUNBOOKS.glob("*.md")), ids=lambda page: page.stem)
def test_runbooks_name_metrics_that_there_are(page: Path) -> None:
    for name, labels in selected(page.read_text()):
        assert metric(name) is not None, f"nothing measures {name}"
        assert set(labels) <= set(metric(name)._labelnames)


def test_a_metric_that_nobody_measures_is_noticed() -> None:
    assert metric("throughline_payments_intents_unknown_oldest_seconds") is not None
    assert metric("throughline_payments_intents_unknown_oldest") is None
