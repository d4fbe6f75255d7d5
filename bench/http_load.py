"""A plain HTTP/1.1 client over raw connections, so that not the client is what is measured."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from typing import Self, cast


@dataclass(frozen=True, slots=True)
class Load:
    """What a run of requests came to."""

    per_second: float
    p50_ms: float
    p99_ms: float
    statuses: dict[int, int]
    bodies: tuple[bytes, ...]


class _Connection(asyncio.Protocol):
    """Sends the next request as soon as the answer before it is complete."""

    def __init__(
        self, requests: Iterator[bytes], done: asyncio.Future[None], answered: Callable[[bytes], None]
    ) -> None:
        self._requests, self._done, self._answered = requests, done, answered
        self._buffer = b""
        self._sent_at = 0.0
        self.answers: list[tuple[int, float, bytes]] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0] or b"0")
        if len(rest) >= length:
            self.answers.append((int(head[9:12]), time.perf_counter() - self._sent_at, rest[:length]))
            self._buffer = rest[length:]
            self._answered(self.answers[-1][2])
            self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            self._done.set_exception(exc or ConnectionError("the server closed the connection"))

    def _send(self) -> None:
        request = next(self._requests, None)
        if request is None:
            self._done.set_result(None)
            self._transport.close()
            return
        self._sent_at = time.perf_counter()
        self._transport.write(request)


async def load(
    host: str,
    ports: Sequence[int],
    requests: Sequence[bytes],
    connections: int,
    answered: Callable[[bytes], None] = lambda body: None,
) -> Load:
    """All requests, over that many connections at once, shared equally among the ports.

    `answered` is called with every body as it comes.
    """
    loop = asyncio.get_running_loop()
    remaining = iter(requests)
    done = [loop.create_future() for _ in range(connections)]
    began = time.perf_counter()
    opened = [_Connection(remaining, end, answered) for end in done]
    for connection, port in zip(opened, cycle(ports), strict=False):
        await loop.create_connection(partial(_itself, connection), host, port)
    await asyncio.gather(*done)
    seconds = time.perf_counter() - began
    answers = [answer for connection in opened for answer in connection.answers]
    waits = sorted(wait for _, wait, _ in answers)
    statuses: dict[int, int] = {}
    for status, _, _ in answers:
        statuses[status] = statuses.get(status, 0) + 1
    return Load(
        per_second=len(answers) / seconds,
        p50_ms=waits[len(waits) // 2] * 1000,
        p99_ms=waits[len(waits) * 99 // 100] * 1000,
        statuses=statuses,
        bodies=tuple(body for _, _, body in answers),
    )


def _itself(connection: _Connection) -> _Connection:
    return connection


class Caller:
    """One connection for one question at a time."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    async def ask(self, question: bytes) -> tuple[int, bytes]:
        """Status and body."""
        self._writer.write(question)
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0] or b"0")
        return int(head[9:12]), await self._reader.readexactly(length)


def request(method: str, path: str, key: str, body: bytes = b"", idempotency_key: str = "") -> bytes:
    """One request as it goes over the wire."""
    lines = [f"{method} {path} HTTP/1.1", "Host: bench", f"Authorization: Bearer {key}"]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    if idempotency_key:
        lines.append(f"Idempotency-Key: {idempotency_key}")
    return "\r\n".join([*lines, "", ""]).encode() + body
