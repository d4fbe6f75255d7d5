"""One client process: generated requests to a service, and what schemathesis has to say of the answers.

`python -m tests.hostile.client` reads tasks, a line of JSON each, and prints a line after each scenario and each task.
"""

import gc
import json
import re
import sys
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.core.failures import Failure
from schemathesis.core.transport import Response
from schemathesis.engine import events, from_schema
from schemathesis.generation.case import Case
from schemathesis.hooks import HookContext

from services.apps.http.texts import HOST

_MOST_SHOWN = 50
_NOBODYS = ".invalid"
_HOST = re.compile(rf"^(https?://){HOST}(?=[:/?]|$)")
_PER_EXAMPLE = 120
"""About how many requests a round takes for each example per operation."""

ENDLESS = "/v1/events/stream"
OPEN = "/.well-known/"
"""What begins so is for everybody: where to go with OAuth, and with which keys tokens are signed."""
NOT_IN_A_SCHEMA = {
    "INVALID_PAGE_TOKEN": "a page token is only valid as it was given",
    "CURRENCY_MISMATCH": "the currency is the order's, which a schema does not know",
    "AMOUNT_TOO_LARGE": "a sum has a limit, which a schema cannot state",
    "give either version or at.": "OpenAPI cannot say that two parameters exclude each other",
    "There is no such customer.": "a schema does not know who is there",
    "Must be in the future.": "a schema does not know the time",
    "such as Europe/Berlin.": "a schema does not name all 600 time zones",
    "A platform key names whose key it makes.": "a schema does not know who asks",
    "A platform key must name the merchant.": "a schema does not know who asks",
    "Must have a host, no user name and no fragment.": "what a redirect URI may be takes more than a pattern",
    "characters without a backslash.": "what a redirect URI may be takes more than a pattern",
    "Is no URL.": "what a redirect URI may be takes more than a pattern",
    "must be a URL.": "what an IPv6 address may be takes more than a pattern",
    "may also use http://localhost.": "which redirect URIs there may be depends on who asks",
    "in the test environment.": "a schema does not know which processors are connected",
    "in the live environment.": "a schema does not know which processors are connected",
    "such as sandbox_approve.": "a schema does not know a processor's tokens",
    "cannot be taken by hand.": "a schema does not know which processors are connected",
    "needs its reference.": "which methods need one is their connector's to say",
    "less was handed over.": "a schema cannot compare two amounts",
    "collects a part.": "a schema cannot compare two amounts",
    "names a line that the order does not have.": "a schema does not know the lines of an order",
    "Each permission_id can be there once.": "a schema compares whole objects only",
    "Not in the manifest: ": "a schema cannot compare two lists",
    "tendered_money is for cash.": "what a method may say depends on its type",
    "must be an http or https address.": "what a host may be takes more than a pattern",
    "each of the legs has its amount: leave out amount_money.": "what may be said depends on whether there are legs",
    "confirm needs a method.": "what must be said depends on another field",
    "give order_id, amount_money or both.": "what must be said depends on another field",
    "give either reference or through_processor.": "what must be said depends on another field",
    "when the processor has given it back.": "what may be said depends on another field",
}
"""Codes, or parts of details, of 400 that a request which fits the schema may get, and why."""


@dataclass(frozen=True)
class Task:
    """What a client does. `role` says what must never succeed; `order_id` is an order of another merchant."""

    url: str
    who: str
    role: str
    secret: str | None
    seed: int
    requests: int
    coverage: bool
    """Whether to begin with every border of every schema, which alone takes some 2,300 requests for a large service."""
    order_id: str | None = None


