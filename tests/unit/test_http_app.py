"""What every service's app does with every request, here without credentials and without servers."""

from collections.abc import Iterator
from enum import StrEnum
from typing import Any

import pytest
from litestar import Controller, delete, get, post
from litestar.connection import Request
from litestar.params import FromPath
from litestar.response import Response
from litestar.testing import TestClient
from openapi_spec_validator import validate

from shared.contracts.model import PositiveMoney, Text
from shared.faults import Transient
from shared.http.answers import accepted, many, nothing, one
from shared.http.app import http_app, openapi_of
from shared.http.bodies import RequestModel, read_body, read_query
from shared.http.edge import edge
from shared.http.health import Health
from shared.http.merging import as_openapi_30, merge_openapi
from shared.http.operations import operation
from shared.http.pages import ListQuery
from shared.http.reference import reference_app
from shared.http.requests import wait_s
from shared.settings import Settings

AnyRequest = Request[Any, Any, Any]


class Thing(RequestModel):
    name: Text
    price_money: PositiveMoney | None = None


class Status(StrEnum):
    OPEN = "open"
    CLOSED = "closed"


class Things(ListQuery):
    status: Status | None = None


class ThingRoutes(Controller):
    path = "/v1/things"

    @post(**operation("Create a thing", takes=Thing, gives=Thing, status=201, idempotent=True, waits=True))
    async def create(self, request: AnyRequest) -> Response[bytes]:
        thing = await read_body(request, Thing)
        return accepted(request, thing) if wait_s(request) == 0 else one(request, thing, status=201)

    @get(**operation("List things", query=Things, gives=Thing, listed=True))
    async def list_things(self, request: AnyRequest) -> Response[bytes]:
        query = read_query(request, Things)
        query.position()
        return many(request, [Thing(name="a")] * query.page_size, next_page_token="next")

    @delete("/{thing_id:str}", **operation("Remove a thing", status=204))
    async def remove(self, thing_id: FromPath[str]) -> Response[bytes]:
        return nothing()

    @get("/{thing_id:str}", **operation("Read a thing", gives=Thing, problems=("ORDER_NOT_OPEN",)))
    async def read(self, request: AnyRequest, thing_id: FromPath[str]) -> Response[bytes]:
        if thing_id == "broken":
            raise RuntimeError("secret of the server")
        if thing_id == "away":
            raise Transient("database: gone")
        return one(request, {"thing_id": thing_id, "wait_s": wait_s(request)})


def make_client(base_url: str = "http://api.example", **health: str | None) -> TestClient[Any]:
    checks = Health()
    for name, wrong in health.items():
        checks.add_readiness(name, lambda wrong=wrong: wrong)  # type: ignore[misc]
    settings = Settings(public_base_url=base_url)
    app = http_app(service="things", controllers=[ThingRoutes], health=checks, lifespan=[], settings=settings)
    return TestClient(app)


@pytest.fixture
def client() -> Iterator[TestClient[Any]]:
    with make_client() as client:
        yield client


def test_an_answer_has_its_data_and_the_name_of_the_request(client: TestClient[Any]) -> None:
    answer = client.post("/v1/things", json={"name": "a", "price_money": {"amount": 5, "currency": "EUR"}})
    assert answer.status_code == 201
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {
        "data": {"name": "a", "price_money": {"amount": 5, "currency": "EUR"}},
        "request_id": answer.headers["x-request-id"],
    }
    assert answer.headers["x-request-id"].startswith("req_")


def test_a_list_names_its_next_page(client: TestClient[Any]) -> None:
    answer = client.get("/v1/things", params={"page_size": 2}).json()
    assert answer["data"] == [{"name": "a", "price_money": None}] * 2
    assert answer["next_page_token"] == "next"


@pytest.mark.parametrize(("given", "kept"), [("trace-0123456789", True), ("short", False), ("evil id\u00e9!!!", False)])
def test_a_sane_request_id_is_kept(client: TestClient[Any], given: str, kept: bool) -> None:
    answer = client.get("/v1/things/t", headers={b"X-Request-Id": given.encode("latin-1")})
    assert (answer.headers["x-request-id"] == given) is kept
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [(None, 10), ("wait=3", 3), ("respond-async, wait=0", 0), ("wait=99", 30), ("wait=soon", 10), ("await=5", 10)],
)
def test_how_long_to_wait(client: TestClient[Any], prefer: str | None, seconds: int) -> None:
    headers = {} if prefer is None else {"Prefer": prefer}
    assert client.get("/v1/things/t", headers=headers).json()["data"]["wait_s"] == seconds


def test_nothing_to_say(client: TestClient[Any]) -> None:
    answer = client.delete("/v1/things/t")
    assert (answer.status_code, answer.content) == (204, b"")
    document = client.get("/openapi.json").json()
    assert "content" not in document["paths"]["/v1/things/{thing_id}"]["delete"]["responses"]["204"]


