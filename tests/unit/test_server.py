"""The HTTP server says what stands in its way, and takes no more of a request than it must."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator
from itertools import repeat
from typing import Any

import pytest

from deploy.local.ports import HOST, Ports
from deploy.local.problem import RuntimeProblem
from deploy.protocol import LARGEST_HEAD
from deploy.server import Finished, run_server

_PIECE = 10_000


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the length of the body."""
    if scope["type"] == "lifespan":
        for step in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{step}.complete"})
        return
    length, more = 0, True
    while more:
        message = await receive()
        length, more = length + len(message.get("body", b"")), message.get("more_body", False)
    body = str(length).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


def serve(ask: Callable[[int], Awaitable[None]]) -> None:
    port = Ports.free().postgres

    async def ask_and_stop() -> None:
        await ask(port)
        raise Finished

    run_server(app, HOST, port, when_ready=ask_and_stop)


async def answer_to(port: int, pieces: Iterator[bytes]) -> tuple[bytes, int]:
    """What came back, and how many bytes could be sent until then."""
    reader, writer = await asyncio.open_connection(HOST, port)
    answer, sent = asyncio.create_task(reader.read(1_000)), 0
    try:
        for piece in pieces:
            if answer.done() or sent > 10 * LARGEST_HEAD:
                break
            writer.write(piece)
            sent += len(piece)
            await writer.drain()
            await asyncio.sleep(0.001)
        async with asyncio.timeout(5):
            return await answer, sent
    except ConnectionError:
        return b"" if answer.exception() else answer.result(), sent
    finally:
        writer.close()


def endless(start: bytes) -> Iterator[bytes]:
    yield start
    yield from repeat(b"x" * _PIECE)


@pytest.mark.parametrize(
    "start",
    [
        b"GET / HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ",
        b"GET / HTTP/1.1\r\nhost: x\r\nx",
        b"GET /",
        b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx: ",
    ],
    ids=["value", "name", "path", "trailer"],
)
def test_an_endless_request_ends_early(start: bytes) -> None:
    async def ask(port: int) -> None:
        answer, sent = await answer_to(port, endless(start))
        assert b"431" in answer or b"400" in answer or answer == b""
        assert sent < 3 * LARGEST_HEAD

    serve(ask)


@pytest.mark.parametrize(
    ("request_", "length"),
    [
        (b"GET / HTTP/1.1\r\nhost: x\r\nx: " + b"x" * (LARGEST_HEAD // 2) + b"\r\n\r\n", b"0"),
        (b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 500000\r\n\r\n" + b"x" * 500_000, b"500000"),
        (
            b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * 30_000 + b"0\r\n\r\n",
            b"30000",
        ),
    ],
    ids=["long head", "long body", "tiny chunks"],
)
def test_what_is_large_and_ends_is_answered(request_: bytes, length: bytes) -> None:
    async def ask(port: int) -> None:
        pieces = (request_[start : start + _PIECE] for start in range(0, len(request_), _PIECE))
        answer, _ = await answer_to(port, pieces)
        assert answer.startswith(b"HTTP/1.1 200")
        assert answer.endswith(length)

    serve(ask)


def test_a_port_that_is_taken_is_a_problem_and_no_lost_exception(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server((HOST, 0)) as taken, pytest.raises(RuntimeProblem, match="did not start"):
        run_server(app, HOST, taken.getsockname()[1])
    [said] = caplog.messages
    assert "address already in use" in said
