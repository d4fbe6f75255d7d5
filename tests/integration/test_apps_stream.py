"""The stream of events on real servers, followed by a generic client: nothing is missed, and nobody outstays."""

import asyncio
import json
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, cast
from urllib.parse import urlsplit

import httpx2
import pytest

from services.apps.http import event_stream
from services.apps.store.events import Placed
from shared import watching
from shared.auth.access import Access
from shared.contracts.access import Grant
from shared.contracts.order_commands import AddNote
from shared.http.edge import STOPPING
from shared.ids import new_id
from tests.apps import install, run
from tests.integration.test_apps_events import events, events_when, new_order, pay
from tests.stack import Stack, Tenant, eventually

pytestmark = pytest.mark.servers


@asynccontextmanager
async def stream(http: httpx2.AsyncClient, **params: Any) -> AsyncIterator[AsyncIterator[httpx2.ServerSentEvent]]:
    headers = params.pop("headers", {})
    async with (
        httpx2.AsyncClient(base_url=http.base_url, headers={**http.headers, **headers}, timeout=30) as client,
        client.sse("/v1/events/stream", params=params) as source,
    ):
        assert source.response.status_code == 200, await source.response.aread()
        yield aiter(source)


async def take(source: AsyncIterator[httpx2.ServerSentEvent], count: int) -> list[httpx2.ServerSentEvent]:
    async with asyncio.timeout(20):
        return [await anext(source) for _ in range(count)]


async def test_what_happens_is_told_at_once_and_by_its_type(stack: Stack, tenant: Tenant) -> None:
    await new_order(tenant)
    await events_when(tenant, 1)
    async with stream(tenant.http) as everything, stream(tenant.http, type="order.paid") as only_paid:
        order_id = await new_order(tenant)
        await pay(stack, tenant, order_id)
        told = await take(everything, 3)
        [paid] = await take(only_paid, 1)
    assert [each.event for each in told] == ["order.created", "order.payment_captured", "order.paid"]
    assert (paid.id, paid.data) == (told[2].id, told[2].data)
    listed = await events_when(tenant, 4)
    assert [json.loads(each.data) for each in told] == listed[2::-1]
    assert [each.id for each in told] == [each["event_id"] for each in listed[2::-1]]


async def test_whoever_comes_again_goes_on_where_it_was(stack: Stack, tenant: Tenant) -> None:
    first, second = await new_order(tenant), await new_order(tenant)
    for order_id in (first, second):
        await pay(stack, tenant, order_id)
    await events_when(tenant, 6)
    expected = [each["event_id"] for each in reversed(await events(tenant))]
    async with stream(tenant.http, after=expected[0]) as source:
        begun = [each.id for each in await take(source, 2)]
    async with stream(tenant.http, after=expected[0], headers={"Last-Event-ID": begun[-1]}) as source:
        rest = [each.id for each in await take(source, 3)]
    assert begun + rest == expected[1:]
    for wrong in ({"after": "evt_none"}, {"after": new_id("evt")}, {"type": "nothing"}):
        assert (await tenant.http.get("/v1/events/stream", params=wrong)).status_code == 400


async def test_nothing_is_skipped_or_doubled_through_a_flood_and_interruptions(stack: Stack, tenant: Tenant) -> None:
    """Orders are written from all partitions at once while a reader comes, goes, and comes again."""
    async with stream(tenant.http) as source:
        orders = [await new_order(tenant) for _ in range(8)]
        seen = [each.id for each in await take(source, 1)]

    async def notes() -> None:
        for number in range(25):
            for order_id in orders:
                await stack.command(tenant, order_id, AddNote(note_id=new_id("note"), text=f"number {number}"))

    writing = asyncio.create_task(notes())
    told: list[tuple[str, int]] = []
    while len(seen) < 8 + 200:
        async with stream(tenant.http, headers={"Last-Event-ID": seen[-1]}) as source:
            for each in await take(source, min(31, 208 - len(seen))):
                seen.append(each.id)
                body = json.loads(each.data)
                told.append((body["order_id"], body["order_version"]))
    await writing

    rows = await run(stack, "SELECT event_id FROM events WHERE merchant_id = $1 ORDER BY position", tenant.merchant_id)
    assert seen == [row["event_id"] for row in rows]
    for order_id in orders:
        versions = [version for told_of, version in told if told_of == order_id]
        assert versions == sorted(versions)
        assert versions[-1] == 26


async def test_a_reader_from_long_ago_beside_one_that_is_up_to_date(stack: Stack, tenant: Tenant) -> None:
    """What is kept in memory for the one is not enough for the other."""
    await new_order(tenant)
    [first] = await events_when(tenant, 1)
    for _ in range(3):
        await new_order(tenant)
    await events_when(tenant, 4)
    async with stream(tenant.http) as current:
        await new_order(tenant)
        newest = await take(current, 1)
        async with stream(tenant.http, after=first["event_id"]) as old:
            told = await take(old, 4)
            await new_order(tenant)
            last = (await take(old, 1))[0]
        assert (await take(current, 1))[0].id == last.id
    expected = [each["event_id"] for each in reversed(await events(tenant))]
    assert [first["event_id"], *(each.id for each in told), last.id] == expected
    assert told[-1].id == newest[0].id


async def test_a_stream_ends_within_a_second_of_the_credential(stack: Stack, tenant: Tenant) -> None:
    other = await stack.tenant(merchant_id=tenant.merchant_id)
    app = await install(stack, new_id("app"), tenant.merchant_id)
    for http, grant in ((other.http, other.grant), (app.http, app.grant)):
        async with stream(http) as source:
            await new_order(tenant)
            await take(source, 1)
            revoked = Grant.model_validate({**grant.model_dump(), "status": "revoked"})
            await stack.grant(revoked)
            async with asyncio.timeout(1.0):
                assert [each async for each in source] == []
        assert (await http.get("/v1/events/stream")).status_code == 401
        await http.aclose()