def test_202_while_the_work_goes_on(client: TestClient[Any]) -> None:
    assert client.post("/v1/things", json={"name": "a"}, headers={"Prefer": "wait=0"}).status_code == 202


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nope", 404, "NOT_FOUND"),
        ("GET", "/v1/things/a%00b", 404, "NOT_FOUND"),
        ("GET", "/v1/things/a/b", 404, "NOT_FOUND"),
        ("GET", "/v1/things?status=%00", 400, "VALIDATION_FAILED"),
        ("DELETE", "/v1/things", 405, "METHOD_NOT_ALLOWED"),
        ("GET", "/v1/things/broken", 500, "INTERNAL_ERROR"),
        ("GET", "/v1/things/away", 503, "TRY_LATER"),
        ("GET", "/problems/nothing", 404, "NOT_FOUND"),
    ],
)
def test_every_refusal_is_a_problem(client: TestClient[Any], method: str, path: str, status: int, code: str) -> None:
    answer = client.request(method, path)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    problem = answer.json()
    assert (problem["code"], problem["status"]) == (code, status)
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert problem["instance"] == path.partition("?")[0]
    assert "secret" not in answer.text
    assert client.get(problem["type"]).status_code == 200


@pytest.mark.parametrize(
    ("query", "code", "param"),
    [
        ("page_size=0", "VALIDATION_FAILED", "page_size"),
        ("page_size=101", "VALIDATION_FAILED", "page_size"),
        ("page_size=ten", "VALIDATION_FAILED", "page_size"),
        ("page_size=1&page_size=2", "VALIDATION_FAILED", "page_size"),
        ("stat=open", "UNKNOWN_FIELD", "stat"),
        ("page_token=x", "INVALID_PAGE_TOKEN", "page_token"),
    ],
)
def test_a_query_is_read_strictly(client: TestClient[Any], query: str, code: str, param: str) -> None:
    answer = client.get(f"/v1/things?{query}")
    assert answer.status_code == 400
    assert (answer.json()["code"], answer.json()["param"]) == (code, param)


@pytest.mark.parametrize(
    ("content_type", "encoding"),
    [
        (None, None),
        ("text/plain", None),
        ("application/x-www-form-urlencoded", None),
        ("application/json; charset=latin-1", None),
        ("application/json", "gzip"),
    ],
)
def test_a_body_says_what_it_is(client: TestClient[Any], content_type: str | None, encoding: str | None) -> None:
    headers = {"Content-Type": content_type, "Content-Encoding": encoding}
    answer = client.post(
        "/v1/things", content=b'{"name": "a"}', headers={name: value for name, value in headers.items() if value}
    )
    assert (answer.status_code, answer.json()["code"]) == (415, "UNSUPPORTED_MEDIA_TYPE")


@pytest.mark.parametrize("content_type", ["application/json", "Application/JSON; charset=UTF-8"])
def test_a_body_of_five_megabytes_is_too_large(client: TestClient[Any], content_type: str) -> None:
    answer = client.post("/v1/things", content=b"x" * 5_000_000, headers={"Content-Type": content_type})
    assert (answer.status_code, answer.json()["code"]) == (413, "PAYLOAD_TOO_LARGE")


def test_head_is_get_without_the_body(client: TestClient[Any]) -> None:
    get_answer, head_answer = client.get("/v1/things/t"), client.head("/v1/things/t")
    assert (head_answer.status_code, head_answer.content) == (200, b"")
    assert head_answer.headers["content-length"] == get_answer.headers["content-length"]
    assert client.head("/nope").status_code == 404


@pytest.mark.parametrize(("method", "status"), [("OPTIONS", 204), ("PUT", 405)])
def test_what_a_path_takes_is_said(client: TestClient[Any], method: str, status: int) -> None:
    answer = client.request(method, "/v1/things")
    assert answer.status_code == status
    assert {item.strip() for item in answer.headers["allow"].split(",")} == {"GET", "HEAD", "OPTIONS", "POST"}


@pytest.mark.parametrize("path", ["/v1/things/t", "/nope", "/docs", "/livez", "/v1/things/broken"])
def test_every_answer_is_safe_in_a_browser(client: TestClient[Any], path: str) -> None:
    headers = client.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "strict-transport-security" not in headers


def test_https_stays_https() -> None:
    with make_client("https://api.example") as client:
        assert client.get("/nope").headers["strict-transport-security"].startswith("max-age=63072000")


def test_readiness_is_that_of_every_part() -> None:
    with make_client(database=None, grants="not caught up") as client:
        answer = client.get("/readyz")
        assert answer.status_code == 503
        assert answer.json() == {"status": "failing", "checks": {"database": "ok", "grants": "not caught up"}}
        assert client.get("/livez").json() == {"status": "ok", "checks": {}}
    with make_client(database=None) as client:
        assert client.get("/readyz").json() == {"status": "ok", "checks": {"database": "ok"}}


