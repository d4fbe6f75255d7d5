"""The sandbox as a server of its own: who may ask it, and what a client makes of what goes wrong on the way."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from pydantic import SecretStr

from services.payments.connectors.sandbox import SandboxConnector
from services.payments.connectors.sandbox_http import HttpAcquirer
from services.payments.core.asking import ActionRequired, Answer, Asked, Found, NotSent, Unknown
from shared.contracts.sandbox import MovementPage, Whose
from shared.faults import OutcomeUnknown
from shared.settings import Settings
from tests.contract.connectors.scene import Scene, approved, having, staged

pytestmark = pytest.mark.servers

over_http = pytest.mark.parametrize("scene", ["sandbox_over_http"], indirect=True)
SECRET = SecretStr("secret-of-the-sandbox")
ATTEMPT = {
    "merchant_id": "mer_1",
    "environment": "test",
    "attempt_id": "att_1",
    "operation": "authorize",
    "amount_minor": 100,
    "currency": "EUR",
    "token": "sandbox_approve",
    "order_id": "ord_1",
    "payment_intent_id": "pi_1",
}
ROUTES = [
    ("POST", "/sandbox/v1/attempts", ATTEMPT),
    ("POST", "/sandbox/v1/look-ups", {"merchant_id": "mer_1", "environment": "test", "attempt_id": "att_1"}),
    ("GET", "/sandbox/v1/movements?merchant_id=mer_1&environment=test", None),
]


@asynccontextmanager
async def connected(
    url: str, secret: SecretStr = SECRET, time_limit_s: float = 10.0
) -> AsyncIterator[SandboxConnector]:
    acquirer = HttpAcquirer(url, secret)
    yield SandboxConnector(acquirer, time_limit_s)
    await acquirer.close()


async def answers(connector: SandboxConnector, asked: Asked) -> list[Answer | Found]:
    operations = (connector.authorize, connector.capture, connector.void, connector.refund, connector.look_up)
    return [await operation(asked) for operation in operations]


@over_http
@pytest.mark.parametrize("given", [None, "Bearer", "Bearer wrong", "Basic secret-of-the-sandbox", "Bearer é"])
async def test_nobody_asks_who_does_not_know_the_secret(scene: Scene, given: str | None) -> None:
    headers = {} if given is None else {"Authorization": given.encode()}
    async with httpx2.AsyncClient(base_url=scene.base_url, headers=headers) as client:
        for method, path, body in ROUTES:
            answer = await client.request(method, path, json=body)
            assert (answer.status_code, answer.json()["code"]) == (401, "UNAUTHENTICATED"), path
    assert await scene.moved() == []


@over_http
async def test_requests_are_read_strictly(scene: Scene) -> None:
    headers = {"Authorization": f"Bearer {SECRET.get_secret_value()}"}
    async with httpx2.AsyncClient(base_url=scene.base_url, headers=headers) as client:
        for change in (
            {"environment": "live"},
            {"amount_minor": -1},
            {"amount_minor": "5"},
            {"token": "4242"},
            {"x": 1},
        ):
            answer = await client.post("/sandbox/v1/attempts", json=ATTEMPT | change)
            assert answer.status_code == 400, change
        reused = {"merchant_id": scene.merchant_id}
        assert (await client.post("/sandbox/v1/attempts", json=ATTEMPT | reused)).status_code == 200
        answer = await client.post("/sandbox/v1/attempts", json=ATTEMPT | reused | {"amount_minor": 101})
        assert (answer.status_code, answer.json()["reason"]) == (400, "idempotency_key_reused")
        query = f"merchant_id={scene.merchant_id}&environment=test"
        assert (await client.get(f"/sandbox/v1/movements?{query}&page_token=x")).json()["code"] == "INVALID_PAGE_TOKEN"
    assert await scene.moved() == [("sale", 100)]


@over_http
async def test_it_is_in_no_reference(scene: Scene) -> None:
    async with httpx2.AsyncClient(base_url=scene.base_url) as client:
        assert (await client.get("/openapi.json")).json()["paths"] == {}


@over_http
async def test_a_lost_reply_ends_the_connection_without_a_byte(scene: Scene) -> None:
    headers = {"Authorization": f"Bearer {SECRET.get_secret_value()}"}
    async with httpx2.AsyncClient(base_url=scene.base_url, headers=headers) as client:
        for token in ("sandbox_lost_reply", "sandbox_lost_request"):
            with pytest.raises((httpx2.RemoteProtocolError, httpx2.ReadError)):
                await client.post("/sandbox/v1/attempts", json=ATTEMPT | {"attempt_id": token, "token": token})


@having("ledger")
async def test_the_ledger_comes_in_pages(scene: Scene) -> None:
    payment = await scene.held(300)
    for _ in range(250):
        approved(await scene.do("capture", payment, 1))
    movements = await scene.movements()
    assert [movement.amount_minor for movement in movements] == [300, *[1] * 250]
    assert len({movement.movement_id for movement in movements}) == 251
    [first, second, *_] = movements
    assert (first.source, first.target, second.source, second.target) == ("holder", "held", "held", "merchant")
    assert (first.order_id, first.payment_intent_id, first.payment_id) == ("ord_1", "pi_1", payment.reference)
    assert scene.acquirer is not None
    assert (await scene.acquirer.movements(Whose(merchant_id="mer_other", environment="test"))).movements == ()


@having("ledger")
async def test_the_ledger_from_a_moment_on_or_of_some_orders(scene: Scene) -> None:
    assert scene.acquirer is not None
    whose = Whose(merchant_id=scene.merchant_id, environment="test")
    for number in (1, 2, 3):
        approved(await scene.connector.authorize(scene.asked(order_id=f"ord_{number}", amount=number)))
        scene.clock.turn(seconds=1)
    second = (await scene.acquirer.movements(whose)).movements[1].made_at

    async def amounts(**wanted: Any) -> list[int]:
        assert scene.acquirer is not None
        return [movement.amount_minor for movement in (await scene.acquirer.movements(whose, **wanted)).movements]

    assert await amounts(made_from=second) == [2, 3]
    assert await amounts(order_ids=["ord_3", "ord_1", "ord_9"]) == [1, 3]
    assert await amounts(order_ids=["ord_3", "ord_1"], made_from=second) == [3]
    assert (await scene.acquirer.movements(Whose(merchant_id="mer_x", environment="test"), order_ids=["ord_1"])) == (
        MovementPage(movements=())
    )


@having("ledger")
async def test_the_ledger_of_an_order_comes_in_pages(scene: Scene) -> None:
    assert scene.acquirer is not None
    payment = await scene.held(300)
    for _ in range(120):
        approved(await scene.do("capture", payment, 1))
    whose, found, token = Whose(merchant_id=scene.merchant_id, environment="test"), 0, None
    while True:
        page = await scene.acquirer.movements(whose, token, order_ids=["ord_1"])
        found, token = found + len(page.movements), page.next_page_token
        if token is None:
            break
    assert found == 121


async def test_where_nobody_listens_nothing_is_sent(sandbox_settings: Settings) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        async with connected(f"http://127.0.0.1:{bound.getsockname()[1]}") as connector:
            found = await answers(connector, Scene("sandbox_over_http", connector).asked())
    assert {type(answer) for answer in found} == {NotSent}


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def server(serve: Serve) -> AsyncIterator[str]:
    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    listening.close()


def answering(status: str, body: bytes) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        writer.write(f"{head}Connection: close\r\n\r\n".encode() + body)
        await writer.drain()
        writer.close()

    return serve


@pytest.mark.parametrize(
    ("status", "body"),
    [
        ("401 Unauthorized", b"{}"),
        ("503 Service Unavailable", b""),
        ("302 Found", b""),
        ("200 OK", b"<html>"),
        ("200 OK", b"[]"),
        ("200 OK", b"{}"),
        ("200 OK", b'{"data": null}'),
        ("200 OK", b'{"data": {"status": "perhaps"}}'),
        ("200 OK", b'{"data": {"status": "approved"}}'),
        ("200 OK", b'{"data": {"status": "declined"}}'),
        ("200 OK", b'{"data": {"status": "action_required", "reference": "sbp_1"}}'),
    ],
)
async def test_an_answer_that_is_none_is_unknown(status: str, body: bytes) -> None:
    async with server(answering(status, body)) as url, connected(url) as connector:
        found = await answers(connector, Scene("sandbox_over_http", connector).asked())
        assert {type(answer) for answer in found} == {Unknown}
        with pytest.raises(OutcomeUnknown):
            await HttpAcquirer(url, SECRET).movements(Whose(merchant_id="mer_1", environment="test"))


async def test_no_answer_in_time_is_unknown() -> None:
    ended = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        ended.set()

    async with server(silent) as url:
        async with connected(url, time_limit_s=0.05) as connector:
            assert isinstance(await connector.authorize(Scene("sandbox_over_http", connector).asked()), Unknown)
        await ended.wait()


@over_http
async def test_the_page_of_a_challenge(scene: Scene) -> None:
    asked = scene.asked(token="sandbox_challenge", return_url="https://shop.example/back?order=1")
    challenge = await scene.connector.authorize(asked)
    assert isinstance(challenge, ActionRequired)
    async with httpx2.AsyncClient() as browser:
        shown = await browser.get(challenge.url)
        assert shown.status_code == 200
        assert "form-action 'self' https://shop.example" in shown.headers["content-security-policy"]
        assert shown.headers["cache-control"] == "no-store"
        evil = await browser.post(
            challenge.url, data={"decision": "approve"}, headers={"Origin": "https://evil.example"}
        )
        assert evil.status_code == 403
        assert await scene.connector.look_up(asked) == challenge
        answer = await browser.post(challenge.url, data={"decision": "approve"})
        assert (answer.status_code, answer.headers["location"]) == (303, "https://shop.example/back?order=1")
        assert "Go back to the shop" in (await browser.get(challenge.url)).text
        gone = await browser.get(challenge.url[:-1] + "~")
        assert gone.status_code == 404
        assert (await browser.post(challenge.url[:-1] + "~", data={"decision": "approve"})).status_code == 404
    approved(await scene.connector.look_up(asked))


@over_http
async def test_a_buyer_without_a_shop_to_go_back_to_sees_that_it_is_done(scene: Scene) -> None:
    asked = scene.asked(token="sandbox_challenge", return_url="javascript:alert(1)")
    challenge = await scene.connector.authorize(asked)
    assert isinstance(challenge, ActionRequired)
    async with httpx2.AsyncClient(follow_redirects=True) as browser:
        done = await browser.post(challenge.url, data={"decision": "approve"})
    assert str(done.url) == challenge.url
    assert "Your payment was approved." in done.text
    assert "javascript" not in done.text


@over_http
async def test_a_page_that_cannot_be_shown_now_says_so_and_its_address_is_not_logged(
    scene: Scene, capfd: pytest.CaptureFixture[str]
) -> None:
    challenge = await scene.connector.authorize(scene.asked(token="sandbox_challenge"))
    assert isinstance(challenge, ActionRequired)
    assert scene.process is not None
    await scene.process.acquirer.pool.close()
    async with httpx2.AsyncClient() as browser:
        for answer in (
            await browser.get(challenge.url),
            await browser.post(challenge.url, data={"decision": "approve"}),
        ):
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
            assert "load this page again" in answer.text
    told = capfd.readouterr()
    assert challenge.url.rpartition("/")[2] not in told.out + told.err


async def test_without_a_secret_it_does_not_start(sandbox_settings: Settings) -> None:
    bare = sandbox_settings.model_copy(
        update={"sandbox": sandbox_settings.sandbox.model_copy(update={"secret": SecretStr("")})}
    )
    with pytest.raises(ValueError, match="SANDBOX_SECRET is not set"):
        async with staged("sandbox_in_process", bare):
            pass