async def test_a_credential_has_few_streams(tenant: Tenant) -> None:
    streams = [stream(tenant.http) for _ in range(event_stream.MOST_PER_CREDENTIAL)]
    for each in streams:
        await each.__aenter__()
    refused = await tenant.http.get("/v1/events/stream")
    assert (refused.status_code, refused.json()["code"]) == (429, "RATE_LIMITED")
    await streams[0].__aexit__(None, None, None)

    async def free() -> bool:
        try:
            async with stream(tenant.http):
                return True
        except AssertionError:
            return False

    assert await eventually(free)
    for each in streams[1:]:
        await each.__aexit__(None, None, None)


async def test_neither_many_keys_nor_many_installs_take_everybodys_streams(
    stack: Stack, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "MOST_PER_OWNER", 2, raising=False)
    further = [await stack.tenant(merchant_id=tenant.merchant_id) for _ in range(2)]
    other, live = await stack.tenant(), await stack.tenant(merchant_id=tenant.merchant_id, environment="live")
    app_id = new_id("app")
    apps = [await install(stack, app_id, merchant_id) for merchant_id in (tenant.merchant_id, other.merchant_id)]
    third = await install(stack, app_id, new_id("mer"))
    async with AsyncExitStack() as opened:
        for one in (tenant, further[0], live, other, *apps):
            await opened.enter_async_context(stream(one.http))
        for one in (further[1], third):
            refused = await one.http.get("/v1/events/stream")
            assert (refused.status_code, refused.json()["code"]) == (429, "RATE_LIMITED")
            assert refused.headers["Retry-After"] == "1"
    for one in (*further, other, live, *apps, third):
        await one.http.aclose()


async def test_a_reader_that_takes_nothing_is_cut(
    stack: Stack, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its socket is full, so the server waits, holds no more than a chunk for it, and then lets go."""
    monkeypatch.setattr(event_stream, "_SLOWEST_S", 1.0)
    order_id = await new_order(tenant, lines=200)
    for _ in range(80):
        await stack.command(tenant, order_id, AddNote(note_id=new_id("note"), text="x" * 5_000))
    await eventually(lambda: _newest_version(tenant, 81))
    first = (await run(stack, "SELECT event_id FROM events WHERE order_id = $1 ORDER BY position", order_id))[0]

    cut = event_stream.CUT_STREAMS._value.get()
    address = urlsplit(stack.base_url)
    with socket.socket() as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        reader.setblocking(False)
        await asyncio.get_running_loop().sock_connect(reader, (address.hostname, address.port))
        request = (
            f"GET /v1/events/stream?after={first['event_id']} HTTP/1.1\r\nHost: throughline\r\n"
            f"Authorization: Bearer {tenant.api_key}\r\n\r\n"
        )
        await asyncio.get_running_loop().sock_sendall(reader, request.encode())

        async def is_cut() -> bool:
            return bool(event_stream.CUT_STREAMS._value.get() > cut)

        await eventually(is_cut)
    # Somebody who reads has all of it meanwhile.
    async with stream(tenant.http, after=first["event_id"]) as source:
        assert len(await take(source, 80)) == 80


async def _newest_version(tenant: Tenant, version: int) -> bool:
    found = await events(tenant, page_size=1)
    return bool(found and found[0]["order_version"] == version)


async def test_a_stream_does_not_go_quiet_when_its_source_fails(
    stack: Stack, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends, and whoever comes again is served."""

    async def broken(*_: object) -> bool:
        raise RuntimeError("a mistake of ours")

    async with stream(tenant.http) as source:
        await new_order(tenant)
        [told] = await take(source, 1)
        with monkeypatch.context() as patch:
            patch.setattr(watching, "within", broken)
            async with asyncio.timeout(5):
                assert [each async for each in source] == []
    await new_order(tenant)
    async with stream(tenant.http, after=told.id) as source:
        assert (await take(source, 1))[0].event == "order.created"


async def test_an_idle_stream_is_seen_to_live(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "_HEARTBEAT_S", 0.2)
    async with tenant.http.stream("GET", "/v1/events/stream") as answer:
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        lines = answer.aiter_lines()
        assert [await anext(lines) for _ in range(3)] == ["retry: 1000", ":", ":"]
    head = await tenant.http.head("/v1/events/stream")
    assert (head.status_code, head.headers["content-type"], head.content) == (
        200,
        "text/event-stream; charset=utf-8",
        b"",
    )


async def test_a_stream_ends_when_the_process_is_to_stop() -> None:
    class Grants:
        async def find(self, _: str) -> Access:
            return access

    async def quiet() -> AsyncGenerator[list[Placed], None]:
        while True:
            await asyncio.sleep(0.01)
            yield []

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)
        begun.set()

    access = Access("key_1", "hash", "api_key", "mer_1", "test", frozenset({"orders.read"}))
    sent: list[Any] = []
    begun, stopping = asyncio.Event(), asyncio.Event()
    stream = event_stream.EventStream(access, ("mer_1", "test"), cast(Any, Grants()), event_stream.Places(), quiet())
    scope: Any = {"extensions": {STOPPING: {"event": stopping}}}
    running = asyncio.create_task(stream(scope, receive, send))
    async with asyncio.timeout(20):
        await begun.wait()
        assert not running.done()
        stopping.set()
        await running
    assert sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}