def test_requests_are_counted_by_route_and_not_by_path(client: TestClient[Any]) -> None:
    client.get("/v1/things/one")
    client.get("/v1/things/two")
    client.get("/nope-one")
    metrics = client.get("/metrics").text
    assert 'service="things",status="200"' in metrics
    assert "/v1/things/{thing_id}" in metrics
    assert "nope-one" not in metrics
    assert "/v1/things/two" not in metrics


def test_the_reference_works_without_the_internet(client: TestClient[Any]) -> None:
    page = client.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    for name in ("swagger-ui.css", "swagger-ui-bundle.js", "reference.css", "reference.js", "openapi-3.0.json"):
        asset = client.get(f"/docs-assets/{name}")
        assert asset.status_code == 200, name
    assert "https://" not in page.text
    assert "http://" not in page.text
    assert client.get("/docs-assets/..%2fapp.py").status_code == 404
    assert client.get("/problems").status_code == 200


def test_the_document_is_openapi_with_the_models_that_are_checked(client: TestClient[Any]) -> None:
    document = client.get("/openapi.json").json()
    validate(document)
    validate(client.get("/docs-assets/openapi-3.0.json").json())
    assert document["openapi"].startswith("3.1")
    assert set(document["paths"]) == {"/v1/things", "/v1/things/{thing_id}"}
    create = document["paths"]["/v1/things"]["post"]
    assert create["requestBody"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Thing"}
    assert set(create["responses"]) == {"201", "202", "400", "401", "409", "413", "415", "429", "500", "503"}
    assert [item["name"] for item in create["parameters"]] == ["Idempotency-Key", "Prefer"]
    listed = document["paths"]["/v1/things"]["get"]
    assert [item["name"] for item in listed["parameters"]] == ["page_size", "page_token", "status"]
    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"


def test_documents_of_services_become_one(client: TestClient[Any]) -> None:
    one_document = openapi_of(client.app)
    other = {
        "openapi": "3.1.0",
        "info": {"title": "other", "version": "1"},
        "paths": {"/v1/others": {"get": {"responses": {"200": {"description": "OK"}}}}},
        "components": {
            "schemas": {"PositiveMoney": {"type": "string"}, "User": {"$ref": "#/components/schemas/PositiveMoney"}}
        },
    }
    merged = merge_openapi(one_document, other)
    validate(merged)
    validate(as_openapi_30(merged))
    assert set(merged["paths"]) == {"/v1/things", "/v1/things/{thing_id}", "/v1/others"}
    assert merged["components"]["schemas"]["PositiveMoney"]["type"] == "object"
    assert merged["components"]["schemas"]["PositiveMoney2"] == {"type": "string"}
    assert merged["components"]["schemas"]["User"] == {"$ref": "#/components/schemas/PositiveMoney2"}


def test_a_gateway_serves_one_reference_for_all(client: TestClient[Any]) -> None:
    reference = TestClient(reference_app(lambda: [openapi_of(client.app)], "https://api.example"))
    assert set(reference.get("/openapi.json").json()["paths"]) == {"/v1/things", "/v1/things/{thing_id}"}
    assert reference.get("/docs").status_code == 200
    assert reference.get("/docs-assets/reference.js").status_code == 200
    assert reference.get("/problems/try-later").headers["strict-transport-security"]
    nothing_there = reference.get("/docs/nothing")
    assert (nothing_there.status_code, nothing_there.json()["code"]) == (404, "NOT_FOUND")
    assert nothing_there.headers["x-request-id"] == nothing_there.json()["request_id"]


def test_a_parameter_where_none_is_taken_is_refused(client: TestClient[Any]) -> None:
    answer = client.get("/v1/things/t", params={"expnad": "customer"})
    assert (answer.status_code, answer.json()["code"], answer.json()["param"]) == (400, "UNKNOWN_FIELD", "expnad")


async def test_head_leaves_the_servers_own_scope_alone() -> None:
    """The server knows by it that an answer without a body is whole; otherwise it drops the connection."""
    sent: list[Any] = []

    async def app(inner: Any, _receive: Any, send: Any) -> None:
        assert inner["method"] == "GET"
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"{}", "more_body": False})

    async def send(message: Any) -> None:
        sent.append(message)

    scope: Any = {"type": "http", "method": "HEAD", "path": "/", "query_string": b"", "headers": []}
    await edge(app, (), lambda *_: None)(scope, None, send)  # type: ignore[arg-type]
    assert scope["method"] == "HEAD"
    assert sent[1]["body"] == b""
    assert (b"content-length", b"2") in sent[0]["headers"]
