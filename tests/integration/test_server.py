"""The HTTP server on a real socket: nobody keeps a connection for ever, by taking nothing or by listening on."""

import asyncio
import socket
import sys
from typing import Any

import pytest
import uvicorn

from deploy import server
from deploy.local.ports import HOST, Ports
from deploy.protocol import Protocol
from shared.http.edge import stopping_of
from tests.stack import eventually


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can be told when to give up")
async def test_what_nobody_reads_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_UNREAD_S", 2)
    left = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            while True:
                async with asyncio.timeout(0.5):
                    await send({"type": "http.response.body", "body": b"x" * 65_536, "more_body": True})
        except TimeoutError:
            left.set()

    port = Ports.free().postgres
    config = uvicorn.Config(app, host=HOST, port=port, lifespan="off", log_level="critical", http="httptools")
    running = server._Server(config)
    task = asyncio.create_task(running.serve())
    loop = asyncio.get_running_loop()
    await running.answering.wait()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        client.setblocking(False)
        await loop.sock_connect(client, (HOST, port))
        await loop.sock_sendall(client, b"GET / HTTP/1.1\r\nHost: throughline\r\n\r\n")

        async def given_up() -> bool:
            return left.is_set() and not running.server_state.connections

        await eventually(given_up)
    running.should_exit = True
    await task


async def test_an_answer_without_an_end_is_told_when_the_server_stops(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"beginning", "more_body": True})
        stopping = stopping_of(scope)
        assert stopping is not None
        await stopping.wait()
        await send({"type": "http.response.body", "body": b" and end"})

    config = uvicorn.Config(
        app,
        host=HOST,
        port=Ports.free().postgres,
        lifespan="off",
        log_config=None,
        http=Protocol,
        timeout_graceful_shutdown=60,
    )
    running = server._Server(config)
    task = asyncio.create_task(running.serve())
    await running.answering.wait()
    reader, writer = await asyncio.open_connection(HOST, config.port)
    writer.write(b"GET / HTTP/1.1\r\nHost: throughline\r\n\r\n")
    await reader.readuntil(b"beginning")
    running.should_exit = True
    async with asyncio.timeout(30):
        rest = await reader.read()
        await task
    assert b" and end" in rest
    assert "timeout graceful shutdown exceeded" not in caplog.text
    writer.close()