@dataclass
class Result:
    """How many answers of which status, and every kind of failure once."""

    requests: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    failures: dict[str, dict[str, Any]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    def add(self, other: "Result") -> None:
        """What another part of the same work found."""
        self.requests += other.requests
        self.statuses = Counter(self.statuses) + Counter(other.statuses)
        for name, told in other.failures.items():
            known = self.failures.setdefault(name, told | {"count": 0})
            known["count"] += told["count"]
        self.errors += other.errors


def run(task: Task) -> Result:
    """Rounds of generated requests, each with a seed of its own, until there were as many as asked for."""
    result = Result()
    _Now.role = task.role
    seed = task.seed
    while result.requests < task.requests:
        before = result.requests
        _round(task, seed, result)
        seed += 1
        if result.requests == before:
            result.errors.append("a round sent nothing")
            break
    return result


def _round(task: Task, seed: int, result: Result) -> None:
    left = task.requests - result.requests
    headers = {"Authorization": f"Bearer {task.secret}"} if task.secret else {}
    config = SchemathesisConfig.from_dict(
        {
            "seed": seed,
            "base-url": task.url,
            "headers": headers,
            "suppress-health-check": ["all"],
            "continue-on-failure": True,
            "parameters": {"path.order_id": task.order_id} if task.order_id else {},
            # No text of the API may hold a NUL, which its description says once for all fields.
            "generation": {
                "max-examples": max(3, min(100, left // _PER_EXAMPLE)),
                "allow-x00": False,
                "no-shrink": True,
                "database": "none",
            },
            "phases": {"coverage": {"enabled": task.coverage and seed == task.seed}},
        }
    )
    # A stream does not end; tests/integration/test_apps_stream.py asks for it in every way.
    schema = schemathesis.openapi.from_url(f"{task.url}/openapi.json", config=config).exclude(path=ENDLESS)
    stream = from_schema(schema).execute()
    for event in stream:
        _note(event, result)
        print(json.dumps({"requests": result.requests}), flush=True)
        if result.requests >= task.requests:
            stream.stop()


def _note(event: events.EngineEvent, result: Result) -> None:
    if isinstance(event, events.FatalError):
        result.errors.append(repr(event.exception)[:1000])
    if isinstance(event, events.NonFatalError):
        result.errors.append(f"{event.label}: {event.value!r}"[:1000])
    if not isinstance(event, events.ScenarioFinished):
        return
    recorder = event.recorder
    for interaction in recorder.interactions.values():
        result.requests += 1
        result.statuses[str(interaction.response.status_code) if interaction.response else "none"] += 1
    for case_id, checks in recorder.checks.items():
        for check in checks:
            if check.failure_info is None:
                continue
            interaction = recorder.interactions[case_id]
            name = f"{check.name}: {recorder.cases[case_id].value.operation.label}"
            known = result.failures.setdefault(name, {"count": 0})
            known["count"] += 1
            if known["count"] == 1 and len(result.failures) <= _MOST_SHOWN:
                response = interaction.response
                known["what"] = str(check.failure_info.failure)[:600]
                known["answer"] = response.text[:600] if response else None
                known["again"] = check.failure_info.code_sample[:1000]


class _Now:
    """Checks are registered once for the whole process; this is whose answers they look at."""

    role = ""


@schemathesis.check
def nothing_is_given_away(_: Any, response: Response, case: Case) -> None:
    """Nobody gets what is another's, or changes anything without the scope for it; what may be asked is no secret."""
    asks_only = response.request.method == "OPTIONS" and not response.content
    if response.status_code >= 300 or asks_only or case.operation.path.startswith(OPEN):
        return
    scopes = str(case.operation.definition.raw.get("description", ""))
    forbidden = {
        "full": False,
        "platform": False,
        "reader": ".write`" in scopes,
        "other": "{order_id}" in case.path,
        "live": "{order_id}" in case.path,
    }
    assert not forbidden.get(_Now.role, True), f"{_Now.role} got {response.status_code}"


def _nobodys(begin: re.Match[str]) -> str:
    """As long as it was, but for hosts of a few letters: a URL of the greatest length still is one."""
    scheme, host = begin[1], begin[2]
    return f"{scheme}{'x' * max(1, len(host) - len(_NOBODYS))}{_NOBODYS}"


@schemathesis.hook
def before_call(_: HookContext, case: Case, kwargs: dict[str, Any]) -> None:
    """No webhook is sent to a host that somebody could have (RFC 2606)."""
    if isinstance(case.body, dict) and isinstance(url := case.body.get("url"), str):
        case.body["url"] = _HOST.sub(_nobodys, url)


@schemathesis.hook
def filter_failure(_: HookContext, failure: Failure, case: Case, response: Response) -> bool:
    """Whether it counts."""
    if "positive_data_acceptance" in failure.checks and response.status_code == 400:
        problem = response.json()
        if "error" in problem:
            # OAuth's own refusals (RFC 6749, 5.2): no schema knows which clients, codes and tokens there are.
            return False
        # JSON Schema takes 1.0 for an integer; the API's description says that we don't.
        pointed = problem.get("errors", [{}])[0].get("code") == "WRONG_TYPE" and _whole_with_a_point(case.body)
        said = any(problem["code"] == why or why in problem["detail"] for why in NOT_IN_A_SCHEMA)
        return not (pointed or said)
    if "negative_data_rejection" in failure.checks and response.status_code == 202:
        # An event of a batch is rejected in its outcome, and the others count.
        return all(outcome.get("outcome") != "rejected" for outcome in response.json()["data"])
    return True


def _whole_with_a_point(value: Any) -> bool:
    if isinstance(value, float):
        return value.is_integer()
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(map(_whole_with_a_point, inner))


if __name__ == "__main__":
    # What was imported stays, and what is generated goes by itself: most of what the collector would look at, in vain.
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    for line in sys.stdin:
        print(json.dumps({"result": vars(run(Task(**json.loads(line))))}), flush=True)
