"""Receivers of webhooks on this machine, well behaved and otherwise."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import orjson
from standardwebhooks import Webhook

HOST = "127.0.0.1"


@dataclass
class Received:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes
    at: float
    method: str

    def json(self) -> dict[str, Any]:
        read: dict[str, Any] = orjson.loads(self.body)
        return read

    def verified(self, secret: str) -> dict[str, Any]:
        """The event, if it is signed with this secret; raises otherwise."""
        event: dict[str, Any] = Webhook(secret).verify(self.body, self.headers)
        return event


Answering = Callable[[Received], Awaitable[bytes]]
"""The raw answer to a request."""


def answer(status: int = 200, body: bytes = b"ok", **headers: str) -> bytes:
    """A whole answer."""
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


@dataclass
class Receiver:
    """Keeps what it receives, and answers as it is told to: 200 unless said otherwise."""

    port: int = 0
    received: list[Received] = field(default_factory=list)
    answering: Answering | None = None
    """Raises `ConnectionError` to hang up."""
    connections: int = 0
    under_way: int = 0
    most_under_way: int = 0
    _arrival: asyncio.Event = field(default_factory=asyncio.Event)

    def url(self, path: str = "/hook", host: str = HOST, scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}{path}"

    def at(self, path: str) -> list[Received]:
        return [one for one in self.received if one.path == path]

    async def wait(self, count: int, path: str | None = None, within_s: float = 20) -> list[Received]:
        """The first requests (to the path), once there are so many."""
        async with asyncio.timeout(within_s):
            while len(found := self.received if path is None else self.at(path)) < count:
                self._arrival.clear()
                await self._arrival.wait()
        return found

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                one = await _read(reader)
                self.received.append(one)
                self._arrival.set()
                self.under_way += 1
                self.most_under_way = max(self.most_under_way, self.under_way)
                try:
                    writer.write(await self.answering(one) if self.answering else answer())
                finally:
                    self.under_way -= 1
                await writer.drain()
        writer.close()


async def _read(reader: asyncio.StreamReader) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    method, path, _ = head[0].split(" ")
    return Received(path, headers, body, asyncio.get_running_loop().time(), method)


@asynccontextmanager
async def receiving(answering: Answering | None = None, tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    """A receiver on a free port."""
    receiver = Receiver(answering=answering)
    serving: set[asyncio.Task[None]] = set()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.create_task(receiver.serve(reader, writer)))

    server = await asyncio.start_server(begin, HOST, 0, ssl=tls)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
