"""A receiver of webhooks that costs next to nothing, in a process of its own: 200 to every POST, at once.

    python -m bench.receiver --port 9000 --dead-port 9001

On the dead port connections are taken and never answered. `GET /` gives when each webhook came, by its path and id:
seconds of the system's monotonic clock.
"""

import argparse
import asyncio
import json
import time
from typing import cast

import uvloop

from deploy.local.ports import HOST

_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
_came: list[tuple[str, str, float]] = []


class _Lively(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        length = int(_header(head, b"content-length") or b"0")
        if not found or len(rest) < length:
            return
        self._buffer = rest[length:]
        method, path, _ = head.split(b" ", 2)
        if method == b"GET":
            body = json.dumps(_came).encode()
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
            _came.clear()
            return
        self._transport.write(_OK)
        _came.append((path.decode(), _header(head, b"webhook-id").decode(), time.monotonic()))


def _header(head: bytes, name: bytes) -> bytes:
    begins = head.lower().find(b"\r\n" + name + b": ")
    return b"" if begins < 0 else head[begins + len(name) + 4 :].partition(b"\r\n")[0]


async def main() -> None:
    """Until it is ended."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--dead-port", type=int, required=True)
    options = parser.parse_args()
    loop = asyncio.get_running_loop()
    await loop.create_server(_Lively, HOST, options.port)
    await loop.create_server(asyncio.Protocol, HOST, options.dead_port)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())
