"""What a body may hold, and what each thing that it may not hold is called."""

from types import SimpleNamespace
from typing import Any

import pytest
from litestar.connection import Request
from pydantic import BaseModel

from shared.contracts.model import Metadata, PositiveMoney, Text, Timestamp
from shared.http.bodies import RequestModel, parse_json, read_raw
from shared.http.problems import Problem


class Line(RequestModel):
    name: Text
    quantity: str | int = 1
    unit_price_money: PositiveMoney


class Body(RequestModel):
    line_items: tuple[Line, ...]
    captured_at: Timestamp | None = None
    metadata: Metadata = {}


class Anything(BaseModel):
    data: object


def line(money: str, name: str = '"Rain jacket"') -> bytes:
    return f'{{"line_items": [{{"name": {name}, "unit_price_money": {money}}}]}}'.encode()


GOOD = line('{"amount": 4500, "currency": "EUR"}')


def problem(raw: bytes, model: type[BaseModel] = Body) -> Problem:
    with pytest.raises(Problem) as raised:
        parse_json(raw, model)
    assert raised.value.status == 400
    return raised.value


async def test_a_client_that_goes_while_it_sends_is_no_mistake_of_ours() -> None:
    async def receive() -> Any:
        return {"type": "http.disconnect"}

    scope: Any = {"type": "http", "method": "POST", "path": "/", "headers": [(b"content-type", b"application/json")]}
    scope |= {
        "state": {},
        "path_params": {},
        "route_handler": SimpleNamespace(resolve_request_max_body_size=lambda: 10),
    }
    with pytest.raises(Problem) as raised:
        await read_raw(Request(scope, receive=receive))
    assert (raised.value.status, raised.value.code) == (400, "MALFORMED_JSON")


def test_a_good_body_is_its_model() -> None:
    body = parse_json(GOOD, Body)
    assert body.line_items[0].unit_price_money == PositiveMoney(amount=4500, currency="EUR")
    assert parse_json(b'{"line_items": [], "captured_at": "2026-11-21T10:00:00+01:00"}', Body).captured_at is not None


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"nonsense",
        b"\xff\xfe",
        b'{"line_items": "\xff"}',
        b'{"line_items": [], "metadata": {"a": "\\ud800"}}',
        b'{"line_items": [], "metadata": {"a": "raw\x00nul"}}',
        b'{"line_items": ' + b"[" * 5_000 + b"]" * 5_000 + b"}",
        b"{'line_items': []}",
        b'{"line_items": []} {}',
    ],
)
def test_what_is_no_json(raw: bytes) -> None:
    assert problem(raw).code == "MALFORMED_JSON"


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity"])
def test_json_has_no_such_numbers_anywhere(number: bytes) -> None:
    assert problem(b'{"data": {"deep": [' + number + b"]}}", Anything).code == "MALFORMED_JSON"
    assert parse_json(b'{"data": "NaN"}', Anything).data == "NaN"


@pytest.mark.parametrize("raw", [b"[]", b"null", b'"text"', b"7"])
def test_a_body_is_an_object(raw: bytes) -> None:
    found = problem(raw)
    assert (found.code, found.param) == ("VALIDATION_FAILED", None)


@pytest.mark.parametrize(
    ("raw", "param"),
    [
        (b'{"line_items": [], "colour": 1}', "colour"),
        (line('{"amount": 1, "currency": "EUR", "unit": 1}'), "line_items.0.unit_price_money.unit"),
        (b'{"line_item": []}', "line_item"),
    ],
)
def test_an_unknown_field_is_named_also_inside_of_parts(raw: bytes, param: str) -> None:
    found = problem(raw)
    assert (found.code, found.param) == ("UNKNOWN_FIELD", param)
    assert found.errors[0]["param"] == param


@pytest.mark.parametrize(
    ("raw", "param", "code"),
    [
        (b"{}", "line_items", "REQUIRED"),
        (b'{"line_items": {}}', "line_items", "WRONG_TYPE"),
        (line('{"amount": "4500", "currency": "EUR"}'), "line_items.0.unit_price_money.amount", "WRONG_TYPE"),
        (line('{"amount": true, "currency": "EUR"}'), "line_items.0.unit_price_money.amount", "WRONG_TYPE"),
        (line('{"amount": 1.5, "currency": "EUR"}'), "line_items.0.unit_price_money.amount", "WRONG_TYPE"),
        (line('{"amount": 0, "currency": "EUR"}'), "line_items.0.unit_price_money.amount", "OUT_OF_RANGE"),
        (line('{"amount": 1, "currency": "euro"}'), "line_items.0.unit_price_money.currency", "INVALID_VALUE"),
        (line('{"amount": 1, "currency": "EUR"}', name='"a\\u0000"'), "line_items.0.name", "INVALID_VALUE"),
        (line('{"amount": 1, "currency": "EUR"}', name="5"), "line_items.0.name", "WRONG_TYPE"),
        (b'{"line_items": [], "captured_at": 5}', "captured_at", "WRONG_TYPE"),
        (b'{"line_items": [], "captured_at": "2026-11-21T10:00:00"}', "captured_at", "INVALID_VALUE"),
    ],
)
def test_each_mistake_is_named(raw: bytes, param: str, code: str) -> None:
    found = problem(raw)
    assert (found.code, found.param) == ("VALIDATION_FAILED", param)
    assert [(error["param"], error["code"]) for error in found.errors] == [(param, code)]


@pytest.mark.parametrize("amount", ["1" + "0" * 30, "1000000000000", "9" * 4_000])
def test_an_amount_over_the_limit_has_a_code_of_its_own(amount: str) -> None:
    found = problem(line(f'{{"amount": {amount}, "currency": "EUR"}}'))
    assert (found.code, found.param) == ("AMOUNT_TOO_LARGE", "line_items.0.unit_price_money.amount")


def test_a_member_of_a_union_is_no_step_of_the_path() -> None:
    raw = b'{"line_items": [{"name": "a", "quantity": 1.5, "unit_price_money": {"amount": 1, "currency": "EUR"}}]}'
    found = problem(raw)
    assert [error["param"] for error in found.errors] == ["line_items.0.quantity"]


def test_a_nul_is_found_in_free_form_parts() -> None:
    found = problem(b'{"data": {"a": [1, {"b": "x\\u0000y"}]}}', Anything)
    assert (found.code, found.param) == ("VALIDATION_FAILED", "data.a.1.b")
    assert parse_json(b'{"data": "a backslash: \\\\u0000"}', Anything).data == "a backslash: \\u0000"


def test_many_mistakes_make_a_short_answer() -> None:
    raw = b'{"line_items": [' + b",".join([b"{}"] * 5_000) + b"]}"
    assert len(problem(raw).errors) == 20
