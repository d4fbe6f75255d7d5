"""Problems in their form on the wire, and which problem stands for which error."""

import orjson
import pytest
from litestar.exceptions import MethodNotAllowedException, NotFoundException
from litestar.exceptions.http_exceptions import RequestEntityTooLarge

from shared.contracts.model import Blocker, Money
from shared.faults import Poison, Transient
from shared.http.html import problem_page, problems_page
from shared.http.problem_codes import CODES, code_of, slug_of
from shared.http.problems import Problem, problem_for_exception


def test_a_problem_has_the_standard_members_and_its_own() -> None:
    problem = Problem(
        "ORDER_BALANCE_LEASED",
        "12.00 EUR is being collected elsewhere.",
        param="amount_money",
        blockers=[Blocker(type="lease", id="ls_1", amount_money=Money(amount=1200, currency="EUR"))],
        facts={"available_minor": 800, "status": "not replaced"},
    )
    assert orjson.loads(problem.body("/v1/orders/ord_1/pay", "req_1")) == {
        "type": "/problems/order-balance-leased",
        "title": "The balance is being collected elsewhere",
        "status": 409,
        "detail": "12.00 EUR is being collected elsewhere.",
        "instance": "/v1/orders/ord_1/pay",
        "code": "ORDER_BALANCE_LEASED",
        "param": "amount_money",
        "blockers": [{"type": "lease", "id": "ls_1", "amount_money": {"amount": 1200, "currency": "EUR"}}],
        "remediation": CODES["ORDER_BALANCE_LEASED"].remediation,
        "request_id": "req_1",
        "available_minor": 800,
    }


def test_a_code_that_nobody_explained_cannot_be_used() -> None:
    with pytest.raises(KeyError):
        Problem("SOMETHING_ELSE", "…")


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (Transient("database: gone"), 503, "TRY_LATER"),
        (Poison("NO_TYPE", "the event has no type"), 400, "VALIDATION_FAILED"),
        (NotFoundException(), 404, "NOT_FOUND"),
        (MethodNotAllowedException(), 405, "METHOD_NOT_ALLOWED"),
        (RequestEntityTooLarge(), 413, "PAYLOAD_TOO_LARGE"),
        (RuntimeError("password=hunter2"), 500, "INTERNAL_ERROR"),
        (KeyError("secret"), 500, "INTERNAL_ERROR"),
    ],
)
def test_every_error_has_its_problem(error: Exception, status: int, code: str) -> None:
    problem = problem_for_exception(error)
    assert (problem.status, problem.code) == (status, code)
    told = problem.body("/", "req_1")
    assert b"hunter2" not in told
    assert b"secret" not in told
    assert b"database" not in told


def test_try_later_says_when() -> None:
    assert problem_for_exception(Transient("…")).headers["Retry-After"] == "1"


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_code_has_a_page(code: str) -> None:
    assert code_of(slug_of(code)) == code
    assert code in problem_page(code)
    assert f"/problems/{slug_of(code)}" in problems_page()


@pytest.mark.parametrize("slug", ["", "nothing", "ORDER_NOT_OPEN", "Order-Not-Open", "order_not_open", "../x"])
def test_other_slugs_have_none(slug: str) -> None:
    assert code_of(slug) is None
