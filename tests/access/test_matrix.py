"""Every documented route × everybody who must be refused there. A new route is in the matrix, or this fails."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import httpx2
import pytest
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute

from deploy.prepare import SERVICES
from deploy.services import create_service
from shared.http.app import openapi_of
from shared.settings import Settings
from tests.access.entries import ENTRIES, OPEN, PAGES
from tests.access.matrix import Callers, Entry, Made, Refusal, outsiders, refusals, who_may
from tests.people import Json

_MOMENTS_S = 1.0


def services() -> dict[str, Litestar]:
    return {name: create_service(name, Settings(), "all") for name in SERVICES}


def documented() -> set[str]:
    return {
        f"{method.upper()} {path}"
        for app in services().values()
        for path, methods in openapi_of(app)["paths"].items()
        for method in methods
    }


def handlers() -> Iterator[tuple[str, HTTPRouteHandler]]:
    for app in services().values():
        for route in app.routes:
            if isinstance(route, HTTPRoute):
                for handler in route.route_handlers:
                    for method in sorted(handler.http_methods - {"OPTIONS"}):
                        yield f"{method} {route.path_format}", handler


def test_every_documented_route_is_in_the_matrix_or_open_for_a_reason() -> None:
    assert documented() == ENTRIES.keys() | OPEN.keys()
    assert not ENTRIES.keys() & OPEN.keys()


def test_no_route_is_open_that_nobody_said_is() -> None:
    found = {name for name, handler in handlers() if handler.opt.get("open")}
    assert found == OPEN.keys() | PAGES.keys()


def test_no_route_is_hidden_from_the_reference_that_is_not_open() -> None:
    assert {name for name, handler in handlers() if not handler.opt.get("open")} == ENTRIES.keys()


async def call(client: httpx2.AsyncClient, name: str, entry: Entry, made: Made) -> httpx2.Response:
    method, path = name.split(" ")
    body = entry.body if made.body is None else made.body
    options = entry.options | ({} if body is None else {"json": body}) | ({"params": made.query} if made.query else {})
    async with client.stream(method, path.format(**made.path), **options) as answer:
        if entry.endless and answer.is_success:
            return httpx2.Response(answer.status_code, text=await beginning(answer))
        await answer.aread()
        return answer


async def beginning(stream: httpx2.Response) -> str:
    """What comes in the first moments."""
    text = ""
    with suppress(TimeoutError):
        async with asyncio.timeout(_MOMENTS_S):
            async for part in stream.aiter_text():
                text += part
    return text


@pytest.mark.servers
@pytest.mark.parametrize("name", ENTRIES)
async def test_whoever_may_not_is_refused_and_changes_nothing(callers: Callers, name: str) -> None:
    entry = ENTRIES[name]
    made = await entry.make(callers)
    before = await seen(callers, made)
    for refusal in refusals(entry, callers):
        assert_refused(await call(refusal.client, name, entry, made), refusal)
    for outsider in outsiders(entry, callers):
        if entry.lists is not None:
            answer = await call(outsider.client, name, entry, made)
            assert answer.status_code == 200, f"{outsider.who}: {answer.text}"
            assert made.path[entry.lists] not in answer.text, f"{outsider.who} sees it"
        elif "{" in name or made.query:
            assert_refused(await call(outsider.client, name, entry, made), outsider)
    assert await seen(callers, made) == before
    await assert_allowed(callers, name, entry, made)


async def assert_allowed(callers: Callers, name: str, entry: Entry, made: Made) -> None:
    """So that no refusal was for another reason, such as a wrong path."""
    answer = await call(who_may(entry, callers), name, entry, made)
    assert answer.is_success, answer.text
    if entry.lists is not None:
        assert made.path[entry.lists] in answer.text


def assert_refused(answer: httpx2.Response, refusal: Refusal) -> None:
    body: Json = answer.json()
    told = (answer.status_code, body.get("code"))
    assert told == (refusal.status, refusal.code), f"{refusal.who}: {answer.status_code} {answer.text}"


async def seen(callers: Callers, made: Made) -> Any:
    """The object as its owner sees it."""
    if made.witness is None:
        return None
    answer = await callers.owner.get(made.witness)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]
