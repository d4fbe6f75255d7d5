"""The gateway in front of services: who answers what, what all of them together say, and how they live and end."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from litestar import Litestar, Request, get
from litestar.types import ASGIApp

from deploy.gateway import ROUTES, Gateway
from deploy.prepare import PARTS
from shared.http.health import Health, health_routes
from shared.http.reference import reference_app


def service(name: str, log: list[str] | None = None, wrong: str | None = None) -> Litestar:
    events = log if log is not None else []

    @asynccontextmanager
    async def living(_app: Litestar) -> AsyncIterator[None]:
        events.append(f"{name} begins")
        if wrong == "startup":
            raise RuntimeError(f"{name} has no database")
        try:
            yield
        finally:
            events.append(f"{name} ends")

    @get([path for path, owner in ROUTES.items() if owner == name] + ["/v1/orders/{order_id:str}/anything"])
    async def whoami(request: Request[Any, Any, Any]) -> str:
        return f"{name} {request.url.path}"

    health = Health()
    health.add_readiness("database", lambda: wrong)
    health.add_liveness("loop", lambda: None)
    return Litestar([whoami, *health_routes(health)], lifespan=[living], logging_config=None)


def gateway(**wrong: str) -> Gateway:
    services = {name: service(name, wrong=wrong.get(name)) for name in PARTS}
    return Gateway(services, reference_app(list), "http://127.0.0.1:8080")


@pytest.fixture
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    async with client_of(gateway()) as client:
        yield client


def client_of(app: ASGIApp | Gateway) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://gateway")  # type: ignore[arg-type]


@pytest.mark.parametrize(("path", "owner"), sorted(ROUTES.items()))
async def test_a_path_belongs_to_one_service(client: httpx2.AsyncClient, path: str, owner: str) -> None:
    assert (await client.get(path)).text == f"{owner} {path}"


async def test_everything_below_a_path_belongs_to_it_too(client: httpx2.AsyncClient) -> None:
    assert (await client.get("/v1/orders/ord_1/anything")).text == "orders /v1/orders/ord_1/anything"


@pytest.mark.parametrize(
    "path", ["/v1/ordersx", "/v1", "/v1/nothing", "/v2/orders", "/docsx", "/favicon.ico", "//v1/orders"]
)
async def test_what_no_service_has_is_a_problem(client: httpx2.AsyncClient, path: str) -> None:
    answer = await client.get(f"http://gateway{path}")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    body = answer.json()
    assert (body["code"], body["status"]) == ("NOT_FOUND", 404)
    assert body["title"]
    assert body["type"]


async def test_the_probes_hold_when_they_hold_for_every_service(client: httpx2.AsyncClient) -> None:
    for path in ("/livez", "/readyz"):
        answer = await client.get(path)
        assert answer.status_code == 200
        assert answer.json()["status"] == "ok"
        assert set(answer.json()["services"]) == set(PARTS)


async def test_one_service_that_is_not_ready_makes_the_whole_not_ready() -> None:
    async with client_of(gateway(payments="no connection")) as client:
        answer = await client.get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["services"]["payments"]["checks"] == {"database": "no connection"}
        assert answer.json()["services"]["orders"]["status"] == "ok"
        assert (await client.get("/livez")).status_code == 200


async def test_the_reference_is_served_and_the_root_leads_to_it(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/")
    assert (answer.status_code, answer.headers["location"]) == (307, "/docs")
    for path in ("/docs", "/openapi.json", "/problems", "/problems/not-found"):
        assert (await client.get(path)).status_code == 200, path


async def test_the_metrics_are_those_of_the_process(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/metrics")
    assert answer.status_code == 200
    assert "throughline_http_requests_total" in answer.text


async def test_the_lifespan_is_that_of_the_services_and_ends_in_reverse() -> None:
    log: list[str] = []
    app = Gateway({name: service(name, log) for name in ("orders", "payments")}, reference_app(list), "")
    assert await live(app) == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert log == ["orders begins", "payments begins", "payments ends", "orders ends"]


async def test_a_service_that_can_not_start_ends_those_that_have() -> None:
    log: list[str] = []
    services = {"orders": service("orders", log), "payments": service("payments", log, wrong="startup")}
    with pytest.RaisesGroup(pytest.RaisesExc(RuntimeError, match="payments has no database"), flatten_subgroups=True):
        await live(Gateway(services, reference_app(list), ""))
    assert log == ["orders begins", "payments begins", "orders ends"]


async def live(app: Gateway) -> list[str]:
    incoming = iter(["lifespan.startup", "lifespan.shutdown"])
    sent: list[str] = []

    async def receive() -> dict[str, str]:
        return {"type": next(incoming)}

    async def send(message: dict[str, str]) -> None:
        sent.append(message["type"])

    await app({"type": "lifespan"}, receive, send)
    return sent
